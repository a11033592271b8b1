//! What a publisher was given and has not sent yet.

use std::collections::VecDeque;

use crate::packet::{Parcel, Piece};

/// Runs of publishes, in the order of their numbers, which follow each other within a run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// With the number of the first of each; none is empty.
    pieces: VecDeque<(u64, Piece)>,
    messages: usize,
    /// Of topics, payloads and properties.
    bytes: usize,
}

impl Queue {
    /// How many publishes wait.
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// Their topics, payloads and properties, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds publishes, of which the first has this number.
    pub(super) fn push_back(&mut self, first: u64, piece: Piece) {
        self.count(&piece);
        if !piece.is_empty() {
            self.pieces.push_back((first, piece));
        }
    }

    /// Gives publishes back that were taken last.
    pub(super) fn push_front(&mut self, first: u64, piece: Piece) {
        self.count(&piece);
        self.pieces.push_front((first, piece));
    }

    fn count(&mut self, piece: &Piece) {
        self.messages += piece.len();
        self.bytes += piece.iter().map(|publish| publish.len()).sum::<usize>();
    }

    /// The number of the first publish.
    pub(super) fn front(&self) -> Option<u64> {
        self.pieces.front().map(|(first, _)| *first)
    }

    /// The first publish, and its number.
    #[inline]
    pub(super) fn first(&self) -> Option<(u64, Parcel)> {
        let (first, piece) = self.pieces.front()?;
        Some((*first, piece.first()?))
    }

    /// The first publish, of so many bytes, goes elsewhere.
    #[inline]
    pub(super) fn skip_first(&mut self, bytes: usize) {
        let Some((first, piece)) = self.pieces.front_mut() else {
            return;
        };
        *first += 1;
        piece.skip_first();
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.messages -= 1;
        self.bytes -= bytes;
    }
}

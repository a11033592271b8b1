//! Groups that have become columns: they take no rows any more, and stay as they are until a window has merged them.
//!
//! A run is shared by whoever needs it, the pane, windows that close and checkpoints on their way to the disk, and never
//! copied. It lies in pieces, so that nobody has to handle more than one at once; each is written to the disk by the first
//! checkpoint that has it.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use serde::{Deserialize, Serialize};

use super::groups::{Chunk, Groups, Layout};
use crate::backlog::Size;
use crate::durable::part::{Kept, Part};

/// How many groups a piece has at most: what is handled in some milliseconds.
const PIECE: usize = if cfg!(test) { 3 } else { 65_536 };

/// Groups of one pane, no key twice.
pub(super) struct Run {
    pieces: Vec<Piece>,
    /// The end of the last window that had closed before their rows came.
    pub(super) after: i128,
    pub(super) groups: usize,
    pub(super) bytes: usize,
}

struct Piece {
    chunk: Chunk,
    kept: Kept,
}

impl Piece {
    fn new(chunk: Chunk) -> Self {
        let kept = Kept::default();
        Self { chunk, kept }
    }
}

/// What a piece is that is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    /// Which of its pane's runs it is of.
    pub(super) run: usize,
    pub(super) after: i128,
    layout: Layout,
}

impl About {
    /// The keys of the groups.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.layout.keys(rows)
    }
}

impl Run {
    pub(super) fn new(chunk: &Chunk, after: i128) -> Self {
        let firsts = (0..chunk.groups).step_by(PIECE);
        let piece = |first| Piece::new(chunk.slice(first, PIECE.min(chunk.groups - first)));
        Self {
            pieces: firsts.map(piece).collect(),
            after,
            groups: chunk.groups,
            bytes: chunk.size(),
        }
    }

    /// What is kept of it, as the run of this number of its pane.
    pub(super) fn parts(&self, pane: i64, run: usize) -> impl Iterator<Item = Result<Part>> {
        self.pieces.iter().map(move |piece| {
            let (layout, rows) = piece.chunk.to_rows()?;
            let after = self.after;
            let about = About { run, after, layout };
            Ok(Part::new(&(pane, about), rows)?.of(&piece.kept))
        })
    }

    /// Takes up the first piece of what a run was.
    pub(super) fn restored(about: &About, part: &Part) -> Result<Self> {
        let mut run = Self {
            pieces: Vec::new(),
            after: about.after,
            groups: 0,
            bytes: 0,
        };
        run.restore(about, part)?;
        Ok(run)
    }

    /// Takes up another.
    pub(super) fn restore(&mut self, about: &About, part: &Part) -> Result<()> {
        let chunk = Chunk::of_rows(&about.layout, &part.rows)?;
        let kept = part.kept.clone();
        self.groups += chunk.groups;
        // columns that were decoded share one buffer
        self.bytes += Size::of(&part.rows).bytes as usize;
        self.pieces.push(Piece { chunk, kept });
        Ok(())
    }
}

/// Where something has come in a run.
#[derive(Clone)]
pub(super) struct Cursor {
    run: Arc<Run>,
    piece: usize,
    group: usize,
}

impl Cursor {
    pub(super) fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            piece: 0,
            group: 0,
        }
    }

    /// The next groups, at most so many; none at the end.
    pub(super) fn next(&mut self, most: usize) -> Option<Chunk> {
        let piece = &self.run.pieces.get(self.piece)?.chunk;
        let count = most.min(piece.groups - self.group);
        let groups = piece.slice(self.group, count);
        self.group += count;
        if self.group == piece.groups {
            (self.piece, self.group) = (self.piece + 1, 0);
        }
        Some(groups)
    }

    pub(super) fn is_done(&self) -> bool {
        self.piece == self.run.pieces.len()
    }
}

/// Runs on their way into one table of groups.
pub(super) struct Merge {
    groups: Groups,
    left: VecDeque<Cursor>,
}

impl Merge {
    /// Into `groups`, which are kept.
    pub(super) fn new(groups: Groups, runs: impl IntoIterator<Item = Arc<Run>>) -> Self {
        let left = runs.into_iter().map(Cursor::new).collect();
        Self { groups, left }
    }

    pub(super) fn add(&mut self, runs: impl IntoIterator<Item = Arc<Run>>) {
        self.left.extend(runs.into_iter().map(Cursor::new));
    }

    /// Merges so many groups; how many of them it did not need.
    pub(super) fn step(&mut self, most: usize) -> Result<usize> {
        let mut most = most;
        while let Some(cursor) = self.left.front_mut()
            && most > 0
        {
            if let Some(groups) = cursor.next(most) {
                self.groups.merge(&groups)?;
                most -= groups.groups;
            }
            if cursor.is_done() {
                self.left.pop_front();
            }
        }
        Ok(most)
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// All groups, when it is done.
    pub(super) fn into_groups(self) -> Groups {
        self.groups
    }

    /// In bytes, without the runs.
    pub(super) fn size(&self) -> usize {
        self.groups.size()
    }
}

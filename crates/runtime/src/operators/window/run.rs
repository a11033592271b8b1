//! Groups that have become columns: they take no rows any more, and stay as they are until a window has merged them.
//!
//! A run is shared by whoever needs it, the pane, windows that close and checkpoints on their way to the disk, and never
//! copied. It lies in pieces, so that nobody has to handle more than one at once; each is written to the disk by the first
//! checkpoint that has it. A run that had to make room in memory lies in a file ([`Spilling`](super::spilling::Spilling)), its
//! pieces divided by key into partitions.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use serde::{Deserialize, Serialize};

use super::groups::{Chunk, Layout};
use crate::backlog::Size;
use crate::durable::part::{Kept, Part};
use crate::spool::Spilled;

/// Groups of one pane, no key twice.
pub(super) struct Run {
    layout: Layout,
    pieces: Vec<Piece>,
    /// The end of the last window that had closed before their rows came.
    pub(super) after: i128,
    pub(super) groups: usize,
    /// In memory.
    pub(super) bytes: usize,
}

struct Piece {
    groups: Groups,
    /// Which keys it has; `None` if that may be any.
    partition: Option<usize>,
    kept: Kept,
}

enum Groups {
    InMemory(Chunk),
    /// So many.
    OnDisk(Spilled, usize),
}

/// What a piece is that is kept by a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    /// Which of its pane's runs it is of.
    pub(super) run: usize,
    after: i128,
    /// The end of the last window that its worker had put out; unknown of state of before that could differ between workers.
    #[serde(default)]
    pub(super) closed: Option<i128>,
    partition: Option<usize>,
    /// How many there are; if they were divided among other workers since, how many there were.
    groups: usize,
    pub(super) layout: Layout,
}

impl About {
    /// The end of the last window that does not have them any more, or does not have them at all.
    pub(super) fn after(&self) -> i128 {
        self.after.max(self.closed.unwrap_or(i128::MIN))
    }

    /// The keys of the groups.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.layout.keys(rows)
    }
}

impl Run {
    /// In memory.
    pub(super) fn new(chunk: &Chunk, after: i128) -> Self {
        let mut run = Self::empty(chunk.layout(), after);
        for piece in chunk.pieces() {
            run.push(piece.groups, None, Groups::InMemory(piece));
        }
        // all at once, for pieces share their buffers
        run.bytes = chunk.size();
        run
    }

    /// Without a group.
    pub(super) fn empty(layout: Layout, after: i128) -> Self {
        Self {
            layout,
            pieces: Vec::new(),
            after,
            groups: 0,
            bytes: 0,
        }
    }

    /// Adds groups of one partition that are on disk.
    pub(super) fn add_on_disk(&mut self, partition: usize, groups: usize, rows: Spilled) {
        self.bytes += size_of::<Piece>();
        self.push(groups, Some(partition), Groups::OnDisk(rows, groups));
    }

    fn push(&mut self, count: usize, partition: Option<usize>, groups: Groups) {
        self.groups += count;
        self.pieces.push(Piece {
            groups,
            partition,
            kept: Kept::default(),
        });
    }

    /// Whether some of it is on disk.
    pub(super) fn is_on_disk(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| matches!(piece.groups, Groups::OnDisk(..)))
    }

    /// Whether it is divided into partitions.
    pub(super) fn is_divided(&self) -> bool {
        self.pieces.iter().all(|piece| piece.partition.is_some())
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What is kept of it, as the run of this number of its pane, when windows that end until `closed` have been put out.
    pub(super) fn parts(
        &self,
        (pane, run): (i64, usize),
        closed: i128,
    ) -> impl Iterator<Item = Result<Part>> {
        self.pieces.iter().map(move |piece| {
            let about = |groups| About {
                run,
                after: self.after,
                closed: Some(closed),
                partition: piece.partition,
                groups,
                layout: self.layout.clone(),
            };
            let part = match &piece.groups {
                Groups::InMemory(chunk) => {
                    Part::new(&(pane, about(chunk.groups)), chunk.to_rows()?)?
                }
                Groups::OnDisk(rows, count) => Part::spilled(&(pane, about(*count)), rows.clone())?,
            };
            Ok(part.of(&piece.kept))
        })
    }

    /// Takes up a piece of what a run was.
    pub(super) fn restore(&mut self, about: &About, part: &Part) -> Result<()> {
        let (groups, count, bytes) = match &part.spilled {
            Some(rows) => {
                let groups = Groups::OnDisk(rows.clone(), about.groups);
                (groups, about.groups, size_of::<Piece>())
            }
            None => {
                let chunk = Chunk::of_rows(&self.layout, &part.rows)?;
                let count = chunk.groups;
                // columns that were decoded share one buffer
                let bytes = Size::of(&part.rows).bytes as usize;
                (Groups::InMemory(chunk), count, bytes)
            }
        };
        self.bytes += bytes;
        self.groups += count;
        self.pieces.push(Piece {
            groups,
            partition: about.partition,
            kept: part.kept.clone(),
        });
        Ok(())
    }
}

/// Where something has come in a run.
pub(super) struct Cursor {
    run: Arc<Run>,
    /// If it is after one only.
    partition: Option<usize>,
    piece: usize,
    /// Of the piece.
    group: usize,
    /// The piece, if it was read from disk.
    read: Option<Chunk>,
}

impl Cursor {
    /// At the first group, of one partition or of all.
    pub(super) fn new(run: Arc<Run>, partition: Option<usize>) -> Self {
        let mut cursor = Self {
            run,
            partition,
            piece: 0,
            group: 0,
            read: None,
        };
        cursor.pass();
        cursor
    }

    /// Passes by pieces of other partitions.
    fn pass(&mut self) {
        let left = self.run.pieces[self.piece..].iter();
        let other = |piece: &&Piece| self.partition.is_some() && piece.partition != self.partition;
        self.piece += left.take_while(other).count();
    }

    /// The next groups, at most so many; none at the end.
    pub(super) fn next(&mut self, most: usize) -> Result<Option<Chunk>> {
        let Some(piece) = self.run.pieces.get(self.piece) else {
            return Ok(None);
        };
        let chunk = match (&piece.groups, &mut self.read) {
            (Groups::InMemory(chunk), _) => chunk,
            (_, Some(chunk)) => chunk,
            (Groups::OnDisk(rows, _), none) => {
                none.insert(Chunk::of_rows(&self.run.layout, &rows.rows()?)?)
            }
        };
        let count = most.min(chunk.groups - self.group);
        let groups = chunk.slice(self.group, count);
        self.group += count;
        if self.group == chunk.groups {
            (self.piece, self.group, self.read) = (self.piece + 1, 0, None);
            self.pass();
        }
        Ok(Some(groups))
    }

    pub(super) fn is_done(&self) -> bool {
        self.piece == self.run.pieces.len()
    }
}

//! A window that has ended, on its way out, in pieces: first the states of its panes are merged, unless there is one pane
//! only, then the results are put out.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::aggregates::Accumulators;
use super::groups::Groups;
use super::output::Output;
use super::pane::Sealed;

/// How many groups are merged, or put out, at once: some milliseconds.
pub(super) const PIECE: usize = 65_536;

/// The same for functions whose states are single objects.
pub(super) const SLOW_PIECE: usize = 8_192;

/// A window that has ended.
pub(super) struct Closing {
    /// Its start and end.
    bounds: (i64, i64),
    piece: usize,
    work: Work,
}

/// What is to be done.
enum Work {
    Merge {
        groups: Groups,
        /// With the first group that is not merged.
        chunks: VecDeque<(Arc<Sealed>, usize)>,
    },
    PutOut(Results),
}

struct Results {
    keys: Vec<ArrayRef>,
    accumulators: Accumulators,
    groups: usize,
    next: usize,
}

impl Closing {
    /// Of one pane.
    pub(super) fn simple(bounds: (i64, i64), piece: usize, groups: Groups) -> Result<Self> {
        Ok(Self {
            bounds,
            piece,
            work: Work::PutOut(Results::new(groups)?),
        })
    }

    /// Of several panes; `groups` are empty.
    pub(super) fn merging(
        bounds: (i64, i64),
        piece: usize,
        groups: Groups,
        sealed: Vec<Arc<Sealed>>,
    ) -> Self {
        let chunks = sealed.into_iter().map(|sealed| (sealed, 0)).collect();
        Self {
            bounds,
            piece,
            work: Work::Merge { groups, chunks },
        }
    }

    /// Does a piece of the work, and gives its rows, if it has made some; whether there is more to do.
    pub(super) fn step(mut self, output: &Output) -> Result<(RecordBatch, Option<Self>)> {
        match self.work {
            Work::Merge {
                mut groups,
                mut chunks,
            } => {
                merge(&mut groups, &mut chunks, self.piece)?;
                self.work = match chunks.is_empty() {
                    true => Work::PutOut(Results::new(groups)?),
                    false => Work::Merge { groups, chunks },
                };
                Ok((output.nothing(), Some(self)))
            }
            Work::PutOut(ref mut results) => {
                let rows = results.next(self.piece, self.bounds, output)?;
                let is_done = results.next == results.groups;
                Ok((rows, (!is_done).then_some(self)))
            }
        }
    }

    /// In bytes, without the panes.
    pub(super) fn size(&self) -> usize {
        match &self.work {
            Work::Merge { groups, .. } => groups.size(),
            Work::PutOut(results) => results.accumulators.size(),
        }
    }
}

/// Merges as many groups as make a piece.
fn merge(
    groups: &mut Groups,
    chunks: &mut VecDeque<(Arc<Sealed>, usize)>,
    piece: usize,
) -> Result<()> {
    let mut left = piece;
    while let Some((sealed, next)) = chunks.front_mut()
        && left > 0
    {
        let count = left.min(sealed.chunk.groups - *next);
        groups.merge(&sealed.chunk.slice(*next, count))?;
        left -= count;
        *next += count;
        if *next == sealed.chunk.groups {
            chunks.pop_front();
        }
    }
    Ok(())
}

impl Results {
    fn new(mut groups: Groups) -> Result<Self> {
        let (count, keys) = groups.take_keys()?;
        Ok(Self {
            keys,
            accumulators: groups.into_accumulators(),
            groups: count,
            next: 0,
        })
    }

    fn next(&mut self, piece: usize, bounds: (i64, i64), output: &Output) -> Result<RecordBatch> {
        let count = piece.min(self.groups - self.next);
        let keys = self.keys.iter().map(|keys| keys.slice(self.next, count));
        let keys = keys.collect();
        self.next += count;
        let emitted = match self.next == self.groups {
            true => EmitTo::All,
            false => EmitTo::First(count),
        };
        let results = self.accumulators.results(emitted)?;
        output.rows(
            (vec![bounds.0; count], vec![bounds.1; count]),
            keys,
            results,
        )
    }
}

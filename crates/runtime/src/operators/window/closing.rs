//! A window that has ended, on its way out, in pieces: first its runs are merged, unless there is but one, then the results
//! are put out. If some of it is on disk, one partition after the other.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::aggregates::Accumulators;
use super::groups::{Chunk, Grouping, Groups};
use super::merge::Merge;
use super::output::Output;
use super::run::{Cursor, Run};
use super::spilling::Division;

/// How many groups are merged, or put out, at once: some milliseconds.
pub(super) const PIECE: usize = if cfg!(test) { 2 } else { 65_536 };

/// The same for functions whose states are single objects.
pub(super) const SLOW_PIECE: usize = if cfg!(test) { 2 } else { 8_192 };

/// A window that has ended.
pub(super) struct Closing {
    /// Its start and end.
    bounds: (i64, i64),
    piece: usize,
    work: Work,
}

/// What is to be done.
pub(super) enum Work {
    /// To put the groups of a run out.
    Run(Cursor),
    /// To merge runs, and put out what they become.
    Merge(Merge),
    /// To merge the partitions of runs, and put out what each becomes.
    Divide(Division),
    /// To put the rest of it out, and then other partitions.
    PutOut(Results, Option<Division>),
}

/// Groups that are put out.
pub(super) struct Results {
    keys: Vec<ArrayRef>,
    accumulators: Accumulators,
    groups: usize,
    next: usize,
}

impl Work {
    /// Of runs, if there are any.
    pub(super) fn of(mut runs: Vec<Arc<Run>>, grouping: &Grouping) -> Result<Option<Self>> {
        let on_disk = runs.iter().any(|run| run.is_on_disk());
        Ok(match (runs.len(), &grouping.spool) {
            (0, _) => None,
            (1, _) => runs.pop().map(|run| Self::Run(Cursor::new(run, None))),
            (_, Some(spool)) if on_disk => Some(Self::Divide(Division::new(runs, spool)?)),
            _ => Some(Self::Merge(Merge::new(grouping.groups()?, runs))),
        })
    }

    /// Does a piece, and gives its results, if it has made some, and what is left.
    fn step(self, piece: usize, grouping: &Grouping) -> Result<(Option<Made>, Option<Self>)> {
        match self {
            Self::Run(mut cursor) => {
                let groups = cursor.next(piece)?;
                let made = groups.map(|groups| results_of(groups, grouping));
                let rest = (!cursor.is_done()).then_some(Self::Run(cursor));
                Ok((made.transpose()?, rest))
            }
            Self::Merge(merge) if merge.is_done() => {
                Self::PutOut(Results::new(merge.into_groups())?, None).step(piece, grouping)
            }
            Self::Merge(mut merge) => {
                merge.step(piece)?;
                Ok((None, Some(Self::Merge(merge))))
            }
            Self::Divide(mut division) => {
                let (groups, _rest) = division.step(piece, grouping)?;
                let rest = match groups {
                    Some(groups) => Some(Self::PutOut(Results::new(groups)?, Some(division))),
                    None => Self::others(division),
                };
                Ok((None, rest))
            }
            Self::PutOut(mut results, others) => {
                let made = results.next(piece)?;
                let rest = match results.next == results.groups {
                    true => others.and_then(Self::others),
                    false => Some(Self::PutOut(results, others)),
                };
                Ok((Some(made), rest))
            }
        }
    }

    /// What is left of partitions.
    fn others(division: Division) -> Option<Self> {
        (!division.is_done()).then_some(Self::Divide(division))
    }
}

/// The keys and results of some groups.
struct Made {
    groups: usize,
    keys: Vec<ArrayRef>,
    results: Vec<ArrayRef>,
}

fn results_of(chunk: Chunk, grouping: &Grouping) -> Result<Made> {
    let groups: Vec<usize> = (0..chunk.groups).collect();
    let mut accumulators = grouping.functions.accumulators()?;
    accumulators.merge(&chunk.states, &groups, chunk.groups)?;
    Ok(Made {
        groups: chunk.groups,
        keys: chunk.keys,
        results: accumulators.results(EmitTo::All)?,
    })
}

impl Closing {
    pub(super) fn new(bounds: (i64, i64), piece: usize, work: Work) -> Self {
        Self {
            bounds,
            piece,
            work,
        }
    }

    /// Does a piece of the work, and gives its rows, if it has made some; whether there is more to do.
    pub(super) fn step(
        self,
        grouping: &Grouping,
        output: &Output,
    ) -> Result<(RecordBatch, Option<Self>)> {
        let (made, rest) = self.work.step(self.piece, grouping)?;
        let rows = match made {
            None => output.nothing(),
            Some(made) => {
                let (start, end) = self.bounds;
                let bounds = (vec![start; made.groups], vec![end; made.groups]);
                output.rows(bounds, made.keys, made.results)?
            }
        };
        Ok((rows, rest.map(|work| Self { work, ..self })))
    }

    /// In bytes, without the runs.
    pub(super) fn size(&self) -> usize {
        match &self.work {
            Work::Run(_) => 0,
            Work::Merge(merge) => merge.size(),
            Work::Divide(division) => division.size(),
            Work::PutOut(results, _) => results.accumulators.size(),
        }
    }
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

    fn next(&mut self, piece: usize) -> Result<Made> {
        let count = piece.min(self.groups - self.next);
        let keys = self.keys.iter().map(|keys| keys.slice(self.next, count));
        let keys = keys.collect();
        self.next += count;
        let emitted = match self.next == self.groups {
            true => EmitTo::All,
            false => EmitTo::First(count),
        };
        Ok(Made {
            groups: count,
            keys,
            results: self.accumulators.results(emitted)?,
        })
    }
}

//! What is done to the runs of a pane while rows come: several become one, or one goes to disk. Until it is done they are as
//! they were.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;

use super::groups::Grouping;
use super::merge::Merge;
use super::run::Run;
use super::spilling::{Rewriting, Spilling};
use crate::spool::SpoolFile;

/// Something that is done to runs.
pub(super) struct Chore {
    /// Which they are, one at least; they follow each other.
    runs: Vec<Arc<Run>>,
    work: Work,
}

enum Work {
    Merge(Merge),
    Rewrite(Box<Rewriting>),
    Spill(Spilling),
}

impl Chore {
    /// Makes one run of several.
    pub(super) fn merge(runs: &[Arc<Run>], grouping: &Grouping) -> Result<Self> {
        let on_disk = runs.iter().any(|run| run.is_on_disk());
        let work = match &grouping.spool {
            Some(spool) if on_disk => Work::Rewrite(Box::new(Rewriting::new(runs, spool)?)),
            _ => Work::Merge(Merge::new(grouping.groups()?, runs.iter().cloned())),
        };
        Ok(Self {
            runs: runs.to_vec(),
            work,
        })
    }

    /// Moves a run to disk.
    pub(super) fn spill(run: &Arc<Run>, file: Arc<SpoolFile>) -> Self {
        Self {
            runs: vec![Arc::clone(run)],
            work: Work::Spill(Spilling::new(run, file)),
        }
    }

    /// Whether something is done to a run.
    pub(super) fn has(&self, run: &Arc<Run>) -> bool {
        self.runs.iter().any(|one| Arc::ptr_eq(one, run))
    }

    /// Does as much as so many groups take; how many it did not need.
    pub(super) fn step(&mut self, most: usize, grouping: &Grouping) -> Result<usize> {
        match &mut self.work {
            Work::Merge(merge) => merge.step(most),
            Work::Rewrite(rewriting) => rewriting.step(most, grouping),
            Work::Spill(spilling) => spilling.step(most),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match &self.work {
            Work::Merge(merge) => merge.is_done(),
            Work::Rewrite(rewriting) => rewriting.is_done(),
            Work::Spill(spilling) => spilling.is_done(),
        }
    }

    /// Puts what it has made in the place of the runs, when it is done.
    pub(super) fn finish(self, runs: &mut Vec<Arc<Run>>) -> Result<()> {
        let places = self.places(runs);
        let run = match self.work {
            Work::Merge(merge) => {
                let groups = merge.into_groups().into_chunk()?;
                Arc::new(Run::new(&groups, last_after(&self.runs)))
            }
            Work::Rewrite(rewriting) => rewriting.into_run(),
            Work::Spill(spilling) => spilling.into_run(),
        };
        runs.splice(places, [run]);
        Ok(())
    }

    fn places(&self, runs: &[Arc<Run>]) -> Range<usize> {
        let first = runs.iter().position(|run| self.has(run)).unwrap_or(0);
        first..(first + self.runs.len()).min(runs.len())
    }

    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.work, Work::Merge(_))
    }

    /// The merge, if it is one in memory, without its runs among these.
    pub(super) fn into_merge(self, runs: &mut Vec<Arc<Run>>) -> Option<Merge> {
        let places = self.places(runs);
        match self.work {
            Work::Merge(merge) => {
                runs.drain(places);
                Some(merge)
            }
            Work::Rewrite(_) | Work::Spill(_) => None,
        }
    }

    /// In bytes, without the runs.
    pub(super) fn size(&self) -> usize {
        match &self.work {
            Work::Merge(merge) => merge.size(),
            Work::Rewrite(rewriting) => rewriting.size(),
            Work::Spill(_) => 0,
        }
    }
}

/// The end of the last window that had closed before all rows of some runs had come.
pub(super) fn last_after(runs: &[Arc<Run>]) -> i128 {
    let after = runs.iter().map(|run| run.after).max();
    after.unwrap_or(i128::MIN)
}

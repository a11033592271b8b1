//! The state of one pane: the groups that take its rows, and those that have been sealed, as a log of runs.
//!
//! Groups are sealed when a window that has the pane is closed, and at checkpoints, for a run can be handed over as it is. So
//! that there are few runs, neighbours are merged when the newer ones have grown as large as the one before them: then
//! each is more than twice as large as the next, and a group is merged again only after it has found as many others.
//!
//! Rows that come later, when some windows of the pane have closed and others not, belong to the latter only. So each
//! run knows the windows that had closed when its rows came.

use std::sync::Arc;

use datafusion::common::Result;

use super::closing::Work;
use super::groups::{Grouping, Groups};
use super::input::Columns;
use super::run::{About, Merge, Run};
use crate::durable::part::Part;

/// A pane.
#[derive(Default)]
pub(super) struct Pane {
    open: Option<Open>,
    /// The oldest first.
    runs: Vec<Arc<Run>>,
    tidying: Option<Tidying>,
}

/// Groups that take rows.
struct Open {
    groups: Groups,
    after: i128,
    bytes: usize,
}

/// Runs that are becoming one.
struct Tidying {
    /// The first of them.
    first: usize,
    count: usize,
    merge: Merge,
}

impl Pane {
    /// Makes a run of what takes rows.
    pub(super) fn seal(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let chunk = open.groups.into_chunk()?;
            self.runs.push(Arc::new(Run::new(&chunk, open.after)));
        }
        Ok(())
    }

    /// All of it, to be kept, if it is sealed.
    pub(super) fn parts(&self, number: i64) -> impl Iterator<Item = Result<Part>> {
        let runs = self.runs.iter().enumerate();
        runs.flat_map(move |(index, run)| run.parts(number, index))
    }

    /// Takes up a part of what a pane was, which may be of the same run as the part before.
    pub(super) fn restore(&mut self, about: &About, part: &Part, goes_on: bool) -> Result<()> {
        let last = self
            .runs
            .last_mut()
            .filter(|run| goes_on && run.after == about.after);
        match last.and_then(Arc::get_mut) {
            Some(run) => run.restore(about, part),
            None => {
                let run = Run::restored(about, part)?;
                self.runs.push(Arc::new(run));
                Ok(())
            }
        }
    }

    /// Takes rows for the windows that end after `after`.
    pub(super) fn update(
        &mut self,
        columns: &Columns,
        grouping: &Grouping,
        after: i128,
    ) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.after != after) {
            self.seal()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                groups: grouping.groups()?,
                after,
                bytes: 0,
            }),
        };
        open.groups.update(columns)?;
        open.bytes = open.groups.size();
        Ok(())
    }

    /// Begins to merge runs, if there are too many and it does not do so already; whether it has. No window may be due: those that are not yet closed
    /// then have all the rows that came until now, whatever had closed before they came.
    pub(super) fn begin_tidying(&mut self, grouping: &Grouping) -> Result<bool> {
        if self.tidying.is_some() {
            return Ok(false);
        }
        let (mut first, mut groups) = (self.runs.len(), 0);
        while let Some(before) = first.checked_sub(1)
            && (groups == 0 || self.runs[before].groups <= groups)
        {
            groups += self.runs[before].groups;
            first = before;
        }
        let runs = &self.runs[first..];
        if runs.len() > 1 {
            self.tidying = Some(Tidying {
                first,
                count: runs.len(),
                merge: Merge::new(grouping.groups()?, runs.iter().cloned()),
            });
        }
        Ok(self.tidying.is_some())
    }

    /// Merges so many groups, and puts one run in the place of many when all are merged; how many of them it did not need.
    pub(super) fn tidy(&mut self, most: usize) -> Result<usize> {
        let Some(tidying) = &mut self.tidying else {
            return Ok(most);
        };
        let rest = tidying.merge.step(most)?;
        if let Some(done) = self.tidying.take_if(|tidying| tidying.merge.is_done()) {
            let places = done.first..done.first + done.count;
            let after = self.runs[places.clone()].iter().map(|run| run.after).max();
            let chunk = done.merge.into_groups().into_chunk()?;
            let run = Run::new(&chunk, after.unwrap_or(i128::MIN));
            self.runs.splice(places, [Arc::new(run)]);
        }
        Ok(rest)
    }

    /// Whether runs are becoming one.
    pub(super) fn is_tidying(&self) -> bool {
        self.tidying.is_some()
    }

    /// What a window with this end merges.
    pub(super) fn merged_by(&mut self, end: i128) -> Result<Vec<Arc<Run>>> {
        self.seal()?;
        let runs = self.runs.iter().filter(|run| run.after < end);
        Ok(runs.cloned().collect())
    }

    /// Everything, for a window whose only pane it is.
    pub(super) fn into_work(mut self, grouping: &Grouping) -> Result<Option<Work>> {
        if let Some(tidying) = self.tidying.take() {
            // what is merged is not merged again
            self.seal()?;
            self.runs
                .drain(tidying.first..tidying.first + tidying.count);
            let mut merge = tidying.merge;
            merge.add(self.runs);
            return Ok(Some(Work::Merge(merge)));
        }
        match self.open {
            Some(open) => Ok(Some(Work::Merge(Merge::new(open.groups, self.runs)))),
            None => Work::of(self.runs, grouping),
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let runs = self.runs.iter().map(|run| run.bytes);
        let tidying = self.tidying.as_ref().map(|tidying| tidying.merge.size());
        let open = self.open.as_ref().map(|open| open.bytes);
        runs.chain(tidying).chain(open).sum()
    }
}

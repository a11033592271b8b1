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

use super::chore::Chore;
use super::closing::Work;
use super::groups::{Grouping, Groups};
use super::merge::Merge;
use super::run::{About, Run};
use crate::durable::part::Part;
use crate::spool::SpoolFile;

/// A run of fewer bytes stays in memory: to know where its pieces lie on disk takes about as much.
const SPILLED_BYTES: usize = if cfg!(test) { 1 } else { 16 << 10 };

/// A pane.
#[derive(Default)]
pub(super) struct Pane {
    open: Option<Open>,
    /// The oldest first.
    runs: Vec<Arc<Run>>,
    /// Some of them are becoming one.
    merging: Option<Chore>,
    /// Another goes to disk.
    spilling: Option<Chore>,
}

/// Groups that take rows.
struct Open {
    groups: Groups,
    after: i128,
    bytes: usize,
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

    /// All of it, to be kept, if it is sealed; windows that end until `closed` have been put out.
    pub(super) fn parts(&self, number: i64, closed: i128) -> impl Iterator<Item = Result<Part>> {
        let runs = self.runs.iter().enumerate();
        runs.flat_map(move |(index, run)| run.parts((number, index), closed))
    }

    /// The same runs once more, for a checkpoint that comes before what is made of them. `None` if there are none yet, which need
    /// not be merged, or if some are on disk, where those in memory would not make room.
    pub(super) fn as_it_is(&mut self) -> Result<Option<Self>> {
        if self.runs.is_empty() || self.runs.iter().any(|run| run.is_on_disk()) {
            return Ok(None);
        }
        self.seal()?;
        Ok(Some(Self {
            runs: self.runs.clone(),
            ..Self::default()
        }))
    }

    /// Takes up a part of what a pane was, which may be of the same run as the part before.
    pub(super) fn restore(&mut self, about: &About, part: &Part, goes_on: bool) -> Result<()> {
        let last = self
            .runs
            .last_mut()
            .filter(|run| goes_on && run.after == about.after());
        match last.and_then(Arc::get_mut) {
            Some(run) => run.restore(about, part),
            None => {
                let mut run = Run::empty(about.layout.clone(), about.after());
                run.restore(about, part)?;
                self.runs.push(Arc::new(run));
                Ok(())
            }
        }
    }

    /// Has its groups take rows, or the groups of rows, for the windows that end after `after`.
    pub(super) fn update(
        &mut self,
        grouping: &Grouping,
        after: i128,
        take: impl FnOnce(&mut Groups) -> Result<()>,
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
        take(&mut open.groups)?;
        open.bytes = open.groups.size();
        Ok(())
    }

    /// Begins to merge runs, if there are too many and nothing is done to them already; whether it has. No window may be
    /// due: those that are not yet closed then have all the rows that came until now, whatever had closed before they came.
    pub(super) fn begin_merging(&mut self, grouping: &Grouping) -> Result<bool> {
        if self.merging.is_some() || self.spilling.is_some() {
            return Ok(false);
        }
        let (mut first, mut groups) = (self.runs.len(), 0);
        while let Some(before) = first.checked_sub(1)
            && (groups == 0 || self.runs[before].groups <= groups)
        {
            groups += self.runs[before].groups;
            first = before;
        }
        if self.runs.len() - first > 1 {
            self.merging = Some(Chore::merge(&self.runs[first..], grouping)?);
        }
        Ok(self.merging.is_some())
    }

    /// Merges so many groups; how many of them it did not need.
    pub(super) fn merge(&mut self, most: usize, grouping: &Grouping) -> Result<usize> {
        step(&mut self.merging, &mut self.runs, most, grouping)
    }

    /// Whether runs are becoming one.
    pub(super) fn is_merging(&self) -> bool {
        self.merging.is_some()
    }

    /// How much memory moving it to disk would win.
    pub(super) fn spillable(&self) -> usize {
        let runs = self.runs.iter().filter(|run| is_spillable(run));
        let open = self.open.as_ref().map(|open| open.bytes);
        runs.map(|run| run.bytes).chain(open).sum()
    }

    /// Begins to move a run to disk, if none is on its way; whether there is one.
    pub(super) fn begin_spilling(&mut self, file: &Arc<SpoolFile>) -> bool {
        // what is being merged in memory would take more of it
        self.merging.take_if(|chore| chore.is_in_memory());
        if self.spilling.is_none() {
            let is_free = |run: &&Arc<Run>| {
                let merging = self.merging.as_ref();
                is_spillable(run) && !merging.is_some_and(|chore| chore.has(run))
            };
            let run = self.runs.iter().find(is_free);
            self.spilling = run.map(|run| Chore::spill(run, Arc::clone(file)));
        }
        self.spilling.is_some()
    }

    /// Moves so many groups to disk; how many of them it did not need.
    pub(super) fn spill(&mut self, most: usize, grouping: &Grouping) -> Result<usize> {
        step(&mut self.spilling, &mut self.runs, most, grouping)
    }

    /// What a window with this end merges.
    pub(super) fn merged_by(&mut self, end: i128) -> Result<Vec<Arc<Run>>> {
        self.seal()?;
        let runs = self.runs.iter().filter(|run| run.after < end);
        Ok(runs.cloned().collect())
    }

    /// Everything, for a window whose only pane it is. The oldest is merged first, for functions that heed it.
    pub(super) fn into_work(mut self, grouping: &Grouping) -> Result<Option<Work>> {
        if let Some(open) = self.open.take_if(|_| self.runs.is_empty()) {
            return Ok(Some(Work::Merge(Merge::new(open.groups, []))));
        }
        self.seal()?;
        let is_first = |chore: &Chore| self.runs.first().is_some_and(|run| chore.has(run));
        if let Some(chore) = self.merging.filter(is_first)
            && let Some(mut merge) = chore.into_merge(&mut self.runs)
        {
            // what is merged is not merged again
            merge.add(self.runs, None);
            return Ok(Some(Work::Merge(merge)));
        }
        Work::of(self.runs, grouping)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let runs = self.runs.iter().map(|run| run.bytes);
        let merging = self.merging.as_ref().map(Chore::size);
        let open = self.open.as_ref().map(|open| open.bytes);
        runs.chain(merging).chain(open).sum()
    }
}

fn is_spillable(run: &Arc<Run>) -> bool {
    run.bytes >= SPILLED_BYTES && !run.is_on_disk()
}

/// Does as much of a chore as so many groups take; how many it did not need.
fn step(
    chore: &mut Option<Chore>,
    runs: &mut Vec<Arc<Run>>,
    most: usize,
    grouping: &Grouping,
) -> Result<usize> {
    let Some(some) = chore else {
        return Ok(most);
    };
    let rest = some.step(most, grouping)?;
    if let Some(done) = chore.take_if(|chore| chore.is_done()) {
        done.finish(runs)?;
    }
    Ok(rest)
}

//! Runs on their way into one table of groups, piece by piece.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::common::Result;

use super::groups::Groups;
use super::run::{Cursor, Run};

/// A merge.
pub(super) struct Merge {
    groups: Groups,
    left: VecDeque<Cursor>,
}

impl Merge {
    /// Into `groups`, which are kept.
    pub(super) fn new(groups: Groups, runs: impl IntoIterator<Item = Arc<Run>>) -> Self {
        let left = VecDeque::new();
        let mut merge = Self { groups, left };
        merge.add(runs, None);
        merge
    }

    /// Adds runs, or what they have in one partition.
    pub(super) fn add(
        &mut self,
        runs: impl IntoIterator<Item = Arc<Run>>,
        partition: Option<usize>,
    ) {
        let runs = runs.into_iter();
        let cursors = runs.map(|run| Cursor::new(run, partition));
        self.left.extend(cursors.filter(|cursor| !cursor.is_done()));
    }

    /// Merges so many groups; how many of them it did not need.
    pub(super) fn step(&mut self, most: usize) -> Result<usize> {
        let mut most = most;
        while let Some(cursor) = self.left.front_mut()
            && most > 0
        {
            if let Some(groups) = cursor.next(most)? {
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

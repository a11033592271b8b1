//! The state of one pane: the groups of its rows, and once a window that has it was closed, what that window merged.
//!
//! Rows that come later, when some windows of the pane have closed and others not, belong to the latter only. So each
//! table of groups knows the windows that had closed when its rows came.

use std::sync::Arc;

use datafusion::common::Result;

use super::groups::{Chunk, Grouping, Groups};
use super::input::Columns;

/// A pane.
#[derive(Default)]
pub(super) struct Pane {
    open: Option<Open>,
    sealed: Vec<Arc<Sealed>>,
}

/// Groups that take rows.
struct Open {
    groups: Groups,
    after: i128,
    bytes: usize,
}

/// Groups that have become columns, to be merged into windows.
pub(super) struct Sealed {
    pub(super) chunk: Chunk,
    /// The end of the last window that had closed before.
    after: i128,
    bytes: usize,
}

impl Pane {
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

    fn seal(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let chunk = open.groups.into_chunk()?;
            self.sealed.push(Arc::new(Sealed {
                bytes: chunk.size(),
                chunk,
                after: open.after,
            }));
        }
        Ok(())
    }

    /// What a window with this end merges.
    pub(super) fn merged_by(&mut self, end: i128) -> Result<Vec<Arc<Sealed>>> {
        self.seal()?;
        let sealed = self.sealed.iter().filter(|sealed| sealed.after < end);
        Ok(sealed.cloned().collect())
    }

    /// The groups, of a pane that was never sealed.
    pub(super) fn into_groups(self) -> Option<Groups> {
        self.open.map(|open| open.groups)
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let sealed = self.sealed.iter().map(|sealed| sealed.bytes);
        sealed.sum::<usize>() + self.open.as_ref().map_or(0, |open| open.bytes)
    }
}

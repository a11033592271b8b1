//! The state of one pane: the groups of its rows, and once a window that has it was closed, what that window merged.
//!
//! Rows that come later, when some windows of the pane have closed and others not, belong to the latter only. So each
//! table of groups knows the windows that had closed when its rows came.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use serde::{Deserialize, Serialize};

use super::groups::{Chunk, Grouping, Groups, Layout};
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

/// What a table of groups is that is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    after: i128,
    is_open: bool,
    layout: Layout,
}

impl About {
    /// The keys of the groups.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.layout.keys(rows)
    }
}

impl Pane {
    /// All of it, to be kept.
    pub(super) fn snapshot(&mut self, grouping: &Grouping) -> Result<Vec<(About, RecordBatch)>> {
        let mut kept = Vec::with_capacity(self.sealed.len() + 1);
        for sealed in &self.sealed {
            kept.push(about(&sealed.chunk, sealed.after, false)?);
        }
        if let Some(open) = &mut self.open {
            let chunk = open.groups.chunk(grouping)?;
            kept.push(about(&chunk, open.after, true)?);
        }
        Ok(kept)
    }

    /// Takes up a part of what a pane was.
    pub(super) fn restore(
        &mut self,
        about: &About,
        rows: &RecordBatch,
        grouping: &Grouping,
    ) -> Result<()> {
        let chunk = Chunk::of_rows(&about.layout, rows)?;
        let after = about.after;
        let open = self.open.as_mut();
        if about.is_open
            && let Some(open) = open.filter(|open| open.after == after)
        {
            open.groups.merge(&chunk)?;
            open.bytes = open.groups.size();
            return Ok(());
        }
        // a pane has one that is open: what another worker had beside it is as good when it is sealed
        if !about.is_open || self.open.is_some() {
            let bytes = chunk.size();
            self.sealed.push(Arc::new(Sealed {
                chunk,
                after,
                bytes,
            }));
            return Ok(());
        }
        let mut groups = grouping.groups()?;
        groups.merge(&chunk)?;
        let bytes = groups.size();
        self.open = Some(Open {
            groups,
            after,
            bytes,
        });
        Ok(())
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

fn about(chunk: &Chunk, after: i128, is_open: bool) -> Result<(About, RecordBatch)> {
    let (layout, rows) = chunk.to_rows()?;
    let about = About {
        after,
        is_open,
        layout,
    };
    Ok((about, rows))
}

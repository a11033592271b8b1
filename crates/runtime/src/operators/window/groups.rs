//! Rows grouped by their keys, with the state of each group. Without keys there is one group, and nothing is hashed.

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::aggregates::{Accumulators, Functions, States};
use super::input::Columns;
use crate::durable::part::columns;
use crate::spool::Spool;

/// How many groups a piece has at most: what is handled in some milliseconds.
const PIECE: usize = 65_536;

/// What makes groups.
#[derive(Clone)]
pub(super) struct Grouping {
    pub(super) functions: Functions,
    /// The columns of the keys.
    pub(super) keys: SchemaRef,
    /// Where groups go for which there is no memory, if they may.
    pub(super) spool: Option<Spool>,
}

impl Grouping {
    pub(super) fn new(functions: Functions, output: &SchemaRef, first: usize, keys: usize) -> Self {
        let fields = output.fields()[first..first + keys].to_vec();
        Self {
            functions,
            keys: Arc::new(Schema::new(fields)),
            spool: None,
        }
    }

    /// A table of keys, unless there are none.
    pub(super) fn table(&self) -> Result<Option<Box<dyn GroupValues>>> {
        let has_keys = !self.keys.fields().is_empty();
        let table = || new_group_values(Arc::clone(&self.keys), &GroupOrdering::None);
        has_keys.then(table).transpose()
    }

    /// How the columns of its groups are divided.
    pub(super) fn layout(&self) -> Result<Layout> {
        Ok(Layout {
            keys: self.keys.fields().len(),
            states: self.functions.state_columns()?,
        })
    }

    pub(super) fn groups(&self) -> Result<Groups> {
        Ok(Groups {
            table: self.table()?,
            accumulators: self.functions.accumulators()?,
            numbers: Vec::new(),
        })
    }
}

/// The groups.
pub(super) struct Groups {
    table: Option<Box<dyn GroupValues>>,
    accumulators: Accumulators,
    /// The group of each row that came last.
    numbers: Vec<usize>,
}

/// The keys and states of some groups, as columns.
pub(super) struct Chunk {
    pub(super) groups: usize,
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: States,
}

/// How the columns of a chunk that is kept are divided: so many keys, then so many states of each function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    keys: usize,
    states: Vec<usize>,
}

impl Layout {
    /// How many columns there are.
    pub(super) fn columns(&self) -> usize {
        self.keys + self.states.iter().sum::<usize>()
    }

    /// The keys of a chunk that is kept.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Ok(Chunk::of_rows(self, rows)?.keys)
    }
}

impl Groups {
    /// Takes rows.
    pub(super) fn update(&mut self, columns: &Columns) -> Result<()> {
        let total = self.number(&columns.keys, columns.rows)?;
        self.accumulators.update(columns, &self.numbers, total)
    }

    /// Takes the states of groups.
    pub(super) fn merge(&mut self, chunk: &Chunk) -> Result<()> {
        let total = self.number(&chunk.keys, chunk.groups)?;
        self.accumulators.merge(&chunk.states, &self.numbers, total)
    }

    fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<usize> {
        if let Some(table) = &mut self.table {
            table.intern(keys, &mut self.numbers)?;
            return Ok(table.len());
        }
        self.numbers.clear();
        self.numbers.resize(rows, 0);
        Ok(1)
    }

    /// Gives the keys of all groups away, and how many there are.
    pub(super) fn take_keys(&mut self) -> Result<(usize, Vec<ArrayRef>)> {
        match &mut self.table {
            Some(table) => Ok((table.len(), table.emit(EmitTo::All)?)),
            None => Ok((1, Vec::new())),
        }
    }

    /// The functions' states, whose keys have been taken.
    pub(super) fn into_accumulators(self) -> Accumulators {
        self.accumulators
    }

    /// The keys and states of all groups.
    pub(super) fn into_chunk(mut self) -> Result<Chunk> {
        self.drain()
    }

    /// The same, and there are none any more.
    pub(super) fn drain(&mut self) -> Result<Chunk> {
        let (groups, keys) = self.take_keys()?;
        if let Some(table) = &mut self.table {
            // of several keys it knows them still
            table.clear_shrink(groups);
        }
        let states = self.accumulators.states()?;
        Ok(Chunk {
            groups,
            keys,
            states,
        })
    }

    /// The group of each row that came last.
    pub(super) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    pub(super) fn size(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |table| table.size());
        table + self.accumulators.size() + size_of_val(self.numbers.as_slice())
    }
}

impl Chunk {
    /// Some of the groups, without copying.
    pub(super) fn slice(&self, first: usize, groups: usize) -> Self {
        let slice = |columns: &Vec<ArrayRef>| -> Vec<ArrayRef> {
            let columns = columns.iter();
            columns.map(|column| column.slice(first, groups)).collect()
        };
        Self {
            groups,
            keys: slice(&self.keys),
            states: self.states.iter().map(slice).collect(),
        }
    }

    /// All of them, in pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Self> {
        // in tests there are two of few groups, too
        let most = match cfg!(test) {
            true => self.groups.div_ceil(2).max(1),
            false => PIECE,
        };
        let firsts = (0..self.groups).step_by(most);
        firsts.map(move |first| self.slice(first, most.min(self.groups - first)))
    }

    /// How its columns are divided.
    pub(super) fn layout(&self) -> Layout {
        Layout {
            keys: self.keys.len(),
            states: self.states.iter().map(Vec::len).collect(),
        }
    }

    /// As columns of one batch.
    pub(super) fn to_rows(&self) -> Result<RecordBatch> {
        self.to_rows_with([])
    }

    /// With other columns behind them.
    pub(super) fn to_rows_with<const N: usize>(
        &self,
        others: [ArrayRef; N],
    ) -> Result<RecordBatch> {
        let all = self.keys.iter().chain(self.states.iter().flatten());
        columns(all.cloned().chain(others).collect(), self.groups)
    }

    /// The chunk again; columns behind it do not matter.
    pub(super) fn of_rows(layout: &Layout, rows: &RecordBatch) -> Result<Self> {
        let mut columns = rows.columns().iter().cloned();
        let mut take = |count: usize| -> Vec<_> { columns.by_ref().take(count).collect() };
        let keys = take(layout.keys);
        let states: Vec<_> = layout.states.iter().map(|count| take(*count)).collect();
        let complete = keys.len() == layout.keys
            && (states.iter().map(Vec::len)).eq(layout.states.iter().copied());
        if !complete {
            return internal_err!("columns of the state are missing");
        }
        Ok(Self {
            groups: rows.num_rows(),
            keys,
            states,
        })
    }

    pub(super) fn size(&self) -> usize {
        let columns = self.keys.iter().chain(self.states.iter().flatten());
        columns.map(|column| column.get_array_memory_size()).sum()
    }
}

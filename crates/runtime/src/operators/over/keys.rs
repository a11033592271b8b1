//! What is kept of each key: the rows that those to come may look at, and accumulators over all its rows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{HashMap, Result};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::PhysicalExpr;
use headwater_planner::plan::{self, Frame};

use crate::operators::keys::with_one_zero;

/// The key of some rows, in Arrow's row format.
pub(super) type Key = Vec<u8>;

/// For how long what is kept.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// How many rows of a key, however old they are.
    rows: usize,
    /// Those that are not older than this, however many.
    range_ns: u64,
    /// Without new rows a key is forgotten after so long.
    ttl_ns: u64,
}

impl Needs {
    pub(super) fn of(over: &plan::Over) -> Self {
        let (mut rows, mut range_ns) = (0, 0);
        for function in &over.functions {
            match function.frame {
                Frame::Rows { from, .. } => {
                    let from = usize::try_from(from.unwrap_or(1)).unwrap_or(usize::MAX);
                    rows = rows.max(from);
                }
                // of an accumulator the last row, which says when the key is forgotten
                Frame::Range { from_ns: None, .. } => rows = rows.max(1),
                Frame::Range {
                    from_ns: Some(ns), ..
                } => range_ns = range_ns.max(ns),
            }
        }
        let ttl_ns = u64::try_from(over.ttl.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rows,
            range_ns,
            ttl_ns: ttl_ns.max(range_ns),
        }
    }

    /// How often it pays to look for keys that can be forgotten.
    pub(super) fn sweep_every_ns(&self) -> u64 {
        match self.rows {
            0 => self.range_ns / 8,
            _ => self.ttl_ns / 8,
        }
    }

    /// The time before which no row is needed, if that depends on nothing else.
    pub(super) fn earliest(&self, reached: i64) -> Option<i64> {
        (self.rows == 0).then(|| reached.saturating_sub_unsigned(self.range_ns))
    }
}

/// What is kept of one key.
#[derive(Default)]
pub(super) struct Kept {
    /// In the order of event time.
    pub(super) rows: VecDeque<KeptRow>,
    /// Of the functions that look at all rows.
    pub(super) running: Vec<Box<dyn Accumulator>>,
    /// Its size when it was last measured.
    bytes: usize,
}

/// A row that is kept.
#[derive(Clone, Copy)]
pub(super) struct KeptRow {
    pub(super) number: usize,
    pub(super) time: i64,
}

impl Kept {
    /// Forgets what a row of this time must not see: everything, if nothing has come for too long.
    pub(super) fn forget_before(&mut self, time: i64, needs: &Needs) -> bool {
        let over = |last: &KeptRow| time.abs_diff(last.time) > needs.ttl_ns;
        let is_over = needs.rows > 0 && self.rows.back().is_some_and(over);
        if is_over {
            self.rows.clear();
            self.running.clear();
        }
        is_over
    }

    /// Forgets what no row of this time or later looks at.
    pub(super) fn trim(&mut self, reached: i64, needs: &Needs) {
        let earliest = reached.saturating_sub_unsigned(needs.range_ns);
        while self.rows.len() > needs.rows
            && self.rows.front().is_some_and(|row| row.time < earliest)
        {
            self.rows.pop_front();
        }
        // what was kept for a burst
        if self.rows.capacity() > 4 * self.rows.len().max(4) {
            self.rows.shrink_to(2 * self.rows.len());
        }
    }

    fn size(&self) -> usize {
        let running = self.running.iter();
        let running: usize = running.map(|accumulator| accumulator.size()).sum();
        size_of::<(Key, Self)>() + self.rows.capacity() * size_of::<KeptRow>() + running
    }
}

/// The keys.
pub(super) struct Keys {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    pub(super) needs: Needs,
    kept: HashMap<Key, Kept>,
    /// How many rows are kept of all keys.
    rows: usize,
    bytes: usize,
}

impl Keys {
    pub(super) fn new(over: &plan::Over, input: &SchemaRef) -> Result<Self> {
        let fields = over.keys.iter().map(|key| key.data_type(input));
        let fields = fields.map(|key| key.map(SortField::new));
        Ok(Self {
            exprs: over.keys.clone(),
            converter: RowConverter::new(fields.collect::<Result<_>>()?)?,
            needs: Needs::of(over),
            kept: HashMap::new(),
            rows: 0,
            bytes: 0,
        })
    }

    /// The keys of the rows of a batch.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let keys = self.exprs.iter();
        let keys = keys.map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
        keys.collect()
    }

    /// The rows by key, in the order of their first rows, of which there are so many.
    pub(super) fn groups_of(
        &self,
        keys: &[ArrayRef],
        count: usize,
    ) -> Result<Vec<(Key, Vec<u32>)>> {
        let all = 0..count as u32;
        if keys.is_empty() {
            // the converter would know of no rows
            return Ok(vec![(Key::default(), all.collect())]);
        }
        let keys = self.converter.convert_columns(&with_one_zero(keys))?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: Vec<(Key, Vec<u32>)> = Vec::new();
        for row in all {
            let key = keys.row(row as usize).data();
            let place = *places.entry(key).or_insert_with(|| {
                groups.push((key.to_vec(), Vec::new()));
                groups.len() - 1
            });
            groups[place].1.push(row);
        }
        Ok(groups)
    }

    /// Does something with what is kept of a key.
    pub(super) fn with<T>(&mut self, key: &[u8], act: impl FnOnce(&mut Kept) -> T) -> T {
        let kept = self.kept.entry_ref(key).or_insert_with(|| {
            self.bytes += key.len();
            Kept::default()
        });
        let before = kept.rows.len();
        let done = act(kept);
        self.rows = self.rows + kept.rows.len() - before;
        let bytes = std::mem::take(&mut kept.bytes);
        kept.bytes = kept.size();
        self.bytes = self.bytes + kept.bytes - bytes;
        done
    }

    /// Forgets what no row of this time or later looks at.
    pub(super) fn sweep(&mut self, reached: i64) {
        let (needs, mut rows, mut bytes) = (self.needs, 0, 0);
        self.kept.retain(|key, kept| {
            kept.trim(reached, &needs);
            kept.forget_before(reached, &needs);
            if kept.rows.is_empty() {
                return false;
            }
            rows += kept.rows.len();
            kept.bytes = kept.size();
            bytes += kept.bytes + key.len();
            true
        });
        (self.rows, self.bytes) = (rows, bytes);
    }

    /// All of them.
    pub(super) fn all(&mut self) -> impl Iterator<Item = (&Key, &mut Kept)> {
        self.kept.iter_mut()
    }

    /// Keys as columns.
    pub(super) fn columns<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Result<Vec<ArrayRef>> {
        if self.exprs.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        Ok(self
            .converter
            .convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    /// How many rows are kept of all keys.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }
}

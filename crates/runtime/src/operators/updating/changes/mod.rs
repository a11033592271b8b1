//! Aggregates over rows that may be taken back.
//!
//! ```text
//!  rows ──► keys ──► groups: counts, accumulators, what was sent      tick, END      retractions and rows
//!                    the groups that have changed ────────────────────────────────►  out, `CHANGE` says which
//! ```
//!
//! Each group has accumulators of its own, or its values; see [`function`]. Its memory is counted when it is put out. Groups come in
//! the order in which they changed first.

mod function;
mod group;
mod output;
mod snapshot;
mod values;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, internal_err};
use headwater_planner::plan;

use self::function::{Arguments, Function};
use self::group::Group;
use self::output::{Change, Output};
use crate::durable::part::Part;
use crate::operators::keys::with_one_zero;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{END, Held, Stateful, times};

/// How many groups are looked at for one piece of the output.
const PIECE_GROUPS: usize = 4_096;

/// How many groups go into one part of a snapshot.
const PART_GROUPS: usize = 65_536;

/// The keys of a group, in Arrow's row format.
type Key = Box<[u8]>;

/// The machine.
pub(super) struct OfChanges {
    aggregate: Arc<plan::UpdatingAggregate>,
    /// The column that says what a row does.
    change: usize,
    converter: RowConverter,
    functions: Vec<Function>,
    groups: HashMap<Key, Group>,
    /// Those that have changed since the last flush, in the order in which they did.
    changed: Vec<Key>,
    /// Those that are being flushed.
    due: VecDeque<Key>,
    ttl_ns: u64,
    /// From which watermark on it pays to look for groups whose time is over.
    sweep_at: i64,
    /// The size of the groups.
    bytes: usize,
    /// How many changes there have been.
    changes: i64,
    /// Whether it has been told the time.
    is_running: bool,
    output: Output,
}

/// The rows of one group in a batch.
#[derive(Default)]
struct Rows {
    added: Vec<u32>,
    retracted: Vec<u32>,
    /// The latest event time.
    latest: i64,
}

impl OfChanges {
    pub(super) fn new(
        aggregate: &Arc<plan::UpdatingAggregate>,
        change: usize,
        context: &MachineContext,
    ) -> Result<Self> {
        let input = &context.inputs[0];
        let keys = aggregate.keys.iter().map(|key| key.data_type(input));
        let keys = keys.map(|key| key.map(SortField::new));
        let functions = aggregate.aggregates.iter();
        let functions = functions.map(|function| Function::new(function, input));
        Ok(Self {
            converter: RowConverter::new(keys.collect::<Result<_>>()?)?,
            functions: functions.collect::<Result<_>>()?,
            groups: HashMap::new(),
            changed: Vec::new(),
            due: VecDeque::new(),
            ttl_ns: u64::try_from(aggregate.ttl.as_nanos()).unwrap_or(u64::MAX),
            sweep_at: i64::MIN,
            bytes: 0,
            changes: 0,
            is_running: false,
            output: Output::new(&context.output, aggregate.keys.len()),
            aggregate: Arc::clone(aggregate),
            change,
        })
    }

    /// The rows of a batch by group, in the order of their first rows.
    fn by_group(&self, rows: &RecordBatch) -> Result<Vec<(Key, Rows)>> {
        let count = rows.num_rows();
        let times = times(rows, self.aggregate.time)?;
        let changes = rows.column(self.change).as_primitive_opt::<Int64Type>();
        let keys = self.aggregate.keys.iter();
        let keys = keys.map(|key| key.evaluate(rows)?.into_array(count));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let keys = match keys.as_slice() {
            // all rows are one group, of which the converter would know nothing
            [] => None,
            keys => Some(self.converter.convert_columns(&with_one_zero(keys))?),
        };
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut groups: Vec<(Key, Rows)> = Vec::new();
        for (row, time) in times.iter().enumerate() {
            let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
            let place = *places.entry(key).or_insert_with(|| {
                let rows = Rows {
                    latest: *time,
                    ..Rows::default()
                };
                groups.push((key.into(), rows));
                groups.len() - 1
            });
            let rows = &mut groups[place].1;
            rows.latest = rows.latest.max(*time);
            match changes.is_some_and(|changes| changes.value(row) < 0) {
                true => rows.retracted.push(row as u32),
                false => rows.added.push(row as u32),
            }
        }
        Ok(groups)
    }

    /// Takes the rows of one group.
    fn absorb(&mut self, key: Key, rows: &Rows, arguments: &[Arguments]) -> Result<()> {
        if !self.groups.contains_key(&key) {
            if rows.added.is_empty() {
                return Ok(());
            }
            let group = Group::new(&self.functions)?;
            self.bytes += group.size() + key.len();
            self.groups.insert(key.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&key) else {
            return internal_err!("a group is lost");
        };
        group.add(&self.functions, arguments, &rows.added)?;
        group.retract(&self.functions, arguments, &rows.retracted)?;
        if group.touch(rows.latest) {
            self.changed.push(key);
        }
        Ok(())
    }

    /// Has all groups that have changed put out.
    fn flush(&mut self) {
        self.due.extend(self.changed.drain(..));
    }

    /// What has become of a group since it was put out last.
    fn put_out(&mut self, key: Key, piece: &mut Vec<Change>) -> Result<()> {
        let Some(group) = self.groups.get_mut(&key) else {
            return Ok(());
        };
        self.bytes -= group.size();
        let (before, after) = group.change(&self.functions)?;
        let time = group.time();
        match group.is_empty() {
            false => self.bytes += group.size(),
            true => {
                self.bytes -= key.len();
                self.groups.remove(&key);
            }
        }
        self.changes += 1;
        for (values, change) in [(before, -self.changes), (after, self.changes)] {
            piece.extend(values.map(|values| Change {
                key: key.clone(),
                values,
                change,
                time,
            }));
        }
        Ok(())
    }

    /// Forgets the groups whose time is over, unless they are still to be put out.
    fn sweep(&mut self, watermark: i64) {
        if watermark < self.sweep_at {
            return;
        }
        self.sweep_at = watermark.saturating_add_unsigned(self.ttl_ns / 8);
        let earliest = watermark.saturating_sub_unsigned(self.ttl_ns);
        let bytes = &mut self.bytes;
        self.groups.retain(|key, group| {
            let keep = group.is_changed() || group.time() >= earliest;
            if !keep {
                *bytes -= group.size() + key.len();
            }
            keep
        });
    }
}

impl Stateful for OfChanges {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let arguments = self.functions.iter();
        let arguments = arguments.map(|function| function.arguments(&rows));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let groups = self.by_group(&rows)?;
        for (key, rows) in groups {
            self.absorb(key, &rows, &arguments)?;
        }
        Ok(Vec::new())
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        match watermark {
            END => self.flush(),
            _ => self.sweep(watermark),
        }
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        let mut piece = Vec::new();
        while piece.is_empty() && !self.due.is_empty() {
            for _ in 0..PIECE_GROUPS {
                let Some(key) = self.due.pop_front() else {
                    break;
                };
                self.put_out(key, &mut piece)?;
            }
        }
        match piece.as_slice() {
            [] => Ok(None),
            changes => self.output.rows(&self.converter, changes).map(Some),
        }
    }

    fn tick(&mut self, _now_us: u64) -> Result<()> {
        // the first comes when the job begins, and would part what is still on its way
        if std::mem::replace(&mut self.is_running, true) {
            self.flush();
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let parser = self.converter.parser();
        let mut groups: Vec<_> = self.groups.iter_mut().collect();
        let pieces = groups.chunks_mut(PART_GROUPS).map(|piece| {
            let keys = piece.iter().map(|(key, _)| parser.parse(key));
            let keys = match self.aggregate.keys.is_empty() {
                true => Vec::new(),
                false => self.converter.convert_rows(keys)?,
            };
            let mut piece: Vec<_> = piece.iter_mut().map(|(_, group)| &mut **group).collect();
            snapshot::save(&self.functions, keys, &mut piece)
        });
        pieces.collect()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        for part in parts {
            let keys = snapshot::keys(&part)?;
            let keys = match keys.as_slice() {
                [] => None,
                keys => Some(self.converter.convert_columns(keys)?),
            };
            for (row, group) in snapshot::load(&self.functions, &part)?
                .into_iter()
                .enumerate()
            {
                let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
                self.bytes += group.size() + key.len();
                if group.is_changed() {
                    self.changed.push(key.into());
                }
                self.groups.insert(key.into(), group);
            }
        }
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        snapshot::keys(part).map(Held::Keyed)
    }

    fn size(&self) -> usize {
        let keys = self.changed.len() + self.due.len();
        self.bytes + keys * size_of::<Key>()
    }
}

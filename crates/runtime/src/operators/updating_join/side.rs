//! What a join keeps of one of its sides: rows, found by their keys, each with how many partners it has had.
//!
//! Keys and rows are in Arrow's row format, so that any type can be kept and compared. A row that is taken back is looked for
//! among those of its key, whatever its event time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use headwater_planner::plan;

use super::Row;
use super::arrived::Arrived;
use crate::operators::keys::{present, with_one_zero};
use crate::operators::stateful::times;

/// How many rows go into one part of a snapshot.
const PART_ROWS: usize = 65_536;

/// The column of a snapshot that no input has.
const PARTNERS: &str = "_partners";

/// A row that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) row: Row,
    pub(super) time: i64,
    /// How many partners it has had that have not been taken back.
    pub(super) partners: usize,
}

/// One side of a join.
pub(super) struct Side {
    on: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the input.
    schema: SchemaRef,
    time: usize,
    change: Option<usize>,
    /// The other columns of the input.
    values: Vec<usize>,
    key_format: RowConverter,
    row_format: RowConverter,
    /// A row of nothing but nulls.
    nothing: Row,
    /// Whether rows without a partner are put out.
    pub(super) is_preserved: bool,
    kept: HashMap<Box<[u8]>, Vec<Kept>>,
    bytes: usize,
}

impl Side {
    pub(super) fn new(join: &plan::UpdatingJoin, input: usize, schema: &SchemaRef) -> Result<Self> {
        let on = join
            .on
            .iter()
            .map(|(left, right)| Arc::clone([left, right][input]));
        let on: Vec<_> = on.collect();
        let (time, change) = (join.times[input], join.changes[input]);
        let values = (0..schema.fields().len()).filter(|it| *it != time && Some(*it) != change);
        let values: Vec<_> = values.collect();
        let keys = on
            .iter()
            .map(|key| Ok(SortField::new(key.data_type(schema)?)));
        let types = types(schema, &values);
        let row_format = RowConverter::new(types.iter().cloned().map(SortField::new).collect())?;
        let nulls: Vec<_> = types.iter().map(|of| new_null_array(of, 1)).collect();
        Ok(Self {
            key_format: RowConverter::new(keys.collect::<Result<_>>()?)?,
            nothing: Arc::from(row_format.convert_columns(&nulls)?.row(0).data()),
            row_format,
            schema: Arc::clone(schema),
            is_preserved: join.preserved[input],
            kept: HashMap::new(),
            bytes: 0,
            on,
            time,
            change,
            values,
        })
    }

    /// The rows of a batch of this side.
    pub(super) fn arrived(&self, input: usize, rows: &RecordBatch) -> Result<Arrived> {
        let count = rows.num_rows();
        let keys = self
            .on
            .iter()
            .map(|key| key.evaluate(rows)?.into_array(count));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let changes = self.change.map(|change| {
            let numbers = rows.column(change).as_primitive_opt::<Int64Type>().cloned();
            numbers.ok_or_else(|| internal_datafusion_err!("changes are told by numbers"))
        });
        let mut values: Vec<_> = self
            .values
            .iter()
            .map(|it| Arc::clone(rows.column(*it)))
            .collect();
        if values.is_empty() {
            values.push(new_null_array(&DataType::Boolean, count));
        }
        Ok(Arrived {
            input,
            keys: self.key_format.convert_columns(&with_one_zero(&keys))?,
            present: present(&keys),
            rows: self.row_format.convert_columns(&values)?,
            times: times(rows, self.time)?.to_vec(),
            changes: changes.transpose()?,
            at: 0,
        })
    }

    /// Takes out a row that is equal, if one is kept.
    pub(super) fn take(&mut self, key: &[u8], row: &Row) -> Option<Kept> {
        let rows = self.kept.get_mut(key)?;
        let at = rows.iter().position(|kept| kept.row == *row)?;
        let taken = rows.remove(at);
        self.bytes -= taken.size();
        if rows.is_empty() {
            self.kept.remove(key);
            self.bytes -= key.len() + size_of::<Vec<Kept>>();
        }
        Some(taken)
    }

    /// Keeps a row.
    pub(super) fn keep(&mut self, key: Box<[u8]>, row: Kept) {
        self.bytes += row.size();
        let (size, rows) = (key.len(), self.kept.entry(key).or_default());
        if rows.is_empty() {
            self.bytes += size + size_of::<Vec<Kept>>();
        }
        rows.push(row);
    }

    /// The rows with this key that have not been dropped, in the order in which they came.
    pub(super) fn partners(
        &mut self,
        key: &[u8],
        earliest: i64,
    ) -> impl Iterator<Item = &mut Kept> {
        let rows = self.kept.get_mut(key).into_iter().flatten();
        rows.filter(move |row| row.time >= earliest)
    }

    /// Drops the rows with an earlier event time.
    pub(super) fn drop_before(&mut self, earliest: i64) {
        let bytes = &mut self.bytes;
        self.kept.retain(|key, rows| {
            rows.retain(|row| {
                let keep = row.time >= earliest;
                *bytes -= if keep { 0 } else { row.size() };
                keep
            });
            if rows.is_empty() {
                *bytes -= key.len() + size_of::<Vec<Kept>>();
            }
            !rows.is_empty()
        });
    }

    /// Rows as columns, with nulls where there is none.
    pub(super) fn columns<'a>(
        &self,
        rows: impl Iterator<Item = Option<&'a Row>>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.row_format.parser();
        let rows = rows.map(|row| parser.parse(row.unwrap_or(&self.nothing)));
        let mut columns = self.row_format.convert_rows(rows)?;
        columns.truncate(self.values.len());
        Ok(columns)
    }

    /// The rows that have not been dropped, as they came, and how many partners each has.
    pub(super) fn saved(&self, earliest: i64) -> Result<Vec<RecordBatch>> {
        let kept = self.kept.values().flatten();
        let kept: Vec<_> = kept.filter(|row| row.time >= earliest).collect();
        kept.chunks(PART_ROWS).map(|rows| self.part(rows)).collect()
    }

    fn part(&self, rows: &[&Kept]) -> Result<RecordBatch> {
        let mut values = self
            .columns(rows.iter().map(|kept| Some(&kept.row)))?
            .into_iter();
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|kept| kept.time));
        let partners = rows.iter().map(|kept| kept.partners as u64);
        let partners = UInt64Array::from_iter_values(partners);
        let (times, partners): (ArrayRef, ArrayRef) = (Arc::new(times), Arc::new(partners));
        let mut columns = Vec::with_capacity(self.schema.fields().len() + 1);
        for index in 0..self.schema.fields().len() {
            columns.push(match index {
                time if time == self.time => Arc::clone(&times),
                change if Some(change) == self.change => {
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 1)))
                }
                _ => values
                    .next()
                    .ok_or_else(|| internal_datafusion_err!("a column is lost"))?,
            });
        }
        columns.push(partners);
        let fields = self.schema.fields().iter().cloned();
        let partners = Arc::new(Field::new(PARTNERS, DataType::UInt64, false));
        let schema = Arc::new(Schema::new(fields.chain([partners]).collect::<Vec<_>>()));
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Takes up rows that were saved.
    pub(super) fn restore(&mut self, input: usize, rows: &RecordBatch) -> Result<()> {
        let lost = || internal_datafusion_err!("the state has other columns");
        let partners = rows.column_by_name(PARTNERS).ok_or_else(lost)?;
        let partners = partners.as_primitive_opt::<UInt64Type>().ok_or_else(lost)?;
        let arrived = self.arrived(input, rows)?;
        for (at, time) in arrived.times.iter().enumerate() {
            let kept = Kept {
                row: arrived.row(at),
                time: *time,
                partners: usize::try_from(partners.value(at)).unwrap_or(usize::MAX),
            };
            self.keep(arrived.keys.row(at).data().into(), kept);
        }
        Ok(())
    }

    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }
}

impl Kept {
    fn size(&self) -> usize {
        size_of::<Self>() + self.row.len()
    }
}

/// The types of columns; of none at all, one that stands for them.
fn types(schema: &SchemaRef, columns: &[usize]) -> Vec<DataType> {
    match columns {
        [] => vec![DataType::Boolean],
        columns => columns
            .iter()
            .map(|it| schema.field(*it).data_type().clone())
            .collect(),
    }
}

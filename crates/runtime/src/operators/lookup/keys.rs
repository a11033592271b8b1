//! The keys of a batch, each once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use headwater_planner::plan::Pairing;

/// Stands for no key.
pub(super) const NONE: u32 = u32::MAX;

/// The columns of keys: those of the table that must be equal to them.
pub(crate) fn key_schema(pairing: &Pairing, table: &Schema) -> SchemaRef {
    let fields = pairing.columns.iter().map(|index| table.field(*index));
    let fields: Vec<_> = fields
        .map(|field| field.clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Makes keys of rows.
pub(crate) struct Keys {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    converter: RowConverter,
}

/// Rows with their keys.
pub(crate) struct Keyed {
    pub(super) rows: RecordBatch,
    /// Of each row the number of its key; [`NONE`] for a row with a null.
    pub(super) of_row: Vec<u32>,
    /// Whether there is any key.
    pub(super) asks: bool,
    /// The keys, until they have been asked for.
    pub(crate) keys: Option<RecordBatch>,
}

impl Keys {
    pub(crate) fn new(pairing: &Pairing, table: &Schema) -> Result<Self> {
        let schema = key_schema(pairing, table);
        let fields = schema.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        Ok(Self {
            exprs: pairing.keys.clone(),
            converter: RowConverter::new(fields.collect())?,
            schema,
        })
    }

    pub(crate) fn of(&self, rows: &RecordBatch) -> Result<Keyed> {
        let count = rows.num_rows();
        let columns = self.exprs.iter();
        let columns = columns.map(|key| key.evaluate(rows)?.into_array(count));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let nulls = columns
            .iter()
            .fold(None, |all: Option<NullBuffer>, column| {
                NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref())
            });
        let encoded = self.converter.convert_columns(&columns)?;
        let mut numbers = HashMap::with_capacity(count);
        let mut first = Vec::new();
        let mut of_row = Vec::with_capacity(count);
        for (row, key) in encoded.iter().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                of_row.push(NONE);
                continue;
            }
            let next = first.len() as u32;
            let number = *numbers.entry(key).or_insert(next);
            if number == next {
                // a batch has fewer rows than 2^32
                first.push(row as u32);
            }
            of_row.push(number);
        }
        drop(numbers);
        let asks = !first.is_empty();
        let keys = asks.then(|| self.batch(&columns, first)).transpose()?;
        Ok(Keyed {
            rows: rows.clone(),
            of_row,
            asks,
            keys,
        })
    }

    fn batch(&self, columns: &[ArrayRef], rows: Vec<u32>) -> Result<RecordBatch> {
        let rows = UInt32Array::from(rows);
        let columns = columns.iter().map(|column| take(column, &rows, None));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

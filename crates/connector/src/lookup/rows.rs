//! Rows in memory that are found by key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;

use super::{Found, LookupError, LookupOperator};
use crate::operator::OperatorError;

/// The rows of each key, by the columns of one kind of keys.
#[derive(Debug)]
pub struct RowIndex {
    columns: Vec<String>,
    converter: RowConverter,
    rows: HashMap<Box<[u8]>, Vec<u32>>,
    bytes: u64,
}

impl RowIndex {
    /// Of fewer than 2^32 rows, by the columns that these keys have, which are found by their names.
    ///
    /// # Errors
    /// Keys of other names or types than columns of the rows.
    pub fn new(rows: &RecordBatch, keys: &Schema) -> Result<Self, ArrowError> {
        let fields = keys.fields().iter();
        let sort = fields
            .clone()
            .map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(sort.collect())?;
        let columns = fields.map(|field| field.name().clone()).collect::<Vec<_>>();
        let indices = columns.iter().map(|name| rows.schema().index_of(name));
        let by = rows.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let mut index = HashMap::<Box<[u8]>, Vec<u32>>::new();
        let mut bytes = 0;
        let by = with_one_zero(by.columns());
        for (row, key) in converter.convert_columns(&by)?.iter().enumerate() {
            let of_key = index.entry(key.data().into()).or_default();
            if of_key.is_empty() {
                bytes += key.data().len() + size_of::<(Box<[u8]>, Vec<u32>)>();
            }
            bytes += size_of::<u32>();
            of_key.push(row as u32);
        }
        Ok(Self {
            columns,
            converter,
            rows: index,
            bytes: bytes as u64,
        })
    }

    /// Whether it is by the columns of these keys.
    pub fn is_by(&self, keys: &Schema) -> bool {
        let names = keys.fields().iter().map(|field| field.name());
        names.eq(&self.columns)
    }

    /// What the index takes, in bytes, without the rows.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those of the rows, which must be the ones it was made of, that have these keys: key by key, those of one in their order.
    ///
    /// # Errors
    /// Keys of other types.
    pub fn find(&self, rows: &RecordBatch, keys: &RecordBatch) -> Result<Found, ArrowError> {
        let (mut found, mut of_key) = (Vec::new(), Vec::new());
        let by = with_one_zero(keys.columns());
        for (number, key) in self.converter.convert_columns(&by)?.iter().enumerate() {
            for row in self.rows.get(key.data()).into_iter().flatten() {
                found.push(*row);
                of_key.push(number as u32);
            }
        }
        Ok(Found {
            rows: take_record_batch(rows, &UInt32Array::from(found))?,
            keys: of_key,
        })
    }
}

/// Keys whose bytes are equal if they are: of the two zeros of floating point numbers there is one.
pub fn with_one_zero(keys: &[ArrayRef]) -> Vec<ArrayRef> {
    let one_zero = |key: &ArrayRef| -> ArrayRef {
        match key.data_type() {
            DataType::Float64 => Arc::new(
                key.as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|x| x + 0.0),
            ),
            DataType::Float32 => Arc::new(
                key.as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|x| x + 0.0),
            ),
            _ => Arc::clone(key),
        }
    };
    keys.iter().map(one_zero).collect()
}

/// Looks up in rows that stay as they are.
#[derive(Debug)]
pub struct FixedRows {
    rows: RecordBatch,
    index: RowIndex,
}

impl FixedRows {
    /// Of fewer than 2^32 rows, by the columns that the keys will have.
    ///
    /// # Errors
    /// Keys of other names or types than columns of the rows.
    pub fn new(rows: RecordBatch, keys: &Schema) -> Result<Self, ArrowError> {
        Ok(Self {
            index: RowIndex::new(&rows, keys)?,
            rows,
        })
    }
}

#[async_trait]
impl LookupOperator for FixedRows {
    async fn open(&mut self) -> Result<(), LookupError> {
        Ok(())
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        let found = self.index.find(&self.rows, keys);
        let unfit = |error| OperatorError::caused_by("the keys do not fit the rows", error);
        Ok(found.map_err(unfit)?)
    }
}

//! Values of Arrow as SQLite's and back, these as JSON.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_connector::OperatorError;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use serde::de::IgnoredAny;

use crate::rows::{is_document, is_text};

/// The keys of a batch, each column as one of the types that SQLite has.
pub(super) struct Keys(Vec<ArrayRef>);

impl Keys {
    pub(super) fn new(keys: &RecordBatch) -> Result<Self, OperatorError> {
        let as_sqlite = |column: &ArrayRef| match column.data_type() {
            DataType::Boolean | DataType::UInt64 => cast(column, &DataType::Int64),
            data_type if data_type.is_integer() => cast(column, &DataType::Int64),
            data_type if data_type.is_floating() => cast(column, &DataType::Float64),
            DataType::Binary | DataType::LargeBinary => cast(column, &DataType::Binary),
            _ => cast(column, &DataType::Utf8),
        };
        let columns = keys.columns().iter().map(as_sqlite);
        let columns = columns.collect::<Result<_, _>>().map_err(|error| {
            OperatorError::caused_by("a key of this type cannot be looked up in SQLite", error)
        })?;
        Ok(Self(columns))
    }

    /// The values of a row. What SQLite has no value for (an integer above 2^63) is null, which is equal to nothing.
    pub(super) fn of(&self, row: usize) -> Result<Vec<Value>, OperatorError> {
        let value = |column: &ArrayRef| match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Value::Real(column.as_primitive::<Float64Type>().value(row)),
            DataType::Binary => Value::Blob(column.as_binary::<i32>().value(row).to_vec()),
            _ => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        };
        Ok(self.0.iter().map(value).collect())
    }
}

/// Writes a row of these columns as a JSON object.
pub(super) fn write_row(row: &Row<'_>, schema: &Schema, out: &mut Vec<u8>) -> rusqlite::Result<()> {
    out.push(b'{');
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text(field.name(), out);
        out.push(b':');
        value(row.get_ref(index)?, field, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn value(value: ValueRef<'_>, field: &Field, out: &mut Vec<u8>) -> rusqlite::Result<()> {
    match value {
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Integer(0) if *field.data_type() == DataType::Boolean => {
            out.extend_from_slice(b"false");
        }
        ValueRef::Integer(1) if *field.data_type() == DataType::Boolean => {
            out.extend_from_slice(b"true");
        }
        ValueRef::Integer(number) if is_text(field) => text(&number.to_string(), out),
        ValueRef::Real(number) if is_text(field) => text(&number.to_string(), out),
        ValueRef::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        // the infinities are no JSON, and become what a DOUBLE cannot hold
        ValueRef::Real(number) => match number.is_finite() {
            true => out.extend_from_slice(format!("{number:e}").as_bytes()),
            false => out.extend_from_slice(b"1e999"),
        },
        // what only looks like a document stays within its column
        ValueRef::Text(document)
            if is_document(field) && serde_json::from_slice::<IgnoredAny>(document).is_ok() =>
        {
            out.extend_from_slice(document);
        }
        ValueRef::Text(_) => text(value.as_str()?, out),
        ValueRef::Blob(bytes) => text(&STANDARD.encode(bytes), out),
    }
    Ok(())
}

/// Text as JSON.
fn text(text: &str, out: &mut Vec<u8>) {
    // a string can always be JSON, and a vector be written
    serde_json::to_writer(out, text).ok();
}

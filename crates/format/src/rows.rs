//! Rows of a batch as values of no particular format.
//!
//! ```text
//! batch ──► Rows (once a batch) ──► Cell (once a value) ──► csv, avro, protobuf
//!                                        └──► write_row ──► Sink: msgpack, cbor
//! ```
//!
//! The types are those that JSON writes; what a format has no notation of its own for is written as in JSON: decimals,
//! dates and times of day as text, timestamps as the format's `timestamp_format` says.

use std::fmt;
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::Value;

use crate::config::{JsonOptions, TimestampFormat};
use crate::error::{Excerpt, FormatError};
use crate::json::encode::{Ends, JsonEncoder, Values, list, plain};
use crate::json::text::write_scaled;
use crate::json::{is_json, time};
use crate::strings::Strings;

/// One value.
#[derive(Clone, Default)]
pub(crate) enum Cell<'a> {
    #[default]
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Single(f32),
    Double(f64),
    /// `value / 10^scale`.
    Decimal(i128, i8),
    Timestamp(i64, TimeUnit),
    /// Days since 1970.
    Date(i64),
    /// Nanoseconds since midnight.
    Time(i64),
    Text(&'a str),
    /// Text that is JSON.
    Json(&'a str),
    Binary(&'a [u8]),
    Struct(&'a [(&'a str, Cells<'a>)], usize),
    List(&'a Cells<'a>, Range<usize>),
    Map(&'a Strings<'a>, &'a Cells<'a>, Range<usize>),
}

/// How much of a text an error quotes, in bytes.
const QUOTE_BYTES: usize = 40;

impl fmt::Display for Cell<'_> {
    /// In the words of an error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Single(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Text(text) | Self::Json(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) | Self::Json(text) => {
                write!(f, "\"{}\"", Excerpt(text.as_bytes(), QUOTE_BYTES))
            }
            Self::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Struct(..) => f.write_str("a struct"),
            Self::List(..) => f.write_str("a list"),
            Self::Map(..) => f.write_str("a map"),
            Self::Decimal(..) | Self::Timestamp(..) | Self::Date(_) | Self::Time(_) => {
                let mut text = Vec::new();
                as_text(self, &mut text);
                f.write_str(&String::from_utf8_lossy(&text))
            }
        }
    }
}

/// One column of one batch, at any depth.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    content: Content<'a>,
}

enum Content<'a> {
    Plain(Values<'a>),
    Json(Strings<'a>),
    Struct(Vec<(&'a str, Cells<'a>)>),
    List(Ends<'a>, Box<Cells<'a>>),
    Map(&'a [i32], Strings<'a>, Box<Cells<'a>>),
}

/// The columns of one batch.
pub(crate) struct Rows<'a>(pub(crate) Vec<(&'a str, Cells<'a>)>);

impl<'a> Rows<'a> {
    /// `schema` has the names; the batch's columns have its types.
    pub(crate) fn new(schema: &'a Schema, batch: &'a RecordBatch) -> Self {
        let columns = schema.fields().iter().zip(batch.columns());
        Self(
            columns
                .map(|(field, column)| (field.name().as_str(), Cells::new(field, column)))
                .collect(),
        )
    }
}

/// Whether all columns can be taken apart here.
///
/// # Errors
/// The first column that cannot, for `format`.
pub(crate) fn check(format: &'static str, schema: &Schema) -> Result<(), FormatError> {
    match JsonEncoder::new(&JsonOptions::default(), schema) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.of_format(format)),
    }
}

impl<'a> Cells<'a> {
    fn new(field: &'a Field, array: &'a dyn Array) -> Self {
        Self {
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
            // `check` and `Encoder::check` leave no other case.
            content: Content::new(field, array).unwrap_or(Content::Plain(Values::Null)),
        }
    }

    /// The value of a row.
    #[inline]
    pub(crate) fn get(&'a self, row: usize) -> Cell<'a> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return Cell::Null;
        }
        match &self.content {
            Content::Plain(values) => cell(values, row),
            Content::Json(texts) => Cell::Json(texts.get(row)),
            Content::Struct(members) => Cell::Struct(members, row),
            Content::List(ends, items) => Cell::List(items, ends.range(row)),
            Content::Map(offsets, keys, values) => {
                Cell::Map(keys, values, Ends::Small(offsets).range(row))
            }
        }
    }
}

impl<'a> Content<'a> {
    fn new(field: &'a Field, array: &'a dyn Array) -> Option<Self> {
        Some(match field.data_type() {
            _ if is_json(field) => Self::Json(Strings::of(array)?),
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct_opt()?.columns());
                Self::Struct(
                    columns
                        .map(|(field, column)| (field.name().as_str(), Cells::new(field, column)))
                        .collect(),
                )
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let (ends, items) = list(array)?;
                Self::List(ends, Box::new(Cells::new(item, items)))
            }
            DataType::Map(entries, _) => {
                let map = array.as_map_opt()?;
                let DataType::Struct(fields) = entries.data_type() else {
                    return None;
                };
                let values = Cells::new(fields.get(1)?, map.values().as_ref());
                let keys = Strings::of(map.keys().as_ref())?;
                Self::Map(map.value_offsets(), keys, Box::new(values))
            }
            _ => Self::Plain(plain(array, &JsonOptions::default())?),
        })
    }
}

fn cell<'a>(values: &'a Values<'a>, row: usize) -> Cell<'a> {
    let time = |value: i64, unit| {
        let scale = 10i64.pow(9 - time::digits(unit));
        Cell::Time(value.rem_euclid(time::DAY_NANOS / scale) * scale)
    };
    match values {
        Values::Boolean(array) => Cell::Boolean(array.value(row)),
        Values::Int8(values) => Cell::Integer(values[row].into()),
        Values::Int16(values) => Cell::Integer(values[row].into()),
        Values::Int32(values) => Cell::Integer(values[row].into()),
        Values::Int64(values) => Cell::Integer(values[row]),
        Values::UInt8(values) => Cell::Integer(values[row].into()),
        Values::UInt16(values) => Cell::Integer(values[row].into()),
        Values::UInt32(values) => Cell::Integer(values[row].into()),
        Values::UInt64(values) => Cell::Unsigned(values[row]),
        Values::Float32(values) => Cell::Single(values[row]),
        Values::Float64(values) => Cell::Double(values[row]),
        Values::Decimal(values, scale, _) => Cell::Decimal(values[row], *scale),
        Values::Timestamp(values, unit, _) => Cell::Timestamp(values[row], *unit),
        Values::Date32(values) => Cell::Date(values[row].into()),
        Values::Date64(values) => Cell::Date(values[row].div_euclid(86_400_000)),
        Values::Time32(values, unit) => time(values[row].into(), *unit),
        Values::Time64(values, unit) => time(values[row], *unit),
        Values::Text(texts) => Cell::Text(texts.get(row)),
        Values::Json(texts) => Cell::Json(texts.get(row)),
        Values::Binary(blobs) => Cell::Binary(blobs.get(row)),
        Values::Null | Values::Object(_) | Values::List(..) | Values::Map(..) => Cell::Null,
    }
}

/// What is written as text where a format has nothing better; `None` for the others.
pub(crate) fn as_text(cell: &Cell<'_>, out: &mut Vec<u8>) -> bool {
    match *cell {
        Cell::Decimal(value, scale) => write_scaled(out, value, scale, true),
        Cell::Date(days) => time::write_date(out, days),
        Cell::Time(nanos) => time::write_time(out, nanos),
        Cell::Timestamp(value, unit) => time::write_timestamp(out, value, unit),
        _ => return false,
    }
    true
}

/// A timestamp in nanoseconds.
pub(crate) fn timestamp_nanos(value: i64, unit: TimeUnit) -> i128 {
    i128::from(value) * 10i128.pow(9 - time::digits(unit))
}

/// A timestamp as the number that a format asks for.
pub(crate) enum Number {
    Whole(i128),
    Fraction(f64),
}

/// How `timestamp_format` writes a timestamp; `None` if as text.
pub(crate) fn timestamp_number(
    value: i64,
    unit: TimeUnit,
    format: TimestampFormat,
) -> Option<Number> {
    let have = time::digits(unit);
    let want = match format {
        TimestampFormat::Rfc3339 | TimestampFormat::Iso8601 => return None,
        _ => time::number_digits(format),
    };
    if want >= have {
        return Some(Number::Whole(i128::from(value) * 10i128.pow(want - have)));
    }
    let divisor = 10i64.pow(have - want);
    if format == TimestampFormat::UnixSeconds && value % divisor != 0 {
        return Some(Number::Fraction(value as f64 / divisor as f64));
    }
    Some(Number::Whole(value.div_euclid(divisor).into()))
}

/// Takes values one after the other, those of lists and maps after their length.
pub(crate) trait Sink {
    fn null(&mut self);
    fn boolean(&mut self, value: bool);
    fn integer(&mut self, value: i64);
    fn unsigned(&mut self, value: u64);
    fn single(&mut self, value: f32);
    fn double(&mut self, value: f64);
    fn text(&mut self, value: &str);
    fn binary(&mut self, value: &[u8]);
    /// As many items follow.
    fn list(&mut self, len: usize);
    /// As many members follow, each a name and a value.
    fn map(&mut self, len: usize);
}

/// Writes one row as a map of all columns.
pub(crate) fn write_row(
    columns: &[(&str, Cells<'_>)],
    row: usize,
    timestamps: TimestampFormat,
    sink: &mut impl Sink,
) {
    sink.map(columns.len());
    for (name, cells) in columns {
        sink.text(name);
        write_cell(&cells.get(row), timestamps, sink);
    }
}

fn write_cell(cell: &Cell<'_>, timestamps: TimestampFormat, sink: &mut impl Sink) {
    match cell {
        Cell::Null => sink.null(),
        Cell::Boolean(value) => sink.boolean(*value),
        Cell::Integer(value) => sink.integer(*value),
        Cell::Unsigned(value) => sink.unsigned(*value),
        Cell::Single(value) => sink.single(*value),
        Cell::Double(value) => sink.double(*value),
        Cell::Text(text) => sink.text(text),
        Cell::Binary(bytes) => sink.binary(bytes),
        Cell::Json(text) => match serde_json::from_str(text) {
            Ok(value) => write_json(&value, sink),
            // As the JSON encoder does: what should be JSON and is not, is a string.
            Err(_) => sink.text(text),
        },
        Cell::Struct(members, row) => write_row(members, *row, timestamps, sink),
        Cell::List(items, range) => {
            sink.list(range.len());
            range
                .clone()
                .for_each(|row| write_cell(&items.get(row), timestamps, sink));
        }
        Cell::Map(keys, values, range) => {
            sink.map(range.len());
            for row in range.clone() {
                sink.text(keys.get(row));
                write_cell(&values.get(row), timestamps, sink);
            }
        }
        Cell::Timestamp(value, unit) => match timestamp_number(*value, *unit, timestamps) {
            Some(Number::Whole(number)) => match i64::try_from(number) {
                Ok(number) => sink.integer(number),
                Err(_) => sink.double(number as f64),
            },
            Some(Number::Fraction(number)) => sink.double(number),
            None => write_text(sink, |text| {
                time::write_timestamp_text(text, *value, *unit, timestamps);
            }),
        },
        Cell::Decimal(..) | Cell::Date(_) | Cell::Time(_) => {
            write_text(sink, |text| {
                as_text(cell, text);
            });
        }
    }
}

fn write_text(sink: &mut impl Sink, write: impl FnOnce(&mut Vec<u8>)) {
    let mut text = Vec::with_capacity(32);
    write(&mut text);
    sink.text(std::str::from_utf8(&text).unwrap_or_default());
}

fn write_json(value: &Value, sink: &mut impl Sink) {
    match value {
        Value::Null => sink.null(),
        Value::Bool(value) => sink.boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => sink.integer(value),
            (None, Some(value)) => sink.unsigned(value),
            (None, None) => sink.double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => sink.text(text),
        Value::Array(items) => {
            sink.list(items.len());
            items.iter().for_each(|item| write_json(item, sink));
        }
        Value::Object(members) => {
            sink.map(members.len());
            for (name, value) in members {
                sink.text(name);
                write_json(value, sink);
            }
        }
    }
}

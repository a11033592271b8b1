//! A column that grows by one JSON value at a time, and can be cut back.
//!
//! A [`Column`] is a plain vector of values and a validity bitmap; nested columns hold columns. When a value is
//! refused in the middle, values may be left half appended: the decoder then calls [`Column::truncate`] on all of
//! them, which brings every vector, at every depth, back to a common length.

mod append;

use std::mem;

use arrow::array::{
    Array, ArrayData, ArrayRef, BooleanBufferBuilder, NullBufferBuilder, make_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Field, FieldRef, TimeUnit};
use arrow::error::ArrowError;

use super::fault::{Fault, Result};
use super::fields::Fields;
use super::scan::Scanner;
use super::value::{
    binary, boolean, decimal, float, full, integer, raw, small, temporal, text, time_of_day,
    timestamp,
};
use super::{is_binary, is_json, is_text, time};
use crate::config::JsonOptions;
use crate::error::FormatError;
use crate::varlen::VarLen;

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    field: FieldRef,
    nulls: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Timestamp(Vec<i64>, TimeUnit, u32),
    Date32(Vec<i32>),
    Time32(Vec<i32>, TimeUnit),
    Time64(Vec<i64>, TimeUnit),
    Text(VarLen),
    Json(VarLen),
    Binary(VarLen),
    Struct(Box<Fields>),
    List(Box<List>),
}

/// The items of all lists, end to end.
#[derive(Debug)]
struct List {
    offsets: Vec<i32>,
    items: Column,
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// A type that JSON values cannot be read into, at any depth; `path` is the column's name in the error.
    pub(crate) fn new(
        field: &FieldRef,
        options: &JsonOptions,
        path: &str,
    ) -> std::result::Result<Self, FormatError> {
        Ok(Self {
            field: FieldRef::clone(field),
            nulls: NullBufferBuilder::new(0),
            values: Values::new(field, options, path)?,
        })
    }

    /// The number of values.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends the value that the scanner is at.
    #[inline]
    pub(crate) fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        if scanner.peek() == b'n' {
            return self.read_null(scanner);
        }
        self.values.read(scanner, &self.nulls)?;
        self.nulls.append_non_null();
        Ok(())
    }

    #[cold]
    fn read_null(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let at = scanner.position();
        scanner.literal("null")?;
        if !self.field.is_nullable() {
            return Err(Fault::new(at, "null in a NOT NULL column"));
        }
        self.push_null();
        Ok(())
    }

    /// Appends null because there is no value.
    pub(crate) fn read_absent(&mut self, at: usize) -> Result<()> {
        if !self.field.is_nullable() {
            return Err(Fault::new(at, "missing, but the column is NOT NULL"));
        }
        self.push_null();
        Ok(())
    }

    /// Appends null, also into a column that is NOT NULL but whose parent is null.
    pub(crate) fn push_null(&mut self) {
        self.nulls.append_null();
        self.values.push_default();
    }

    /// Forgets all but the first `len` values, and what is left of one that was refused.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.nulls.truncate(len);
        self.values.truncate(len);
    }

    /// The values as an array; starts anew with as much room as was used.
    pub(crate) fn finish(&mut self) -> std::result::Result<ArrayRef, ArrowError> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        self.values.finish(self.field.data_type(), nulls, len)
    }
}

/// Does the same to the vector of every primitive variant, something else to the others.
macro_rules! each {
    ($values:expr, $vec:ident => $primitive:expr, $($others:tt)*) => {
        match $values {
            Values::Int8($vec) => $primitive,
            Values::Int16($vec) => $primitive,
            Values::Int32($vec) | Values::Date32($vec) | Values::Time32($vec, _) => $primitive,
            Values::Int64($vec) | Values::Timestamp($vec, ..) | Values::Time64($vec, _) => $primitive,
            Values::UInt8($vec) => $primitive,
            Values::UInt16($vec) => $primitive,
            Values::UInt32($vec) => $primitive,
            Values::UInt64($vec) => $primitive,
            Values::Float32($vec) => $primitive,
            Values::Float64($vec) => $primitive,
            Values::Decimal($vec, ..) => $primitive,
            $($others)*
        }
    };
}

impl Values {
    fn new(
        field: &FieldRef,
        options: &JsonOptions,
        path: &str,
    ) -> std::result::Result<Self, FormatError> {
        Ok(match field.data_type() {
            DataType::Boolean => Self::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::UInt8 => Self::UInt8(Vec::new()),
            DataType::UInt16 => Self::UInt16(Vec::new()),
            DataType::UInt32 => Self::UInt32(Vec::new()),
            DataType::UInt64 => Self::UInt64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Vec::new(), *precision, *scale),
            DataType::Timestamp(unit, _) => {
                let digits = time::number_digits(options.timestamp_format);
                Self::Timestamp(Vec::new(), *unit, digits)
            }
            DataType::Date32 => Self::Date32(Vec::new()),
            DataType::Time32(unit) => Self::Time32(Vec::new(), *unit),
            DataType::Time64(unit) => Self::Time64(Vec::new(), *unit),
            text if is_text(text) && is_json(field) => Self::Json(VarLen::default()),
            text if is_text(text) => Self::Text(VarLen::default()),
            binary if is_binary(binary) => Self::Binary(VarLen::default()),
            DataType::Struct(fields) => Self::Struct(Box::new(Fields::new(fields, options, path)?)),
            DataType::List(item) => Self::List(Box::new(List {
                offsets: vec![0],
                items: Column::new(item, options, &format!("{path}[]"))?,
            })),
            _ => return Err(unsupported(field, path)),
        })
    }

    /// Appends the value that the scanner is at, which is not null. `nulls` tells how many
    /// values there are so far.
    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'_>, nulls: &NullBufferBuilder) -> Result<()> {
        match self {
            Self::Float64(values) => values.push(float(scanner, |number| number.to_f64())?),
            Self::Float32(values) => values.push(float(scanner, |number| number.to_f32())?),
            Self::Int64(values) => values.push(integer(scanner, |number| number.to_i64())?),
            Self::UInt64(values) => values.push(integer(scanner, |number| number.to_u64())?),
            Self::Int32(values) => values.push(small(scanner)?),
            Self::Int16(values) => values.push(small(scanner)?),
            Self::Int8(values) => values.push(small(scanner)?),
            Self::UInt32(values) => values.push(small(scanner)?),
            Self::UInt16(values) => values.push(small(scanner)?),
            Self::UInt8(values) => values.push(small(scanner)?),
            Self::Boolean(values) => values.append(boolean(scanner)?),
            Self::Text(values) => text(scanner, values)?,
            Self::Timestamp(values, unit, digits) => {
                values.push(timestamp(scanner, *unit, *digits)?);
            }
            Self::Decimal(values, precision, scale) => {
                values.push(decimal(scanner, *precision, *scale)?);
            }
            Self::Date32(values) => {
                values.push(temporal(scanner, "a date (yyyy-mm-dd)", time::parse_date)?);
            }
            Self::Time32(values, unit) => {
                let value = time_of_day(scanner, *unit)?;
                // A day has less than 2^31 milliseconds.
                values.push(value as i32);
            }
            Self::Time64(values, unit) => values.push(time_of_day(scanner, *unit)?),
            Self::Json(values) => raw(scanner, values)?,
            Self::Binary(values) => binary(scanner, values)?,
            Self::Struct(fields) => fields.read(scanner, nulls.len())?,
            Self::List(list) => list.read(scanner)?,
        }
        Ok(())
    }

    fn push_default(&mut self) {
        each!(self, vec => vec.push(Default::default()),
            Self::Boolean(bits) => bits.append(false),
            Self::Text(texts) | Self::Json(texts) | Self::Binary(texts) => texts.push_empty(),
            Self::Struct(fields) => fields.push_null(),
            Self::List(list) => list.offsets.push(list.end()),
        );
    }

    fn truncate(&mut self, len: usize) {
        each!(self, vec => vec.truncate(len),
            Self::Boolean(bits) => bits.truncate(len),
            Self::Text(texts) | Self::Json(texts) | Self::Binary(texts) => texts.truncate(len),
            Self::Struct(fields) => fields.truncate(len),
            Self::List(list) => list.truncate(len),
        );
    }

    fn finish(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
        len: usize,
    ) -> std::result::Result<ArrayRef, ArrowError> {
        let data = ArrayData::builder(data_type.clone()).len(len);
        let data = each!(self, vec => data.add_buffer(taken(vec)),
            Self::Boolean(bits) => data.add_buffer(bits.finish().into_inner()),
            Self::Text(texts) | Self::Json(texts) | Self::Binary(texts) => {
                return texts.finish(data_type, nulls);
            }
            Self::Struct(fields) => {
                let children = fields.finish()?;
                data.child_data(children.iter().map(|child| child.to_data()).collect())
            }
            Self::List(list) => {
                let offsets = taken(&mut list.offsets);
                list.offsets.push(0);
                data.add_buffer(offsets).add_child_data(list.items.finish()?.to_data())
            }
        );
        Ok(make_array(data.nulls(nulls).build()?))
    }
}

impl List {
    fn end(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        let start = scanner.position();
        if scanner.peek() != b'[' {
            return Err(scanner.unexpected("an array"));
        }
        scanner.enter()?;
        scanner.skip_space();
        let first = self.items.len();
        let mut more = scanner.peek() != b']';
        if !more {
            scanner.leave();
        }
        while more {
            let index = self.items.len() - first;
            self.items
                .read(scanner)
                .map_err(|fault| fault.in_item(index))?;
            more = scanner.more(b']')?;
        }
        let end = i32::try_from(self.items.len()).map_err(|_beyond| full(start))?;
        self.offsets.push(end);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.items
            .truncate(usize::try_from(self.end()).unwrap_or(0));
    }
}

/// The vector as a buffer; a new one with as much room takes its place.
fn taken<T: ArrowNativeType>(values: &mut Vec<T>) -> Buffer {
    let fresh = Vec::with_capacity(values.len());
    Buffer::from_vec(mem::replace(values, fresh))
}

fn unsupported(field: &Field, path: &str) -> FormatError {
    FormatError::UnsupportedType {
        column: path.to_owned(),
        data_type: field.data_type().to_string(),
        format: "json",
        direction: "read",
        remedy: "declare it as TEXT and cast it in the query",
    }
}

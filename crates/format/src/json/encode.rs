//! Rows of a batch to JSON objects.
//!
//! What does not change is prepared: the names with their braces and commas once a table ([`Node`]), the columns'
//! buffers once a batch ([`Writer`]). A row is then a walk over both that writes straight into the payload buffer.
//!
//! Every column is written in every row, nulls as `null`, so that readers see the same members each time. What JSON has
//! no notation for becomes `null` too: NaN and the infinities. Bytes are base64. Timestamps are UTC, as
//! `json.timestamp_format` says.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Field, Fields,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::{write_document, write_float, write_integer, write_scaled, write_string};
use super::{is_binary, is_json, is_text, time};
use crate::config::{DecimalEncoding, JsonOptions, TimestampFormat};
use crate::error::FormatError;
use crate::payloads::Payloads;
use crate::strings::{Blobs, Strings};

/// Writes one object a row. See the [module](self).
#[derive(Debug)]
pub(crate) struct JsonEncoder {
    options: JsonOptions,
    members: Vec<Member>,
}

/// What is known of a column without its values.
#[derive(Debug)]
enum Node {
    /// The type says it all.
    Plain,
    /// Text that is JSON.
    Json,
    Object(Vec<Member>),
    List(Box<Node>),
    Map(Box<Node>),
}

#[derive(Debug)]
struct Member {
    /// `{"name":` for the first, `,"name":` for the others.
    prefix: Vec<u8>,
    node: Node,
}

impl JsonEncoder {
    pub(crate) fn new(options: &JsonOptions, schema: &Schema) -> Result<Self, FormatError> {
        Ok(Self {
            options: options.clone(),
            members: members(schema.fields(), "")?,
        })
    }

    /// Appends the rows of a batch, whose columns have the types of the schema.
    pub(crate) fn encode(&self, batch: &RecordBatch, out: &mut Payloads) {
        let object = self.object(batch.columns().iter().map(AsRef::as_ref));
        for row in 0..batch.num_rows() {
            object.write(&mut out.buffer, row);
            out.end();
        }
    }

    /// What writes the rows of these columns, which have the types of the schema.
    pub(crate) fn object<'a>(&'a self, columns: impl Iterator<Item = &'a dyn Array>) -> Object<'a> {
        Object::new(&self.members, columns, &self.options)
    }
}

fn members(fields: &Fields, path: &str) -> Result<Vec<Member>, FormatError> {
    let member = |(index, field): (usize, &std::sync::Arc<Field>)| {
        let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
        write_string(&mut prefix, field.name());
        prefix.push(b':');
        let dot = if path.is_empty() { "" } else { "." };
        let node = Node::new(field, &format!("{path}{dot}{}", field.name()))?;
        Ok(Member { prefix, node })
    };
    fields.iter().enumerate().map(member).collect()
}

impl Node {
    fn new(field: &Field, path: &str) -> Result<Self, FormatError> {
        Ok(match field.data_type() {
            _ if is_json(field) => Self::Json,
            DataType::Struct(fields) => Self::Object(members(fields, path)?),
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::List(Box::new(Self::new(item, &format!("{path}[]"))?))
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 && is_text(fields[0].data_type()) => {
                    Self::Map(Box::new(Self::new(&fields[1], &format!("{path}[]"))?))
                }
                _ => return Err(unsupported(field, path)),
            },
            plain if is_plain(plain) => Self::Plain,
            _ => return Err(unsupported(field, path)),
        })
    }
}

fn is_plain(data_type: &DataType) -> bool {
    data_type.is_integer()
        || is_text(data_type)
        || is_binary(data_type)
        || matches!(
            data_type,
            DataType::Null
                | DataType::Boolean
                | DataType::Float32
                | DataType::Float64
                | DataType::Decimal128(..)
                | DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
        )
}

fn unsupported(field: &Field, path: &str) -> FormatError {
    FormatError::UnsupportedType {
        column: path.to_owned(),
        data_type: field.data_type().to_string(),
        format: "json",
        direction: "write",
        remedy: "cast it to TEXT in the query",
    }
}

/// The columns of an object, at any depth, in one batch.
pub(crate) struct Object<'a> {
    members: Vec<(&'a [u8], Writer<'a>)>,
}

impl<'a> Object<'a> {
    fn new(
        members: &'a [Member],
        columns: impl Iterator<Item = &'a dyn Array>,
        options: &JsonOptions,
    ) -> Self {
        let member = |(member, column): (&'a Member, &'a dyn Array)| {
            let writer = Writer::new(&member.node, column, options);
            (&member.prefix[..], writer)
        };
        Self {
            members: members.iter().zip(columns).map(member).collect(),
        }
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, row: usize) {
        for (prefix, column) in &self.members {
            out.extend_from_slice(prefix);
            column.write(out, row);
        }
        if self.members.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

/// One column of one batch.
pub(crate) struct Writer<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

/// The values of one column, by their type.
pub(crate) enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], i8, DecimalEncoding),
    Timestamp(&'a [i64], TimeUnit, TimestampFormat),
    Date32(&'a [i32]),
    Date64(&'a [i64]),
    Time32(&'a [i32], TimeUnit),
    Time64(&'a [i64], TimeUnit),
    Text(Strings<'a>),
    Json(Strings<'a>),
    Binary(Blobs<'a>),
    Object(Object<'a>),
    List(Ends<'a>, Box<Writer<'a>>),
    Map(&'a [i32], Strings<'a>, Box<Writer<'a>>),
}

/// Where the items of a list lie.
pub(crate) enum Ends<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
}

impl Ends<'_> {
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Fixed(size) => row * size..(row + 1) * size,
        }
    }
}

impl<'a> Writer<'a> {
    fn new(node: &'a Node, array: &'a dyn Array, options: &JsonOptions) -> Self {
        let values = match node {
            Node::Plain => plain(array, options),
            Node::Json => Strings::of(array).map(Values::Json),
            Node::Object(members) => array.as_struct_opt().map(|array| {
                let columns = array.columns().iter().map(AsRef::as_ref);
                Values::Object(Object::new(members, columns, options))
            }),
            Node::List(item) => list(array)
                .map(|(ends, items)| Values::List(ends, Box::new(Self::new(item, items, options)))),
            Node::Map(value) => array.as_map_opt().and_then(|map| {
                let keys = Strings::of(map.keys().as_ref())?;
                let values = Self::new(value, map.values().as_ref(), options);
                Some(Values::Map(map.value_offsets(), keys, Box::new(values)))
            }),
        };
        Self {
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
            // `Encoder::check` and `Node::new` leave no other case.
            values: values.unwrap_or(Values::Null),
        }
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>, row: usize) {
        if let Some(nulls) = self.nulls
            && nulls.is_null(row)
        {
            out.extend_from_slice(b"null");
            return;
        }
        self.values.write(out, row);
    }
}

/// Where the items of each list lie, and the items.
pub(crate) fn list(array: &dyn Array) -> Option<(Ends<'_>, &dyn Array)> {
    Some(match array.data_type() {
        DataType::List(_) => {
            let array = array.as_list_opt::<i32>()?;
            (Ends::Small(array.value_offsets()), array.values().as_ref())
        }
        DataType::LargeList(_) => {
            let array = array.as_list_opt::<i64>()?;
            (Ends::Large(array.value_offsets()), array.values().as_ref())
        }
        _ => {
            let array = array.as_fixed_size_list_opt()?;
            let size = usize::try_from(array.value_length()).ok()?;
            (Ends::Fixed(size), array.values().as_ref())
        }
    })
}

fn slice<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<&[T::Native]> {
    Some(array.as_primitive_opt::<T>()?.values())
}

/// The values of a column that is neither nested nor declared `JSON`; `None` for other types.
pub(crate) fn plain<'a>(array: &'a dyn Array, options: &JsonOptions) -> Option<Values<'a>> {
    Some(match array.data_type() {
        DataType::Boolean => Values::Boolean(array.as_boolean_opt()?),
        DataType::Int8 => Values::Int8(slice::<Int8Type>(array)?),
        DataType::Int16 => Values::Int16(slice::<Int16Type>(array)?),
        DataType::Int32 => Values::Int32(slice::<Int32Type>(array)?),
        DataType::Int64 => Values::Int64(slice::<Int64Type>(array)?),
        DataType::UInt8 => Values::UInt8(slice::<UInt8Type>(array)?),
        DataType::UInt16 => Values::UInt16(slice::<UInt16Type>(array)?),
        DataType::UInt32 => Values::UInt32(slice::<UInt32Type>(array)?),
        DataType::UInt64 => Values::UInt64(slice::<UInt64Type>(array)?),
        DataType::Float32 => Values::Float32(slice::<Float32Type>(array)?),
        DataType::Float64 => Values::Float64(slice::<Float64Type>(array)?),
        DataType::Decimal128(_, scale) => {
            let encoding = options.decimal_encoding;
            Values::Decimal(slice::<Decimal128Type>(array)?, *scale, encoding)
        }
        DataType::Timestamp(unit, _) => {
            let values = match unit {
                TimeUnit::Second => slice::<TimestampSecondType>(array)?,
                TimeUnit::Millisecond => slice::<TimestampMillisecondType>(array)?,
                TimeUnit::Microsecond => slice::<TimestampMicrosecondType>(array)?,
                TimeUnit::Nanosecond => slice::<TimestampNanosecondType>(array)?,
            };
            Values::Timestamp(values, *unit, options.timestamp_format)
        }
        DataType::Date32 => Values::Date32(slice::<Date32Type>(array)?),
        DataType::Date64 => Values::Date64(slice::<Date64Type>(array)?),
        DataType::Time32(unit) => {
            let values = match unit {
                TimeUnit::Second => slice::<Time32SecondType>(array)?,
                _ => slice::<Time32MillisecondType>(array)?,
            };
            Values::Time32(values, *unit)
        }
        DataType::Time64(unit) => {
            let values = match unit {
                TimeUnit::Microsecond => slice::<Time64MicrosecondType>(array)?,
                _ => slice::<Time64NanosecondType>(array)?,
            };
            Values::Time64(values, *unit)
        }
        text if is_text(text) => Values::Text(Strings::of(array)?),
        binary if is_binary(binary) => Values::Binary(Blobs::of(array)?),
        _ => return None,
    })
}

impl Values<'_> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>, row: usize) {
        match self {
            Self::Float64(values) => write_float(out, values[row]),
            Self::Float32(values) => write_float(out, values[row]),
            Self::Int64(values) => write_integer(out, values[row]),
            Self::Int32(values) => write_integer(out, values[row]),
            Self::Int16(values) => write_integer(out, values[row]),
            Self::Int8(values) => write_integer(out, values[row]),
            Self::UInt64(values) => write_integer(out, values[row]),
            Self::UInt32(values) => write_integer(out, values[row]),
            Self::UInt16(values) => write_integer(out, values[row]),
            Self::UInt8(values) => write_integer(out, values[row]),
            Self::Text(texts) => write_string(out, texts.get(row)),
            Self::Timestamp(values, unit, format) => {
                write_timestamp(out, values[row], *unit, *format);
            }
            Self::Boolean(array) => {
                let text: &[u8] = if array.value(row) { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            Self::Object(object) => object.write(out, row),
            Self::List(ends, items) => write_list(out, ends.range(row), items),
            Self::Json(texts) => write_document(out, texts.get(row)),
            Self::Map(offsets, keys, values) => {
                let range = Ends::Small(offsets).range(row);
                write_map(out, range, keys, values);
            }
            Self::Decimal(values, scale, DecimalEncoding::Number) => {
                write_scaled(out, values[row], *scale, true);
            }
            Self::Null => out.extend_from_slice(b"null"),
            _ => quoted(out, |out| self.write_quoted(out, row)),
        }
    }

    /// The types that are written as strings.
    fn write_quoted(&self, out: &mut Vec<u8>, row: usize) {
        match self {
            Self::Binary(blobs) => write_base64(out, blobs.get(row)),
            Self::Decimal(values, scale, _) => write_scaled(out, values[row], *scale, true),
            Self::Date32(values) => time::write_date(out, i64::from(values[row])),
            Self::Date64(values) => time::write_date(out, values[row].div_euclid(86_400_000)),
            Self::Time32(values, unit) => write_time(out, i64::from(values[row]), *unit),
            Self::Time64(values, unit) => write_time(out, values[row], *unit),
            _ => {}
        }
    }
}

/// Writes something between quotes that needs no escapes.
#[inline]
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_list(out: &mut Vec<u8>, range: std::ops::Range<usize>, items: &Writer<'_>) {
    out.push(b'[');
    let first = range.start;
    for index in range {
        if index > first {
            out.push(b',');
        }
        items.write(out, index);
    }
    out.push(b']');
}

fn write_map(
    out: &mut Vec<u8>,
    range: std::ops::Range<usize>,
    keys: &Strings<'_>,
    values: &Writer<'_>,
) {
    out.push(b'{');
    let first = range.start;
    for index in range {
        if index > first {
            out.push(b',');
        }
        write_string(out, keys.get(index));
        out.push(b':');
        values.write(out, index);
    }
    out.push(b'}');
}

#[inline]
fn write_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit, format: TimestampFormat) {
    let have = time::digits(unit);
    let want = match format {
        TimestampFormat::Rfc3339 | TimestampFormat::Iso8601 => {
            return quoted(out, |out| {
                time::write_timestamp_text(out, value, unit, format);
            });
        }
        TimestampFormat::UnixSeconds => {
            return write_scaled(out, i128::from(value), have as i8, false);
        }
        TimestampFormat::UnixMillis | TimestampFormat::UnixMicros | TimestampFormat::UnixNanos => {
            time::number_digits(format)
        }
    };
    if want <= have {
        write_integer(out, value.div_euclid(10i64.pow(have - want)));
    } else {
        write_integer(out, i128::from(value) * 10i128.pow(want - have));
    }
}

/// Writes a time of day; it wraps at midnight, should it not be one.
fn write_time(out: &mut Vec<u8>, value: i64, unit: TimeUnit) {
    let scale = 10i64.pow(9 - time::digits(unit));
    let nanos = value.rem_euclid(time::DAY_NANOS / scale) * scale;
    time::write_time(out, nanos);
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    // The room is exactly what base64 needs.
    debug_assert!(written.is_ok());
}

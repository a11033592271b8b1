//! Rows to datums.

use arrow::array::RecordBatch;
use arrow::datatypes;

use super::schema::{Field, Node, NodeId, Schema};
use super::{MARKER, schema_of};
use crate::config::{AvroOptions, Format, TimestampFormat};
use crate::error::FormatError;
use crate::json::time;
use crate::payloads::Payloads;
use crate::rows::{Cell, Cells, Rows, as_text, check, timestamp_nanos};
use crate::token::check_columns;

/// Writes one record a row. See the [module](super).
#[derive(Debug)]
pub(crate) struct AvroEncoder {
    schema: Schema,
    /// What stands before each datum.
    header: Vec<u8>,
    timestamps: TimestampFormat,
}

impl AvroEncoder {
    /// # Errors
    /// A schema that cannot be used, columns that are not in it, fields without a column that take no null.
    pub(crate) fn new(
        options: &AvroOptions,
        schema: &datatypes::Schema,
    ) -> Result<Self, FormatError> {
        check(Format::Avro.name(), schema)?;
        let avro = schema_of(options)?;
        let fields: Vec<_> = avro.fields().iter().map(|f| f.name.as_str()).collect();
        check_columns("Avro schema", schema, &fields)?;
        for field in avro.fields() {
            if schema.index_of(&field.name).is_err() && !takes_null(&avro, field.node) {
                return Err(FormatError::Option(format!(
                    "the field '{}' of the Avro schema has no column and takes no null; add the column",
                    field.name
                )));
            }
        }
        let mut header = Vec::new();
        if !options.raw_datums {
            header.extend_from_slice(&MARKER);
            header.extend_from_slice(&avro.fingerprint.to_le_bytes());
        }
        Ok(Self {
            schema: avro,
            header,
            timestamps: options.timestamp_format,
        })
    }

    /// Appends the rows of a batch, whose columns have the types of the schema.
    ///
    /// # Errors
    /// A row that the schema cannot express.
    pub(crate) fn encode(
        &self,
        schema: &datatypes::Schema,
        batch: &RecordBatch,
        out: &mut Payloads,
    ) -> Result<(), FormatError> {
        let rows = Rows::new(schema, batch);
        for row in 0..batch.num_rows() {
            out.buffer.extend_from_slice(&self.header);
            self.record(self.schema.fields(), &rows.0, row, &mut out.buffer)
                .map_err(|reason| FormatError::Row { row, reason })?;
            out.end();
        }
        Ok(())
    }

    fn record(
        &self,
        fields: &[Field],
        members: &[(&str, Cells<'_>)],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        for field in fields {
            let member = members.iter().find(|(name, _)| *name == field.name);
            let cell = member.map_or(Cell::Null, |(_, cells)| cells.get(row));
            self.write(field.node, &cell, out)
                .map_err(|e| format!("field '{}': {e}", field.name))?;
        }
        Ok(())
    }

    fn write(&self, node: NodeId, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match (&self.schema.nodes[node], cell) {
            (Node::Union(branches), _) => self.union(branches, cell, out)?,
            (Node::Null, Cell::Null) => {}
            (Node::Boolean, Cell::Boolean(value)) => out.push(u8::from(*value)),
            (Node::Int, Cell::Integer(value)) => {
                i32::try_from(*value).map_err(|_beyond| format!("{value} is beyond an int"))?;
                write_long(out, *value);
            }
            (Node::Long, Cell::Integer(value)) => write_long(out, *value),
            (Node::Long, Cell::Unsigned(value)) => {
                let value = i64::try_from(*value);
                write_long(
                    out,
                    value.map_err(|_beyond| format!("{cell} is beyond a long"))?,
                );
            }
            (Node::Long, Cell::Timestamp(value, unit)) => {
                let unit_nanos = 10i64.pow(9 - time::number_digits(self.timestamps));
                write_timestamp(out, *value, *unit, unit_nanos)?;
            }
            (Node::Timestamp(unit_nanos), Cell::Timestamp(value, unit)) => {
                write_timestamp(out, *value, *unit, *unit_nanos)?;
            }
            (Node::Float, Cell::Single(value)) => out.extend_from_slice(&value.to_le_bytes()),
            (Node::Float, Cell::Double(value)) => {
                let single = *value as f32;
                if f64::from(single) != *value && !value.is_nan() {
                    return Err(format!("{value} is no float; cast the column to FLOAT"));
                }
                out.extend_from_slice(&single.to_le_bytes());
            }
            (Node::Double, Cell::Double(value)) => out.extend_from_slice(&value.to_le_bytes()),
            (Node::Double, Cell::Single(value)) => {
                out.extend_from_slice(&f64::from(*value).to_le_bytes());
            }
            (Node::Double, Cell::Integer(value)) => {
                out.extend_from_slice(&(*value as f64).to_le_bytes());
            }
            (Node::Bytes, Cell::Binary(bytes)) => write_body(out, bytes),
            (Node::Fixed(size), Cell::Binary(bytes)) if bytes.len() == *size => {
                out.extend_from_slice(bytes);
            }
            (Node::String, Cell::Text(text) | Cell::Json(text)) => write_body(out, text.as_bytes()),
            (Node::String, _) => {
                let mut text = Vec::new();
                if !as_text(cell, &mut text) {
                    return Err(format!("expected text, found {cell}"));
                }
                write_body(out, &text);
            }
            (Node::Enum(symbols), Cell::Text(text)) => {
                let symbol = symbols.iter().position(|symbol| symbol == text);
                let symbol = symbol.ok_or_else(|| format!("{cell} is no symbol of the enum"))?;
                write_long(out, symbol as i64);
            }
            (Node::Date, Cell::Date(days)) => write_long(out, *days),
            (Node::Time { nanos: unit, .. }, Cell::Time(nanos)) => write_long(out, nanos / unit),
            (Node::Decimal { size, scale }, _) => write_decimal(out, cell, *size, *scale)?,
            (Node::Array(item), Cell::List(items, range)) => {
                write_block(out, range.len());
                for index in range.clone() {
                    self.write(*item, &items.get(index), out)?;
                }
                out.push(END);
            }
            (Node::Map(value), Cell::Map(keys, values, range)) => {
                write_block(out, range.len());
                for index in range.clone() {
                    write_body(out, keys.get(index).as_bytes());
                    self.write(*value, &values.get(index), out)?;
                }
                out.push(END);
            }
            (Node::Map(value), Cell::Struct(members, row)) => {
                write_block(out, members.len());
                for (name, cells) in *members {
                    write_body(out, name.as_bytes());
                    self.write(*value, &cells.get(*row), out)?;
                }
                out.push(END);
            }
            (Node::Record(fields), Cell::Struct(members, row)) => {
                self.record(fields, members, *row, out)?;
            }
            (node, _) => return Err(format!("expected {}, found {cell}", node.kind())),
        }
        Ok(())
    }

    /// Writes the first branch that takes the value.
    fn union(&self, branches: &[NodeId], cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        let mut reason = format!("the union takes no {cell}");
        for (index, branch) in branches.iter().enumerate() {
            let is_null = matches!(self.schema.nodes[*branch], Node::Null);
            if is_null != matches!(cell, Cell::Null) {
                continue;
            }
            write_long(out, index as i64);
            match self.write(*branch, cell, out) {
                Ok(()) => return Ok(()),
                Err(e) => reason = e,
            }
            out.truncate(start);
        }
        Err(reason)
    }
}

impl Node {
    /// What it takes, in the words of an error.
    fn kind(&self) -> String {
        let name = match self {
            Self::Fixed(size) => return format!("{size} bytes"),
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Int | Self::Long => "an integer",
            Self::Float | Self::Double => "a number",
            Self::Bytes => "bytes",
            Self::String | Self::Enum(_) => "text",
            Self::Date => "a date",
            Self::Time { .. } => "a time",
            Self::Timestamp(_) => "a timestamp",
            Self::Decimal { .. } => "a decimal",
            Self::Array(_) => "a list",
            Self::Map(_) | Self::Record(_) => "a struct",
            Self::Union(_) => "a branch of the union",
        };
        name.to_owned()
    }
}

fn takes_null(schema: &Schema, node: NodeId) -> bool {
    match &schema.nodes[node] {
        Node::Null => true,
        Node::Union(branches) => branches
            .iter()
            .any(|branch| matches!(schema.nodes[*branch], Node::Null)),
        _ => false,
    }
}

/// Zigzag, seven bits a byte.
fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_body(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// All items are one block, if there are any; [`END`] follows them.
fn write_block(out: &mut Vec<u8>, len: usize) {
    if len > 0 {
        write_long(out, len as i64);
    }
}

/// A block of no items, which ends arrays and maps.
const END: u8 = 0;

fn write_timestamp(
    out: &mut Vec<u8>,
    value: i64,
    unit: datatypes::TimeUnit,
    unit_nanos: i64,
) -> Result<(), String> {
    let value = timestamp_nanos(value, unit).div_euclid(unit_nanos.into());
    let value = i64::try_from(value);
    write_long(
        out,
        value.map_err(|_beyond| "a timestamp beyond a long".to_owned())?,
    );
    Ok(())
}

fn write_decimal(
    out: &mut Vec<u8>,
    cell: &Cell<'_>,
    size: Option<usize>,
    scale: i32,
) -> Result<(), String> {
    let (value, have) = match cell {
        Cell::Decimal(value, have) => (*value, i32::from(*have)),
        Cell::Integer(value) => (i128::from(*value), 0),
        _ => return Err(format!("expected a decimal, found {cell}")),
    };
    let wrong = || format!("{cell} has more digits than the schema's decimal");
    let more = u32::try_from(scale - have).map_err(|_fewer| wrong())?;
    let power = 10i128.checked_pow(more);
    let value = power
        .and_then(|power| value.checked_mul(power))
        .ok_or_else(wrong)?;
    let bytes = value.to_be_bytes();
    // The sign must stay in the first bit.
    let sign = if value < 0 { 0xFF } else { 0 };
    let spare = bytes
        .windows(2)
        .take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0);
    let digits = &bytes[spare.count()..];
    match size {
        None => write_body(out, digits),
        Some(size) if digits.len() <= size => {
            out.resize(out.len() + size - digits.len(), sign);
            out.extend_from_slice(digits);
        }
        Some(_) => return Err(wrong()),
    }
    Ok(())
}

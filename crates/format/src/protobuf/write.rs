//! Rows to messages.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::{TIMESTAMP, is_wrapper, message_of};
use crate::config::{Format, ProtobufOptions, TimestampFormat};
use crate::error::FormatError;
use crate::json::time;
use crate::payloads::Payloads;
use crate::rows::{Cell, Cells, Rows, as_text, check, timestamp_nanos};

/// Writes one message a row. See the [module](super).
#[derive(Debug)]
pub(crate) struct ProtobufEncoder {
    message: MessageDescriptor,
    timestamps: TimestampFormat,
}

impl ProtobufEncoder {
    /// # Errors
    /// A description that cannot be used, columns that are not in it, or of types that cannot be written.
    pub(crate) fn new(options: &ProtobufOptions, schema: &Schema) -> Result<Self, FormatError> {
        check(Format::Protobuf.name(), schema)?;
        Ok(Self {
            message: message_of(options, schema)?,
            timestamps: options.timestamp_format,
        })
    }

    /// Appends the rows of a batch, whose columns have the types of the schema.
    ///
    /// # Errors
    /// A row that the message cannot express.
    pub(crate) fn encode(
        &self,
        schema: &Schema,
        batch: &RecordBatch,
        out: &mut Payloads,
    ) -> Result<(), FormatError> {
        let rows = Rows::new(schema, batch);
        out.messages(batch.num_rows(), |row| {
            self.message(&self.message, &rows.0, row)
        })
    }

    /// Null is a field that is not there.
    fn message(
        &self,
        descriptor: &MessageDescriptor,
        members: &[(&str, Cells<'_>)],
        row: usize,
    ) -> Result<DynamicMessage, String> {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (name, cells) in members {
            let field = descriptor.get_field_by_name(name);
            let field = field.ok_or_else(|| {
                format!(
                    "'{name}' is no field of the message '{}'",
                    descriptor.full_name()
                )
            })?;
            let cell = cells.get(row);
            if !matches!(cell, Cell::Null) {
                let value = self.field(&field, &cell);
                message.set_field(&field, value.map_err(|e| format!("field '{name}': {e}"))?);
            }
        }
        Ok(message)
    }

    fn field(&self, field: &FieldDescriptor, cell: &Cell<'_>) -> Result<Value, String> {
        let kind = field.kind();
        match (&kind, cell) {
            (Kind::Message(entry), _) if field.is_map() => self.map(entry, cell),
            (_, Cell::List(items, range)) if field.is_list() => {
                let items = range
                    .clone()
                    .map(|index| self.single(&kind, &items.get(index)));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            _ if field.is_list() => Err(format!("expected a list, found {cell}")),
            _ => self.single(&kind, cell),
        }
    }

    fn map(&self, entry: &MessageDescriptor, cell: &Cell<'_>) -> Result<Value, String> {
        let key_kind = entry.map_entry_key_field().kind();
        let kind = entry.map_entry_value_field().kind();
        let mut entries = HashMap::new();
        let mut add = |key: &str, cell: &Cell<'_>| {
            entries.insert(map_key(&key_kind, key)?, self.single(&kind, cell)?);
            Ok::<_, String>(())
        };
        match cell {
            Cell::Map(keys, values, range) => {
                for index in range.clone() {
                    add(keys.get(index), &values.get(index))?;
                }
            }
            Cell::Struct(members, row) => {
                for (name, cells) in *members {
                    add(name, &cells.get(*row))?;
                }
            }
            _ => return Err(format!("expected a struct, found {cell}")),
        }
        Ok(Value::Map(entries))
    }

    fn single(&self, kind: &Kind, cell: &Cell<'_>) -> Result<Value, String> {
        Ok(match (kind, cell) {
            (Kind::Bool, Cell::Boolean(value)) => Value::Bool(*value),
            (Kind::Double, Cell::Double(value)) => Value::F64(*value),
            (Kind::Double, Cell::Single(value)) => Value::F64((*value).into()),
            (Kind::Double, Cell::Integer(value)) => Value::F64(*value as f64),
            (Kind::Float, Cell::Single(value)) => Value::F32(*value),
            (Kind::Float, Cell::Double(value)) => {
                let single = *value as f32;
                if f64::from(single) != *value && !value.is_nan() {
                    return Err(format!("{value} is no float; cast the column to FLOAT"));
                }
                Value::F32(single)
            }
            (Kind::String, Cell::Text(text) | Cell::Json(text)) => {
                Value::String((*text).to_owned())
            }
            (Kind::Bytes, Cell::Binary(bytes)) => Value::Bytes(Bytes::copy_from_slice(bytes)),
            (Kind::Enum(descriptor), Cell::Text(name)) => {
                let value = descriptor.get_value_by_name(name);
                let value = value.ok_or_else(|| {
                    format!(
                        "{cell} is no value of the enum '{}'",
                        descriptor.full_name()
                    )
                })?;
                Value::EnumNumber(value.number())
            }
            (Kind::Message(descriptor), _) => Value::Message(self.nested(descriptor, cell)?),
            (Kind::String, _) => {
                let mut text = Vec::new();
                if !as_text(cell, &mut text) {
                    return Err(format!("expected text, found {cell}"));
                }
                Value::String(String::from_utf8(text).unwrap_or_default())
            }
            _ => self.integer(kind, cell)?,
        })
    }

    fn integer(&self, kind: &Kind, cell: &Cell<'_>) -> Result<Value, String> {
        let wrong = || format!("expected {kind:?}, found {cell}");
        let number = match cell {
            Cell::Integer(value) => i128::from(*value),
            Cell::Unsigned(value) => i128::from(*value),
            Cell::Timestamp(value, unit) => {
                let unit_nanos = 10i128.pow(9 - time::number_digits(self.timestamps));
                timestamp_nanos(*value, *unit).div_euclid(unit_nanos)
            }
            _ => return Err(wrong()),
        };
        let value = match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                i32::try_from(number).ok().map(Value::I32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                i64::try_from(number).ok().map(Value::I64)
            }
            Kind::Uint32 | Kind::Fixed32 => u32::try_from(number).ok().map(Value::U32),
            Kind::Uint64 | Kind::Fixed64 => u64::try_from(number).ok().map(Value::U64),
            Kind::Enum(_) => i32::try_from(number).ok().map(Value::EnumNumber),
            _ => None,
        };
        value.ok_or_else(wrong)
    }

    fn nested(
        &self,
        descriptor: &MessageDescriptor,
        cell: &Cell<'_>,
    ) -> Result<DynamicMessage, String> {
        match cell {
            Cell::Struct(members, row) => self.message(descriptor, members, *row),
            Cell::Timestamp(value, unit) if descriptor.full_name() == TIMESTAMP => {
                let nanos = timestamp_nanos(*value, *unit);
                let mut message = DynamicMessage::new(descriptor.clone());
                let seconds = nanos.div_euclid(1_000_000_000) as i64;
                message.set_field_by_number(1, Value::I64(seconds));
                let nanos = nanos.rem_euclid(1_000_000_000) as i32;
                message.set_field_by_number(2, Value::I32(nanos));
                Ok(message)
            }
            _ if is_wrapper(descriptor) => {
                let mut message = DynamicMessage::new(descriptor.clone());
                if let Some(field) = descriptor.get_field(1) {
                    message.set_field(&field, self.single(&field.kind(), cell)?);
                }
                Ok(message)
            }
            _ => Err(format!("expected a struct, found {cell}")),
        }
    }
}

fn map_key(kind: &Kind, key: &str) -> Result<MapKey, String> {
    let parsed = match kind {
        Kind::String => Some(MapKey::String(key.to_owned())),
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        _ => None,
    };
    parsed.ok_or_else(|| format!("'{key}' is no key of the map"))
}

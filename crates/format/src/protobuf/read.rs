//! Messages to tokens.

use std::borrow::Cow;
use std::collections::hash_map;
use std::slice;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::{TIMESTAMP, is_wrapper, message_of};
use crate::config::{Format, ProtobufOptions};
use crate::error::{BadPayload, FormatError};
use crate::json::fault::{Fault, NOWHERE, Result};
use crate::token::{DEPTH_MAX, Source, Token, TokenDecoder};

/// Reads one message a payload. See the [module](super).
#[derive(Debug)]
pub(crate) struct ProtobufDecoder {
    message: MessageDescriptor,
    rows: TokenDecoder,
}

impl ProtobufDecoder {
    /// No rows yet.
    ///
    /// # Errors
    /// A description that cannot be used, columns that are not in it, or of types that cannot be read.
    pub(crate) fn new(
        options: &ProtobufOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        let timestamps = options.timestamp_format;
        Ok(Self {
            message: message_of(options, schema)?,
            rows: TokenDecoder::new(Format::Protobuf.name(), timestamps, schema)?,
        })
    }

    /// Appends the row of one payload, or nothing.
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        let message = DynamicMessage::decode(self.message.clone(), payload).map_err(|e| {
            let name = self.message.full_name();
            BadPayload::new(format!("the payload is no message '{name}': {e}"), payload)
        })?;
        self.rows.push(payload, &mut Walk::new(&message))
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.rows()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows.finish()
    }
}

/// Goes through a message, value by value.
struct Walk<'a> {
    next: Next<'a>,
    open: Vec<Open<'a>>,
    name: Cow<'a, str>,
}

enum Next<'a> {
    Message(&'a DynamicMessage),
    Value(Cow<'a, Value>, Kind),
}

/// A message, list or map around what is read.
enum Open<'a> {
    Message(&'a DynamicMessage, Vec<FieldDescriptor>),
    List(slice::Iter<'a, Value>, Kind),
    Map(hash_map::Iter<'a, MapKey, Value>, Kind),
    /// A list or map that is not there.
    Empty,
}

impl<'a> Walk<'a> {
    fn new(message: &'a DynamicMessage) -> Self {
        Self {
            next: Next::Message(message),
            open: Vec::new(),
            name: Cow::Borrowed(""),
        }
    }

    fn enter(&mut self, open: Open<'a>, token: Token<'a>) -> Result<Token<'a>> {
        if self.open.len() == DEPTH_MAX {
            let reason = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Fault::new(NOWHERE, reason));
        }
        self.open.push(open);
        Ok(token)
    }

    fn message(&mut self, message: &'a DynamicMessage) -> Result<Token<'a>> {
        let descriptor = message.descriptor();
        if descriptor.full_name() == TIMESTAMP {
            return timestamp(message);
        }
        if is_wrapper(&descriptor)
            && let Some(field) = descriptor.get_field(1)
        {
            return self.value(message.get_field(&field), field.kind());
        }
        let has = |field: &FieldDescriptor| !field.supports_presence() || message.has_field(field);
        // From the last to the first, to be taken from the end.
        let mut fields: Vec<_> = descriptor.fields().filter(has).collect();
        fields.reverse();
        self.enter(Open::Message(message, fields), Token::Map)
    }

    fn value(&mut self, value: Cow<'a, Value>, kind: Kind) -> Result<Token<'a>> {
        let value = match value {
            Cow::Borrowed(value) => value,
            Cow::Owned(default) => return self.default(default, &kind),
        };
        Ok(match value {
            Value::String(text) => Token::Text(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Token::Binary(Cow::Borrowed(bytes)),
            Value::Message(message) => self.message(message)?,
            Value::List(items) => self.enter(Open::List(items.iter(), kind), Token::List)?,
            Value::Map(entries) => {
                let kind = match &kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    _ => kind,
                };
                self.enter(Open::Map(entries.iter(), kind), Token::Map)?
            }
            scalar => scalar_token(scalar, &kind),
        })
    }

    /// A field without presence that is not there.
    fn default(&mut self, value: Value, kind: &Kind) -> Result<Token<'a>> {
        Ok(match value {
            Value::String(text) => Token::Text(Cow::Owned(text)),
            Value::Bytes(bytes) => Token::Binary(Cow::Owned(bytes.to_vec())),
            Value::List(_) => self.enter(Open::Empty, Token::List)?,
            Value::Map(_) => self.enter(Open::Empty, Token::Map)?,
            Value::Message(_) => Token::Null,
            scalar => scalar_token(&scalar, kind),
        })
    }
}

fn scalar_token(value: &Value, kind: &Kind) -> Token<'static> {
    match (value, kind) {
        (Value::Bool(value), _) => Token::Boolean(*value),
        (Value::I32(value), _) => Token::Integer((*value).into()),
        (Value::I64(value), _) => Token::Integer((*value).into()),
        (Value::U32(value), _) => Token::Integer((*value).into()),
        (Value::U64(value), _) => Token::Integer((*value).into()),
        (Value::F32(value), _) => Token::Single(*value),
        (Value::F64(value), _) => Token::Double(*value),
        (Value::EnumNumber(number), Kind::Enum(descriptor)) => {
            let name = descriptor.get_value(*number);
            let name = name.map_or_else(|| number.to_string(), |value| value.name().to_owned());
            Token::Text(Cow::Owned(name))
        }
        // The others are dealt with before.
        _ => Token::Null,
    }
}

fn timestamp<'a>(message: &DynamicMessage) -> Result<Token<'a>> {
    let number = |tag| match message.get_field_by_number(tag).as_deref() {
        Some(Value::I64(seconds)) => i128::from(*seconds),
        Some(Value::I32(nanos)) => i128::from(*nanos),
        _ => 0,
    };
    let (seconds, nanos) = (number(1), number(2));
    if (0..1_000_000_000).contains(&nanos) {
        return Ok(Token::Timestamp(seconds * 1_000_000_000 + nanos));
    }
    Err(Fault::new(
        NOWHERE,
        format!("a timestamp with {nanos} nanoseconds in a second"),
    ))
}

impl<'a> Source<'a> for Walk<'a> {
    fn position(&self) -> usize {
        NOWHERE
    }

    fn token(&mut self) -> Result<Token<'a>> {
        let nothing = Next::Value(Cow::Owned(Value::Bool(false)), Kind::Bool);
        match std::mem::replace(&mut self.next, nothing) {
            Next::Message(message) => self.message(message),
            Next::Value(value, kind) => self.value(value, kind),
        }
    }

    fn more(&mut self) -> Result<bool> {
        let next = match self.open.last_mut() {
            Some(Open::Message(message, fields)) => fields.pop().map(|field| {
                self.name = Cow::Owned(field.name().to_owned());
                let message: &'a DynamicMessage = message;
                (message.get_field(&field), field.kind())
            }),
            Some(Open::List(items, kind)) => {
                items.next().map(|item| (Cow::Borrowed(item), kind.clone()))
            }
            Some(Open::Map(entries, kind)) => entries.next().map(|(key, value)| {
                self.name = Cow::Owned(key_text(key));
                (Cow::Borrowed(value), kind.clone())
            }),
            Some(Open::Empty) | None => None,
        };
        match next {
            Some((value, kind)) => {
                self.next = Next::Value(value, kind);
                Ok(true)
            }
            None => {
                self.open.pop();
                Ok(false)
            }
        }
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        Ok(std::mem::take(&mut self.name))
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// Nothing was taken off the bytes for a value yet.
    fn skip(&mut self) -> Result<()> {
        Ok(())
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

//! The protocol buffer of a message (`schemas/sparkplug_b.proto`), and what its values mean.

use std::borrow::Cow;

use arrow::datatypes::TimeUnit;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::list;
use crate::json::time;
use crate::token::Token;

/// One message.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "4")]
    pub(super) uuid: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) body: Option<Vec<u8>>,
}

/// One metric of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(super) is_transient: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(super) properties: Option<PropertySet>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub(super) value: Option<Value>,
}

/// The value as it is sent; the datatype says what it means.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    String(String),
    #[prost(bytes, tag = "16")]
    Bytes(Vec<u8>),
    #[prost(message, tag = "17")]
    DataSet(DataSet),
    #[prost(message, tag = "18")]
    Template(Template),
}

/// A table of values.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DataSet {
    #[prost(string, repeated, tag = "2")]
    pub(super) columns: Vec<String>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub(super) types: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) rows: Vec<DataSetRow>,
}

/// One row of a data set.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DataSetRow {
    #[prost(message, repeated, tag = "1")]
    pub(super) elements: Vec<Element>,
}

/// One value of a row.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Element {
    #[prost(oneof = "Cell", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) value: Option<Cell>,
}

/// The value as it is sent; the type of its column says what it means.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Cell {
    #[prost(uint32, tag = "1")]
    Int(u32),
    #[prost(uint64, tag = "2")]
    Long(u64),
    #[prost(float, tag = "3")]
    Float(f32),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(bool, tag = "5")]
    Boolean(bool),
    #[prost(string, tag = "6")]
    String(String),
}

/// Metrics that belong together: the definition of a type, or an instance of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Template {
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(message, repeated, tag = "3")]
    pub(super) parameters: Vec<Parameter>,
    #[prost(string, optional, tag = "4")]
    pub(super) template_ref: Option<String>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_definition: Option<bool>,
}

/// What is the same in all of a template's metrics: of a definition the default, of an instance its own value.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Parameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) datatype: Option<u32>,
    #[prost(oneof = "PropertyValue", tags = "3, 4, 5, 6, 7, 8")]
    pub(super) value: Option<PropertyValue>,
}

/// What else is told of a metric: as many keys as values.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(super) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<Property>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Property {
    #[prost(uint32, optional, tag = "1")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "2")]
    pub(super) is_null: Option<bool>,
    #[prost(oneof = "PropertyValue", tags = "3, 4, 5, 6, 7, 8, 9, 10")]
    pub(super) value: Option<PropertyValue>,
}

/// The value as it is sent, also that of a parameter, which is no set.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum PropertyValue {
    #[prost(uint32, tag = "3")]
    Int(u32),
    #[prost(uint64, tag = "4")]
    Long(u64),
    #[prost(float, tag = "5")]
    Float(f32),
    #[prost(double, tag = "6")]
    Double(f64),
    #[prost(bool, tag = "7")]
    Boolean(bool),
    #[prost(string, tag = "8")]
    String(String),
    #[prost(message, tag = "9")]
    Set(PropertySet),
    #[prost(message, tag = "10")]
    Sets(PropertySetList),
}

/// Several sets.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertySetList {
    #[prost(message, repeated, tag = "1")]
    pub(super) sets: Vec<PropertySet>,
}

/// The specification's names of datatypes, by their numbers.
const DATATYPES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// A datatype's name; of those that are not in the specification, `Unknown`.
pub(super) fn datatype_name(datatype: u32) -> &'static str {
    let name = usize::try_from(datatype)
        .ok()
        .and_then(|at| DATATYPES.get(at));
    name.copied().unwrap_or(DATATYPES[0])
}

/// The number of a datatype by its name, however it is capitalised: the specification itself is not of one mind.
pub(super) fn datatype_number(name: &str) -> Option<u32> {
    let at = DATATYPES
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))?;
    u32::try_from(at).ok()
}

impl Metric {
    /// Neither name nor value.
    pub(super) const fn nothing() -> Self {
        Self {
            name: None,
            alias: None,
            timestamp: None,
            datatype: None,
            is_historical: None,
            is_transient: None,
            is_null: None,
            properties: None,
            value: None,
        }
    }

    /// The definition of a type, or an instance of it, if the value is one.
    pub(super) fn template(&self) -> Option<&Template> {
        match &self.value {
            Some(Value::Template(template)) => Some(template),
            _ => None,
        }
    }

    /// What the value means as this datatype. Signed integers come as the two's complement of their bits.
    ///
    /// # Errors
    /// An array or data set that is none.
    pub(super) fn value(&self, datatype: Option<u32>) -> Result<Token<'_>, String> {
        if self.is_null() {
            return Ok(Token::Null);
        }
        let json = |text: String| Token::Json(Cow::Owned(text));
        Ok(match (&self.value, datatype) {
            // The members of a template are metrics of their own.
            (None | Some(Value::Template(_)), _) => Token::Null,
            (Some(Value::Int(bits)), Some(1)) => Token::Integer((*bits as i8).into()),
            (Some(Value::Int(bits)), Some(2)) => Token::Integer((*bits as i16).into()),
            (Some(Value::Int(bits)), Some(3)) => Token::Integer((*bits as i32).into()),
            (Some(Value::Int(value)), _) => Token::Integer((*value).into()),
            (Some(Value::Long(bits)), Some(1..=4)) => Token::Integer((*bits as i64).into()),
            (Some(Value::Long(millis)), Some(13)) => {
                Token::Timestamp(i128::from(*millis as i64) * 1_000_000)
            }
            (Some(Value::Long(value)), _) => Token::Integer((*value).into()),
            (Some(Value::Float(value)), _) => Token::Single(*value),
            (Some(Value::Double(value)), _) => Token::Double(*value),
            (Some(Value::Boolean(value)), _) => Token::Boolean(*value),
            (Some(Value::String(text)), _) => Token::Text(Cow::Borrowed(text)),
            (Some(Value::Bytes(bytes)), Some(datatype)) if list::is_array(datatype) => {
                json(list::array(datatype, bytes)?)
            }
            (Some(Value::Bytes(bytes)), _) => Token::Binary(Cow::Borrowed(bytes)),
            (Some(Value::DataSet(set)), _) => json(list::data_set(set)?),
        })
    }
}

/// The value in each column that can hold it.
pub(super) fn value_columns(value: Token<'_>) -> [(&'static str, Token<'_>); 7] {
    let integer = match &value {
        Token::Integer(value) => i64::try_from(*value).ok(),
        Token::Timestamp(nanos) => i64::try_from(nanos.div_euclid(1_000_000)).ok(),
        _ => None,
    };
    let double = match &value {
        Token::Integer(_) | Token::Single(_) | Token::Double(_) => value.clone(),
        _ => Token::Null,
    };
    let of = |wanted: fn(&Token<'_>) -> bool| match wanted(&value) {
        true => value.clone(),
        false => Token::Null,
    };
    let boolean = of(|value| matches!(value, Token::Boolean(_)));
    let text = of(|value| matches!(value, Token::Text(_)));
    let bytes = of(|value| matches!(value, Token::Binary(_)));
    [
        ("value_double", double),
        (
            "value_bigint",
            integer.map_or(Token::Null, |value| Token::Integer(value.into())),
        ),
        ("value_boolean", boolean),
        ("value_text", text),
        ("value_bytes", bytes),
        ("value_json", value.clone()),
        ("value", as_text(value)),
    ]
}

/// Any value as text.
fn as_text(value: Token<'_>) -> Token<'_> {
    let text = match value {
        Token::Null | Token::Text(_) => return value,
        Token::Json(text) => return Token::Text(text),
        Token::Binary(bytes) => STANDARD.encode(bytes),
        Token::Timestamp(nanos) => {
            let mut text = Vec::new();
            let millis = i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or_default();
            time::write_timestamp(&mut text, millis, TimeUnit::Millisecond);
            String::from_utf8(text).unwrap_or_default()
        }
        scalar => scalar.to_string(),
    };
    Token::Text(Cow::Owned(text))
}

//! Values that hold several: arrays, packed as the specification says (6.4.17), and data sets. Both become JSON, which has
//! room for them in one column.

use std::io::Write;

use arrow::datatypes::TimeUnit;
use serde::Serialize;

use super::payload::{Cell, DataSet, Element, Value};
use crate::json::time;

/// How many values one array or data set may hold. Bits become words, so that more would take many times the memory of
/// their message.
const VALUES_MAX: usize = 1024 * 1024;
/// How long the JSON of a data set may be, in bytes: the names of its columns stand in every row.
const JSON_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whether values of this datatype are arrays.
pub(super) fn is_array(datatype: u32) -> bool {
    (22..=34).contains(&datatype)
}

/// An array as JSON. Numbers that are not finite are null.
///
/// # Errors
/// Bytes that are no array of this datatype; more values than [`VALUES_MAX`].
pub(super) fn array(datatype: u32, bytes: &[u8]) -> Result<String, String> {
    match datatype {
        22 => packed(bytes, i8::from_le_bytes),
        23 => packed(bytes, i16::from_le_bytes),
        24 => packed(bytes, i32::from_le_bytes),
        25 => packed(bytes, i64::from_le_bytes),
        26 => packed(bytes, u8::from_le_bytes),
        27 => packed(bytes, u16::from_le_bytes),
        28 => packed(bytes, u32::from_le_bytes),
        29 => packed(bytes, u64::from_le_bytes),
        30 => packed(bytes, f32::from_le_bytes),
        31 => packed(bytes, f64::from_le_bytes),
        32 => booleans(bytes),
        33 => texts(bytes),
        _ => packed(bytes, |millis| date_time(i64::from_le_bytes(millis))),
    }
}

fn packed<const N: usize, T: Serialize>(
    bytes: &[u8],
    value: fn([u8; N]) -> T,
) -> Result<String, String> {
    let (items, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(format!(
            "an array of values of {N} bytes has {} bytes",
            bytes.len()
        ));
    }
    let items: Vec<T> = items.iter().copied().map(value).collect();
    json(&items)
}

/// How many, in four bytes, and then their bits, the first in the highest.
fn booleans(bytes: &[u8]) -> Result<String, String> {
    let (count, bits) = bytes
        .split_first_chunk()
        .ok_or("an array of booleans does not say how many there are")?;
    let count = u32::from_le_bytes(*count) as usize;
    if count.div_ceil(8) != bits.len() {
        let bytes = bits.len();
        return Err(format!("an array of {count} booleans has {bytes} bytes"));
    }
    let bit = |at: usize| bits[at / 8] & (0x80 >> (at % 8)) != 0;
    if count > VALUES_MAX {
        return Err(too_many(count));
    }
    json(&(0..count).map(bit).collect::<Vec<_>>())
}

/// Each ends with a zero.
fn texts(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_e| "an array of texts is not UTF-8")?;
    if text.is_empty() {
        return json::<&str>(&[]);
    }
    let text = text
        .strip_suffix('\0')
        .ok_or("the last text of an array does not end with a zero")?;
    json(&text.split('\0').collect::<Vec<_>>())
}

/// The datatype of an array's values: arrays stand in the order of what they hold, from Int8 to DateTime.
pub(super) fn item_datatype(datatype: u32) -> u32 {
    datatype - 21
}

/// The bytes of an array of values that have its [`item_datatype`].
///
/// # Errors
/// A text with a zero, which ends texts; more booleans than can be counted.
pub(super) fn pack(datatype: u32, items: &[Value]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(items.len() * 8);
    if datatype == 32 {
        let count = u32::try_from(items.len()).map_err(|_beyond| too_many(items.len()))?;
        out.extend_from_slice(&count.to_le_bytes());
        for bits in items.chunks(8) {
            let set = bits.iter().enumerate();
            let set = set.filter(|(_, item)| matches!(item, Value::Boolean(true)));
            out.push(set.fold(0, |byte, (at, _)| byte | (0x80 >> at)));
        }
        return Ok(out);
    }
    for item in items {
        match item {
            Value::Int(bits) => {
                let size = match datatype {
                    22 | 26 => 1,
                    23 | 27 => 2,
                    _ => 4,
                };
                out.extend_from_slice(&bits.to_le_bytes()[..size]);
            }
            Value::Long(bits) => out.extend_from_slice(&bits.to_le_bytes()),
            Value::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
            Value::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Value::String(text) if text.contains('\0') => {
                return Err("a text of an array holds a zero, which would end it".to_owned());
            }
            Value::String(text) => {
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            // `item_datatype` leaves no other.
            _ => {}
        }
    }
    Ok(out)
}

fn date_time(millis: i64) -> String {
    let mut text = Vec::with_capacity(32);
    time::write_timestamp(&mut text, millis, TimeUnit::Millisecond);
    String::from_utf8(text).unwrap_or_default()
}

fn json<T: Serialize>(items: &[T]) -> Result<String, String> {
    if items.len() > VALUES_MAX {
        return Err(too_many(items.len()));
    }
    serde_json::to_string(items).map_err(|e| e.to_string())
}

fn too_many(count: usize) -> String {
    format!("{count} values in one metric; at most {VALUES_MAX} are read")
}

/// A data set as a list of objects, one a row.
///
/// # Errors
/// Rows of another length than there are columns; more than [`VALUES_MAX`] or [`JSON_BYTES_MAX`].
pub(super) fn data_set(set: &DataSet) -> Result<String, String> {
    let types = |at: usize| set.types.get(at).copied().unwrap_or(0);
    let mut out = vec![b'['];
    let mut values = 0;
    for (n, row) in set.rows.iter().enumerate() {
        if row.elements.len() != set.columns.len() {
            let (has, columns) = (row.elements.len(), set.columns.len());
            return Err(format!(
                "a row of a data set with {columns} columns has {has} values"
            ));
        }
        values += row.elements.len();
        if values > VALUES_MAX {
            return Err(too_many(values));
        }
        out.extend_from_slice(if n == 0 { b"{" } else { b",{" });
        for (at, (name, element)) in set.columns.iter().zip(&row.elements).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            member(&mut out, name, element, types(at)).map_err(|e| e.to_string())?;
        }
        out.push(b'}');
        if out.len() > JSON_BYTES_MAX {
            return Err(format!(
                "a data set of more than {JSON_BYTES_MAX} bytes as JSON"
            ));
        }
    }
    out.push(b']');
    String::from_utf8(out).map_err(|e| e.to_string())
}

fn member(out: &mut Vec<u8>, name: &str, element: &Element, datatype: u32) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, name)?;
    out.push(b':');
    let value = element.value.as_ref().map(|cell| match cell {
        Cell::Int(value) => Scalar::Int(*value),
        Cell::Long(value) => Scalar::Long(*value),
        Cell::Float(value) => Scalar::Float(*value),
        Cell::Double(value) => Scalar::Double(*value),
        Cell::Boolean(value) => Scalar::Boolean(*value),
        Cell::String(text) => Scalar::String(text),
    });
    write_scalar(out, value, datatype)
}

/// A value of a data set, parameter or property as it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    String(&'a str),
}

/// Writes what a value means as this datatype; null if there is none.
pub(super) fn write_scalar(
    out: &mut Vec<u8>,
    value: Option<Scalar<'_>>,
    datatype: u32,
) -> std::io::Result<()> {
    match (value, datatype) {
        (None, _) => out.extend_from_slice(b"null"),
        (Some(Scalar::Int(bits)), 1) => write!(out, "{}", bits as i8)?,
        (Some(Scalar::Int(bits)), 2) => write!(out, "{}", bits as i16)?,
        (Some(Scalar::Int(bits)), 3) => write!(out, "{}", bits as i32)?,
        (Some(Scalar::Int(value)), _) => write!(out, "{value}")?,
        (Some(Scalar::Long(bits)), 1..=4) => write!(out, "{}", bits as i64)?,
        (Some(Scalar::Long(millis)), 13) => {
            serde_json::to_writer(&mut *out, &date_time(millis as i64))?;
        }
        (Some(Scalar::Long(value)), _) => write!(out, "{value}")?,
        (Some(Scalar::Float(value)), _) => serde_json::to_writer(&mut *out, &value)?,
        (Some(Scalar::Double(value)), _) => serde_json::to_writer(&mut *out, &value)?,
        (Some(Scalar::Boolean(value)), _) => write!(out, "{value}")?,
        (Some(Scalar::String(text)), _) => serde_json::to_writer(&mut *out, text)?,
    }
    Ok(())
}

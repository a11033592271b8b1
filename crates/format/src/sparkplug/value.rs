//! Cells to the values of metrics.
//!
//! What a datatype takes is what a column of such a type takes from a message ([`convert`](crate::convert)): integers in
//! range, also as integral floats or text; numbers; `true` and `false`; RFC 3339 or milliseconds; bytes or base64.

use std::borrow::Cow;

use arrow::datatypes::TimeUnit;
use serde_json::Value as Json;

use super::list;
use super::payload::{Value, datatype_name};
use crate::convert;
use crate::json::fault::NOWHERE;
use crate::rows::{Cell, as_text, timestamp_nanos};
use crate::token::Token;

/// A value of this datatype; none if the cell is null, also as JSON.
///
/// # Errors
/// What the datatype does not take.
pub(super) fn value(datatype: u32, cell: &Cell<'_>) -> Result<Option<Value>, String> {
    let wrong = || format!("{cell} is no {}", datatype_name(datatype));
    let parsed = match cell {
        Cell::Null => return Ok(None),
        Cell::Json(text) => Some(serde_json::from_str(text).map_err(|_why| wrong())?),
        Cell::Text(text) if list::is_array(datatype) => {
            Some(serde_json::from_str(text).map_err(|_why| wrong())?)
        }
        _ => None,
    };
    if matches!(parsed, Some(Json::Null)) {
        return Ok(None);
    }
    let value = match &parsed {
        _ if list::is_array(datatype) => {
            let items = items(list::item_datatype(datatype), cell, parsed.as_ref());
            Some(Value::Bytes(list::pack(
                datatype,
                &items.ok_or_else(wrong)?,
            )?))
        }
        Some(json) => scalar(datatype, &json_cell(json)),
        None => scalar(datatype, cell),
    };
    value.map(Some).ok_or_else(wrong)
}

/// The values of a list, if each of them has this datatype.
fn items(datatype: u32, cell: &Cell<'_>, json: Option<&Json>) -> Option<Vec<Value>> {
    match (cell, json) {
        (Cell::List(items, range), _) => {
            let items = range.clone().map(|row| scalar(datatype, &items.get(row)));
            items.collect()
        }
        (_, Some(Json::Array(items))) => {
            let items = items.iter().map(|item| scalar(datatype, &json_cell(item)));
            items.collect()
        }
        _ => None,
    }
}

/// A value of JSON; what is none of its own is null.
fn json_cell(json: &Json) -> Cell<'_> {
    match json {
        Json::Bool(value) => Cell::Boolean(*value),
        Json::String(text) => Cell::Text(text),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Cell::Integer(value),
            (None, Some(value), _) => Cell::Unsigned(value),
            (None, None, value) => value.map_or(Cell::Null, Cell::Double),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => Cell::Null,
    }
}

fn scalar(datatype: u32, cell: &Cell<'_>) -> Option<Value> {
    let token = token(cell);
    Some(match datatype {
        // Negative numbers are the two's complement in as many bits as the field has.
        1 => Value::Int(i32::from(integer::<i8>(&token)?) as u32),
        2 => Value::Int(i32::from(integer::<i16>(&token)?) as u32),
        3 => Value::Int(integer::<i32>(&token)? as u32),
        4 => Value::Long(integer::<i64>(&token)? as u64),
        5 => Value::Int(integer::<u8>(&token)?.into()),
        6 => Value::Int(integer::<u16>(&token)?.into()),
        7 => Value::Int(integer(&token)?),
        8 => Value::Long(integer(&token)?),
        9 => Value::Float(match not_finite(&token) {
            Some(value) => value as f32,
            None => convert::single(&token, NOWHERE).ok()?,
        }),
        10 => Value::Double(match not_finite(&token) {
            Some(value) => value,
            None => convert::double(&token, NOWHERE).ok()?,
        }),
        11 => Value::Boolean(match &token {
            Token::Text(text) => text.parse().ok()?,
            token => convert::boolean(token, NOWHERE).ok()?,
        }),
        12 | 14 | 15 => Value::String(text(cell)?),
        13 => {
            let millis = convert::timestamp(&token, NOWHERE, TimeUnit::Millisecond, 3);
            Value::Long(millis.ok()? as u64)
        }
        17 | 18 => {
            let mut bytes = Vec::new();
            convert::binary(&token, NOWHERE, &mut bytes).ok()?;
            Value::Bytes(bytes)
        }
        _ => return None,
    })
}

fn integer<T: TryFrom<i128>>(token: &Token<'_>) -> Option<T> {
    convert::integer(token, NOWHERE).ok()
}

/// What a source writes into a text of what is no number.
fn not_finite(token: &Token<'_>) -> Option<f64> {
    match token {
        Token::Text(text) if matches!(&**text, "NaN" | "inf" | "-inf") => text.parse().ok(),
        _ => None,
    }
}

fn text(cell: &Cell<'_>) -> Option<String> {
    if let Cell::Text(text) = cell {
        return Some((*text).to_owned());
    }
    let mut text = Vec::new();
    as_text(cell, &mut text).then(|| String::from_utf8_lossy(&text).into_owned())
}

fn token<'a>(cell: &Cell<'a>) -> Token<'a> {
    match cell {
        Cell::Boolean(value) => Token::Boolean(*value),
        Cell::Integer(value) => Token::Integer((*value).into()),
        Cell::Unsigned(value) => Token::Integer((*value).into()),
        Cell::Single(value) => Token::Single(*value),
        Cell::Double(value) => Token::Double(*value),
        Cell::Decimal(value, scale) => Token::Decimal(*value, (*scale).into()),
        Cell::Timestamp(value, unit) => Token::Timestamp(timestamp_nanos(*value, *unit)),
        Cell::Date(days) => i32::try_from(*days).map_or(Token::Null, Token::Date),
        Cell::Time(nanos) => Token::Time(*nanos),
        Cell::Text(text) => Token::Text(Cow::Borrowed(text)),
        Cell::Binary(bytes) => Token::Binary(Cow::Borrowed(bytes)),
        Cell::Null | Cell::Json(_) | Cell::Struct(..) | Cell::List(..) | Cell::Map(..) => {
            Token::Null
        }
    }
}

/// Whether two cells that have these values say the same. A float that stands for an integer has fewer digits than that.
pub(super) fn agree(value: &Value, other: &Cell<'_>, datatype: u32) -> bool {
    let double = match other {
        Cell::Double(value) => Some(*value),
        Cell::Single(value) => Some(f64::from(*value)),
        _ => None,
    };
    let rounded = match (value, datatype) {
        (Value::Long(bits), 4) => Some(*bits as i64 as f64),
        (Value::Long(bits), 8) => Some(*bits as f64),
        _ => None,
    };
    if rounded.is_some() && rounded == double {
        return true;
    }
    let same = |other: &Value| match (value, other) {
        (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Double(a), Value::Double(b)) => a == b || (a.is_nan() && b.is_nan()),
        (a, b) => a == b,
    };
    match self::value(datatype, other) {
        Ok(other) => other.as_ref().is_none_or(same),
        Err(_) => false,
    }
}

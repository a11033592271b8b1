//! One token as the value of one Arrow type: the rules of [`json::value`](crate::json::value), for values that may
//! also come in a notation of their own.
//!
//! Numbers may be quoted; integers may come as floats as long as they are integral; timestamps may be numbers, bytes
//! may be base64. Nothing is cut or wrapped: what is out of range is bad data.

use arrow::datatypes::{Decimal128Type, DecimalType, TimeUnit};
use base64::Engine;

use crate::json::fault::{Fault, Result};
use crate::json::number::{self, Number};
use crate::json::time;
use crate::json::value::BASE64;
use crate::token::Token;

const DAY_NANOS: i128 = time::DAY_NANOS as i128;

/// Another value than the column takes.
#[cold]
pub(crate) fn unexpected(token: &Token<'_>, at: usize, expected: &str) -> Box<Fault> {
    Fault::new(at, format!("expected {expected}, found {token}"))
}

/// A value of the right kind that the column cannot hold.
#[cold]
fn unfit(token: &Token<'_>, at: usize, not: &str) -> Box<Fault> {
    Fault::new(at, format!("{token} {not}"))
}

/// The number in a text, if it is nothing else.
fn number(text: &str) -> Option<Number<'_>> {
    number::whole(text.as_bytes())
}

/// A token's number as text, shortest form, for what must be exact in decimal digits.
fn with_number<T>(
    token: &Token<'_>,
    convert: impl FnOnce(Number<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match token {
        Token::Text(text) => number(text).map(convert),
        Token::Integer(value) => Some(number(itoa::Buffer::new().format(*value)).and_then(convert)),
        Token::Double(value) if value.is_finite() => {
            Some(number(zmij::Buffer::new().format_finite(*value)).and_then(convert))
        }
        Token::Single(value) if value.is_finite() => {
            Some(number(zmij::Buffer::new().format_finite(*value)).and_then(convert))
        }
        Token::Decimal(value, scale) => {
            Some(number(&format!("{value}e{}", -i64::from(*scale))).and_then(convert))
        }
        Token::Double(_) | Token::Single(_) => Some(None),
        _ => None,
    }
}

pub(crate) fn boolean(token: &Token<'_>, at: usize) -> Result<bool> {
    match token {
        Token::Boolean(value) => Ok(*value),
        _ => Err(unexpected(token, at, "true or false")),
    }
}

pub(crate) fn integer<T: TryFrom<i128>>(token: &Token<'_>, at: usize) -> Result<T> {
    let value = match token {
        Token::Integer(value) => Some(*value),
        _ => match with_number(token, |number| {
            let unsigned = || number.to_u64().map(i128::from);
            number.to_i64().map(i128::from).or_else(unsigned)
        }) {
            Some(value) => value,
            None => return Err(unexpected(token, at, "an integer")),
        },
    };
    let value = value.and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| unfit(token, at, "is not an integer of the column's range"))
}

pub(crate) fn double(token: &Token<'_>, at: usize) -> Result<f64> {
    match token {
        Token::Double(value) => Ok(*value),
        Token::Single(value) => Ok(f64::from(*value)),
        Token::Integer(value) => Ok(*value as f64),
        _ => match with_number(token, |number| number.to_f64()) {
            Some(value) => value.ok_or_else(|| unfit(token, at, "is out of range")),
            None => Err(unexpected(token, at, "a number")),
        },
    }
}

pub(crate) fn single(token: &Token<'_>, at: usize) -> Result<f32> {
    let value = match token {
        Token::Single(value) => Some(*value),
        Token::Integer(value) => Some(*value as f32),
        // NaN and the infinities are values; a finite one that would become infinite does not fit.
        Token::Double(value) => {
            let single = *value as f32;
            (single.is_finite() || !value.is_finite()).then_some(single)
        }
        _ => match with_number(token, |number| number.to_f32()) {
            Some(value) => value,
            None => return Err(unexpected(token, at, "a number")),
        },
    };
    value.ok_or_else(|| unfit(token, at, "is out of range"))
}

pub(crate) fn decimal(token: &Token<'_>, at: usize, precision: u8, scale: i8) -> Result<i128> {
    let convert = |number: Number<'_>| {
        let value = number.round_scaled(i32::from(scale))?;
        Decimal128Type::validate_decimal_precision(value, precision, scale).ok()?;
        Some(value)
    };
    match with_number(token, convert) {
        Some(value) => value.ok_or_else(|| unfit(token, at, "has more digits than the column")),
        None => Err(unexpected(token, at, "a number")),
    }
}

/// A timestamp, from a number that counts units of `10^-digits` seconds, or from a token that says more.
pub(crate) fn timestamp(token: &Token<'_>, at: usize, unit: TimeUnit, digits: u32) -> Result<i64> {
    let from_nanos = |nanos: i128| {
        let value = nanos.div_euclid(10i128.pow(9 - time::digits(unit)));
        i64::try_from(value).ok()
    };
    let expected = "a timestamp (RFC 3339) that the column can hold";
    let value = match token {
        Token::Timestamp(nanos) => from_nanos(*nanos),
        Token::Date(days) => from_nanos(i128::from(*days) * DAY_NANOS),
        Token::Text(text) => {
            let value = time::parse_timestamp(text.as_bytes(), unit);
            return value.ok_or_else(|| unexpected(token, at, expected));
        }
        Token::Integer(value) => {
            let (have, want) = (digits, time::digits(unit));
            let value = match want.checked_sub(have) {
                Some(more) => value.checked_mul(10i128.pow(more)),
                None => Some(value.div_euclid(10i128.pow(have - want))),
            };
            value.and_then(|value| i64::try_from(value).ok())
        }
        _ => {
            // At most nine, both of them.
            let scale = time::digits(unit) as i32 - digits as i32;
            match with_number(token, |number| number.floor_scaled(scale)) {
                Some(value) => value.and_then(|value| i64::try_from(value).ok()),
                None => return Err(unexpected(token, at, "a timestamp")),
            }
        }
    };
    value.ok_or_else(|| unfit(token, at, "is beyond the column's range"))
}

/// Days since 1970.
pub(crate) fn date(token: &Token<'_>, at: usize) -> Result<i32> {
    let value = match token {
        Token::Date(days) => Some(*days),
        Token::Text(text) => time::parse_date(text.as_bytes()),
        _ => None,
    };
    value.ok_or_else(|| unexpected(token, at, "a date (yyyy-mm-dd)"))
}

/// A time of day, in units since midnight.
pub(crate) fn time_of_day(token: &Token<'_>, at: usize, unit: TimeUnit) -> Result<i64> {
    let nanos = match token {
        Token::Time(nanos) => Some(*nanos),
        Token::Text(text) => time::parse_time(text.as_bytes()),
        _ => None,
    };
    let nanos = nanos.filter(|nanos| (0..time::DAY_NANOS).contains(nanos));
    let nanos = nanos.ok_or_else(|| unexpected(token, at, "a time (hh:mm:ss)"))?;
    Ok(nanos / 10i64.pow(9 - time::digits(unit)))
}

/// Appends bytes, or what base64 stands for.
pub(crate) fn binary(token: &Token<'_>, at: usize, out: &mut Vec<u8>) -> Result<()> {
    let expected = "bytes, or a string in base64";
    match token {
        Token::Binary(bytes) => out.extend_from_slice(bytes),
        Token::Text(text) => BASE64
            .decode_vec(text.as_bytes(), out)
            .map_err(|_why| unexpected(token, at, expected))?,
        _ => return Err(unexpected(token, at, expected)),
    }
    Ok(())
}

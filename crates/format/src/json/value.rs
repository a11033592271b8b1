//! One JSON value as the value of one Arrow type.
//!
//! What a type takes, beside its own notation: numbers may be quoted (many devices do that), integers may be written
//! with a fraction or exponent as long as they are integral, timestamps may be numbers. Nothing is cut or wrapped: what
//! is out of range is bad data. A `TEXT` column takes strings alone; one that was declared `JSON` takes anything.

use arrow::datatypes::{Decimal128Type, DecimalType, TimeUnit};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::fault::{Fault, Result};
use super::number::{self, Number};
use super::scan::{Scanner, Text};
use super::time;
use crate::varlen::VarLen;

/// RFC 4648, with or without padding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// More values than one batch can hold.
#[cold]
pub(crate) fn full(at: usize) -> Box<Fault> {
    Fault::new(at, "one batch cannot hold more than 2 GiB of this column")
}

#[inline]
pub(super) fn float<T>(
    scanner: &mut Scanner<'_>,
    convert: impl Fn(Number<'_>) -> Option<T>,
) -> Result<T> {
    converted(scanner, "a number", "is out of range", convert)
}

#[inline]
pub(super) fn integer<T>(
    scanner: &mut Scanner<'_>,
    convert: impl Fn(Number<'_>) -> Option<T>,
) -> Result<T> {
    let not = "is not an integer of the column's range";
    converted(scanner, "an integer", not, convert)
}

/// Integers of less than 64 bits.
#[inline]
pub(super) fn small<T: TryFrom<i64>>(scanner: &mut Scanner<'_>) -> Result<T> {
    integer(scanner, |number| T::try_from(number.to_i64()?).ok())
}

pub(super) fn decimal(scanner: &mut Scanner<'_>, precision: u8, scale: i8) -> Result<i128> {
    let convert = |number: Number<'_>| {
        let value = number.round_scaled(i32::from(scale))?;
        Decimal128Type::validate_decimal_precision(value, precision, scale).ok()?;
        Some(value)
    };
    let not = "has more digits than the column";
    converted(scanner, "a number", not, convert)
}

/// A number, bare or quoted, as a type that may not hold it.
#[inline(always)]
fn converted<T>(
    scanner: &mut Scanner<'_>,
    expected: &str,
    not: &str,
    convert: impl Fn(Number<'_>) -> Option<T>,
) -> Result<T> {
    let at = scanner.position();
    number(scanner, expected, |number| match convert(number) {
        Some(value) => Ok(value),
        None => Err(unfit(number.text, at, not)),
    })
}

/// What is made of a number, bare or quoted.
#[inline(always)]
fn number<T>(
    scanner: &mut Scanner<'_>,
    expected: &str,
    take: impl Fn(Number<'_>) -> Result<T>,
) -> Result<T> {
    match scanner.peek() {
        b'-' | b'0'..=b'9' => scanner.number(take),
        _ => take(quoted_number(scanner, expected)?),
    }
}

#[cold]
fn unfit(number: &[u8], at: usize, not: &str) -> Box<Fault> {
    let text = String::from_utf8_lossy(number);
    let shown: String = text.chars().take(40).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    Fault::new(at, format!("{shown}{dots} {not}"))
}

#[cold]
fn quoted_number<'a>(scanner: &mut Scanner<'a>, expected: &str) -> Result<Number<'a>> {
    let at = scanner.position();
    let wrong = |scanner: &Scanner<'_>| Fault::unexpected(scanner, at, expected);
    if scanner.peek() != b'"' {
        return Err(wrong(scanner));
    }
    let text = scanner.string()?;
    number::whole(text.raw).ok_or_else(|| wrong(scanner))
}

#[inline]
pub(super) fn boolean(scanner: &mut Scanner<'_>) -> Result<bool> {
    match scanner.peek() {
        b't' => scanner.literal("true").map(|()| true),
        b'f' => scanner.literal("false").map(|()| false),
        _ => Err(scanner.unexpected("true or false")),
    }
}

#[inline]
pub(super) fn text(scanner: &mut Scanner<'_>, values: &mut VarLen) -> Result<()> {
    let text = scanner.string()?;
    text.unescape_into(&mut values.data)?;
    values.end().map_err(|_full| full(text.start))
}

/// Any value, checked but left as it is written.
pub(super) fn raw(scanner: &mut Scanner<'_>, values: &mut VarLen) -> Result<()> {
    let start = scanner.position();
    scanner.skip_value()?;
    let value = &scanner.bytes()[start..scanner.position()];
    values.push(value).map_err(|_full| full(start))
}

pub(super) fn binary(scanner: &mut Scanner<'_>, values: &mut VarLen) -> Result<()> {
    let at = scanner.position();
    let expected = "a string in base64";
    if scanner.peek() != b'"' {
        return Err(scanner.unexpected(expected));
    }
    let text = scanner.string()?;
    with_plain(&text, |plain| {
        BASE64
            .decode_vec(plain, &mut values.data)
            .map_err(|_why| Fault::unexpected(scanner, at, expected))
    })?;
    values.end().map_err(|_full| full(at))
}

/// A timestamp from a string, or from a number that counts units of `10^-digits` seconds.
pub(super) fn timestamp(scanner: &mut Scanner<'_>, unit: TimeUnit, digits: u32) -> Result<i64> {
    if scanner.peek() == b'"' {
        let expected = "a timestamp (RFC 3339) that the column can hold";
        return temporal(scanner, expected, |text| time::parse_timestamp(text, unit));
    }
    let at = scanner.position();
    number(scanner, "a timestamp", |number| {
        since_1970(number, unit, digits).ok_or_else(|| beyond(number, at, unit, digits))
    })
}

#[inline(always)]
fn since_1970(number: Number<'_>, unit: TimeUnit, digits: u32) -> Option<i64> {
    // At most nine, both of them.
    let scale = time::digits(unit) as i32 - digits as i32;
    if scale >= 0
        && let Some(value) = number.to_small_integer()
    {
        return value.checked_mul(10i64.pow(scale.unsigned_abs()));
    }
    i64::try_from(number.floor_scaled(scale)?).ok()
}

/// Says in which unit a number that is too large would fit.
#[cold]
fn beyond(number: Number<'_>, at: usize, unit: TimeUnit, digits: u32) -> Box<Fault> {
    let name = |digits| match digits {
        0 => "seconds",
        3 => "millis",
        6 => "micros",
        _ => "nanos",
    };
    let fits = |finer: &u32| *finer > digits && since_1970(number, unit, *finer).is_some();
    let hint = match [3, 6, 9].into_iter().find(fits) {
        Some(finer) => format!(
            "; json.timestamp_format = 'unix_{}' may be meant",
            name(finer)
        ),
        None => String::new(),
    };
    let not = format!(
        "is beyond the column's range as unix_{}{hint}",
        name(digits)
    );
    unfit(number.text, at, &not)
}

pub(super) fn time_of_day(scanner: &mut Scanner<'_>, unit: TimeUnit) -> Result<i64> {
    let nanos = temporal(scanner, "a time (hh:mm:ss)", time::parse_time)?;
    Ok(nanos / 10i64.pow(9 - time::digits(unit)))
}

/// A value of a type that is written as a string.
#[inline]
pub(super) fn temporal<T>(
    scanner: &mut Scanner<'_>,
    expected: &str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T> {
    let at = scanner.position();
    if scanner.peek() != b'"' {
        return Err(scanner.unexpected(expected));
    }
    let text = scanner.string()?;
    with_plain(&text, |plain| {
        parse(plain).ok_or_else(|| Fault::unexpected(scanner, at, expected))
    })
}

/// Calls with the string's meaning, which is mostly what is written.
#[inline]
fn with_plain<T>(text: &Text<'_>, then: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    if !text.escaped {
        return then(text.raw);
    }
    let mut plain = Vec::new();
    text.unescape_into(&mut plain)?;
    then(&plain)
}

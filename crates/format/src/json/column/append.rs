//! Columns that grow by tokens, for the formats that are not JSON.

use arrow::array::NullBufferBuilder;

use super::{Column, List, Values};
use crate::convert;
use crate::json::fault::{Fault, Result};
use crate::json::text::{write_float, write_integer, write_scaled, write_string};
use crate::json::time;
use crate::json::value::full;
use crate::token::{Source, Token};

use arrow::datatypes::TimeUnit;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

impl Column {
    /// Appends the value that comes next.
    pub(crate) fn append<'a>(&mut self, source: &mut impl Source<'a>) -> Result<()> {
        let at = source.position();
        let token = source.token()?;
        if token == Token::Null {
            if !self.field.is_nullable() {
                return Err(Fault::new(at, "null in a NOT NULL column"));
            }
            self.push_null();
            return Ok(());
        }
        self.values.append(token, at, source, &self.nulls)?;
        self.nulls.append_non_null();
        Ok(())
    }
}

impl Values {
    /// Appends a token that is not null, and what belongs to it. `nulls` tells how many values there are so far.
    fn append<'a>(
        &mut self,
        token: Token<'a>,
        at: usize,
        source: &mut impl Source<'a>,
        nulls: &NullBufferBuilder,
    ) -> Result<()> {
        match self {
            Self::Float64(values) => values.push(convert::double(&token, at)?),
            Self::Float32(values) => values.push(convert::single(&token, at)?),
            Self::Int64(values) => values.push(convert::integer(&token, at)?),
            Self::Int32(values) => values.push(convert::integer(&token, at)?),
            Self::Int16(values) => values.push(convert::integer(&token, at)?),
            Self::Int8(values) => values.push(convert::integer(&token, at)?),
            Self::UInt64(values) => values.push(convert::integer(&token, at)?),
            Self::UInt32(values) => values.push(convert::integer(&token, at)?),
            Self::UInt16(values) => values.push(convert::integer(&token, at)?),
            Self::UInt8(values) => values.push(convert::integer(&token, at)?),
            Self::Boolean(values) => values.append(convert::boolean(&token, at)?),
            Self::Decimal(values, precision, scale) => {
                values.push(convert::decimal(&token, at, *precision, *scale)?);
            }
            Self::Timestamp(values, unit, digits) => {
                values.push(convert::timestamp(&token, at, *unit, *digits)?);
            }
            Self::Date32(values) => values.push(convert::date(&token, at)?),
            Self::Time32(values, unit) => {
                // A day has less than 2^31 milliseconds.
                values.push(convert::time_of_day(&token, at, *unit)? as i32);
            }
            Self::Time64(values, unit) => values.push(convert::time_of_day(&token, at, *unit)?),
            Self::Text(values) => match token {
                Token::Text(text) => values.push(text.as_bytes()).map_err(|_full| full(at))?,
                other => return Err(convert::unexpected(&other, at, "a string")),
            },
            Self::Json(values) => {
                write_json(token, source, &mut values.data)?;
                values.end().map_err(|_full| full(at))?;
            }
            Self::Binary(values) => {
                convert::binary(&token, at, &mut values.data)?;
                values.end().map_err(|_full| full(at))?;
            }
            Self::Struct(fields) => match token {
                Token::Map => fields.append_members(source, at, nulls.len())?,
                other => return Err(convert::unexpected(&other, at, "a map")),
            },
            Self::List(list) => match token {
                Token::List => list.append_items(source, at)?,
                other => return Err(convert::unexpected(&other, at, "a list")),
            },
        }
        Ok(())
    }
}

impl List {
    fn append_items<'a>(&mut self, source: &mut impl Source<'a>, at: usize) -> Result<()> {
        let first = self.items.len();
        while source.more()? {
            let index = self.items.len() - first;
            self.items
                .append(source)
                .map_err(|fault| fault.in_item(index))?;
        }
        let end = i32::try_from(self.items.len()).map_err(|_beyond| full(at))?;
        self.offsets.push(end);
        Ok(())
    }
}

/// Writes a value of any kind as JSON, for columns that were declared `JSON`: bytes as base64, timestamps as RFC 3339,
/// what is not finite as null.
fn write_json<'a>(token: Token<'a>, source: &mut impl Source<'a>, out: &mut Vec<u8>) -> Result<()> {
    match token {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Token::Integer(value) => write_integer(out, value),
        Token::Single(value) => write_float(out, value),
        Token::Double(value) => write_float(out, value),
        Token::Decimal(value, scale) => match i8::try_from(scale) {
            Ok(scale) => write_scaled(out, value, scale, true),
            Err(_) => out.extend_from_slice(format!("{value}e{}", -i64::from(scale)).as_bytes()),
        },
        Token::Text(text) => write_string(out, &text),
        Token::Json(text) => out.extend_from_slice(text.as_bytes()),
        Token::Binary(bytes) => write_string(out, &STANDARD.encode(bytes)),
        Token::Timestamp(nanos) => quoted(out, |out| {
            // Nanoseconds end in the year 2262, and microseconds far from it.
            let count = |unit_nanos| i64::try_from(nanos.div_euclid(unit_nanos));
            match (count(1), count(1_000)) {
                (Ok(nanos), _) => time::write_timestamp(out, nanos, TimeUnit::Nanosecond),
                (_, Ok(micros)) => time::write_timestamp(out, micros, TimeUnit::Microsecond),
                _ => {
                    let seconds = count(1_000_000_000).unwrap_or_default();
                    time::write_timestamp(out, seconds, TimeUnit::Second);
                }
            }
        }),
        Token::Date(days) => quoted(out, |out| time::write_date(out, i64::from(days))),
        Token::Time(nanos) => quoted(out, |out| {
            time::write_time(out, nanos.rem_euclid(time::DAY_NANOS));
        }),
        Token::List => {
            out.push(b'[');
            let mut first = true;
            while source.more()? {
                separate(out, &mut first);
                let item = source.token()?;
                write_json(item, source, out)?;
            }
            out.push(b']');
        }
        Token::Map => {
            out.push(b'{');
            let mut first = true;
            while source.more()? {
                separate(out, &mut first);
                write_string(out, &source.name()?);
                out.push(b':');
                let value = source.token()?;
                write_json(value, source, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn separate(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

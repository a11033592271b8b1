//! The format `msgpack`: one map a payload, one member a column.
//!
//! The specification (`spec.md` of MessagePack, with the timestamp extension) is kept: every family of integers,
//! floats, strings and bytes is understood, and of extensions type -1, the timestamp. A map's keys are texts or
//! integers; those are known by their digits. Written are maps with all columns, the shortest form of each integer.

use std::borrow::Cow;

use rmp::Marker;
use rmp::encode;

use crate::json::fault::{Fault, Result};
use crate::rows::Sink;
use crate::token::{DEPTH_MAX, Source, Token, expect_end};

/// The extension type of timestamps.
const TIMESTAMP: i8 = -1;

/// Takes one payload apart.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many items or members are left, of each list or map around.
    open: Vec<u32>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            open: Vec::new(),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match rest.get(..len) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.ends_early()),
        }
    }

    #[cold]
    fn ends_early(&self) -> Box<Fault> {
        Fault::new(self.bytes.len(), "the payload ends inside a value")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.ends_early()),
        }
    }

    /// A length of one, two or four bytes.
    fn length<const N: usize>(&mut self) -> Result<usize> {
        let bytes = self.array::<N>()?;
        Ok(bytes
            .iter()
            .fold(0, |len, &byte| len << 8 | usize::from(byte)))
    }

    fn text(&mut self, len: usize) -> Result<Token<'a>> {
        let start = self.at;
        match simdutf8::compat::from_utf8(self.take(len)?) {
            Ok(text) => Ok(Token::Text(Cow::Borrowed(text))),
            Err(e) => Err(Fault::new(start + e.valid_up_to(), "a string is not UTF-8")),
        }
    }

    fn binary(&mut self, len: usize) -> Result<Token<'a>> {
        Ok(Token::Binary(Cow::Borrowed(self.take(len)?)))
    }

    fn enter(&mut self, len: usize, token: Token<'a>) -> Result<Token<'a>> {
        if self.open.len() == DEPTH_MAX {
            let reason = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Fault::new(self.at - 1, reason));
        }
        // At most 32 bits, by the format.
        self.open.push(u32::try_from(len).unwrap_or(u32::MAX));
        Ok(token)
    }

    fn extension(&mut self, len: usize) -> Result<Token<'a>> {
        let at = self.at;
        let [kind] = self.array::<1>()?;
        let body = self.take(len)?;
        let kind = kind as i8;
        match (kind, timestamp(body)) {
            (TIMESTAMP, Some(nanos)) => Ok(Token::Timestamp(nanos)),
            (TIMESTAMP, None) => Err(Fault::new(at, "a timestamp of the wrong form")),
            _ => Ok(Token::Binary(Cow::Borrowed(body))),
        }
    }
}

/// Nanoseconds since 1970, of the three forms that the specification has.
fn timestamp(body: &[u8]) -> Option<i128> {
    let (seconds, nanos) = match body.len() {
        4 => (i64::from(u32::from_be_bytes(body.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(body.try_into().ok()?);
            ((both & 0x3_FFFF_FFFF) as i64, (both >> 34) as u32)
        }
        12 => {
            let (nanos, seconds) = body.split_first_chunk::<4>()?;
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            (seconds, u32::from_be_bytes(*nanos))
        }
        _ => return None,
    };
    (nanos < 1_000_000_000).then(|| i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

impl<'a> Source<'a> for Scanner<'a> {
    fn position(&self) -> usize {
        self.at
    }

    fn token(&mut self) -> Result<Token<'a>> {
        let [first] = self.array::<1>()?;
        Ok(match Marker::from_u8(first) {
            Marker::Null => Token::Null,
            Marker::False => Token::Boolean(false),
            Marker::True => Token::Boolean(true),
            Marker::FixPos(value) => Token::Integer(value.into()),
            Marker::FixNeg(value) => Token::Integer(value.into()),
            Marker::U8 => Token::Integer(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Token::Integer(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Token::Integer(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Token::Integer(u64::from_be_bytes(self.array()?).into()),
            Marker::I8 => Token::Integer(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Token::Integer(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Token::Integer(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Token::Integer(i64::from_be_bytes(self.array()?).into()),
            Marker::F32 => Token::Single(f32::from_be_bytes(self.array()?)),
            Marker::F64 => Token::Double(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => self.text(len.into())?,
            Marker::Str8 => self.length::<1>().and_then(|len| self.text(len))?,
            Marker::Str16 => self.length::<2>().and_then(|len| self.text(len))?,
            Marker::Str32 => self.length::<4>().and_then(|len| self.text(len))?,
            Marker::Bin8 => self.length::<1>().and_then(|len| self.binary(len))?,
            Marker::Bin16 => self.length::<2>().and_then(|len| self.binary(len))?,
            Marker::Bin32 => self.length::<4>().and_then(|len| self.binary(len))?,
            Marker::FixArray(len) => self.enter(len.into(), Token::List)?,
            Marker::Array16 => self
                .length::<2>()
                .and_then(|len| self.enter(len, Token::List))?,
            Marker::Array32 => self
                .length::<4>()
                .and_then(|len| self.enter(len, Token::List))?,
            Marker::FixMap(len) => self.enter(len.into(), Token::Map)?,
            Marker::Map16 => self
                .length::<2>()
                .and_then(|len| self.enter(len, Token::Map))?,
            Marker::Map32 => self
                .length::<4>()
                .and_then(|len| self.enter(len, Token::Map))?,
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.length::<1>().and_then(|len| self.extension(len))?,
            Marker::Ext16 => self.length::<2>().and_then(|len| self.extension(len))?,
            Marker::Ext32 => self.length::<4>().and_then(|len| self.extension(len))?,
            Marker::Reserved => {
                return Err(Fault::new(self.at - 1, "the byte 0xc1 is no MessagePack"));
            }
        })
    }

    fn more(&mut self) -> Result<bool> {
        match self.open.last_mut() {
            Some(left) if *left > 0 => {
                *left -= 1;
                Ok(true)
            }
            _ => {
                self.open.pop();
                Ok(false)
            }
        }
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        let at = self.at;
        self.token()?.into_name(at)
    }

    fn end(&mut self) -> Result<()> {
        expect_end(self.bytes, self.at)
    }
}

/// Writes values of MessagePack.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

/// The length of something as the format can express it.
fn len_32(len: usize) -> u32 {
    // One value of a batch has less than 2 GiB.
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A vector takes everything.
fn written<T, E: std::fmt::Debug>(result: std::result::Result<T, E>) {
    debug_assert!(result.is_ok());
}

impl Sink for Writer<'_> {
    fn null(&mut self) {
        written(encode::write_nil(self.0));
    }

    fn boolean(&mut self, value: bool) {
        written(encode::write_bool(self.0, value));
    }

    fn integer(&mut self, value: i64) {
        written(encode::write_sint(self.0, value));
    }

    fn unsigned(&mut self, value: u64) {
        written(encode::write_uint(self.0, value));
    }

    fn single(&mut self, value: f32) {
        written(encode::write_f32(self.0, value));
    }

    fn double(&mut self, value: f64) {
        written(encode::write_f64(self.0, value));
    }

    fn text(&mut self, value: &str) {
        written(encode::write_str(self.0, value));
    }

    fn binary(&mut self, value: &[u8]) {
        written(encode::write_bin(self.0, value));
    }

    fn list(&mut self, len: usize) {
        written(encode::write_array_len(self.0, len_32(len)));
    }

    fn map(&mut self, len: usize) {
        written(encode::write_map_len(self.0, len_32(len)));
    }
}

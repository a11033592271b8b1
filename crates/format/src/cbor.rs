//! The format `cbor` (RFC 8949): one map a payload, one member a column.
//!
//! Understood are all major types, lengths that are not known beforehand, half floats, and the tags that say more of a
//! value: 0 and 1 (date and time), 2 and 3 (large integers), 4 (decimal fractions), 100 and 1004 (dates, RFC 8943).
//! Other tags are passed over. `undefined` is null. A map's keys are texts or integers; those are known by their
//! digits, as in SenML (`"-2"`). Written are maps of a known length with all columns.

use std::borrow::Cow;

use ciborium_io::Write;
use ciborium_ll::{Decoder, Encoder, Error, Header, simple};

use crate::json::fault::{Fault, Result};
use crate::json::time;
use crate::rows::Sink;
use crate::token::{DEPTH_MAX, Source, Token, expect_end};

/// How many tags may stand before one value.
const TAGS_MAX: usize = 8;

/// Takes one payload apart.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many items or members are left, of each list or map around; none if a break ends it.
    open: Vec<Option<usize>>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            open: Vec::new(),
        }
    }

    /// The next header. Each is taken off the rest of the payload, so that bodies can be borrowed from it.
    fn header(&mut self) -> Result<Header> {
        let mut decoder = Decoder::from(&self.bytes[self.at..]);
        match decoder.pull() {
            Ok(header) => {
                self.at += decoder.offset();
                Ok(header)
            }
            Err(Error::Io(_)) => Err(self.ends_early()),
            Err(Error::Syntax(_)) => Err(Fault::new(self.at, "this byte begins no CBOR value")),
        }
    }

    #[cold]
    fn ends_early(&self) -> Box<Fault> {
        Fault::new(self.bytes.len(), "the payload ends inside a value")
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.bytes[self.at..].get(..len) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.ends_early()),
        }
    }

    /// The body of a string, in one piece or in segments that each have a header.
    fn body(&mut self, len: Option<usize>, is_text: bool) -> Result<Cow<'a, [u8]>> {
        if let Some(len) = len {
            return self.take(len).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        loop {
            let at = self.at;
            match (self.header()?, is_text) {
                (Header::Text(Some(len)), true) | (Header::Bytes(Some(len)), false) => {
                    whole.extend_from_slice(self.take(len)?);
                }
                (Header::Break, _) => return Ok(Cow::Owned(whole)),
                _ => {
                    return Err(Fault::new(
                        at,
                        "a string's segments must be strings of its kind",
                    ));
                }
            }
        }
    }

    fn text(&mut self, len: Option<usize>) -> Result<Cow<'a, str>> {
        let start = self.at;
        let not_utf8 = |valid: usize| Fault::new(start + valid, "a string is not UTF-8");
        match self.body(len, true)? {
            Cow::Borrowed(body) => simdutf8::compat::from_utf8(body)
                .map(Cow::Borrowed)
                .map_err(|e| not_utf8(e.valid_up_to())),
            Cow::Owned(body) => String::from_utf8(body)
                .map(Cow::Owned)
                .map_err(|e| not_utf8(e.utf8_error().valid_up_to())),
        }
    }

    fn enter(&mut self, at: usize, len: Option<usize>, token: Token<'a>) -> Result<Token<'a>> {
        if self.open.len() == DEPTH_MAX {
            let reason = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Fault::new(at, reason));
        }
        self.open.push(len);
        Ok(token)
    }

    fn value(&mut self, header: Header, at: usize) -> Result<Token<'a>> {
        Ok(match header {
            Header::Positive(value) => Token::Integer(value.into()),
            Header::Negative(value) => Token::Integer(-1 - i128::from(value)),
            Header::Float(value) => Token::Double(value),
            Header::Simple(simple::FALSE) => Token::Boolean(false),
            Header::Simple(simple::TRUE) => Token::Boolean(true),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Token::Null,
            Header::Simple(value) => {
                return Err(Fault::new(
                    at,
                    format!("the simple value {value} has no meaning"),
                ));
            }
            Header::Bytes(len) => Token::Binary(self.body(len, false)?),
            Header::Text(len) => Token::Text(self.text(len)?),
            Header::Array(len) => self.enter(at, len, Token::List)?,
            Header::Map(len) => self.enter(at, len, Token::Map)?,
            Header::Tag(_) | Header::Break => {
                return Err(Fault::new(at, "expected a value, found a tag or a break"));
            }
        })
    }

    /// The value under a tag.
    fn tagged(&mut self, tag: u64, at: usize) -> Result<Token<'a>> {
        let wrong = |what: &str| Fault::new(at, format!("tag {tag} must stand before {what}"));
        let inner = self.at;
        let header = self.header()?;
        if tag == 4 {
            return match header {
                Header::Array(Some(2)) => self.fraction(at),
                _ => Err(wrong("an exponent and a mantissa")),
            };
        }
        let token = self.value(header, inner)?;
        let is_number = matches!(token, Token::Integer(_) | Token::Double(_));
        match tag {
            1 if is_number => match epoch(&token) {
                Some(nanos) => Ok(Token::Timestamp(nanos)),
                None => Err(wrong("a time that can be expressed")),
            },
            1 => Err(wrong("a number")),
            2 | 3 => match big(&token) {
                Some(value) if tag == 2 => Ok(Token::Integer(value)),
                Some(value) => Ok(Token::Integer(-1 - value)),
                None => Err(wrong("at most 15 bytes")),
            },
            100 => match token {
                Token::Integer(days) if i32::try_from(days).is_ok() => Ok(Token::Date(days as i32)),
                _ => Err(wrong("a number of days")),
            },
            1004 => match &token {
                Token::Text(text) => match time::parse_date(text.as_bytes()) {
                    Some(days) => Ok(Token::Date(days)),
                    None => Err(wrong("a date (yyyy-mm-dd)")),
                },
                _ => Err(wrong("a date (yyyy-mm-dd)")),
            },
            _ => Ok(token),
        }
    }

    /// `[exponent, mantissa]` of base ten.
    fn fraction(&mut self, at: usize) -> Result<Token<'a>> {
        let mut integer = || -> Result<Option<i128>> {
            let at = self.at;
            let header = self.header()?;
            let token = match header {
                Header::Tag(tag @ (2 | 3)) => self.tagged(tag, at)?,
                _ => self.value(header, at)?,
            };
            Ok(match token {
                Token::Integer(value) => Some(value),
                _ => None,
            })
        };
        let (exponent, mantissa) = (integer()?, integer()?);
        let scale = exponent.and_then(|exponent| i32::try_from(-exponent).ok());
        match (scale, mantissa) {
            (Some(scale), Some(mantissa)) => Ok(Token::Decimal(mantissa, scale)),
            _ => Err(Fault::new(at, "a decimal fraction that is too large")),
        }
    }
}

/// Seconds since 1970 in nanoseconds.
fn epoch(token: &Token<'_>) -> Option<i128> {
    match token {
        Token::Integer(seconds) => seconds.checked_mul(1_000_000_000),
        Token::Double(seconds) if seconds.abs() < 1e12 => {
            let whole = seconds.floor();
            let nanos = ((seconds - whole) * 1e9).round();
            Some(whole as i128 * 1_000_000_000 + nanos as i128)
        }
        _ => None,
    }
}

/// A large integer of at most 15 bytes, which leaves room for its sign.
fn big(token: &Token<'_>) -> Option<i128> {
    let Token::Binary(bytes) = token else {
        return None;
    };
    let start = bytes.iter().take_while(|&&byte| byte == 0).count();
    let significant = &bytes[start..];
    let shift = |value, &byte: &u8| value << 8 | i128::from(byte);
    (significant.len() <= 15).then(|| significant.iter().fold(0, shift))
}

impl<'a> Source<'a> for Scanner<'a> {
    fn position(&self) -> usize {
        self.at
    }

    fn token(&mut self) -> Result<Token<'a>> {
        let start = self.at;
        let mut at = start;
        let mut header = self.header()?;
        for _ in 0..TAGS_MAX {
            match header {
                // Tag 0 says that a text is a time, which every text may be.
                Header::Tag(tag @ (1..=4 | 100 | 1004)) => return self.tagged(tag, at),
                Header::Tag(_) => {}
                _ => return self.value(header, at),
            }
            at = self.at;
            header = self.header()?;
        }
        Err(Fault::new(
            start,
            format!("more than {TAGS_MAX} tags before one value"),
        ))
    }

    fn more(&mut self) -> Result<bool> {
        let more = match self.open.last_mut() {
            Some(Some(left)) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(None) => {
                let is_break = self.bytes.get(self.at) == Some(&0xFF);
                self.at += usize::from(is_break);
                !is_break
            }
            _ => false,
        };
        if !more {
            self.open.pop();
        }
        Ok(more)
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        let at = self.at;
        self.token()?.into_name(at)
    }

    fn end(&mut self) -> Result<()> {
        expect_end(self.bytes, self.at)
    }
}

/// Writes values of CBOR.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    fn push(&mut self, header: Header) {
        let written = Encoder::from(&mut *self.0).push(header);
        // A vector takes everything.
        debug_assert!(written.is_ok());
    }

    fn body(&mut self, header: Header, body: &[u8]) {
        self.push(header);
        let written = self.0.write_all(body);
        debug_assert!(written.is_ok());
    }
}

impl Sink for Writer<'_> {
    fn null(&mut self) {
        self.push(Header::Simple(simple::NULL));
    }

    fn boolean(&mut self, value: bool) {
        self.push(Header::Simple(if value {
            simple::TRUE
        } else {
            simple::FALSE
        }));
    }

    fn integer(&mut self, value: i64) {
        self.push(match u64::try_from(value) {
            Ok(value) => Header::Positive(value),
            Err(_) => Header::Negative(!value as u64),
        });
    }

    fn unsigned(&mut self, value: u64) {
        self.push(Header::Positive(value));
    }

    fn single(&mut self, value: f32) {
        self.push(Header::Float(value.into()));
    }

    fn double(&mut self, value: f64) {
        self.push(Header::Float(value));
    }

    fn text(&mut self, value: &str) {
        self.body(Header::Text(Some(value.len())), value.as_bytes());
    }

    fn binary(&mut self, value: &[u8]) {
        self.body(Header::Bytes(Some(value.len())), value);
    }

    fn list(&mut self, len: usize) {
        self.push(Header::Array(Some(len)));
    }

    fn map(&mut self, len: usize) {
        self.push(Header::Map(Some(len)));
    }
}

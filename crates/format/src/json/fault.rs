//! What is wrong with a document, found deep inside and told at the top.
//!
//! A fault starts with a reason and a byte; on its way up every level adds its name, so that the path is only put
//! together when something is wrong.

use std::fmt::Write;

use super::scan::Scanner;
use crate::error::{BadPayload, Excerpt};

/// How much of a value an error quotes, in bytes.
const QUOTE_BYTES: usize = 40;

/// The place of a fault in a payload that is not read from front to back.
pub(crate) const NOWHERE: usize = usize::MAX;

/// The answer of everything that reads.
pub(crate) type Result<T> = std::result::Result<T, Box<Fault>>;

/// One fault. Boxed in results, so that those stay small on the hot path.
#[derive(Debug)]
pub(crate) struct Fault {
    reason: String,
    at: usize,
    /// From the inside out.
    path: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Field(String),
    Item(usize),
}

impl Fault {
    /// Something wrong at a byte of the payload.
    #[cold]
    pub(crate) fn new(at: usize, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason: reason.into(),
            at,
            path: Vec::new(),
        })
    }

    /// Another value than the column takes.
    #[cold]
    pub(crate) fn unexpected(scanner: &Scanner<'_>, at: usize, expected: &str) -> Box<Self> {
        let found = found(scanner.bytes(), at);
        Self::new(at, format!("expected {expected}, found {found}"))
    }

    /// Adds the field in which it happened.
    #[cold]
    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.path.push(Segment::Field(name.to_owned()));
        self
    }

    /// Adds the item of a list in which it happened.
    #[cold]
    pub(crate) fn in_item(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(Segment::Item(index));
        self
    }

    /// The whole story.
    #[cold]
    pub(crate) fn into_bad_payload(self, payload: &[u8]) -> BadPayload {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            // Writing to a string cannot fail.
            let written = match segment {
                Segment::Field(name) if path.is_empty() => write!(path, "{name}"),
                Segment::Field(name) => write!(path, ".{name}"),
                Segment::Item(index) => write!(path, "[{index}]"),
            };
            debug_assert!(written.is_ok());
        }
        let place = if path.is_empty() {
            String::new()
        } else {
            format!("field '{path}': ")
        };
        let at = match self.at {
            NOWHERE => String::new(),
            at => format!(" (byte {at})"),
        };
        BadPayload::new(format!("{place}{}{at}", self.reason), payload)
    }
}

/// The value that begins at a byte, in the words of an error.
fn found(bytes: &[u8], at: usize) -> String {
    let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
        return "the end of the payload".to_owned();
    };
    match rest[0] {
        b'{' => "an object".to_owned(),
        b'[' => "an array".to_owned(),
        b'"' => {
            // Only what cannot ask for this very function again.
            let mut scanner = Scanner::at(bytes, at);
            let token = match scanner.string() {
                Ok(_) => &bytes[at..scanner.position()],
                Err(_) => rest,
            };
            Excerpt(token, QUOTE_BYTES).to_string()
        }
        _ => Excerpt(word(rest), QUOTE_BYTES).to_string(),
    }
}

/// What a person would call one word or one character.
fn word(rest: &[u8]) -> &[u8] {
    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_');
    let len = rest.iter().take_while(|b| part(b)).count();
    let is_continued = |b: &u8| b & 0xC0 == 0x80;
    match len {
        0 => {
            &rest[..1 + rest[1..]
                .iter()
                .take(3)
                .take_while(|b| is_continued(b))
                .count()]
        }
        _ => &rest[..len],
    }
}

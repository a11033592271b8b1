//! JSON as tokens, for those who want to know what is in a document. (The decoder does not go this way: it is slower.)

use std::borrow::Cow;

use crate::json::fault::Result;
use crate::json::scan::Scanner;
use crate::token::{Source, Token};

/// Takes one JSON document apart.
pub(super) struct Document<'a> {
    scanner: Scanner<'a>,
    /// What ends each object or array around, and whether it has just begun.
    open: Vec<(u8, bool)>,
}

impl<'a> Document<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut scanner = Scanner::new(bytes);
        scanner.skip_space();
        Self {
            scanner,
            open: Vec::new(),
        }
    }

    fn enter(&mut self, close: u8, token: Token<'a>) -> Result<Token<'a>> {
        self.scanner.enter()?;
        self.scanner.skip_space();
        self.open.push((close, true));
        Ok(token)
    }

    fn text(&mut self) -> Result<Cow<'a, str>> {
        let text = self.scanner.string()?;
        let mut plain = Vec::new();
        text.unescape_into(&mut plain)?;
        // The scanner has seen that it is UTF-8.
        Ok(Cow::Owned(String::from_utf8(plain).unwrap_or_default()))
    }
}

impl<'a> Source<'a> for Document<'a> {
    fn position(&self) -> usize {
        self.scanner.position()
    }

    fn token(&mut self) -> Result<Token<'a>> {
        Ok(match self.scanner.peek() {
            b'{' => self.enter(b'}', Token::Map)?,
            b'[' => self.enter(b']', Token::List)?,
            b'"' => Token::Text(self.text()?),
            b't' => self
                .scanner
                .literal("true")
                .map(|()| Token::Boolean(true))?,
            b'f' => self
                .scanner
                .literal("false")
                .map(|()| Token::Boolean(false))?,
            b'n' => self.scanner.literal("null").map(|()| Token::Null)?,
            _ => {
                let number = self.scanner.number(Ok)?;
                let unsigned = || number.to_u64().map(i128::from);
                match number.to_i64().map(i128::from).or_else(unsigned) {
                    Some(value) => Token::Integer(value),
                    None => Token::Double(number.to_f64().unwrap_or(f64::INFINITY)),
                }
            }
        })
    }

    fn more(&mut self) -> Result<bool> {
        let Some((close, first)) = self.open.last_mut() else {
            return Ok(false);
        };
        let close = *close;
        let more = if std::mem::take(first) {
            let more = self.scanner.peek() != close;
            if !more {
                self.scanner.leave();
            }
            more
        } else {
            self.scanner.more(close)?
        };
        if !more {
            self.open.pop();
        }
        Ok(more)
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        let name = self.text()?;
        self.scanner.colon()?;
        Ok(name)
    }

    fn end(&mut self) -> Result<()> {
        self.scanner.end()
    }
}

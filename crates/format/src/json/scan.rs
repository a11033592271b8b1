//! Takes tokens off the bytes of one payload.
//!
//! Strings are scanned eight bytes at a time. UTF-8 is checked where it can occur, which is inside strings, and only
//! if a byte was not ASCII. Nothing here allocates, save for an error.

use super::fault::{Fault, Result};
use super::number::{self, Number};

/// How deep values may be nested, so that no payload exhausts the stack.
pub(crate) const DEPTH_MAX: usize = 128;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A position in a payload.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// The inside of a string: valid UTF-8, between the quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) raw: &'a [u8],
    /// Whether there are escapes in it. They have the right form, but may stand for lone surrogates.
    pub(crate) escaped: bool,
    /// Where it begins in the payload.
    pub(crate) start: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of a payload.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// At a byte of a payload.
    #[inline]
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            depth: 0,
        }
    }

    /// The whole payload.
    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte's index.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next byte; 0, which is none of JSON's, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Goes over bytes that were compared.
    #[inline]
    pub(crate) fn advance(&mut self, len: usize) {
        self.at += len;
    }

    /// The next bytes, as one number; see [`sixteen`].
    #[inline]
    pub(crate) fn peek_16(&self) -> u128 {
        sixteen(self.bytes, self.at)
    }

    /// The sixteen bytes behind those.
    #[inline]
    pub(crate) fn peek_16_more(&self) -> u128 {
        sixteen(self.bytes, self.at + 16)
    }

    /// Goes over white space, of which there is mostly none.
    #[inline]
    pub(crate) fn skip_space(&mut self) {
        if self.peek() <= b' ' {
            self.skip_some_space();
        }
    }

    fn skip_some_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Goes over one byte that must be there.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &str) -> Result<()> {
        if self.peek() == byte {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// Something else should be here.
    #[cold]
    pub(crate) fn unexpected(&self, expected: &str) -> Box<Fault> {
        Fault::unexpected(self, self.at, expected)
    }

    /// Goes over the `{` or `[` that was peeked.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let reason = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Fault::new(self.at - 1, reason));
        }
        Ok(())
    }

    /// After an element: `true` when another follows, `false` when `close` ended the object or array.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool> {
        self.skip_space();
        match self.peek() {
            b',' => {
                self.at += 1;
                self.skip_space();
                Ok(true)
            }
            byte if byte == close => {
                self.leave();
                Ok(false)
            }
            _ => Err(self.unexpected(if close == b'}' {
                "',' or '}'"
            } else {
                "',' or ']'"
            })),
        }
    }

    /// Goes over the `}` or `]` that was peeked.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Ends the payload: nothing but white space may follow.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<()> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.unexpected("the end of the payload"))
        }
    }

    /// Goes over `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static str) -> Result<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.unexpected("a JSON value"))
        }
    }

    /// Goes over a number, and answers what is made of it. Always inlined: see [`number::scan`].
    #[inline(always)]
    pub(crate) fn number<T>(&mut self, take: impl FnOnce(Number<'a>) -> Result<T>) -> Result<T> {
        let mut end = self.at;
        let taken = number::scan(&self.bytes[self.at..], |number| {
            end += number.text.len();
            take(number)
        });
        self.at = end;
        taken.unwrap_or_else(|| Err(self.unexpected("a number")))
    }

    /// Goes over a string, from quote to quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text<'a>> {
        if self.peek() != b'"' {
            return Err(self.unexpected("a string"));
        }
        let start = self.at + 1;
        let mut ascii = true;
        let mut escaped = false;
        let mut at = start;
        loop {
            at = self.plain_run(at, &mut ascii);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(byte) => {
                    let reason = format!("the control character 0x{byte:02x} must be escaped");
                    return Err(Fault::new(at, reason));
                }
                None => return Err(Fault::new(at, "the payload ends inside a string")),
            }
        }
        self.at = at + 1;
        let raw = &self.bytes[start..at];
        if !ascii {
            check_utf8(raw, start)?;
        }
        Ok(Text {
            raw,
            escaped,
            start,
        })
    }

    /// The index of the next byte that is a quote, a backslash or a control character, or the end.
    #[inline]
    fn plain_run(&self, mut at: usize, ascii: &mut bool) -> usize {
        let mut high = 0;
        while let Some(chunk) = self.bytes[at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let stops = special(word);
            if stops != 0 {
                let count = (stops.trailing_zeros() / 8) as usize;
                // Bytes behind the stop belong to something else.
                let before = word & ((1 << (count * 8)) - 1);
                *ascii &= (high | before) & HIGH == 0;
                return at + count;
            }
            high |= word;
            at += 8;
        }
        while let Some(&byte) = self.bytes.get(at) {
            if byte == b'"' || byte == b'\\' || byte < 0x20 {
                break;
            }
            high |= u64::from(byte);
            at += 1;
        }
        *ascii &= high & HIGH == 0;
        at
    }

    /// The index behind the escape that begins at `at`.
    #[cold]
    fn escape(&self, at: usize) -> Result<usize> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.bytes.get(at + 2..at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
                _ => Err(Fault::new(at, "expected four hexadecimal digits after \\u")),
            },
            Some(_) => Err(Fault::new(at, "unknown escape in a string")),
            None => Err(Fault::new(at, "the payload ends inside a string")),
        }
    }

    /// Goes over any value, checking it.
    #[inline]
    pub(crate) fn skip_value(&mut self) -> Result<()> {
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number(|_number| Ok(())),
            b'"' => self.string().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'{' => self.skip_object(),
            b'[' => self.skip_array(),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    fn skip_object(&mut self) -> Result<()> {
        self.enter()?;
        self.skip_space();
        if self.peek() == b'}' {
            self.leave();
            return Ok(());
        }
        loop {
            self.string()?;
            self.colon()?;
            self.skip_value()?;
            if !self.more(b'}')? {
                return Ok(());
            }
        }
    }

    fn skip_array(&mut self) -> Result<()> {
        self.enter()?;
        self.skip_space();
        if self.peek() == b']' {
            self.leave();
            return Ok(());
        }
        loop {
            self.skip_value()?;
            if !self.more(b']')? {
                return Ok(());
            }
        }
    }

    /// Goes over the colon between a name and its value, and the space around it.
    #[inline]
    pub(crate) fn colon(&mut self) -> Result<()> {
        self.skip_space();
        self.expect(b':', "':'")?;
        self.skip_space();
        Ok(())
    }
}

/// The sixteen bytes that begin at an index, as one number, the first byte lowest; zeros behind the end.
#[inline]
pub(super) fn sixteen(bytes: &[u8], at: usize) -> u128 {
    if let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        return u128::from_le_bytes(*chunk);
    }
    let rest = bytes.len().saturating_sub(at);
    match bytes.last_chunk() {
        // a shift by all bits, when none is left, is two shifts
        Some(last) => (u128::from_le_bytes(*last) >> (8 * (15 - rest))) >> 8,
        None => sixteen_of_few(bytes, at),
    }
}

/// The same of a payload that is shorter than that.
#[cold]
fn sixteen_of_few(bytes: &[u8], at: usize) -> u128 {
    let rest = bytes.get(at..).unwrap_or_default().iter().rev();
    rest.fold(0, |word, &byte| word << 8 | u128::from(byte))
}

/// Marks (0x80) the lowest byte that is a quote, a backslash or a control character; marks above it may be wrong.
#[inline]
pub(super) fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGH
}

fn check_utf8(raw: &[u8], start: usize) -> Result<()> {
    simdutf8::compat::from_utf8(raw)
        .map(drop)
        .map_err(|e| Fault::new(start + e.valid_up_to(), "a string is not UTF-8"))
}

impl Text<'_> {
    /// Appends what the string means.
    #[inline]
    pub(crate) fn unescape_into(&self, out: &mut Vec<u8>) -> Result<()> {
        if self.escaped {
            return self.unescape(out);
        }
        out.extend_from_slice(self.raw);
        Ok(())
    }

    #[cold]
    fn unescape(&self, out: &mut Vec<u8>) -> Result<()> {
        let mut at = 0;
        while let Some(&byte) = self.raw.get(at) {
            if byte != b'\\' {
                let run = self.raw[at..].iter().take_while(|&&b| b != b'\\').count();
                out.extend_from_slice(&self.raw[at..at + run]);
                at += run;
                continue;
            }
            // `Scanner::escape` has seen that the escape is whole.
            let plain = match self.raw.get(at + 1) {
                Some(b'b') => 0x08,
                Some(b'f') => 0x0C,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'u') => {
                    at += self.unicode(at, out)?;
                    continue;
                }
                Some(&other) => other,
                None => break,
            };
            out.push(plain);
            at += 2;
        }
        Ok(())
    }

    /// Appends the character of the `\u` escape (or surrogate pair) at `at`; answers its length.
    fn unicode(&self, at: usize, out: &mut Vec<u8>) -> Result<usize> {
        let lone = || Fault::new(self.start + at, "a lone surrogate is not a character");
        let first = self.unit(at).ok_or_else(lone)?;
        let (code, len) = match first {
            0xD800..=0xDBFF => match self.unit(at + 6) {
                Some(second @ 0xDC00..=0xDFFF) => {
                    (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
                }
                _ => return Err(lone()),
            },
            _ => (first, 6),
        };
        let character = char::from_u32(code).ok_or_else(lone)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(len)
    }

    /// The 16-bit unit of a `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, &digit| {
            Some(unit * 16 + (digit as char).to_digit(16)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the bytes are, these are the ones, and zeros.
        #[test]
        fn sixteen_bytes_are_taken_from_anywhere(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            at in 0usize..45,
        ) {
            let mut padded = bytes.clone();
            padded.resize(64, 0);
            let chunk: [u8; 16] = std::array::from_fn(|index| padded[at + index]);
            prop_assert_eq!(sixteen(&bytes, at), u128::from_le_bytes(chunk));
        }
    }
}

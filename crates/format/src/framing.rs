//! One payload, many messages: `framing = 'newline'`.
//!
//! A layer between compression and format. A line feed ends a frame; the last one may lack it. Text formats lose the
//! carriage return before it, and JSON and CSV skip blank lines; `raw_bytes` keeps everything. Each frame is decoded
//! by itself, so that a bad one takes none of its neighbours down.

use crate::config::{Format, FormatConfig, Framing};
use crate::error::{BadPayload, FormatError, Rejected};

/// So many bad frames of one message are told one by one. Whoever sends more does not send lines: what follows is
/// refused as one piece, which bounds what a hostile message makes of its bytes.
const BAD_FRAMES_MAX: usize = 1000;

/// Cuts payloads into frames.
#[derive(Debug, Clone)]
pub(crate) struct Framer {
    format: Format,
    /// The longest frame, in bytes, without its line feed.
    max_length: usize,
}

impl Framer {
    /// The framing of a table; `None` if a payload is one message.
    ///
    /// # Errors
    /// A binary format, in which a line feed is a byte like any other.
    pub(crate) fn new(config: &FormatConfig, format: Format) -> Result<Option<Self>, FormatError> {
        match config.framing {
            None if config.framing_max_length.is_some() => Err(FormatError::Option(
                "option 'framing.newline.max_length' needs framing = 'newline'".to_owned(),
            )),
            None => Ok(None),
            Some(Framing::Newline) if !format.is_text() => Err(FormatError::Option(format!(
                "framing = 'newline' would cut messages of format '{format}' apart, which may hold line feeds anywhere; leave it out"
            ))),
            Some(Framing::Newline) => Ok(Some(Self {
                format,
                max_length: config.framing_max_length.unwrap_or(usize::MAX),
            })),
        }
    }

    /// Decodes the frames of a payload one by one; answers the rows of the good ones.
    ///
    /// # Errors
    /// The bad ones, and the rows of the good ones all the same.
    pub(crate) fn each(
        &self,
        payload: &[u8],
        mut decode: impl FnMut(&[u8]) -> Result<usize, BadPayload>,
    ) -> Result<usize, Rejected> {
        let mut rejected = Rejected::default();
        let mut rest = payload;
        let mut line = 0;
        while !rest.is_empty() {
            line += 1;
            if rejected.bad.len() == BAD_FRAMES_MAX {
                let reason = format!("more than {BAD_FRAMES_MAX} bad lines in one message");
                let bad = BadPayload::new(reason, rest);
                rejected.bad.push(bad.in_line(line, rest));
                break;
            }
            let end = memchr::memchr(b'\n', rest);
            let frame = self.trimmed(&rest[..end.unwrap_or(rest.len())]);
            rest = end.map_or(&[][..], |end| &rest[end + 1..]);
            if frame.is_empty() && self.skips_blank() {
                continue;
            }
            match self.checked(frame).and_then(&mut decode) {
                Ok(rows) => rejected.rows += rows,
                Err(bad) => rejected.bad.push(bad.in_line(line, frame)),
            }
        }
        if rejected.bad.is_empty() {
            return Ok(rejected.rows);
        }
        Err(rejected)
    }

    fn skips_blank(&self) -> bool {
        !matches!(self.format, Format::RawString | Format::RawBytes)
    }

    fn trimmed<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.format {
            Format::RawBytes => frame,
            Format::RawString => frame.strip_suffix(b"\r").unwrap_or(frame),
            _ if frame.trim_ascii().is_empty() => &[],
            _ => frame.strip_suffix(b"\r").unwrap_or(frame),
        }
    }

    fn checked<'a>(&self, frame: &'a [u8]) -> Result<&'a [u8], BadPayload> {
        if frame.len() <= self.max_length {
            return Ok(frame);
        }
        let reason = format!(
            "{} bytes, but framing.newline.max_length is {}",
            frame.len(),
            self.max_length
        );
        Err(BadPayload::new(reason, frame))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn framer(format: Format, max_length: Option<usize>) -> Framer {
        let config = FormatConfig {
            framing: Some(Framing::Newline),
            framing_max_length: max_length,
            ..FormatConfig::default()
        };
        Framer::new(&config, format).unwrap().unwrap()
    }

    fn check(format: Format, payload: &[u8], expect: &[&[u8]]) {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let rows = framer(format, None).each(payload, |frame| {
            frames.push(frame.to_vec());
            Ok(1)
        });
        assert_eq!(frames, expect);
        assert_eq!(rows, Ok(expect.len()));
    }

    #[test]
    fn a_line_feed_ends_a_frame_and_the_last_may_lack_it() {
        check(Format::Json, b"", &[]);
        check(Format::Json, b"a\nb", &[b"a", b"b"]);
        check(Format::Json, b"a\r\n\n \r\nb\r\n", &[b"a", b"b"]);
        check(Format::RawString, b"a\r\n\nb\n", &[b"a", b"", b"b"]);
        check(Format::RawBytes, b"a\r\n\n\xff", &[b"a\r", b"", b"\xff"]);
    }

    #[test]
    fn bad_and_long_frames_are_told_by_their_line_and_leave_the_others() {
        let outcome =
            framer(Format::Json, Some(3)).each(b"ok\nbad\n\nlong!\nok", |frame| match frame {
                b"bad" => Err(BadPayload::new("no good", frame)),
                _ => Ok(1),
            });
        let rejected = outcome.unwrap_err();
        assert_eq!(rejected.rows, 2);
        let told: Vec<_> = rejected.bad.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2: no good in bad",
                "line 4: 5 bytes, but framing.newline.max_length is 3 in long!"
            ]
        );
        assert_eq!(rejected.bad[1].part(), Some(&b"long!"[..]));
    }

    #[test]
    fn what_follows_too_many_bad_frames_is_refused_as_one() {
        let payload = "x\n".repeat(BAD_FRAMES_MAX + 10);
        let bad = |frame: &[u8]| Err(BadPayload::new("bad", frame));
        let rejected = framer(Format::Json, None)
            .each(payload.as_bytes(), bad)
            .unwrap_err();
        assert_eq!(rejected.bad.len(), BAD_FRAMES_MAX + 1);
        let last = rejected.bad.last().unwrap();
        assert_eq!(last.part().map(<[u8]>::len), Some(20));
        assert_eq!(
            last.reason(),
            "line 1001: more than 1000 bad lines in one message"
        );
    }
}

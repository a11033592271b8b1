//! The little HTTP/1.1 that precedes a tunnel or a WebSocket: one request, and the head of its answer.

use std::io;

use httparse::Status;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;

/// The head of an answer, and what was read beyond it.
#[derive(Debug)]
pub(super) struct Response {
    /// The status code.
    pub(super) status: u16,
    phrase: String,
    headers: Vec<(String, String)>,
    /// What the server has sent behind the head.
    pub(super) rest: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection broke.
    Io(io::Error),
    /// The other side closed the connection without a whole answer.
    Closed,
    /// It answered with something else than HTTP.
    Foreign,
}

impl Response {
    /// The value of the header of this name, in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known == name;
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_str())
    }

    /// Whether one of the words of this header is `word`.
    pub(super) fn has_word(&self, name: &str, word: &str) -> bool {
        let words = self.header(name).unwrap_or_default().split(',');
        words
            .map(str::trim)
            .any(|given| given.eq_ignore_ascii_case(word))
    }

    /// Whether the same request would be refused again. A gateway that has just lost its broker, or has not found it
    /// yet, may say 404 as well as 503.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self.status, 200..=403 | 405..=407 | 426 | 501)
    }

    /// `404 Not Found`.
    pub(super) fn status_line(&self) -> String {
        format!("{} {}", self.status, self.phrase)
            .trim_end()
            .to_owned()
    }
}

/// Sends a request and reads the head of its answer.
pub(super) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<Response, Fault> {
    stream.write_all(request).await.map_err(Fault::Io)?;
    stream.flush().await.map_err(Fault::Io)?;
    let mut input = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut input).await.map_err(Fault::Io)? == 0 {
            return Err(Fault::Closed);
        }
        if let Some(response) = parse(&input)? {
            return Ok(response);
        }
        if input.len() > HEAD_MAX {
            return Err(Fault::Foreign);
        }
    }
}

/// The answer, if its head is whole.
fn parse(input: &[u8]) -> Result<Option<Response>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(input);
    let Status::Complete(head) = parsed.map_err(|_malformed| Fault::Foreign)? else {
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers.iter();
    Ok(Some(Response {
        status: response.code.unwrap_or_default(),
        phrase: printable(response.reason.unwrap_or_default()),
        headers: headers
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect(),
        rest: input[head..].to_vec(),
    }))
}

/// What a stranger says, fit for a message: short and on one line.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\n\r\nmore";
        for cut in 0..text.len() - 4 {
            assert!(matches!(parse(&text[..cut]), Ok(None)), "{cut}");
        }
        let response = parse(text).unwrap().unwrap();
        assert_eq!(response.status_line(), "101 Switching Protocols");
        assert!(response.has_word("connection", "upgrade"));
        assert!(!response.has_word("connection", "up"));
        assert_eq!(response.rest, b"more");
    }

    #[test]
    fn other_protocols_are_no_answer() {
        for bytes in [
            &b"\x20\x02\x00\x00"[..],
            b"\x15\x03\x01\x00\x02",
            b"SSH-2.0-x\r\n",
        ] {
            assert!(matches!(parse(bytes), Err(Fault::Foreign)), "{bytes:?}");
        }
    }
}

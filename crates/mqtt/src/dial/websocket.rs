//! MQTT over WebSocket (MQTT 5, section 6; RFC 6455).
//!
//! The upgrade is ours ([`open`]), the frames are tungstenite's. [`Bytewise`] makes them a stream of bytes again, since
//! MQTT packets need not be aligned to frames (MQTT-6.0.0-1..2): what is written becomes binary frames of at most
//! [`FRAME_MAX`] bytes, and binary frames of any size come in. Pings are answered by tungstenite.
//!
//! # Bounds
//! Outbound: one frame beyond tungstenite's write buffer of [`BUFFER`] bytes; until that is written, no more is taken.
//! Inbound: one frame, no larger than the connection's maximum packet size (or [`FRAME_LIMIT_MIN`], since a frame may
//! hold many packets).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Stream;
use super::http::{self, Fault, Response, printable};
use crate::error::MqttError;
use crate::options::{ConnectOptions, in_url};
use crate::tls;

/// The largest frame that is written.
const FRAME_MAX: usize = 64 * 1024;
/// The size of tungstenite's buffers.
const BUFFER: usize = 64 * 1024;
/// The least limit for a frame that is read.
const FRAME_LIMIT_MIN: usize = 16 * 1024 * 1024;
/// The subprotocol (MQTT-6.0.0-3).
const SUBPROTOCOL: &str = "mqtt";
/// Headers that belong to the upgrade itself.
const OWN_HEADERS: [&str; 2] = ["connection", "upgrade"];

/// How to ask a web server for the broker behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// The path, and the query if there is one.
    pub path: String,
    /// Further headers of the request: name and value. They may be secrets.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("WebSocket")
            .field("path", &self.path_without_query())
            .field("headers", &names)
            .finish()
    }
}

impl WebSocket {
    fn path_without_query(&self) -> &str {
        // A query may hold a signature.
        self.path.split('?').next().unwrap_or_default()
    }

    /// Takes `Name: value` apart.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: a sentence to follow its name.
    pub fn header(line: &str) -> Result<(String, String), String> {
        let (name, value) = line
            .split_once(':')
            .ok_or("has no colon; write 'Name: value'")?;
        let (name, value) = (name.trim(), value.trim());
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err("has a name that is no HTTP header; write 'Name: value'".to_owned());
        }
        if value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(format!(
                "'{name}' has a line break or another control character in its value"
            ));
        }
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            return Err(format!(
                "'{name}' belongs to the WebSocket handshake; remove it"
            ));
        }
        Ok((name.to_owned(), value.to_owned()))
    }
}

/// Upgrades a connection to a web server. Not bounded in time.
pub(super) async fn open(
    options: &ConnectOptions,
    websocket: &WebSocket,
    mut stream: Stream,
) -> Result<Stream, MqttError> {
    let fault = |reason: String, lasting: bool| MqttError::WebSocket {
        address: options.address(),
        reason,
        lasting,
    };
    let key = generate_key();
    let answer = http::exchange(&mut stream, request(options, websocket, &key).as_bytes()).await;
    let response = answer.map_err(|error| match error {
        Fault::Io(error) => match tls::certificate_error(options, &error) {
            Some(certificate) => certificate,
            None => fault(format!("{error}; {}", expect(options)), false),
        },
        Fault::Closed => fault(
            format!("it closed the connection; {}", expect(options)),
            false,
        ),
        Fault::Foreign => fault(format!("its answer is not HTTP; {}", expect(options)), true),
    })?;
    if let Err((reason, lasting)) = verify(&response, websocket, &key) {
        return Err(fault(reason, lasting));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(BUFFER + 2 * FRAME_MAX)
        .max_frame_size(Some(frame_limit(options)))
        .max_message_size(Some(frame_limit(options)));
    let socket =
        WebSocketStream::from_partially_read(stream, response.rest, Role::Client, Some(config));
    Ok(Box::new(Bytewise {
        socket: socket.await,
        unread: Bytes::new(),
    }))
}

fn frame_limit(options: &ConnectOptions) -> usize {
    (options.max_packet_size as usize).max(FRAME_LIMIT_MIN)
}

fn expect(options: &ConnectOptions) -> &'static str {
    match options.tls {
        Some(_) => {
            "check that this is the broker's port for wss://; for MQTT over TLS write mqtts:// in 'url'"
        }
        None => {
            "check that this is the broker's port for ws://; for plain MQTT write mqtt:// in 'url', with TLS wss:// or mqtts://"
        }
    }
}

fn request(options: &ConnectOptions, websocket: &WebSocket, key: &str) -> String {
    let default_port = if options.tls.is_some() { 443 } else { 80 };
    let host = match options.port == default_port {
        true => in_url(&options.host),
        false => options.address(),
    };
    let given = |name: &str| {
        let same = |(known, _): &(String, String)| known.eq_ignore_ascii_case(name);
        websocket.headers.iter().any(same)
    };
    let mut text = format!("GET {} HTTP/1.1\r\n", websocket.path);
    if !given("host") {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    text.push_str(&format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
    ));
    if !given("user-agent") {
        text.push_str(concat!(
            "User-Agent: headwater/",
            env!("CARGO_PKG_VERSION"),
            "\r\n"
        ));
    }
    for (name, value) in &websocket.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// Whether the answer is the upgrade that was asked for (RFC 6455, section 4.1); if not, why, and whether for good.
fn verify(response: &Response, websocket: &WebSocket, key: &str) -> Result<(), (String, bool)> {
    if response.status != 101 {
        return Err((refusal(response, websocket), response.is_lasting()));
    }
    let accepted =
        response.header("sec-websocket-accept") == Some(&derive_accept_key(key.as_bytes()));
    let upgraded =
        response.has_word("upgrade", "websocket") && response.has_word("connection", "upgrade");
    if !accepted || !upgraded {
        let reason = "its answer to the upgrade is not that of a WebSocket server; check the host and the port in 'url'";
        return Err((reason.to_owned(), true));
    }
    match response.header("sec-websocket-protocol") {
        Some(SUBPROTOCOL) => Ok(()),
        Some(other) => Err((
            format!(
                "it chose the subprotocol '{}' instead of 'mqtt'; check the path in 'url'",
                printable(other)
            ),
            true,
        )),
        None => Err((
            format!(
                "it opened a WebSocket at '{}', but not one for MQTT (no subprotocol 'mqtt'); check the path in 'url'",
                websocket.path_without_query()
            ),
            true,
        )),
    }
}

fn refusal(response: &Response, websocket: &WebSocket) -> String {
    let path = websocket.path_without_query();
    let remedy = match response.status {
        401 | 403 => "check what the gateway asks for: a header (websocket.headers), or another path in 'url'".to_owned(),
        300..=399 => match response.header("location") {
            Some(to) => format!("it is to be found at '{}'; change 'url'", printable(to.split('?').next().unwrap_or(to))),
            None => "change 'url'".to_owned(),
        },
        408 | 425 | 429 | 500.. => "see the gateway's log for the reason".to_owned(),
        _ => "check the path in 'url'; brokers mostly use /mqtt".to_owned(),
    };
    format!(
        "it refused the WebSocket at '{path}': {}; {remedy}",
        response.status_line()
    )
}

/// Binary frames as a stream of bytes.
struct Bytewise {
    socket: WebSocketStream<Stream>,
    /// What is left of the frame that came last.
    unread: Bytes,
}

impl AsyncRead for Bytewise {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(text_frame())),
                Some(Ok(Message::Close(frame))) => return Poll::Ready(closed(frame)),
                Some(Err(error)) => return Poll::Ready(ended(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..len]);
        self.unread.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytewise {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let len = buf.len().min(FRAME_MAX);
        let frame = Message::Binary(Bytes::copy_from_slice(&buf[..len]));
        Pin::new(&mut self.socket)
            .start_send(frame)
            .map_err(broken)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            // The broker was first.
            Err(Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing)) => {
                Poll::Ready(Ok(()))
            }
            outcome => Poll::Ready(outcome.map_err(broken)),
        }
    }
}

/// The end of the stream, which a broker may also announce with a code that says why.
fn closed(frame: Option<CloseFrame>) -> io::Result<()> {
    match frame {
        Some(frame) if frame.code != CloseCode::Normal && frame.code != CloseCode::Away => {
            let (code, reason) = (u16::from(frame.code), printable(&frame.reason));
            let space = if reason.is_empty() { "" } else { " " };
            Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the broker closed the WebSocket: {code}{space}{reason}"),
            ))
        }
        _ => Ok(()),
    }
}

fn ended(error: Error) -> io::Result<()> {
    match error {
        // As abrupt as when TCP ends, which is no error there.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        other => Err(broken(other)),
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => io::Error::new(
            io::ErrorKind::InvalidData,
            FrameTooLarge {
                size,
                max: max_size,
            },
        ),
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

fn text_frame() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server sent a text frame, and MQTT is binary (MQTT-6.0.0-1): is there another service at this path?",
    )
}

/// A frame over the limit; the broker would send it again and again.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a WebSocket frame of {size} bytes, and at most {max} are taken")]
pub(super) struct FrameTooLarge {
    pub(super) size: usize,
    pub(super) max: usize,
}

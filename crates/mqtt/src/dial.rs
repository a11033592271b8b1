//! From a name to a stream that the broker has accepted a login on, one step at a time.
//!
//! The driver takes all steps at once with [`dial`]; a connection test takes them one by one, to say which of them
//! failed and how long each took:
//!
//! ```text
//! resolve → connect_tcp → tunnel (proxy) → secure (TLS) → upgrade (WebSocket) → login
//! ```
//!
//! With a proxy, it is the proxy that is resolved and connected to; the broker's name is the proxy's affair.

mod http;
mod proxy;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::{MqttError, ReasonCode};
use crate::options::ConnectOptions;
use crate::packet::{self, ConnAck, Control, Decoder, ReadBuffer};
use crate::tls;

use websocket::FrameTooLarge;

pub use proxy::Proxy;
pub use websocket::WebSocket;

/// Idle time after which the system asks whether the other side is still there, and between its questions.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// How long written bytes may stay unacknowledged by the other side's system. Without it a network that swallows
/// everything is noticed after a quarter of an hour, since a PINGREQ waits behind the bytes that do not leave.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes in both directions: TCP, TLS, WebSocket.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A stream to a broker.
pub type Stream = Box<dyn Io>;

/// Takes all steps but the login.
///
/// # Errors
/// That of the step that failed; [`MqttError::Timeout`] if a step took longer than the connect timeout.
pub async fn dial(options: &ConnectOptions) -> Result<Stream, MqttError> {
    let addresses = resolve(options).await?;
    let stream = connect_tcp(options, &addresses).await?;
    let stream = tunnel(options, stream).await?;
    let stream = secure(options, stream).await?;
    upgrade(options, stream).await
}

/// The addresses of the host (or of the proxy), at least one.
///
/// # Errors
/// [`MqttError::Resolve`], [`MqttError::Timeout`].
pub async fn resolve(options: &ConnectOptions) -> Result<Vec<SocketAddr>, MqttError> {
    let (host, port) = options.next_hop();
    let failed = |source: io::Error| MqttError::Resolve {
        host: host.to_owned(),
        is_proxy: options.proxy.is_some(),
        source: Arc::new(source),
    };
    let lookup = tokio::net::lookup_host((host, port));
    let addresses: Vec<_> = within(options, "address", lookup)
        .await?
        .map_err(failed)?
        .collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotFound,
            "it has no address",
        )));
    }
    Ok(addresses)
}

/// A TCP connection to the first address that takes one.
///
/// # Errors
/// [`MqttError::Connect`] with the failure of the last address, [`MqttError::Timeout`].
pub async fn connect_tcp(
    options: &ConnectOptions,
    addresses: &[SocketAddr],
) -> Result<TcpStream, MqttError> {
    let what = match options.proxy {
        Some(_) => "TCP connection to the proxy",
        None => "TCP connection",
    };
    let failed = |address: &SocketAddr, source: io::Error| MqttError::Connect {
        address: address.to_string(),
        is_proxy: options.proxy.is_some(),
        source: Arc::new(source),
    };
    let mut failure = MqttError::Timeout {
        what,
        after: options.connect_timeout,
    };
    for address in addresses {
        match within(options, what, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                tune(&stream).map_err(|source| failed(address, source))?;
                return Ok(stream);
            }
            Ok(Err(source)) => failure = failed(address, source),
            Err(elapsed) => failure = elapsed,
        }
    }
    Err(failure)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE)
        .with_interval(TCP_KEEPALIVE);
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&keepalive)
}

/// The tunnel through the proxy, or nothing if the options have none.
///
/// # Errors
/// [`MqttError::Proxy`], [`MqttError::Timeout`].
pub async fn tunnel(
    options: &ConnectOptions,
    mut stream: TcpStream,
) -> Result<TcpStream, MqttError> {
    if let Some(proxy) = &options.proxy {
        let tunnel = proxy::tunnel(options, proxy, &mut stream);
        within(options, "answer of the proxy", tunnel).await??;
    }
    Ok(stream)
}

/// The WebSocket, or nothing if the options have none.
///
/// # Errors
/// [`MqttError::WebSocket`], [`MqttError::Timeout`], and what a broken connection gives.
pub async fn upgrade(options: &ConnectOptions, stream: Stream) -> Result<Stream, MqttError> {
    let Some(websocket) = &options.websocket else {
        return Ok(stream);
    };
    let opened = websocket::open(options, websocket, stream);
    within(options, "WebSocket", opened).await?
}

/// The TLS handshake, or nothing if the options have no TLS.
///
/// # Errors
/// [`MqttError::Certificate`], [`MqttError::Tls`], [`MqttError::Timeout`].
pub async fn secure(options: &ConnectOptions, stream: TcpStream) -> Result<Stream, MqttError> {
    let Some(tls) = &options.tls else {
        return Ok(Box::new(stream));
    };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let handshake = connector.connect(tls.server_name.clone(), stream);
    match within(options, "TLS handshake", handshake).await? {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(tls::handshake_error(options, error)),
    }
}

/// Sends CONNECT and waits for CONNACK. For connection tests; a [`Subscriber`](crate::Subscriber) and a
/// [`Publisher`](crate::Publisher) log in by themselves.
///
/// # Errors
/// [`MqttError::LoginRefused`], [`MqttError::ProtocolVersion`], [`MqttError::NoLogin`], [`MqttError::Timeout`].
pub async fn login(options: &ConnectOptions, stream: &mut Stream) -> Result<ConnAck, MqttError> {
    options.check()?;
    let mut out = BytesMut::new();
    // Nothing of a test remains with the broker, and its reader is a simple one.
    let plain = ConnectOptions {
        will: None,
        topic_alias_maximum: 0,
        ..options.clone()
    };
    packet::connect(&plain, options.clean_start, &mut out);
    let answer = within(options, "CONNACK", exchange(options, stream, &out)).await?;
    answer.map_err(|error| error.before_login(options))
}

async fn exchange(
    options: &ConnectOptions,
    stream: &mut Stream,
    connect: &[u8],
) -> Result<ConnAck, MqttError> {
    let lost = |error| lost(options, error);
    stream.write_all(connect).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut decoder = Decoder::new(options.protocol, options.max_packet_size);
    let mut input = ReadBuffer::default();
    loop {
        let room = input.for_read(0);
        if stream.read_buf(room).await.map_err(lost)? == 0 {
            return Err(MqttError::ClosedByBroker {
                address: options.address(),
            });
        }
        let decoded = decoder.decode(&mut input)?;
        match decoded.control.into_iter().next() {
            Some(Control::ConnAck(ack)) => return accepted(options, ack),
            Some(_) => return Err(MqttError::protocol("another packet before CONNACK")),
            None => {}
        }
    }
}

/// Ends a connection that [`login`] began.
///
/// # Errors
/// What a broken connection gives; the connection has ended all the same.
pub async fn logout(options: &ConnectOptions, stream: &mut Stream) -> Result<(), MqttError> {
    let mut out = BytesMut::new();
    packet::disconnect(&mut out);
    let lost = |error| lost(options, error);
    stream.write_all(&out).await.map_err(lost)?;
    stream.shutdown().await.map_err(lost)
}

/// A CONNACK that says yes, or the error that it stands for.
pub(crate) fn accepted(options: &ConnectOptions, ack: ConnAck) -> Result<ConnAck, MqttError> {
    if !ack.reason.is_error() {
        return Ok(ack);
    }
    if ack.reason == ReasonCode::UNSUPPORTED_PROTOCOL {
        return Err(MqttError::ProtocolVersion {
            address: options.address(),
            protocol: options.protocol,
        });
    }
    Err(MqttError::LoginRefused {
        address: options.address(),
        client_id: options.client_id.clone(),
        reason: ack.reason,
        message: ack.message,
    })
}

/// What a failing read or write means. With TLS 1.3 the broker's verdict on our certificate arrives only here.
pub(crate) fn lost(options: &ConnectOptions, error: io::Error) -> MqttError {
    if let Some(certificate) = tls::certificate_error(options, &error) {
        return certificate;
    }
    let inner = error.get_ref();
    if let Some(frame) = inner.and_then(|inner| inner.downcast_ref::<FrameTooLarge>()) {
        let (size, max) = (frame.size, frame.max);
        return MqttError::Oversized { size, max };
    }
    MqttError::Lost {
        address: options.address(),
        source: Arc::new(error),
    }
}

async fn within<T>(
    options: &ConnectOptions,
    what: &'static str,
    step: impl Future<Output = T>,
) -> Result<T, MqttError> {
    let after = options.connect_timeout;
    timeout(after, step)
        .await
        .map_err(|_elapsed| MqttError::Timeout { what, after })
}

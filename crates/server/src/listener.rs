//! Where connections come in: plain, or TLS with or without certificates of clients.
//!
//! Handshakes are tasks of their own, so that a client that says nothing keeps nobody else waiting.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::settings::TlsSettings;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be taken, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the API cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Only one half is there.
    #[error("tls.cert and tls.key belong together; tls.client_ca needs both")]
    Incomplete,
    /// A file that is no PEM, or cannot be read.
    #[error("{setting} '{path}' cannot be used")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates that do not fit.
    #[error("the certificates of the API cannot be used")]
    Certificates(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the settings say of TLS; `None` if nothing.
pub(crate) fn acceptor(tls: &TlsSettings) -> Result<Option<TlsAcceptor>, TlsError> {
    let (cert, key) = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if tls.client_ca.is_none() => return Ok(None),
        _ => return Err(TlsError::Incomplete),
    };
    let certificates = |setting, path: &Path| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        all.map_err(|source| unusable(setting, path, source))
    };
    let chain = certificates("tls.cert", cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable("tls.key", key, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Certificates(error.into()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("tls.client_ca", path)? {
                roots
                    .add(root)
                    .map_err(|error| TlsError::Certificates(error.into()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::Certificates(error.into()))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Certificates(error.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn unusable(setting: &'static str, path: &Path, source: rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File {
        setting,
        path: path.display().to_string(),
        source,
    }
}

/// Takes connections, a bounded number at a time.
pub(crate) struct Listener {
    address: SocketAddr,
    incoming: mpsc::Receiver<(Stream, SocketAddr)>,
}

impl Listener {
    /// Listens; at most `connections` are open at the same time, handshakes among them.
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        connections: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, incoming) = mpsc::channel(1);
        tokio::spawn(take_connections(listener, tls, connections, sender));
        Ok(Self { address, incoming })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn take_connections(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: usize,
    ready: mpsc::Sender<(Stream, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(connections));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection cannot be taken: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let socket = match tls {
                None => Socket::Plain(socket),
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
                    Ok(Ok(stream)) => Socket::Tls(Box::new(stream)),
                    Ok(Err(error)) => return tracing::debug!(%peer, "no TLS: {error}"),
                    Err(_elapsed) => return tracing::debug!(%peer, "no TLS in time"),
                },
            };
            let stream = Stream {
                socket,
                _place: place,
            };
            // an error means that the server has ended
            ready.send((stream, peer)).await.ok();
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.incoming.recv().await {
            Some(accepted) => accepted,
            // the task that accepts ends after its receiver only
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// One connection, and its place among those that may be open.
pub(crate) struct Stream {
    socket: Socket,
    _place: OwnedSemaphorePermit,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn socket(&mut self) -> Pin<&mut (dyn ReadWrite + '_)> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket),
            Socket::Tls(socket) => Pin::new(socket.as_mut()),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}

//! TLS before a broker that has none, and the least that a client can do over it.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::TlsAcceptor;

use super::client::LoadClient;
use super::link::{Packets, broken};
use crate::Certificates;

/// Ends TLS and passes bytes on to a plain broker, in a thread of its own. On drop its connections are cut.
#[derive(Debug)]
pub struct TlsFront {
    addr: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl TlsFront {
    /// Listens on a free port of 127.0.0.1 with the server's certificate.
    ///
    /// # Errors
    /// No port could be bound; the certificate cannot be read.
    pub fn start(certificates: &Certificates, broker: SocketAddr) -> anyhow::Result<Self> {
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                chain(&certificates.server_cert)?,
                key(&certificates.server_key)?,
            )?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Err(error) = pass(&acceptor, stream, broker).await {
                        tracing::debug!(%error, "a connection through TLS has ended");
                    }
                });
            }
            #[expect(unreachable_code, reason = "tells the compiler the type of `?`")]
            io::Result::Ok(())
        });
        Ok(Self {
            addr,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn pass(
    acceptor: &TlsAcceptor,
    stream: tokio::net::TcpStream,
    broker: SocketAddr,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = acceptor.accept(stream).await?;
    let mut broker = tokio::net::TcpStream::connect(broker).await?;
    broker.set_nodelay(true)?;
    const BUFFER: usize = 256 * 1024;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut broker, BUFFER, BUFFER).await?;
    Ok(())
}

/// Subscribes at QoS 0 through TLS and counts what arrives, until the connection ends.
///
/// # Errors
/// The broker cannot be reached or is not trusted, or refuses; the connection broke.
pub fn count_over_tls(
    addr: SocketAddr,
    ca: &Path,
    filter: &str,
    subscribed: impl FnOnce(),
    received: &AtomicU64,
) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    for authority in chain(ca)? {
        roots.add(authority)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    let mut stream = StreamOwned::new(connection, socket);
    LoadClient::builder("count-over-tls")
        .subscribe(filter, 0)
        .greet(&mut stream)?;
    subscribed();
    let mut packets = Packets::default();
    loop {
        let mut messages = 0;
        let open = packets.read(&mut stream, |packet| {
            messages += u64::from(packet.kind() == 3);
            Ok(())
        })?;
        received.fetch_add(messages, Ordering::Relaxed);
        if !open {
            return Ok(());
        }
        stream.flush()?;
    }
}

fn chain(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_reader_iter(BufReader::new(File::open(file)?));
    Ok(certificates.collect::<Result<_, _>>()?)
}

fn key(file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(broken)
}

//! Client keys in all their forms, and a TLS front that looks at what the client offers, as AWS IoT's does on port 443.

use std::sync::Arc;

use anyhow::{Context, Result};
use headwater_connector::ErasedConnector;
use headwater_mqtt::{MqttConnector, tls};
use headwater_testkit::{Certificates, ENCRYPTED_KEYS, Mosquitto};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::probe::{last, test_profile};
use crate::support::*;

#[tokio::test]
async fn every_form_of_key_as_file_and_as_text() -> Result<()> {
    let broker = Mosquitto::builder()
        .mutual_tls()
        .line("per_listener_settings false")
        .start()?;
    let files = broker.certificates().unwrap();
    let with = With::broker(&broker).and("tls.ca", files.ca.to_str().unwrap());
    assert_eq!(files.other_clients.len(), 4);
    for client in &files.other_clients {
        let (cert, key) = (client.cert.to_str().unwrap(), client.key.to_str().unwrap());
        let by_path = with.clone().and("tls.cert", cert).and("tls.key", key);
        let (passed, steps) = test_profile(by_path).await?;
        assert!(passed, "{}: {steps:?}", client.form);
        let cert = std::fs::read_to_string(cert)?;
        let key = std::fs::read_to_string(key)?;
        let by_text = with.clone().and("tls.cert", &cert).and("tls.key", &key);
        let (passed, steps) = test_profile(by_text).await?;
        assert!(passed, "{}: {steps:?}", client.form);
    }
    Ok(())
}

#[test]
fn a_key_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let files = Certificates::generate(dir.path()).unwrap();
    let cert = std::fs::read_to_string(&files.client_cert).unwrap();
    let error = |key: &str| {
        let parts = tls::TlsParts {
            cert: Some(cert.clone()),
            key: Some(key.to_owned()),
            ..tls::TlsParts::default()
        };
        tls::configure("localhost", &parts).unwrap_err().to_string()
    };
    for key in ENCRYPTED_KEYS {
        let error = error(key);
        assert!(error.starts_with("tls.key is encrypted"), "{error}");
        assert!(error.contains("openssl pkey"), "{error}");
    }
    let another = std::fs::read_to_string(&files.server_key).unwrap();
    assert!(
        error(&another).contains("do not fit together"),
        "{}",
        error(&another)
    );
    assert!(
        error(&cert).contains("no usable private key"),
        "{}",
        error(&cert)
    );
}

/// What a client has said in its handshake: the name of the server, and the protocol that was agreed on.
type Hello = (Option<String>, Option<Vec<u8>>);

/// Ends TLS before a broker: wants a client certificate, and speaks `x-amzn-mqtt-ca` only.
async fn front(
    broker: &Mosquitto,
    files: &Certificates,
) -> Result<(u16, mpsc::UnboundedReceiver<Hello>)> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(&files.ca)? {
        roots.add(ca?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = CertificateDer::pem_file_iter(&files.server_cert)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&files.server_key)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"x-amzn-mqtt-ca".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (seen, hellos) = mpsc::unbounded_channel();
    let behind = broker.plain_addr();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                let (_, session) = client.get_ref();
                let name = session.server_name().map(str::to_owned);
                let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
                seen.send((name, protocol)).ok();
                let mut broker = TcpStream::connect(behind).await?;
                copy_bidirectional(&mut client, &mut broker).await
            });
        }
    });
    Ok((port, hellos))
}

#[tokio::test]
async fn alpn_and_the_server_name_reach_the_server() -> Result<()> {
    let broker = Mosquitto::start()?;
    let dir = tempfile::tempdir()?;
    let files = Certificates::generate(dir.path())?;
    let (port, mut hellos) = front(&broker, &files).await?;
    let with = With::url(&format!("mqtts://127.0.0.1:{port}"))
        .and("type", "source")
        .and("topic", "a")
        .qos_1()
        .and("tls.ca", files.ca.to_str().unwrap())
        .and("tls.cert", files.client_cert.to_str().unwrap())
        .and("tls.key", files.client_key.to_str().unwrap())
        .and("tls.server_name", "localhost");
    let offering = |alpn: &str| with.clone().and("tls.alpn", alpn);
    works("front", offering("x-amzn-mqtt-ca")).await?;
    let (name, protocol) = hellos.recv().await.context("a hello")?;
    assert_eq!(name.as_deref(), Some("localhost"));
    assert_eq!(protocol.as_deref(), Some(&b"x-amzn-mqtt-ca"[..]));

    works("several", offering("mqtt, x-amzn-mqtt-ca")).await?;
    let (passed, steps) = test_profile(offering("mqtt")).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, port), @r"
    tls Failed: 127.0.0.1:PORT: the broker speaks none of the protocols offered by ALPN ('mqtt')
    remedy: check tls.alpn in the connection profile
    ");
    let error = fails(offering("mqtt")).await?;
    assert!(error.contains("check tls.alpn"), "{error}");
    Ok(())
}

/// Remembers that something was said about `insecure_skip_verify`.
#[derive(Default)]
struct Warned(std::sync::atomic::AtomicBool);

impl tracing::Subscriber for Warned {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(
            &mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                if format!("{value:?}").contains("insecure_skip_verify") {
                    self.0.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            },
        );
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_check_that_is_skipped_is_warned_of() {
    let warned = Arc::new(Warned::default());
    let with = With::url("mqtts://localhost")
        .and("type", "source")
        .and("topic", "a");
    let connector: &dyn ErasedConnector = &MqttConnector;
    let start = |with: With| {
        let connection = with.connection(one_column()).unwrap();
        let (progress, _steps) = headwater_connector::Progress::channel();
        let run = connector
            .test_profile(&connection.profile, progress)
            .unwrap()
            .unwrap();
        let dispatch = tracing::Dispatch::new(Arc::clone(&warned));
        // The first poll makes the TLS configuration; whether anything answers does not matter.
        tracing::dispatcher::with_default(&dispatch, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { futures::future::poll_immediate(run).await });
        });
        warned.0.load(std::sync::atomic::Ordering::Relaxed)
    };
    assert!(!start(with.clone()));
    assert!(start(with.and("tls.insecure_skip_verify", "true")));
}

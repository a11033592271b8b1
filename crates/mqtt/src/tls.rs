//! Whom to trust, whom to be, and what a failed handshake means.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::error::MqttError;
use crate::options::{ConnectOptions, Tls};

/// The parts of a TLS configuration as a profile gives them. Certificates and keys are PEM, given as a path or as the
/// text itself.
#[derive(Clone, Default)]
pub struct TlsParts {
    /// The authorities to trust instead of those of the system.
    pub ca: Option<String>,
    /// The client's certificate chain.
    pub cert: Option<String>,
    /// The client's private key (PKCS#1, PKCS#8 or SEC1).
    pub key: Option<String>,
    /// The protocols to offer by ALPN.
    pub alpn: Vec<String>,
    /// Trust any certificate. The connection is then open to anybody in between.
    pub insecure_skip_verify: bool,
}

/// Makes the TLS configuration for a broker at `host`.
///
/// # Errors
/// [`MqttError::Options`] names the part that cannot be read or used.
pub fn configure(host: &str, parts: &TlsParts) -> Result<Tls, MqttError> {
    let server_name = ServerName::try_from(host.to_owned()).map_err(|error| {
        MqttError::options(format!("'{host}' cannot be a TLS server name: {error}"))
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| MqttError::options(format!("TLS is not available: {error}")))?;
    let builder = if parts.insecure_skip_verify {
        tracing::warn!(
            host,
            "tls.insecure_skip_verify: the broker's certificate is not checked"
        );
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
    } else {
        builder.with_root_certificates(roots(parts.ca.as_deref())?)
    };
    let mut config = match (&parts.cert, &parts.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates("tls.cert", cert)?, private_key(key)?)
            .map_err(|error| {
                MqttError::options(format!("tls.cert and tls.key do not fit together: {error}"))
            })?,
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(MqttError::options("tls.cert is given without tls.key")),
        (None, Some(_)) => return Err(MqttError::options("tls.key is given without tls.cert")),
    };
    config.alpn_protocols = parts
        .alpn
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(Tls {
        config: Arc::new(config),
        server_name,
        verified: !parts.insecure_skip_verify,
    })
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, MqttError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates("tls.ca", ca)? {
            roots.add(certificate).map_err(|error| {
                MqttError::options(format!(
                    "tls.ca holds a certificate that cannot be an authority: {error}"
                ))
            })?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(system.certs);
    if added == 0 {
        return Err(MqttError::options(
            "the system has no trusted authorities (install ca-certificates); or give the broker's own as tls.ca",
        ));
    }
    Ok(roots)
}

fn certificates(option: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, MqttError> {
    let text = read_pem(option, pem)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| MqttError::options(format!("{option} is not valid PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(MqttError::options(format!("{option} holds no certificate")));
    }
    Ok(certificates)
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, MqttError> {
    let text = read_pem("tls.key", pem)?;
    if String::from_utf8_lossy(&text).contains("ENCRYPTED") {
        return Err(MqttError::options(
            "tls.key is encrypted, and there is nobody to ask for its passphrase; store it without one \
             (openssl pkey -in key.pem -out plain-key.pem) where only this user may read it",
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        MqttError::options(format!("tls.key holds no usable private key: {error}"))
    })
}

fn read_pem(option: &str, pem: &str) -> Result<Vec<u8>, MqttError> {
    if pem.trim_start().starts_with("-----BEGIN") {
        return Ok(pem.as_bytes().to_vec());
    }
    std::fs::read(Path::new(pem))
        .map_err(|error| MqttError::options(format!("{option}: cannot read '{pem}': {error}")))
}

/// What a failed handshake means.
pub(crate) fn handshake_error(options: &ConnectOptions, error: io::Error) -> MqttError {
    match certificate_error(options, &error) {
        Some(certificate) => certificate,
        None => MqttError::Tls {
            address: options.address(),
            source: Arc::new(error),
        },
    }
}

/// The error about a certificate, ours or the broker's, inside an I/O error.
pub(crate) fn certificate_error(options: &ConnectOptions, error: &io::Error) -> Option<MqttError> {
    let reason = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => explain(error),
        rustls::Error::AlertReceived(alert) => refused(*alert, options)?,
        _ => return None,
    };
    Some(MqttError::Certificate {
        address: options.address(),
        reason,
    })
}

fn explain(error: &CertificateError) -> String {
    let (cause, remedy) = match error {
        // Two authorities of one name differ by their keys only, so the wrong one shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "no trusted authority issued it".to_owned(),
            "; give the authority that did as tls.ca in the connection profile (without it those of the system are trusted, \
             with it no others)",
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => (
            format!(
                "it is {}, not for '{}'",
                names(presented),
                expected.to_str()
            ),
            WRONG_NAME,
        ),
        CertificateError::NotValidForName => ("it is for another name".to_owned(), WRONG_NAME),
        CertificateError::ExpiredContext { time, not_after } => (
            format!("it expired {}", days(*not_after, *time, " ago")),
            "; renew it, or check this machine's clock",
        ),
        CertificateError::NotValidYetContext { time, not_before } => (
            format!(
                "it is not valid yet, but {}",
                days(*time, *not_before, " from now")
            ),
            "; check this machine's clock",
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "it is an authority's own (self-signed), which cannot be a server's".to_owned(),
            "; have the authority issue one for the broker",
        ),
        other => (other.to_string(), ""),
    };
    format!("the broker's certificate is not trusted: {cause}{remedy}")
}

const WRONG_NAME: &str =
    "; connect by a name that the certificate carries: in 'url', or as tls.server_name";

/// rustls's list of names, `DnsName("a")`, for people.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| match name.split_once('(') {
        Some((_, rest)) => format!("'{}'", rest.trim_end_matches(')').trim_matches('"')),
        None => format!("'{name}'"),
    };
    match presented {
        [] => "for no name at all".to_owned(),
        some => format!(
            "for {}",
            some.iter().map(bare).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// `12 days ago`.
fn days(from: UnixTime, to: UnixTime, direction: &str) -> String {
    match to.as_secs().saturating_sub(from.as_secs()) / (24 * 60 * 60) {
        0 => format!("less than a day{direction}"),
        1 => format!("1 day{direction}"),
        days => format!("{days} days{direction}"),
    }
}

/// The alerts by which a broker says that it does not like our certificate, or what we ask for.
fn refused(alert: AlertDescription, options: &ConnectOptions) -> Option<String> {
    match alert {
        AlertDescription::NoApplicationProtocol => {
            let tls = options.tls.as_ref()?;
            let offered = tls.config.alpn_protocols.iter();
            let offered: Vec<_> = offered
                .map(|name| format!("'{}'", String::from_utf8_lossy(name)))
                .collect();
            Some(format!(
                "the broker speaks none of the protocols offered by ALPN ({}); check tls.alpn in the connection profile",
                offered.join(", ")
            ))
        }
        AlertDescription::UnrecognisedName => Some(
            "the broker does not know itself by the name it was called; check the host in 'url', and tls.server_name"
                .to_owned(),
        ),
        AlertDescription::CertificateRequired => Some(
            "the broker wants a client certificate; give tls.cert and tls.key in the connection profile"
                .to_owned(),
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => Some(format!(
            "the broker does not accept the client certificate ({alert:?}); check tls.cert in the connection profile"
        )),
        _ => None,
    }
}

/// Accepts every certificate, for `tls.insecure_skip_verify`. Signatures are still checked.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

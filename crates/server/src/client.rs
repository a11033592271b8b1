//! A client of the API: one connection a request, JSON both ways, events as they come.

use std::io;
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An address that is none.
    #[error("'{0}' is no address of a server, like http://127.0.0.1:5115")]
    Address(String),
    /// A certificate that cannot be used.
    #[error("'{path}' cannot be used")]
    Certificate {
        /// The file.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody is there.
    #[error("the server '{url}' cannot be reached; is it running?")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the server '{url}' broke off")]
    Broken {
        /// Its address.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What came is no JSON.
    #[error("the server '{url}' does not answer in JSON: is it a Headwater?")]
    Foreign {
        /// Its address.
        url: String,
    },
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        message: String,
    },
}

/// Whom a client trusts, and who it is.
#[derive(Debug, Clone, Default)]
pub struct Credentials<'a> {
    /// The token.
    pub token: Option<String>,
    /// The authority that issued the server's certificate, in PEM.
    pub ca: Option<&'a Path>,
    /// The client's own certificate chain and key, in PEM.
    pub certificate: Option<(&'a Path, &'a Path)>,
}

/// The way to one server.
#[derive(Clone)]
pub struct Client {
    url: String,
    host: String,
    port: u16,
    token: Option<String>,
    tls: Option<TlsConnector>,
}

impl Client {
    /// A client of the server at `url`: `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// An address that is none, certificates that cannot be used.
    pub fn new(url: &str, credentials: Credentials<'_>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_invalid| wrong())?;
        let host = uri
            .host()
            .ok_or_else(wrong)?
            .trim_matches(['[', ']'])
            .to_owned();
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(connector(&credentials)?), 443),
            _ => return Err(wrong()),
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            host,
            port: uri.port_u16().unwrap_or(port),
            token: credentials.token,
            tls,
        })
    }

    /// Asks for something, and gives the JSON that is answered: null if nothing is.
    ///
    /// # Errors
    /// Whatever is not a success.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let answer = answer.map_err(|source| self.broken(source))?.to_bytes();
        let value = match answer.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer).map_err(|_no_json| ClientError::Foreign {
                url: self.url.clone(),
            })?,
        };
        if status.is_success() {
            return Ok(value);
        }
        let message = value["error"].as_str().map(str::to_owned);
        Err(ClientError::Refused {
            status,
            message: message.unwrap_or_else(|| status.to_string()),
        })
    }

    /// Asks for something that is answered by events.
    ///
    /// # Errors
    /// Whatever is not a success.
    pub async fn events(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Events, ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(Events {
                body,
                line: Vec::new(),
                url: self.url.clone(),
            });
        }
        let answer = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let answer = answer.map_err(|source| self.broken(source))?.to_bytes();
        let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let message = value["error"].as_str().map(str::to_owned);
        Err(ClientError::Refused {
            status,
            message: message.unwrap_or_else(|| status.to_string()),
        })
    }

    /// The answer as it comes, whatever it is.
    ///
    /// # Errors
    /// The server cannot be reached, or breaks off.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let text = body.map_or_else(String::new, Value::to_string);
        let request = request.body(Full::new(Bytes::from(text)));
        let request = request.map_err(|source| self.broken(source))?;
        self.exchange(request).await
    }

    /// Sends a request as it is, but for the place that it names, which is the server.
    ///
    /// # Errors
    /// The server cannot be reached, or breaks off.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let path = request.uri().path_and_query();
        let path = path.map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
        *request.uri_mut() = path;
        let host = format!("{}:{}", self.shown_host(), self.port).parse();
        let host = host.map_err(|_invalid| ClientError::Address(self.url.clone()))?;
        request.headers_mut().insert(HOST, host);
        let unreachable = |source| ClientError::Unreachable {
            url: self.url.clone(),
            source,
        };
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await;
        let socket = socket.map_err(unreachable)?;
        match &self.tls {
            None => self.converse(socket, request).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|_invalid| ClientError::Address(self.url.clone()))?;
                let stream = tls.connect(name, socket).await.map_err(unreachable)?;
                self.converse(stream, request).await
            }
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|source| self.broken(source))?;
        // what goes wrong with it is seen by whoever reads the answer
        tokio::spawn(async move { connection.await.ok() });
        let response = sender.send_request(request).await;
        response.map_err(|source| self.broken(source))
    }

    fn shown_host(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            url: self.url.clone(),
            source: source.into(),
        }
    }
}

/// Events as they come.
pub struct Events {
    body: Incoming,
    /// What has come of a line that has not ended.
    line: Vec<u8>,
    url: String,
}

impl Events {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// The server breaks off, or sends no JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                // comments keep the connection alive; empty lines end events
                if let Some(data) = line.strip_prefix(b"data: ") {
                    let event = serde_json::from_slice(data);
                    return event.map(Some).map_err(|_no_json| ClientError::Foreign {
                        url: self.url.clone(),
                    });
                }
                continue;
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    self.line.extend(frame.into_data().unwrap_or_default());
                }
                Some(Err(source)) => {
                    return Err(ClientError::Broken {
                        url: self.url.clone(),
                        source: source.into(),
                    });
                }
            }
        }
    }
}

fn connector(credentials: &Credentials<'_>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    match credentials.ca {
        Some(path) => {
            for root in certificates(path)? {
                roots.add(root).map_err(|error| unusable(path, error))?;
            }
        }
        // those that cannot be read are missed when they are needed
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Path::new("TLS"), error))?
        .with_root_certificates(roots);
    let config = match credentials.certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
            let config = builder.with_client_auth_cert(certificates(chain)?, private);
            config.map_err(|error| unusable(chain, error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    all.map_err(|error| unusable(path, error))
}

fn unusable(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ClientError {
    ClientError::Certificate {
        path: path.display().to_string(),
        source: source.into(),
    }
}

//! A tunnel through an HTTP proxy (RFC 9110, section 9.3.6): `CONNECT broker:port`, and then the bytes are ours.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;

use super::http::{self, Fault, Response};
use crate::error::MqttError;
use crate::options::{ConnectOptions, Password, host_and_port};

/// An HTTP proxy on the way to the broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, if it asks for them (Basic, RFC 7617).
    pub login: Option<(String, Password)>,
}

const EXPECT: &str = "check that 'proxy' is the address of an HTTP proxy";

impl Proxy {
    /// The proxy as people write it, `host:port`.
    pub fn address(&self) -> String {
        host_and_port(&self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.address())
    }
}

/// Asks the proxy for a tunnel to the broker. Not bounded in time.
pub(super) async fn tunnel(
    options: &ConnectOptions,
    proxy: &Proxy,
    stream: &mut TcpStream,
) -> Result<(), MqttError> {
    let fault = |reason: String, lasting: bool| MqttError::Proxy {
        proxy: proxy.address(),
        address: options.address(),
        reason,
        lasting,
    };
    let answer = http::exchange(stream, request(options, proxy).as_bytes()).await;
    let response = answer.map_err(|error| match error {
        Fault::Io(error) => fault(format!("{error}; {EXPECT}"), false),
        Fault::Closed => fault(format!("it closed the connection; {EXPECT}"), false),
        Fault::Foreign => fault(format!("its answer is not HTTP; {EXPECT}"), true),
    })?;
    match response.status {
        // A broker and a TLS server wait for the client's first word, so nothing can have followed.
        200..300 if response.rest.is_empty() => Ok(()),
        200..300 => Err(fault(
            format!("it sent data before the tunnel was used; {EXPECT}"),
            true,
        )),
        _ => Err(fault(refusal(&response), response.is_lasting())),
    }
}

fn request(options: &ConnectOptions, proxy: &Proxy) -> String {
    let target = options.address();
    let login = proxy
        .login
        .as_ref()
        .map_or_else(String::new, |(user, password)| {
            let login = STANDARD.encode(format!("{user}:{}", password.expose()));
            format!("Proxy-Authorization: Basic {login}\r\n")
        });
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")
}

fn refusal(response: &Response) -> String {
    let remedy = match response.status {
        407 => "; check user and password in 'proxy': http://user:password@host:port",
        403 => "; the proxy's administrator must allow tunnels to this host and port",
        400 | 404 | 405 | 501 => "; check that 'proxy' is a proxy that allows CONNECT",
        502..=504 => "; it cannot reach the broker: check the host and the port in 'url'",
        _ => "; see the proxy's log for the reason",
    };
    format!("{}{remedy}", response.status_line())
}

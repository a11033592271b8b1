//! What a failed step means, and what to do about it.

use std::io::ErrorKind;

use crate::error::{MqttError, wrong_port};
use crate::options::ConnectOptions;

const TLS_PORT: &str =
    "check that this is the broker's TLS port; if it has no TLS, write mqtt:// in 'url'";

/// The cause and the remedy.
pub(super) fn explain(error: &MqttError, options: &ConnectOptions) -> (String, String) {
    let text = error.chain();
    let remedy = match error {
        MqttError::Resolve { host, is_proxy, .. } => {
            let option = if *is_proxy { "proxy" } else { "url" };
            format!("check the spelling of the host '{host}' in '{option}', and this machine's DNS")
        }
        MqttError::Connect { is_proxy: true, .. } => {
            "check the host and the port in 'proxy', and that the proxy runs".to_owned()
        }
        MqttError::Connect { source, .. } if source.kind() == ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens on port {}: check that the broker runs, and the port in 'url' (usually 1883, with TLS 8883)",
                options.port
            )
        }
        MqttError::Connect { .. } => {
            "check the host and the port in 'url', and the network".to_owned()
        }
        MqttError::Timeout { what: "CONNACK" | "WebSocket", .. } => wrong_port(options).to_owned(),
        MqttError::Timeout { what: "TLS handshake", .. } => TLS_PORT.to_owned(),
        MqttError::Timeout {
            what: "TCP connection to the proxy" | "answer of the proxy",
            ..
        } => "check the host and the port in 'proxy', and that the proxy runs".to_owned(),
        MqttError::Timeout { .. } => {
            "check the host and the port in 'url'; a firewall may swallow the packets".to_owned()
        }
        MqttError::Tls { .. } if options.websocket.is_some() => {
            "check that this is the broker's port for wss://; if it has no TLS, write ws:// in 'url'".to_owned()
        }
        MqttError::Tls { .. } => TLS_PORT.to_owned(),
        _ => return split(&text),
    };
    let message = text
        .split_once("; ")
        .map_or(text.as_str(), |(cause, _)| cause);
    match error {
        // The cause behind the remedy in the text is the interesting part.
        MqttError::Tls { source, .. } => (format!("{message}: {source}"), remedy),
        _ => (message.to_owned(), remedy),
    }
}

/// Most errors name their remedy themselves, behind a semicolon.
fn split(text: &str) -> (String, String) {
    match text.split_once("; ") {
        Some((cause, remedy)) => (cause.to_owned(), remedy.to_owned()),
        None => (
            text.to_owned(),
            "see the broker's log for the reason".to_owned(),
        ),
    }
}

//! The options of MQTT tables as Rust types, and connections made of them.
//!
//! The types come from `schemas/mqtt/*.json`. Here they become [`ConnectOptions`]: environment variables are put in,
//! the URL is taken apart ([`endpoint`]), certificates are read. All errors name the option.

pub mod endpoint;
mod presence;
mod table;

use std::time::Duration;

use headwater_connector::config::{ConfigError, VarStr, without_password};

use crate::dial::{Proxy, WebSocket};
use crate::error::MqttError;
use crate::options::{ConnectOptions, Password, QoS};
use crate::tls::{self, TlsParts};
use endpoint::{Endpoint, parse_proxy};

pub use profile::{MqttProfile, ProtocolVersion, TlsOptions, WebSocketOptions};
pub use table::{check_table, patterns, session_expiry, source_options, table_client_id};
pub use table_schema::{
    LookupOptions, MqttTable, QualityOfService, RateLimit, Retained, SinkOptions, SourceOptions,
    TableType, TopicQos,
};

/// `schemas/mqtt/profile.json`.
pub const PROFILE_SCHEMA: &str = include_str!("../../../schemas/mqtt/profile.json");

/// `schemas/mqtt/table.json`.
pub const TABLE_SCHEMA: &str = include_str!("../../../schemas/mqtt/table.json");

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from the schema"
)]
mod profile {
    use headwater_connector::config::VarStr;

    typify::import_types!(
        schema = "../../schemas/mqtt/profile.json",
        convert = { { type = "string", format = "var-str" } = VarStr }
    );
}

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from the schema"
)]
mod table_schema {
    use headwater_connector::config::VarStr;

    typify::import_types!(
        schema = "../../schemas/mqtt/table.json",
        convert = { { type = "string", format = "var-str" } = VarStr }
    );
}

impl From<QualityOfService> for QoS {
    fn from(qos: QualityOfService) -> Self {
        match qos {
            QualityOfService::AtMostOnce => Self::AtMostOnce,
            QualityOfService::AtLeastOnce => Self::AtLeastOnce,
            QualityOfService::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

/// The connection that a profile describes, under this client id, with a session that ends with it.
///
/// # Errors
/// Environment variables that are not set, a URL that is none, certificates that cannot be read.
pub fn connect_options(
    profile: &MqttProfile,
    client_id: String,
) -> Result<ConnectOptions, ConfigError> {
    let endpoint = endpoint(profile)?;
    check_scheme(profile, &endpoint)?;
    let mut options = ConnectOptions::new(endpoint.host.clone(), endpoint.port, client_id);
    if endpoint.tls {
        options.tls = Some(tls(&endpoint.host, profile.tls.as_ref())?);
    }
    if let Some(path) = endpoint.websocket {
        options.websocket = Some(websocket(path, profile.websocket.as_ref())?);
    }
    options.proxy = profile.proxy.as_ref().map(proxy).transpose()?;
    options.protocol = match profile.protocol_version {
        ProtocolVersion::X31 => crate::options::ProtocolVersion::V31,
        ProtocolVersion::X311 => crate::options::ProtocolVersion::V311,
        ProtocolVersion::X5 => crate::options::ProtocolVersion::V5,
    };
    options.username = either("username", endpoint.username, profile.username.as_ref())?;
    options.password =
        either("password", endpoint.password, profile.password.as_ref())?.map(Password::new);
    options.keep_alive = Duration::from_secs(u64::from(profile.keep_alive_seconds));
    options.connect_timeout = Duration::from_secs(profile.connect_timeout_seconds.get());
    options.max_packet_size = profile.max_packet_size;
    options.operation_timeout = Duration::from_secs(profile.operation_timeout_seconds.into());
    let client_id = &options.client_id;
    options.will = profile.will.as_ref().map(|w| presence::will(w, client_id));
    options.birth = profile
        .birth
        .as_ref()
        .map(|b| presence::birth(b, client_id));
    options
        .check()
        .map_err(|e| ConfigError::new(None, e.to_string()))?;
    Ok(options)
}

fn endpoint(profile: &MqttProfile) -> Result<Endpoint, ConfigError> {
    let url = resolve("url", &profile.url)?;
    Endpoint::parse(&url).map_err(|reason| {
        let message = format!("option 'url': '{}' {reason}", shown_url(&url));
        ConfigError::new(Some("url"), message)
    })
}

fn tls(host: &str, options: Option<&TlsOptions>) -> Result<crate::options::Tls, ConfigError> {
    let mut parts = TlsParts::default();
    let mut name = host;
    if let Some(options) = options {
        let text = |option: &str, value: &Option<VarStr>| {
            value
                .as_ref()
                .map(|value| resolve(option, value))
                .transpose()
        };
        parts.ca = text("tls.ca", &options.ca)?;
        parts.cert = text("tls.cert", &options.cert)?;
        parts.key = text("tls.key", &options.key)?;
        parts.alpn = options.alpn.clone();
        parts.insecure_skip_verify = options.insecure_skip_verify;
        name = options.server_name.as_deref().unwrap_or(host);
    }
    tls::configure(name, &parts).map_err(|e| {
        let message = match e {
            MqttError::Options(message) => message,
            other => other.chain(),
        };
        ConfigError::new(Some("tls"), message)
    })
}

fn websocket(path: String, options: Option<&WebSocketOptions>) -> Result<WebSocket, ConfigError> {
    const OPTION: &str = "websocket.headers";
    let given = options.map_or(&[][..], |options| &options.headers);
    let header = |(index, line): (usize, &VarStr)| {
        WebSocket::header(&resolve(OPTION, line)?).map_err(|reason| {
            let message = format!("option '{OPTION}': header {} {reason}", index + 1);
            ConfigError::new(Some(OPTION), message)
        })
    };
    let headers = given.iter().enumerate().map(header);
    let headers = headers.collect::<Result<_, _>>()?;
    Ok(WebSocket { path, headers })
}

fn proxy(url: &VarStr) -> Result<Proxy, ConfigError> {
    let url = resolve("proxy", url)?;
    parse_proxy(&url).map_err(|reason| {
        let message = format!("option 'proxy': '{}' {reason}", shown_url(&url));
        ConfigError::new(Some("proxy"), message)
    })
}

/// A URL as an error may show it: without its password and query.
fn shown_url(url: &str) -> String {
    match url.contains("://") || !url.contains('@') {
        true => without_password(url.split('?').next().unwrap_or(url)).into_owned(),
        // Without a scheme it cannot be told where a password ends.
        false => "***".to_owned(),
    }
}

/// Options must fit the URL's scheme.
fn check_scheme(profile: &MqttProfile, endpoint: &Endpoint) -> Result<(), ConfigError> {
    let message = match endpoint {
        Endpoint {
            tls: false,
            websocket: None,
            ..
        } if profile.tls.is_some() => {
            "tls.* is given, but the scheme of 'url' means no TLS; use mqtts://"
        }
        Endpoint { tls: false, .. } if profile.tls.is_some() => {
            "tls.* is given, but the scheme of 'url' means no TLS; use wss://"
        }
        Endpoint {
            websocket: None, ..
        } if profile.websocket.is_some() => {
            "websocket.* is given, but the scheme of 'url' means no WebSocket; use ws:// or wss://"
        }
        _ => return Ok(()),
    };
    Err(ConfigError::new(Some("url"), message))
}

/// A part of the login that may stand in the URL or in an option of its own, but not in both.
fn either(
    option: &str,
    in_url: Option<String>,
    given: Option<&VarStr>,
) -> Result<Option<String>, ConfigError> {
    match (in_url, given) {
        (Some(_), Some(_)) => {
            let message =
                format!("option '{option}' is also given within 'url'; remove one of them");
            Err(ConfigError::new(Some(option), message))
        }
        (in_url, None) => Ok(in_url),
        (None, Some(given)) => resolve(option, given).map(Some),
    }
}

fn resolve(option: &str, value: &VarStr) -> Result<String, ConfigError> {
    value
        .resolve()
        .map_err(|e| ConfigError::new(Some(option), format!("option '{option}': {e}")))
}

/// What can be known of a profile before it is used: all of it, unless the environment is still to be set.
///
/// # Errors
/// As [`connect_options`], save for environment variables that are not set.
pub fn check_profile(profile: &MqttProfile) -> Result<(), ConfigError> {
    if let Some(url) = &profile.proxy
        && url.resolve().is_ok()
    {
        proxy(url)?;
    }
    if profile.url.resolve().is_err() {
        return Ok(());
    }
    let endpoint = endpoint(profile)?;
    check_scheme(profile, &endpoint)?;
    let options = profile.websocket.as_ref();
    let mut headers = options.iter().flat_map(|options| &options.headers);
    if headers.all(|header| header.resolve().is_ok()) {
        websocket(endpoint.websocket.unwrap_or_default(), options)?;
    }
    Ok(())
}

/// The longest client id of MQTT 3.1, in characters. Later versions leave it to the broker.
const CLIENT_ID_MAX_V31: usize = 23;

/// `<prefix>_<job>_<operator>_<subtask>`, of characters that every broker takes. Stable across restarts. Not cut to the
/// 23 characters that a broker of MQTT 3.1.1 may insist on: two clients with one id would throw each other out. On MQTT
/// 3.1, where none may be longer, a hash takes the place of what is too long.
pub fn client_id(profile: &MqttProfile, job: &str, operator: &str, subtask: usize) -> String {
    let prefix = profile.client_prefix.as_str();
    let id = format!("{prefix}_{job}_{operator}_{subtask}");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    // Different names must not become one, so what was replaced still tells in the hash.
    let hash = fnv1a(&id);
    let replaced = |text: &str| -> String {
        text.chars()
            .map(|c| if plain(c) { c } else { '-' })
            .collect()
    };
    let too_long = profile.protocol_version == ProtocolVersion::X31 && id.len() > CLIENT_ID_MAX_V31;
    if too_long {
        let start: String = replaced(prefix).chars().take(6).collect();
        return format!("{start}_{hash:016x}");
    }
    if id.chars().all(plain) {
        return id;
    }
    format!("{}_{hash:016x}", replaced(&id))
}

fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;

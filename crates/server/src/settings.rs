//! What a server can be told, by file, environment and command line.

mod layers;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use headwater_engine::OverLimit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use layers::{Layers, Origin, SettingError, Settled, variables};

/// The configuration of a server. Every setting can stand in the file (`listen`, `tls.cert`), in the environment
/// (`HEADWATER_LISTEN`, `HEADWATER_TLS_CERT`) and on the command line (`--listen`, `--tls-cert`); the later wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The address and port to listen on. Any but that of this machine itself demands a token or `tls.client_ca`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The folder in which profiles, tables and pipelines are kept; made if it is not there.
    pub data_dir: PathBuf,
    /// The token that every request must bring (`Authorization: Bearer …`). Better in a file of its own.
    pub token: Option<String>,
    /// A file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The folders whose files may be named over the API: by `single_file`, schemas, certificates. None by default.
    pub allow_path: Vec<PathBuf>,
    /// The environment variables that `{{ NAME }}` may stand for over the API: names, or beginnings of names followed by
    /// `*`.
    #[schemars(inner(regex(pattern = r"^([A-Za-z_][A-Za-z0-9_]*)?\*?$")))]
    pub allow_env: Vec<String>,
    /// How the API is encrypted.
    pub tls: TlsSettings,
    /// The collector to which OpenTelemetry traces are sent, by OTLP over HTTP: `http://127.0.0.1:4318`. Without it there are
    /// none.
    pub otlp_endpoint: Option<String>,
    /// What clients may use.
    pub limits: Limits,
}

/// How the API is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The server's certificate chain, in PEM. With it the API is served by HTTPS alone.
    pub cert: Option<PathBuf>,
    /// The private key of `tls.cert`, in PEM.
    pub key: Option<PathBuf>,
    /// The authority, in PEM, by whose certificates clients must prove who they are (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

/// What clients may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest body of a request, in bytes.
    #[schemars(range(min = 1024, max = 1073741824))]
    pub body_bytes: usize,
    /// Requests a second, of all clients together, on average.
    #[schemars(range(min = 1, max = 1000000))]
    pub requests_per_second: u32,
    /// Connections at the same time.
    #[schemars(range(min = 1, max = 100000))]
    pub connections: usize,
    /// Pipelines, running or not.
    #[schemars(range(min = 1, max = 100000))]
    pub pipelines: u32,
    /// The memory that the state of one pipeline's windows, joins and aggregates may take, in bytes.
    #[schemars(range(min = 1048576))]
    pub state_bytes: u64,
    /// What happens when the state of a pipeline takes more memory than `limits.state_bytes`.
    pub state_over_limit: StateOverLimit,
}

/// What happens when the state of a pipeline takes more memory than it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum StateOverLimit {
    /// The pipeline fails.
    #[default]
    Fail,
    /// The state of tumbling, hopping and cumulating windows goes to disk; other state may still not take more.
    Spill,
}

impl From<StateOverLimit> for OverLimit {
    fn from(choice: StateOverLimit) -> Self {
        match choice {
            StateOverLimit::Fail => Self::Fail,
            StateOverLimit::Spill => Self::Spill,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5115)),
            data_dir: PathBuf::from("headwater-data"),
            token: None,
            token_file: None,
            allow_path: Vec::new(),
            allow_env: vec!["HEADWATER_VAR_*".to_owned()],
            tls: TlsSettings::default(),
            otlp_endpoint: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            requests_per_second: 5_000,
            connections: 1_024,
            pipelines: 1_000,
            state_bytes: 1 << 30,
            state_over_limit: StateOverLimit::default(),
        }
    }
}

/// The JSON schema of the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Settings).to_value()
}

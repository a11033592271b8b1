//! `headwater serve`: the server, and `headwater config`: what it would be told.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use headwater_server::settings::{Settled, schema};
use headwater_server::{Layers, Server, Settings, Traces};
use indicatif::MultiProgress;

use crate::exit::{Exit, Mistake};
use crate::logging;
use crate::signals::Interrupts;

/// Where settings come from. Each can also stand in the file and in the environment: `headwater config` shows them all.
#[derive(Args)]
pub(crate) struct Configuration {
    /// A configuration in TOML. HEADWATER_LISTEN and its like win over it, options over both.
    #[arg(long, value_name = "FILE.toml", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,

    /// The address and port to listen on; any but 127.0.0.1 demands a token or --tls-client-ca.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,

    /// The folder in which profiles, tables and pipelines are kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// A file that holds the token that every request must bring. (HEADWATER_TOKEN is the token itself.)
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,

    /// The certificate chain of the API, in PEM; it is served by HTTPS then.
    #[arg(long, value_name = "FILE.pem", requires = "tls_key")]
    tls_cert: Option<String>,

    /// The private key of --tls-cert, in PEM.
    #[arg(long, value_name = "FILE.pem", requires = "tls_cert")]
    tls_key: Option<String>,

    /// The authority, in PEM, whose certificates clients must have (mutual TLS).
    #[arg(long, value_name = "FILE.pem")]
    tls_client_ca: Option<String>,

    /// The collector to which OpenTelemetry traces are sent, by OTLP over HTTP (http://127.0.0.1:4318).
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// A folder whose files may be named over the API. May be given several times.
    #[arg(long, value_name = "DIR")]
    allow_path: Vec<String>,

    /// An environment variable that `{{ NAME }}` may stand for over the API, or the beginning of names followed by `*`, instead of
    /// HEADWATER_VAR_*. May be given several times.
    #[arg(long, value_name = "NAME")]
    allow_env: Vec<String>,
}

impl Configuration {
    fn settle(&self) -> anyhow::Result<Settled> {
        let mistake = || Mistake("the server is configured wrongly".to_owned());
        self.layers().with_context(mistake)
    }

    fn layers(&self) -> anyhow::Result<Settled> {
        let mut layers = Layers::default();
        if let Some(file) = &self.config {
            layers = layers.file(file)?;
        }
        layers = layers.environment(|name| std::env::var(name).ok())?;
        for (key, value) in [
            ("listen", &self.listen),
            ("data_dir", &self.data_dir),
            ("token_file", &self.token_file),
            ("tls.cert", &self.tls_cert),
            ("tls.key", &self.tls_key),
            ("tls.client_ca", &self.tls_client_ca),
            ("otlp_endpoint", &self.otlp_endpoint),
        ] {
            layers = layers.flag(key, value.as_slice())?;
        }
        layers = layers.flag("allow_path", &self.allow_path)?;
        Ok(layers.flag("allow_env", &self.allow_env)?.settle()?)
    }
}

/// Run pipelines for others: a REST API at http://127.0.0.1:5115/api/v1 (see /api/v1/docs).
///
/// What it is told is kept in the data folder; pipelines that ran go on when it is started again. Ctrl-C (or SIGTERM)
/// lets them drain for at most 20 seconds; a second one exits at once.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    configuration: Configuration,
}

impl Serve {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let settings = self.configuration.settle()?.settings;
        let traces = settings.otlp_endpoint.as_deref().map(Traces::new);
        let traces = traces
            .transpose()
            .context(Mistake("the server is configured wrongly".to_owned()))?;
        logging::init_with(&MultiProgress::new(), traces.as_ref());
        let outcome = serve(settings).await;
        if let Some(traces) = traces {
            traces.finish().await;
        }
        outcome
    }
}

async fn serve(settings: Settings) -> anyhow::Result<Exit> {
    let mut interrupts = Interrupts::listen()?;
    let scheme = if settings.tls.cert.is_some() {
        "https"
    } else {
        "http"
    };
    let server = Server::bind(settings);
    let server = server
        .await
        .context(Mistake("the server cannot start".to_owned()))?;
    tracing::info!("listening on {scheme}://{}", server.address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve(async {
        stopped.await.ok();
    });
    tokio::pin!(serving);
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            served = &mut serving => {
                served?;
                return Ok(Exit::Done);
            }
            () = interrupts.next() => match stop.take() {
                // the server has gone if it cannot be told
                Some(stop) => {
                    tracing::info!("stopping: the pipelines drain; interrupt again to exit at once");
                    stop.send(()).ok();
                }
                None => return Ok(Exit::Interrupted),
            },
        }
    }
}

/// Show what `headwater serve` would be told, and from where.
#[derive(Args)]
pub(crate) struct Config {
    #[command(flatten)]
    configuration: Configuration,

    /// Show the JSON schema of the file instead.
    #[arg(long)]
    schema: bool,
}

impl Config {
    pub(crate) fn execute(self) -> anyhow::Result<Exit> {
        if self.schema {
            say!("{}", serde_json::to_string_pretty(&schema())?);
        } else {
            say!("{}", self.configuration.settle()?.to_string().trim_end());
        }
        Ok(Exit::Done)
    }
}

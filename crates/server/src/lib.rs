//! The server: what the command line can do, over REST, for people and programs, for months.
//!
//! ```text
//! HTTP ─ listener ─ guard ─ openapi (routes) ─ api ─┬─ workshop: SQL and configurations → dataflows, tables
//!                                                   ├─ jobs: dataflows → runs, their state, their output
//!                                                   └─ store: all of it on disk, secrets sealed
//! ```
//!
//! Paths, methods and JSON are those of Arroyo's API where the same thing exists (`types`), so that its clients carry
//! over. Each endpoint is one function; routes and the OpenAPI document come from its types (`openapi`).
//!
//! **Promises.** What was answered is on disk. Secrets are sealed there and never answered. Pipelines that ran when the
//! server ended, in whatever way, go on with the next one, under the same ids. Nobody reads the server's files or
//! environment through a connector unless that was allowed (`guarded`). Beyond this machine nothing is served without a token or the
//! certificates of clients. Every queue and every list has a bound.

mod answers;
mod api;
mod app;
pub mod client;
mod guard;
mod guarded;
mod jobs;
mod listener;
mod openapi;
mod output;
mod paths;
mod problem;
mod prometheus;
mod secrets;
pub mod settings;
mod store;
mod traces;
mod types;
mod variables;
mod workshop;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::get;
use headwater_engine::connector;

pub use client::Client;
pub use listener::TlsError;
pub use settings::{Layers, Settings};
pub use traces::Traces;

use crate::answers::Answers;
use crate::app::{App, Parts};
use crate::guard::Guard;
use crate::guarded::Allowed;
use crate::jobs::Jobs;
use crate::listener::Listener;
use crate::paths::AllowedPaths;
use crate::problem::Problem;
use crate::store::Store;
use crate::variables::AllowedVariables;
use crate::workshop::Workshop;

/// The folder, below the data folder, in which jobs remember what the next run must know.
const STATE_FOLDER: &str = "state";

/// How long the pipelines may drain when the server ends. What is unacknowledged then will be delivered again.
const DRAIN: Duration = Duration::from_secs(20);

/// A server that listens, and does not answer yet.
pub struct Server {
    app: App,
    listener: Listener,
}

impl Server {
    /// Opens the data folder and listens.
    ///
    /// # Errors
    /// A folder, a certificate or an address that cannot be used, or settings that would let strangers in.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let tls = listener::acceptor(&settings.tls)?;
        let token = token(&settings)?;
        let mutual_tls = settings.tls.client_ca.is_some();
        if !settings.listen.ip().is_loopback() && token.is_none() && !mutual_tls {
            bail!(
                "listening on {} lets others in: set token_file (or HEADWATER_TOKEN), or tls.client_ca",
                settings.listen
            );
        }
        if token.is_some() && tls.is_none() && !settings.listen.ip().is_loopback() {
            tracing::warn!("the token crosses the network in the clear; set tls.cert and tls.key");
        }
        let paths = AllowedPaths::new(&settings.allow_path);
        let paths = paths.map_err(|(path, error)| {
            anyhow::Error::from(error)
                .context(format!("allow_path '{}' cannot be used", path.display()))
        })?;
        let allowed = Allowed {
            paths,
            variables: AllowedVariables::new(&settings.allow_env),
        };
        let folder = &settings.data_dir;
        make_folder(folder)
            .with_context(|| format!("the data folder '{}' cannot be made", folder.display()))?;
        let store = Store::open(folder)?;
        let state = connector::State::open(folder.join(STATE_FOLDER))?;
        let limits = &settings.limits;
        let listener = Listener::bind(settings.listen, tls, limits.connections).await;
        let listener = listener.map_err(|error| {
            let taken = error.kind() == std::io::ErrorKind::AddrInUse;
            let remedy = if taken {
                "; does a server run already? --listen names another port"
            } else {
                ""
            };
            let context = format!("'{}' cannot be listened on{remedy}", settings.listen);
            anyhow::Error::from(error).context(context)
        })?;
        let app = App::new(Parts {
            guard: Guard::new(token.as_deref(), mutual_tls, limits.requests_per_second),
            store,
            state,
            workshop: Workshop::new(&headwater_engine::connectors(), &allowed),
            jobs: Jobs::default(),
            answers: Answers::default(),
            openapi: document(),
            settings,
        });
        Ok(Self { app, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Takes the pipelines up and answers, until `stop` resolves; then lets the pipelines drain, for at most twenty
    /// seconds.
    ///
    /// # Errors
    /// The network fails.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Self { app, listener } = self;
        let interrupted = jobs::interrupted(&app).await;
        let interrupted = interrupted.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        let resuming = app.clone();
        tokio::spawn(async move { jobs::resume(&resuming, interrupted).await });
        let watching = tokio::spawn(jobs::history::watch(app.clone()));
        let serving = axum::serve(listener, router(app.clone())).into_future();
        // streams of events have no end; so what is still being answered is not waited for
        let served = tokio::select! {
            served = serving => served,
            () = stop => Ok(()),
        };
        watching.abort();
        if tokio::time::timeout(DRAIN, jobs::drain(&app))
            .await
            .is_err()
        {
            tracing::warn!(
                "not all pipelines have drained; what is unacknowledged will be delivered again"
            );
        }
        Ok(served?)
    }
}

/// The OpenAPI document as JSON: `headwater serve` answers it at `/api/v1/openapi.json`.
#[must_use]
pub fn openapi() -> serde_json::Value {
    openapi::document(&api::endpoints(), api::BASE)
}

fn document() -> (String, String) {
    let document = openapi();
    (document.to_string(), openapi::page(&document))
}

fn router(app: App) -> Router {
    let documents = Router::new()
        .route("/openapi.json", get(openapi_json))
        .route("/docs", get(openapi_page));
    let api = openapi::router(&api::endpoints()).merge(documents);
    let refused = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    Router::new()
        .nest(api::BASE, api)
        .route("/", get(async || Redirect::to("/api/v1/docs")))
        .route("/metrics", get(prometheus::metrics))
        .route("/health", get(async || "ok"))
        .route("/ready", get(ready))
        .method_not_allowed_fallback(refused)
        .fallback(unknown)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            guard::guard,
        ))
        .layer(axum::middleware::from_fn(traces::trace))
        .with_state(app)
}

async fn unknown() -> Problem {
    let message = "there is no such path; /api/v1/docs tells which there are";
    Problem::new(StatusCode::NOT_FOUND, message)
}

async fn openapi_json(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        app.openapi.0.clone(),
    )
}

async fn openapi_page(State(app): State<App>) -> Html<String> {
    Html(app.openapi.1.clone())
}

/// Whether the pipelines of the server before have been taken up.
async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.jobs.are_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "starting pipelines"),
    }
}

/// The token, from the settings or a file of its own.
fn token(settings: &Settings) -> anyhow::Result<Option<String>> {
    let token = match (&settings.token, &settings.token_file) {
        (Some(_), Some(_)) => bail!("token and token_file are two tokens; set one"),
        (Some(token), None) => token.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("token_file '{}' cannot be read", path.display()))?,
        (None, None) => return Ok(None),
    };
    let token = token.trim();
    if token.len() < 16 {
        bail!("the token is too short to keep anybody out: it must have 16 characters or more");
    }
    Ok(Some(token.to_owned()))
}

/// A folder that is nobody else's.
fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

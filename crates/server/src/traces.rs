//! OpenTelemetry traces, if somebody asks for them: what the server does for whom, and how long it takes.
//!
//! ```text
//! request ─┬─ plan                           ┐
//!          ├─ pipeline start, until it runs  │
//!          ├─ pipeline stop, until it ended  ├─ spans of the target "traces" ─ tracing-opentelemetry ─ OTLP over HTTP ─► collector
//!          ├─ pipeline restart ─ these three │
//!          └─ connection test, its steps     ┘
//! ```
//!
//! A request that brings a `traceparent` goes on with that trace. SQL, configurations and rows are in no span, and what a step of a
//! connection test says, which may quote them, neither. Without a collector nobody listens to the target: a span is then a
//! comparison with a number.
//!
//! **Bounds.** At most 2,048 spans wait for the collector; while it is away, those that come are dropped, and that it is away is
//! logged once. Nothing waits for it, but the end of the server, for at most five seconds.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use headwater_engine::connector::{StepStatus, TestStep};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::client::{Client, Credentials};
use crate::jobs::{Intent, Run};
use crate::types::StopType;

/// What the spans are told apart by from those of others.
pub(crate) const TARGET: &str = "traces";

/// Below the address of a collector.
const PATH: &str = "/v1/traces";
/// How long the last spans may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The longest answer of a collector that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The way of spans to a collector.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// A way to the collector at `endpoint`, like `http://127.0.0.1:4318`. Headers, sampling, batches and attributes of the
    /// resource are those of the environment variables that OpenTelemetry has for them (`OTEL_…`). Must be called within a
    /// tokio runtime, on which is sent.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let endpoint = endpoint.trim_end_matches('/');
        let collector = Collector {
            client: Client::new(endpoint, Credentials::default())
                .with_context(|| format!("otlp_endpoint '{endpoint}'"))?,
            endpoint: endpoint.to_owned(),
            runtime: Handle::current(),
            away: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}{PATH}"))
            .build()
            .with_context(|| format!("otlp_endpoint '{endpoint}'"))?;
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let resource = match named {
            true => Resource::builder().build(),
            false => Resource::builder().with_service_name("headwater").build(),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// What a subscriber must have for spans to go that way.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let tracer = self.provider.tracer("headwater");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Sends what is left, for at most five seconds.
    pub async fn finish(self) {
        let provider = self.provider;
        let finishing =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL));
        if let Ok(Err(error)) = finishing.await {
            tracing::warn!("the last traces have not reached the collector: {error}");
        }
    }
}

/// Gives each request a span.
pub(crate) async fn trace(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = field::Empty,
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = %request.method(),
        http.route = field::Empty,
        http.response.status_code = field::Empty,
    );
    if span.is_disabled() {
        return next.run(request).await;
    }
    let mut name = request.method().to_string();
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        span.record("http.route", path.as_str());
        name = format!("{name} {}", path.as_str());
    }
    span.record("otel.name", name.as_str());
    let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
    // a trace that cannot be gone on with is a new one
    span.set_parent(parent).ok();
    let response = next.run(request).instrument(span.clone()).await;
    // a number only if it is signed
    let status = i64::from(response.status().as_u16());
    span.record("http.response.status_code", status);
    if response.status().is_server_error() {
        fail(&span);
    }
    response
}

/// Marks what a span stands for as failed.
pub(crate) fn fail(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// The spans of a run that is to end: that of its stop, and that of the restart which the stop is a part of.
pub(crate) struct Stopping {
    restart: Span,
    stop: Span,
}

impl Stopping {
    /// Begins them, in the span of who asks for it.
    pub(crate) fn new(run: &Run, mode: StopType, intent: Intent) -> Self {
        let pipeline = run.pipeline_id.as_str();
        let (caller, restarts) = (Span::current(), intent == Intent::Restart);
        let restart = match restarts {
            true => tracing::info_span!(
                target: TARGET,
                "pipeline restart",
                otel.status_code = field::Empty,
                headwater.pipeline.id = pipeline,
            ),
            false => Span::none(),
        };
        let stop = tracing::info_span!(
            target: TARGET,
            parent: if restarts { &restart } else { &caller },
            "pipeline stop",
            otel.status_code = field::Empty,
            headwater.pipeline.id = pipeline,
            headwater.job.id = run.job.id(),
            headwater.stop = mode.name(),
        );
        Self { restart, stop }
    }

    /// Ends that of the stop; gives that of the restart, in which what follows happens.
    pub(crate) fn end(self, failed: bool) -> Span {
        if failed {
            fail(&self.stop);
        }
        self.restart
    }
}

/// The span of a connection test.
pub(crate) fn connection_test(connector: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "connection test",
        otel.status_code = field::Empty,
        headwater.connector = connector,
    )
}

/// Notes a step in the span of its connection test: an event with the step's name, how it went, and how long it took.
pub(crate) fn note_step(test: &Span, step: &TestStep) {
    let status = match step.status {
        StepStatus::Ok => "ok",
        StepStatus::Warning => "warning",
        StepStatus::Failed => "failed",
    };
    let elapsed_us = i64::try_from(step.elapsed.as_micros()).unwrap_or(i64::MAX);
    let attributes = vec![
        KeyValue::new("headwater.step.status", status),
        KeyValue::new("headwater.step.elapsed_us", elapsed_us),
    ];
    test.add_event(step.step, attributes);
    if step.status == StepStatus::Failed {
        fail(test);
    }
}

/// The headers of a request as OpenTelemetry looks into them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// Whoever takes the spans. OpenTelemetry exports from a thread without tokio, so what is sent goes to the runtime.
struct Collector {
    client: Client,
    endpoint: String,
    runtime: Handle,
    away: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint)
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(
        &self,
        request: hyper::Request<Bytes>,
    ) -> Result<hyper::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let response = client.exchange(request.map(Full::new)).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok::<_, HttpError>(hyper::Response::from_parts(parts, body.to_bytes()))
        });
        let sent = match sending.await {
            Ok(sent) => sent,
            Err(error) => Err(error.into()),
        };
        self.tell(&sent);
        sent
    }
}

impl Collector {
    /// Says once that the collector is away, and once that it is there again.
    fn tell(&self, sent: &Result<hyper::Response<Bytes>, HttpError>) {
        let endpoint = &self.endpoint;
        let trouble = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_away = self.away.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(trouble) if !was_away => {
                tracing::warn!("traces do not reach the collector '{endpoint}': {trouble}");
            }
            None if was_away => tracing::info!("traces reach the collector '{endpoint}' again"),
            _ => {}
        }
    }
}

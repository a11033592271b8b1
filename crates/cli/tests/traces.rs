//! Traces, as a collector sees them: a small receiver of OTLP over HTTP, and the real command.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test"
)]
#![allow(
    dead_code,
    reason = "each test binary uses its part of the support module"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_server::client::{Client, Credentials};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use support::Headwater;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(30);
/// How many exports the receiver keeps: far more than come.
const EXPORTS_MAX: usize = 256;

/// Takes exports on a free port of this machine, and gives them on.
async fn receiver() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, exports) = mpsc::channel(EXPORTS_MAX);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-protobuf");
                    let body = request.into_body().collect().await?.to_bytes();
                    sender.send(Message::decode(body).unwrap()).await.unwrap();
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service);
            // a client that goes in the middle is not what is tested
            tokio::spawn(async move { connection.await.ok() });
        }
    });
    (url, exports)
}

/// All spans of an export, each with the name of its service.
fn spans(export: ExportTraceServiceRequest) -> Vec<(String, Span)> {
    let mut all = Vec::new();
    for resource in export.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let service = attributes.into_iter().find(|one| one.key == "service.name");
        let service = service.unwrap().value.unwrap().value.unwrap();
        let Attribute::StringValue(service) = service else {
            panic!("{service:?}");
        };
        let scopes = resource.scope_spans.into_iter();
        all.extend(
            scopes
                .flat_map(|scope| scope.spans)
                .map(|span| (service.clone(), span)),
        );
    }
    all
}

/// A server whose spans go there (waits for its end without tokio, so the receiver needs a thread of its own), and what it has been asked until it was stopped.
async fn story(endpoint: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--otlp-endpoint",
        endpoint,
        "--data-dir",
    ];
    let arguments = [&arguments[..], &[data.to_str().unwrap()]].concat();
    let mut server = Headwater::start(&arguments);
    let line = server.wait_for_line("listening on ");
    let url = line
        .split("listening on ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    let api = Client::new(&url, Credentials::default()).unwrap();
    let query = json!({ "name": "p", "query": "SELECT 1 AS geheim", "parallelism": 1 });
    let pipeline = api
        .call(Method::POST, "/api/v1/pipelines", Some(&query))
        .await
        .unwrap();
    let path = format!("/api/v1/pipelines/{}", pipeline["id"].as_str().unwrap());
    api.call(Method::GET, &path, None).await.unwrap();
    api.call(Method::GET, "/api/v1/nothing", None)
        .await
        .unwrap_err();
    // the last spans are sent when the server ends
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let finished = server.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    finished.stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_sees_what_the_server_does() {
    let (url, mut exports) = receiver().await;
    let log = story(&url).await;
    assert!(!log.contains("do not reach"), "{log}");
    exports.close();
    let mut named = BTreeMap::new();
    while let Some(export) = tokio::time::timeout(DEADLINE, exports.recv())
        .await
        .unwrap()
    {
        for (service, span) in spans(export) {
            assert_eq!(service, "headwater");
            assert!(!format!("{span:?}").contains("geheim"), "{span:?}");
            named.insert(span.name.clone(), span);
        }
    }
    let names: Vec<_> = named.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "GET",
            "GET /api/v1/pipelines/{id}",
            "POST /api/v1/pipelines",
            "pipeline start",
            "plan",
        ]
    );
    let request = &named["POST /api/v1/pipelines"];
    let attribute = |span: &Span, key: &str| {
        let found = span.attributes.iter().find(|one| one.key == key);
        format!(
            "{:?}",
            found
                .unwrap()
                .value
                .as_ref()
                .unwrap()
                .value
                .as_ref()
                .unwrap()
        )
    };
    assert_eq!(
        attribute(request, "http.response.status_code"),
        "IntValue(200)"
    );
    assert_eq!(
        attribute(&named["GET"], "http.response.status_code"),
        "IntValue(404)"
    );
    for part in ["plan", "pipeline start"] {
        assert_eq!(named[part].trace_id, request.trace_id, "{part}");
        assert_eq!(named[part].parent_span_id, request.span_id, "{part}");
        assert!(named[part].end_time_unix_nano >= named[part].start_time_unix_nano);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_harms_nobody_and_is_told_of() {
    // nobody listens on a port that was free a moment ago
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let log = story(&url).await;
    let told = format!("traces do not reach the collector '{url}'");
    assert_eq!(log.matches(&told).count(), 1, "{log}");
}

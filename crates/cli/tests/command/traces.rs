//! Traces, as a collector sees them: a small receiver of OTLP over HTTP, and the real command.

use std::time::Instant;

use headwater_server::Client;
use headwater_testkit::{Mosquitto, free_port};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{DEADLINE, Headwater, api_of, wait_for_state};

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

/// A server whose spans go there (waits for its end without tokio, so the receiver needs a thread of its own), and what it has
/// logged until it was stopped.
async fn story(endpoint: &str) -> String {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (server, url) = Headwater::serve(dir.path(), &["--otlp-endpoint", endpoint]);
    let api = api_of(&url);
    let send = async |method: Method, path: &str, body: Value| {
        let path = format!("/api/v1/{path}");
        api.call(method, &path, Some(&body)).await.unwrap()
    };
    test_connections(&api, &broker).await;
    let query = format!(
        "CREATE TABLE geheim (value TEXT) WITH (connector = 'mqtt', type = 'source', url = '{}', topic = 'geheim',
           format = 'raw_string');
         SELECT 'geheim' AS s, value FROM geheim",
        broker.url()
    );
    let post = json!({ "name": "geheim", "query": query, "parallelism": 1 });
    let pipeline = send(Method::POST, "pipelines", post).await;
    let path = format!("pipelines/{}", pipeline["id"].as_str().unwrap());
    let jobs = format!("/api/v1/{path}/jobs");
    wait_for_state(&api, &jobs, "Running").await;
    send(Method::PATCH, &path, json!({ "parallelism": 2 })).await;
    let until = Instant::now() + DEADLINE;
    while wait_for_state(&api, &jobs, "Running").await["runId"] != 2 {
        assert!(Instant::now() < until, "it was not started again");
    }
    send(Method::PATCH, &path, json!({ "stop": "immediate" })).await;
    wait_for_state(&api, &jobs, "Stopped").await;
    send(Method::PATCH, &path, json!({ "stop": "none" })).await;
    wait_for_state(&api, &jobs, "Running").await;
    api.call(Method::GET, "/api/v1/nothing", None)
        .await
        .unwrap_err();
    // the last spans are sent when the server ends
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let finished = server.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    finished.stderr
}

/// A profile that reaches nobody, and a table that reaches the broker.
async fn test_connections(api: &Client, broker: &Mosquitto) {
    let away = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let profile = json!({
        "name": "geheim", "connector": "mqtt",
        "config": { "url": away, "username": "geheim", "password": "geheim" },
    });
    let path = "/api/v1/connection_profiles/test";
    let tested = api.call(Method::POST, path, Some(&profile)).await.unwrap();
    assert_eq!(tested["error"], true);
    let profile = json!({ "name": "p", "connector": "mqtt", "config": { "url": broker.url() } });
    let path = "/api/v1/connection_profiles";
    let profile = api.call(Method::POST, path, Some(&profile)).await.unwrap();
    let table = json!({
        "name": "geheim", "connector": "mqtt", "connectionProfileId": profile["id"],
        "config": { "topic": "geheim", "type": { "source": {} } },
        "schema": { "format": { "type": "json" }, "fields": [{ "name": "n", "type": "int64" }] },
    });
    let path = "/api/v1/connection_tables/test";
    let steps = api.events(Method::POST, path, Some(&table)).await;
    let mut steps = steps.unwrap();
    let mut last = Value::Null;
    while let Some(step) = steps.next().await.unwrap() {
        last = step;
    }
    assert_eq!(last["message"], "passed");
}

/// All spans that came, and how to find one's way among them.
struct Seen(Vec<Span>);

impl Seen {
    fn only(&self, name: &str, is_it: impl Fn(&Span) -> bool) -> &Span {
        let mut found = self
            .0
            .iter()
            .filter(|span| span.name == name && is_it(span));
        let span = found.next();
        assert_eq!(found.next(), None, "{name}");
        span.unwrap_or_else(|| panic!("there is no '{name}'"))
    }

    fn within(&self, name: &str, parent: &Span) -> &Span {
        let span = self.only(name, |span| span.parent_span_id == parent.span_id);
        assert_eq!(span.trace_id, parent.trace_id, "{name}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        span
    }

    /// The spans of requests of this name, in the order of their beginning.
    fn requests(&self, name: &str) -> Vec<&Span> {
        let found = self.0.iter().filter(|span| span.name == name);
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|span| span.start_time_unix_nano);
        found
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|one| one.key == key);
    let value = found.and_then(|one| one.value.as_ref()?.value.as_ref());
    format!("{:?}", value.unwrap_or_else(|| panic!("no {key}")))
}

fn failed(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code() == StatusCode::Error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_sees_what_the_server_does() {
    let (url, mut exports) = receiver().await;
    let log = story(&url).await;
    assert!(!log.contains("do not reach"), "{log}");
    exports.close();
    let mut seen = Vec::new();
    while let Some(export) = tokio::time::timeout(DEADLINE, exports.recv())
        .await
        .unwrap()
    {
        for (service, span) in spans(export) {
            assert_eq!(service, "headwater");
            assert!(!format!("{span:?}").contains("geheim"), "{span:?}");
            seen.push(span);
        }
    }
    let seen = Seen(seen);
    let status = |span: &Span| attribute(&span.attributes, "http.response.status_code");
    assert_eq!(status(seen.only("GET", |_| true)), "IntValue(404)");
    let create = seen.only("POST /api/v1/pipelines", |_| true);
    assert_eq!(status(create), "IntValue(200)");
    for part in ["plan", "pipeline start"] {
        assert!(!failed(seen.within(part, create)));
    }
    stops_are_told(&seen);
    connection_tests_are_told(&seen);
}

/// That of a restart with what comes after it, that of somebody who wants it stopped, and that of the server's end.
fn stops_are_told(seen: &Seen) {
    let patches = seen.requests("PATCH /api/v1/pipelines/{id}");
    let [rescaled, stopped, started] = patches[..] else {
        panic!("{patches:?}");
    };
    let mode = |span: &Span| attribute(&span.attributes, "headwater.stop");
    let restart = seen.within("pipeline restart", rescaled);
    let stop = seen.within("pipeline stop", restart);
    assert_eq!(mode(stop), r#"StringValue("checkpoint")"#);
    let start = seen.within("pipeline start", restart);
    assert!(start.start_time_unix_nano >= stop.end_time_unix_nano);
    seen.within("plan", restart);
    let stop = seen.within("pipeline stop", stopped);
    assert_eq!(mode(stop), r#"StringValue("immediate")"#);
    assert!(!failed(stop));
    seen.within("pipeline start", started);
    let last = seen.only("pipeline stop", |span| span.parent_span_id.is_empty());
    assert_eq!(mode(last), r#"StringValue("checkpoint")"#);
}

fn connection_tests_are_told(seen: &Seen) {
    let steps = |path: &str| {
        let request = seen.only(&format!("POST /api/v1/{path}"), |_| true);
        let test = seen.within("connection test", request);
        let events = test.events.iter().map(|event| {
            let status = attribute(&event.attributes, "headwater.step.status");
            format!("{} {status}", event.name)
        });
        (failed(test), events.collect::<Vec<_>>())
    };
    let (failed, steps_of_profile) = steps("connection_profiles/test");
    assert!(failed);
    assert_eq!(
        steps_of_profile.last().unwrap(),
        r#"connect StringValue("failed")"#
    );
    let (failed, steps_of_table) = steps("connection_tables/test");
    assert!(!failed);
    assert!(
        steps_of_table.contains(&r#"subscribe StringValue("ok")"#.to_owned()),
        "{steps_of_table:?}"
    );
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

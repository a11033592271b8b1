//! What is measured, and who draws it.

use std::collections::BTreeSet;
use std::path::Path;

use headwater_testkit::{Mosquitto, TestClient};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Running};

/// Reads and writes at a broker, and keeps state between.
fn windows(broker: &Mosquitto) -> String {
    let url = broker.url();
    format!(
        "CREATE TABLE t (a INT, at TIMESTAMP, WATERMARK FOR at AS at)
           WITH (connector = 'mqtt', url = '{url}', topic = 'in', type = 'source', qos = 'AtLeastOnce', format = 'json',
                 receive_maximum = 50, bad_data = 'drop');
         CREATE TABLE o (n BIGINT)
           WITH (connector = 'mqtt', url = '{url}', topic = 'out', type = 'sink', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO o SELECT n FROM (
           SELECT tumble(INTERVAL '1 second') AS window, count(*) AS n FROM t GROUP BY window)"
    )
}

/// `/metrics`, as samples: name, labels, value.
struct Scrape(Vec<(String, String, f64)>);

impl Scrape {
    async fn of(server: &Running) -> Self {
        let answer = server.client.send(Method::GET, "/metrics", None).await;
        let body = answer.unwrap().into_body().collect().await.unwrap();
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name.to_owned(), labels.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _, _)| name.as_str()).collect()
    }

    /// The value of the only series of this name with this label.
    fn value(&self, name: &str, label: &str) -> Option<f64> {
        let mut fitting = self.0.iter();
        fitting
            .find(|(one, labels, _)| one == name && labels.contains(label))
            .map(|(_, _, value)| *value)
    }
}

/// A server with such a pipeline, once it has written a row.
async fn at_work() -> (Mosquitto, Running, String) {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let post = json!({
        "name": "p", "query": windows(&broker), "checkpointIntervalMicros": 1_000_000,
    });
    let pipeline = server.post("/api/v1/pipelines", post).await;
    let pipeline = pipeline["id"].as_str().unwrap().to_owned();
    server.wait_for_state(&pipeline, "Running").await;
    let mut client = TestClient::connect(&broker).await.unwrap();
    client.subscribe("out", 1).await.unwrap();
    for payload in [r#"{"a": 1, "at": 0}"#, "no json", r#"{"a": 2, "at": 5000}"#] {
        client.publish("in", payload, 1, false).await.unwrap();
    }
    let row = client.recv(DEADLINE).await.unwrap();
    assert_eq!(row.text(), r#"{"n":1}"#);
    // a counter may be read before the one who counts has come to it
    let late = r#"{"a": 3, "at": 1}"#;
    client.publish("in", late, 1, false).await.unwrap();
    let until = tokio::time::Instant::now() + DEADLINE;
    let counted = async || {
        let scrape = Scrape::of(&server).await;
        let unacknowledged =
            |kind| scrape.value("headwater_operator_unacknowledged_messages", kind) == Some(0.0);
        let late = scrape.value("headwater_operator_late_rows_total", r#"kind="stateful""#);
        late == Some(1.0) && unacknowledged(r#"kind="source""#) && unacknowledged(r#"kind="sink""#)
    };
    while !counted().await {
        assert!(
            tokio::time::Instant::now() < until,
            "the late row is not counted"
        );
        tokio::task::yield_now().await;
    }
    (broker, server, pipeline)
}

#[tokio::test]
async fn every_task_is_measured() {
    let (_broker, server, _pipeline) = at_work().await;
    let scrape = Scrape::of(&server).await;
    let check = |kind: &str, measure: &str, expect: f64| {
        let name = format!("headwater_operator_{measure}");
        let value = scrape.value(&name, &format!("kind=\"{kind}\""));
        assert_eq!(value, Some(expect), "{kind} {measure}");
    };
    check("source", "messages_total", 4.0);
    check("source", "rows_total", 3.0);
    check("source", "bad_data_total", 1.0);
    check("source", "reconnects_total", 0.0);
    check("source", "window_messages", 50.0);
    check("stateful", "rows_total", 3.0);
    check("stateful", "rows_out_total", 1.0);
    check("stateful", "batches_out_total", 1.0);
    check("stateful", "late_rows_total", 1.0);
    check("stateful", "spilled_bytes", 0.0);
    check("sink", "messages_total", 1.0);
    check("sink", "rows_total", 1.0);
    check("sink", "batches_total", 1.0);
    check("sink", "bytes_total", 7.0);
    // what Mosquitto lets a client have under way, unless it is configured otherwise
    check("sink", "window_messages", 20.0);
    let positive = |name: &str, label: &str| {
        let value = scrape.value(name, label);
        assert!(
            value.is_some_and(|value| value > 0.0),
            "{name} {label}: {value:?}"
        );
    };
    for kind in ["source", "stateful", "sink"] {
        positive(
            "headwater_operator_cpu_seconds_total",
            &format!("kind=\"{kind}\""),
        );
    }
    positive("headwater_worker_cpu_seconds_total", "worker=\"0\"");
    positive("headwater_operator_state_bytes", "kind=\"stateful\"");
    positive(
        "headwater_operator_watermark_lag_seconds",
        "kind=\"stateful\"",
    );
    positive("headwater_pipeline_up", "");
    positive("process_cpu_seconds_total", "");
}

#[tokio::test]
async fn the_rates_of_the_last_minutes_are_told_for_every_operator() {
    let (_broker, server, pipeline) = at_work().await;
    let jobs = server
        .get(&format!("/api/v1/pipelines/{pipeline}/jobs"))
        .await;
    let job = jobs["data"][0]["id"].as_str().unwrap();
    let groups = server
        .get(&format!(
            "/api/v1/pipelines/{pipeline}/jobs/{job}/operator_metric_groups"
        ))
        .await;
    let measures = |operator: &Value| -> Vec<String> {
        let groups = operator["metricGroups"].as_array().unwrap().iter();
        groups
            .map(|group| group["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let operators = groups["data"].as_array().unwrap();
    let all: Vec<_> = operators.iter().map(measures).collect();
    assert_eq!(
        json!(all),
        json!([
            [
                "bytes_recv",
                "messages_recv",
                "messages_sent",
                "backpressure",
                "cpu"
            ],
            ["messages_recv", "messages_sent", "backpressure", "cpu"],
            [
                "messages_recv",
                "bytes_sent",
                "messages_sent",
                "backpressure",
                "cpu"
            ],
        ])
    );
}

#[tokio::test]
async fn the_dashboard_draws_what_there_is() {
    let (_broker, server, _pipeline) = at_work().await;
    let until = tokio::time::Instant::now() + DEADLINE;
    let mut scrape = Scrape::of(&server).await;
    while scrape
        .value("headwater_pipeline_checkpoint_bytes", "")
        .is_none()
    {
        assert!(
            tokio::time::Instant::now() < until,
            "there is no checkpoint"
        );
        scrape = Scrape::of(&server).await;
    }
    let names = scrape.names();
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/docker/grafana/headwater.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queries: Vec<&str> = targets
        .map(|target| &target["expr"])
        .chain(variables.iter().map(|variable| &variable["query"]["query"]))
        .map(|query| query.as_str().unwrap())
        .collect();
    let mut drawn = BTreeSet::new();
    for query in &queries {
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let metrics =
            words.filter(|word| word.starts_with("headwater_") || word.starts_with("process_"));
        let metrics: Vec<_> = metrics.collect();
        assert!(!metrics.is_empty(), "{query}");
        for metric in metrics {
            assert!(names.contains(metric), "{query}: there is no {metric}");
            drawn.insert(metric);
        }
    }
    assert!(drawn.len() > 10, "{drawn:?}");
}

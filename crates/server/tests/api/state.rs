//! State: what a pipeline with windows keeps when it is divided anew and when the server ends.

use std::time::Duration;

use headwater_testkit::{Mosquitto, TestClient};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;

use crate::support::{DEADLINE, Running, settings};

async fn publish(client: &TestClient, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let payload = format!("{{\"n\":{n}}}");
        client.publish("in", payload, 1, false).await.unwrap();
    }
}

#[tokio::test]
async fn open_windows_outlive_another_parallelism_and_the_server() {
    let broker = Mosquitto::start().unwrap();
    let url = broker.url();
    let server = Running::start().await;
    let query = format!(
        "CREATE TABLE t (n BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(n * 10)) STORED, WATERMARK FOR at AS at) WITH (
           connector = 'mqtt', url = '{url}', topic = 'in', type = 'source', qos = 'AtLeastOnce', format = 'json');
         CREATE TABLE counts WITH (
           connector = 'mqtt', url = '{url}', topic = 'counts', type = 'sink', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO counts SELECT count(DISTINCT n) AS n FROM t GROUP BY tumble(INTERVAL '1 second');"
    );
    let pipeline = server.pipeline(&query).await;
    server.wait_for_state(&pipeline, "Running").await;
    let client = TestClient::connect(&broker).await.unwrap();
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("counts", 1).await.unwrap();
    publish(&client, 0..10).await;

    let path = format!("/api/v1/pipelines/{pipeline}");
    let change = json!({ "parallelism": 2, "checkpointIntervalMicros": 1_000_000 });
    server.patch(&path, change).await;
    server.wait_for_state(&pipeline, "Running").await;
    publish(&client, 10..20).await;
    let jobs = server.get(&format!("{path}/jobs")).await;
    let job = jobs["data"][0]["id"].as_str().unwrap();
    let checkpoints = format!("{path}/jobs/{job}/checkpoints");
    let taken = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let list = server.get(&checkpoints).await;
            if let Some(last) = list["data"].as_array().unwrap().last() {
                break last.clone();
            }
        }
    };
    let taken = tokio::time::timeout(DEADLINE, taken).await.unwrap();
    assert_eq!(taken["backend"], "sqlite");
    assert!(taken["startTime"].as_u64() < taken["finishTime"].as_u64());

    let metrics = server
        .client
        .send(Method::GET, "/metrics", None)
        .await
        .unwrap();
    let metrics = metrics.into_body().collect().await.unwrap().to_bytes();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    for name in ["age_seconds", "bytes", "seconds"] {
        let sample = format!("\nheadwater_pipeline_checkpoint_{name}{{");
        assert!(metrics.contains(&sample), "{name}: {metrics}");
    }

    let dir = server.stop().await;
    let configured = settings(dir.path());
    let server = Running::with(dir, configured).await;
    server.wait_for_state(&pipeline, "Running").await;
    publish(&client, 20..30).await;
    // which closes the window of the first second
    publish(&client, 100..101).await;
    assert_eq!(results.recv(DEADLINE).await.unwrap().text(), r#"{"n":30}"#);

    // gracefully stopped, it answers what is open, and keeps nothing
    server.patch(&path, json!({ "stop": "graceful" })).await;
    assert_eq!(results.recv(DEADLINE).await.unwrap().text(), r#"{"n":1}"#);
    server.wait_for_state(&pipeline, "Stopped").await;
    server.patch(&path, json!({ "stop": "none" })).await;
    server.wait_for_state(&pipeline, "Running").await;
    publish(&client, 100..102).await;
    publish(&client, 200..201).await;
    assert_eq!(results.recv(DEADLINE).await.unwrap().text(), r#"{"n":2}"#);
}

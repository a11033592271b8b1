//! Jobs: what runs, what it shows, and what went wrong.

use headwater_server::Settings;
use headwater_testkit::{Mosquitto, TestClient};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Running, settings};

async fn job_path(server: &Running, pipeline: &str) -> String {
    let jobs = server
        .get(&format!("/api/v1/pipelines/{pipeline}/jobs"))
        .await;
    let job = jobs["data"][0]["id"].as_str().unwrap();
    format!("/api/v1/pipelines/{pipeline}/jobs/{job}")
}

#[tokio::test]
async fn output_comes_as_events_and_counters_count() {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let query = format!(
        "CREATE TABLE t (a INT) WITH (connector = 'mqtt', url = '{}', topic = 'in', type = 'source',
         format = 'json', bad_data = 'drop'); SELECT a + 1 AS b FROM t",
        broker.url()
    );
    let pipeline = server.pipeline(&query).await;
    server.wait_for_state(&pipeline, "Running").await;
    let path = job_path(&server, &pipeline).await;
    let output = format!("{path}/output");
    let mut events = server
        .client
        .events(Method::GET, &output, None)
        .await
        .unwrap();
    let client = TestClient::connect(&broker).await.unwrap();
    for payload in [r#"{"a": 1}"#, "no json", r#"{"a": 2}"#] {
        client.publish("in", payload, 1, false).await.unwrap();
    }
    let mut next = async || {
        tokio::time::timeout(DEADLINE, events.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    };
    assert_eq!(next().await["value"], r#"{"b":2}"#);
    assert_eq!(next().await["value"], r#"{"b":3}"#);

    let metrics = server
        .client
        .send(Method::GET, "/metrics", None)
        .await
        .unwrap();
    let metrics = metrics.into_body().collect().await.unwrap().to_bytes();
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    let labels =
        format!("pipeline=\"p\",pipeline_id=\"{pipeline}\",operator=\"source_t\",kind=\"source\"");
    for (name, value) in [
        ("messages_total", 3),
        ("rows_total", 2),
        ("bad_data_total", 1),
    ] {
        let line = format!("headwater_operator_{name}{{{labels}}} {value}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(metrics.contains(&format!(
        "headwater_pipeline_up{{pipeline=\"p\",pipeline_id=\"{pipeline}\"}} 1\n"
    )));
    assert!(metrics.contains("\nprocess_cpu_seconds_total "));
    assert!(metrics.contains("\nprocess_resident_memory_bytes "));

    assert_eq!(
        server.get(&format!("{path}/checkpoints")).await,
        json!({ "data": [] })
    );
    let groups = server.get(&format!("{path}/operator_metric_groups")).await;
    let source = &groups["data"][0];
    assert_eq!(source["operatorId"], "source_t");
    assert_eq!(source["metricGroups"][0]["name"], "bytes_recv");
}

#[tokio::test]
async fn what_goes_wrong_is_told_and_outlives_the_server() {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let query = format!(
        "CREATE TABLE t (a INT) WITH (connector = 'mqtt', url = '{}', topic = 'in', type = 'source',
         format = 'json', bad_data = 'fail'); SELECT a FROM t",
        broker.url()
    );
    let pipeline = server.pipeline(&query).await;
    server.wait_for_state(&pipeline, "Running").await;
    let client = TestClient::connect(&broker).await.unwrap();
    client.publish("in", "no json", 1, false).await.unwrap();
    let failed = server.wait_for_state(&pipeline, "Failed").await;
    assert_eq!(failed["runningDesired"], false);
    assert!(
        failed["failureMessage"]
            .as_str()
            .unwrap()
            .contains("bad data"),
        "{failed}"
    );
    let path = job_path(&server, &pipeline).await;
    let errors = server.get(&format!("{path}/errors")).await;
    assert_eq!(errors["hasMore"], false);
    assert_eq!(errors["data"][0]["operatorId"], "source_t");
    assert_eq!(errors["data"][0]["level"], "error");

    let dir = server.stop().await;
    let configured = settings(dir.path());
    let server = Running::with(dir, configured).await;
    assert_eq!(server.get(&format!("{path}/errors")).await, errors);
    server.wait_for_state(&pipeline, "Failed").await;
    // and whoever has mended it starts it again
    server
        .patch(
            &format!("/api/v1/pipelines/{pipeline}"),
            json!({ "stop": "none" }),
        )
        .await;
    let running = server.wait_for_state(&pipeline, "Running").await;
    assert_eq!(running["failureMessage"], Value::Null);
}

#[tokio::test]
async fn whoever_waits_for_a_broker_is_told_so() {
    let mut broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let query = format!(
        "CREATE TABLE t (a INT) WITH (connector = 'mqtt', url = '{}', topic = 'in', type = 'source', format = 'json');
         SELECT a FROM t",
        broker.url()
    );
    broker.kill().unwrap();
    let pipeline = server.pipeline(&query).await;
    let path = job_path(&server, &pipeline).await;
    let errors = server
        .wait_for(&format!("{path}/errors"), |errors| {
            errors["data"][0].is_object()
        })
        .await;
    let warning = &errors["data"][0];
    assert_eq!(
        (
            &warning["level"],
            &warning["operatorId"],
            &warning["message"]
        ),
        (
            &json!("warn"),
            &json!("source_t"),
            &json!("not connected; trying again until it works")
        )
    );
    let details = warning["details"].as_str().unwrap();
    assert!(details.contains("cannot connect to"), "{details}");
    server.wait_for_state(&pipeline, "Scheduling").await;
}

#[tokio::test]
async fn jobs_are_listed_and_others_are_not_found() {
    let server = Running::start().await;
    let first = server.pipeline("SELECT 1 AS a").await;
    let second = server.pipeline("SELECT 2 AS a").await;
    let jobs = server.get("/api/v1/jobs").await;
    let pipelines: Vec<_> = jobs["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["pipelineId"])
        .collect();
    assert_eq!(pipelines, [&json!(second), &json!(first)]);
    let foreign = job_path(&server, &first).await.replace(&first, &second);
    for what in ["errors", "output", "checkpoints", "operator_metric_groups"] {
        let refused = server
            .refused(Method::GET, &format!("{foreign}/{what}"), None)
            .await;
        assert_eq!(refused, "404: no job has this id");
        let path = format!("/api/v1/pipelines/pl_none/jobs/job_none/{what}");
        assert_eq!(
            server.refused(Method::GET, &path, None).await,
            "404: no pipeline has this id"
        );
    }
}

#[tokio::test]
async fn a_pipeline_without_a_bare_select_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let configured: Settings = settings(dir.path());
    let server = Running::with(dir, configured).await;
    let pipeline = server
        .pipeline(
            "CREATE TABLE o (a INT) WITH (connector = 'blackhole'); INSERT INTO o SELECT 1 AS a",
        )
        .await;
    let output = format!("{}/output", job_path(&server, &pipeline).await);
    insta::assert_snapshot!(server.refused(Method::GET, &output, None).await, @"400: the pipeline shows no rows: it has no bare SELECT");
}

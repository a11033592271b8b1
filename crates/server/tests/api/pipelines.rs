//! Pipelines: what becomes of SQL.

use headwater_server::{Settings, settings::Limits};
use headwater_testkit::Mosquitto;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{Running, all, settings};

const PATH: &str = "/api/v1/pipelines";

/// Never ends.
const ENDLESS: &str =
    "CREATE TABLE t WITH (connector = 'impulse', event_rate = '10'); SELECT counter FROM t";

/// Ends by itself.
const SHORT: &str = "SELECT 1 AS a";

#[tokio::test]
async fn a_query_is_validated_with_its_graph_or_with_places() {
    let server = Running::start().await;
    let path = format!("{PATH}/validate_query");
    let good = server.post(&path, json!({ "query": ENDLESS })).await;
    let ids: Vec<_> = good["graph"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| &n["nodeId"])
        .collect();
    assert_eq!(ids.first().unwrap(), &"source_t");
    assert_eq!(good["graph"]["edges"][0]["srcId"], "source_t");
    assert_eq!(good["errors"], json!([]));

    let bad = server
        .post(&path, json!({ "query": "\nSELECT b\nFROM nothing" }))
        .await;
    assert_eq!(bad["graph"], Value::Null);
    insta::assert_snapshot!(bad["diagnostics"].to_string(), @r#"[{"message":"table 'nothing' not found","line":3,"column":6,"hint":"create it with CREATE TABLE … WITH (connector = '…', …)"}]"#);
    assert_eq!(bad["errors"].as_array().unwrap().len(), 1);
    let nothing = server
        .post(
            &path,
            json!({ "query": "CREATE TABLE t WITH (connector = 'impulse')" }),
        )
        .await;
    insta::assert_snapshot!(nothing["errors"].to_string(), @r#"["nothing to run: the text has neither INSERT nor SELECT"]"#);
    let udfs = json!({ "query": SHORT, "udfs": [{ "definition": "fn f() {}" }] });
    insta::assert_snapshot!(server.refused(Method::POST, &path, Some(udfs)).await, @"400: user-defined functions are not supported");
}

#[tokio::test]
async fn a_pipeline_runs_stops_and_starts() {
    let server = Running::start().await;
    let id = server.pipeline(ENDLESS).await;
    let path = format!("{PATH}/{id}");
    let first = server.wait_for_state(&id, "Running").await;
    assert_eq!(
        (&first["runId"], &first["runningDesired"]),
        (&json!(1), &json!(true))
    );
    let shown = server.get(&path).await;
    assert_eq!(
        (&shown["action"], &shown["actionText"]),
        (&json!("checkpoint"), &json!("Stop"))
    );

    for stop in ["graceful", "checkpoint", "immediate", "force"] {
        let stopping = server.patch(&path, json!({ "stop": stop })).await;
        assert_eq!(stopping["stop"], stop);
        let stopped = server.wait_for_state(&id, "Stopped").await;
        assert_eq!(stopped["runningDesired"], false);
        assert!(stopped["finishTime"].as_u64() >= stopped["startTime"].as_u64());
        server.patch(&path, json!({ "stop": "none" })).await;
        let again = server.wait_for_state(&id, "Running").await;
        assert_eq!(again["id"], first["id"]);
    }
    assert_eq!(server.wait_for_state(&id, "Running").await["runId"], 5);
}

#[tokio::test]
async fn a_pipeline_is_restarted_and_rescaled() {
    let server = Running::start().await;
    let id = server.pipeline(ENDLESS).await;
    let path = format!("{PATH}/{id}");
    let run = async |n: u64| {
        let jobs = format!("{path}/jobs");
        let right =
            |jobs: &Value| jobs["data"][0]["runId"] == n && jobs["data"][0]["state"] == "Running";
        server.wait_for(&jobs, right).await
    };
    run(1).await;
    let misspelt = json!({ "paralellism": 2 });
    insta::assert_snapshot!(server.refused(Method::PATCH, &path, Some(misspelt)).await, @"400: the body: unknown field `paralellism`, expected one of `parallelism`, `checkpointIntervalMicros`, `stop` at line 1 column 14");
    server.post(&format!("{path}/restart"), json!({})).await;
    run(2).await;
    server
        .post(&format!("{path}/restart"), json!({ "force": true }))
        .await;
    run(3).await;
    server.patch(&path, json!({ "parallelism": 2 })).await;
    run(4).await;
    assert_eq!(
        server.get(&path).await["graph"]["nodes"][0]["parallelism"],
        2
    );
    // what is so already changes nothing
    server
        .patch(
            &path,
            json!({ "parallelism": 2, "stop": "none", "checkpointIntervalMicros": 5_000_000 }),
        )
        .await;
    assert_eq!(
        server.get(&path).await["checkpointIntervalMicros"],
        5_000_000
    );
    run(4).await;
}

#[tokio::test]
async fn a_pipeline_ends_by_itself_and_is_forgotten() {
    let server = Running::start().await;
    let id = server.pipeline(SHORT).await;
    server.wait_for_state(&id, "Finished").await;
    let path = format!("{PATH}/{id}");
    assert_eq!(server.get(&path).await["actionText"], "Finished");
    server.delete(&path).await;
    insta::assert_snapshot!(server.refused(Method::GET, &path, None).await, @"404: no pipeline has this id");
    insta::assert_snapshot!(server.refused(Method::DELETE, &path, None).await, @"404: no pipeline has this id");
}

#[tokio::test]
async fn a_pipeline_that_runs_is_not_forgotten() {
    let server = Running::start().await;
    let id = server.pipeline(ENDLESS).await;
    let refused = server
        .refused(Method::DELETE, &format!("{PATH}/{id}"), None)
        .await;
    insta::assert_snapshot!(refused, @r#"409: the pipeline runs; stop it first (PATCH {"stop": "checkpoint"}), and wait until its job has stopped"#);
}

#[tokio::test]
async fn what_is_wrong_with_a_pipeline_is_told_and_nothing_is_kept() {
    let server = Running::start().await;
    let check = async |change: Value| {
        let mut body = json!({ "name": "p", "query": SHORT, "parallelism": 1 });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        server.refused(Method::POST, PATH, Some(body)).await
    };
    insta::assert_snapshot!(check(json!({ "query": "SELECT" })).await, @"400: 1:7: expected an expression, found the end of the statement");
    insta::assert_snapshot!(check(json!({ "query": "" })).await, @"400: nothing to run: the text has neither INSERT nor SELECT");
    insta::assert_snapshot!(check(json!({ "name": " " })).await, @"400: the name must have 1 to 200 characters, none of them a control character");
    insta::assert_snapshot!(check(json!({ "parallelism": 0 })).await, @"400: parallelism must be from 1 to 64");
    insta::assert_snapshot!(check(json!({ "parallelism": -1 })).await, @"400: the body: invalid value: integer `-1`, expected u64 at line 1 column 52");
    let list = server
        .refused(Method::POST, PATH, Some(json!(["p", "SELECT 1"])))
        .await;
    assert_eq!(list, "400: the body must be a JSON object");
    insta::assert_snapshot!(check(json!({ "checkpointIntervalMicros": 1 })).await, @"400: checkpointIntervalMicros must be from a second to a day");
    assert_eq!(
        server.get(PATH).await,
        json!({ "data": [], "hasMore": false })
    );
    let check = async |body: Value| {
        let id = server.pipeline(SHORT).await;
        server
            .refused(Method::PATCH, &format!("{PATH}/{id}"), Some(body))
            .await
    };
    insta::assert_snapshot!(check(json!({ "stop": "now" })).await, @"400: the body: unknown variant `now`, expected one of `none`, `checkpoint`, `graceful`, `immediate`, `force` at line 1 column 13");
    insta::assert_snapshot!(check(json!({ "parallelism": 1000 })).await, @"400: parallelism must be from 1 to 64");
}

#[tokio::test]
async fn secrets_in_sql_are_not_told() {
    let server = Running::start().await;
    let id = server
        .pipeline(
            "CREATE TABLE t (a INT) WITH (connector = 'mqtt', url = 'mqtt://127.0.0.1:1',
             username = 'u', password = 'geheim', topic = 'a', type = 'source', format = 'json'); SELECT a FROM t",
        )
        .await;
    let shown = server.get(&format!("{PATH}/{id}")).await.to_string();
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(shown.contains("password = '******'"), "{shown}");
}

#[tokio::test]
async fn a_preview_shows_rows_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.json");
    let configured = Settings {
        allow_path: vec![dir.path().to_owned()],
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    let query = format!(
        "CREATE TABLE o (a INT) WITH (connector = 'single_file', type = 'sink', path = '{}', format = 'json');
         INSERT INTO o SELECT 7 AS a",
        file.display()
    );
    let preview = server
        .post(&format!("{PATH}/preview"), json!({ "query": query }))
        .await;
    assert_eq!(preview["preview"], true);
    let id = preview["id"].as_str().unwrap();
    let job = server.get(&format!("{PATH}/{id}/jobs")).await["data"][0]["id"].clone();
    let output = format!("{PATH}/{id}/jobs/{}/output", job.as_str().unwrap());
    let rows = all(server
        .client
        .events(Method::GET, &output, None)
        .await
        .unwrap())
    .await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["operatorId"], &rows[0]["value"]),
        (&json!("sink_o"), &json!(r#"{"a":7}"#))
    );
    assert!(!file.exists());
    // what is tried out is no job, and no pipeline, among the others
    assert_eq!(server.get("/api/v1/jobs").await, json!({ "data": [] }));
    assert_eq!(server.get(PATH).await["data"], json!([]));
    let as_arroyo = json!({ "name": "p", "query": query, "parallelism": 1, "preview": true });
    let tried = server.post(PATH, as_arroyo).await;
    assert_eq!(tried["preview"], true);
    server
        .wait_for_state(tried["id"].as_str().unwrap(), "Finished")
        .await;
    assert!(!file.exists());
    let write = json!({ "query": query, "enableSinks": true });
    let written = server.post(&format!("{PATH}/preview"), write).await;
    server
        .wait_for_state(written["id"].as_str().unwrap(), "Finished")
        .await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"a\":7}\n");
}

#[tokio::test]
async fn what_a_job_remembers_goes_with_its_pipeline() {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let query = format!(
        "CREATE TABLE t (a INT) WITH (connector = 'mqtt', url = '{}', topic = 'in', type = 'source', qos = 'AtLeastOnce',
         clean_start = 'false', format = 'json'); SELECT a FROM t",
        broker.url()
    );
    let kept = server.pipeline(&query).await;
    let deleted = server.pipeline(&query).await;
    let folder = server.dir.path().join("data/state");
    let jobs = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    server.wait_for_state(&kept, "Running").await;
    let job = server.wait_for_state(&deleted, "Running").await;
    assert_eq!(jobs().len(), 2);
    let path = format!("{PATH}/{deleted}");
    server.patch(&path, json!({ "stop": "immediate" })).await;
    server.wait_for_state(&deleted, "Stopped").await;
    server.delete(&path).await;
    assert_eq!(jobs().len(), 1);
    assert_ne!(jobs()[0], job["id"].as_str().unwrap());
}

#[tokio::test]
async fn there_are_as_many_pipelines_as_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        pipelines: 1,
        ..Limits::default()
    };
    let configured = Settings {
        limits,
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    server.pipeline(SHORT).await;
    let body = json!({ "name": "p", "query": SHORT, "parallelism": 1 });
    insta::assert_snapshot!(server.refused(Method::POST, PATH, Some(body)).await, @"409: there are 1 pipelines, as many as limits.pipelines allows");
}

#[tokio::test]
async fn pipelines_go_on_with_the_next_server() {
    let server = Running::start().await;
    let running = server.pipeline(ENDLESS).await;
    let stopped = server.pipeline(ENDLESS).await;
    let finished = server.pipeline(SHORT).await;
    server
        .patch(&format!("{PATH}/{stopped}"), json!({ "stop": "graceful" }))
        .await;
    server.wait_for_state(&stopped, "Stopped").await;
    server.wait_for_state(&finished, "Finished").await;
    let before = server.wait_for_state(&running, "Running").await;
    let dir = server.stop().await;

    let configured = settings(dir.path());
    let server = Running::with(dir, configured).await;
    let jobs = format!("{PATH}/{running}/jobs");
    let after = server
        .wait_for(&jobs, |jobs| jobs["data"][0]["runId"] == 2)
        .await;
    assert_eq!(after["data"][0]["id"], before["id"]);
    server.wait_for_state(&running, "Running").await;
    assert_eq!(server.wait_for_state(&stopped, "Stopped").await["runId"], 1);
    assert_eq!(
        server.wait_for_state(&finished, "Finished").await["runId"],
        1
    );
}

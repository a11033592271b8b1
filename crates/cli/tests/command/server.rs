//! One story, through a real broker and the real command: a server is told, killed, and goes on.

use headwater_testkit::{Mosquitto, TestClient};
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Headwater, api_of, file, run, wait_for_state};

#[tokio::test]
async fn a_server_that_is_killed_goes_on_and_loses_nothing() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (server, url) = Headwater::serve(&data, &[]);

    // create a profile and test it
    // a name that the server takes from its environment: variables that begin so are allowed
    let config = json!({ "url": broker.url(), "username": "{{ HEADWATER_VAR_USER }}" });
    let profile = json!({ "name": "plant", "connector": "mqtt", "config": config });
    let profile = file(dir.path(), "profiles.json", &json!([profile]).to_string());
    let profile = profile.to_str().unwrap();
    let command = |args: &[&str]| run(&[&["profile", "--server", &url], args].concat());
    assert!(command(&["test", profile]).stdout.contains("  passed\n"));
    assert_eq!(
        command(&["create", profile]).stdout,
        "profile 'plant' is kept\n"
    );
    let twice = command(&["create", profile]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(
        twice.stderr.contains("'plant' exists already"),
        "{}",
        twice.stderr
    );
    assert!(command(&["list"]).stdout.contains(&broker.url()));

    // make a table, start a pipeline
    let api = api_of(&url);
    let profiles = api
        .call(Method::GET, "/api/v1/connection_profiles", None)
        .await
        .unwrap();
    let table = json!({
        "name": "readings", "connector": "mqtt", "connectionProfileId": profiles["data"][0]["id"],
        "config": { "topic": "in", "qos": "AtLeastOnce", "type": { "source": { "clean_start": false } } },
        "schema": { "format": { "type": "json" }, "fields": [{ "name": "n", "type": "int64" }] },
    });
    api.call(Method::POST, "/api/v1/connection_tables", Some(&table))
        .await
        .unwrap();
    let query = "CREATE TABLE o (n BIGINT) WITH (connector = 'mqtt', connection_profile = 'plant', topic = 'out',
                 qos = 'AtLeastOnce', type = 'sink', format = 'json');
                 INSERT INTO o SELECT n * 10 AS n FROM readings; SELECT n FROM readings";
    let pipeline = json!({ "name": "tenfold", "query": query, "parallelism": 1 });
    let pipeline = api
        .call(Method::POST, "/api/v1/pipelines", Some(&pipeline))
        .await
        .unwrap();
    let jobs = format!(
        "/api/v1/pipelines/{}/jobs",
        pipeline["id"].as_str().unwrap()
    );
    let before = wait_for_state(&api, &jobs, "Running").await;

    // see its output as events
    let output = format!("{jobs}/{}/output", before["id"].as_str().unwrap());
    let mut events = api.events(Method::GET, &output, None).await.unwrap();
    let mut broker_client = TestClient::connect(&broker).await.unwrap();
    broker_client.subscribe("out", 1).await.unwrap();
    broker_client
        .publish("in", r#"{"n": 1}"#, 1, false)
        .await
        .unwrap();
    let event = tokio::time::timeout(DEADLINE, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(event["value"], r#"{"n":1}"#);
    assert_eq!(
        broker_client.recv(DEADLINE).await.unwrap().text(),
        r#"{"n":10}"#
    );

    // kill the server; what is published now waits at the broker, in the job's session
    server.kill();
    broker_client
        .publish("in", r#"{"n": 2}"#, 1, false)
        .await
        .unwrap();
    let (server, url) = Headwater::serve(&data, &[]);
    let api = api_of(&url);
    let after = wait_for_state(&api, &jobs, "Running").await;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["runId"], 2);
    // the first message may come again, if the crash was quicker than its acknowledgement
    let message = loop {
        let message = broker_client.recv(DEADLINE).await.unwrap().text();
        if message != r#"{"n":10}"# {
            break message;
        }
    };
    assert_eq!(message, r#"{"n":20}"#);

    // a profile that is used stays; and a server that is asked to end drains
    let command = |args: &[&str]| run(&[&["profile", "--server", &url], args].concat());
    let used = command(&["delete", "plant"]);
    assert_eq!(used.status.code(), Some(2));
    assert!(used.stderr.contains("is used by"), "{}", used.stderr);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let finished = server.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
}

#[test]
fn config_tells_what_holds_and_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "headwater.toml",
        "listen = '127.0.0.1:1'\n[limits]\npipelines = 3\n",
    );
    let path = path.to_str().unwrap();
    let shown = run(&["config", "--config", path, "--listen", "127.0.0.1:2"]);
    assert!(shown.status.success(), "{}", shown.stderr);
    assert!(
        shown
            .stdout
            .contains("listen = \"127.0.0.1:2\"  # --listen\n"),
        "{}",
        shown.stdout
    );
    assert!(
        shown
            .stdout
            .contains(&format!("limits.pipelines = 3  # file '{path}'\n"))
    );
    std::fs::write(path, "listn = ''").unwrap();
    let wrong = run(&["config", "--config", path]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        wrong.stderr.contains("did you mean 'listen'?"),
        "{}",
        wrong.stderr
    );
    let schema = run(&["config", "--schema"]);
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    assert_eq!(schema["title"], "Settings");
}

#[test]
fn a_token_that_is_missing_or_wrong_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let token = |name: &str, token: &str| file(dir.path(), name, token).display().to_string();
    let (right, wrong) = (
        token("a", "0123456789abcdef"),
        token("b", "0123456789abcdeg"),
    );
    let data = dir.path().join("data");
    let (_server, url) = Headwater::serve(&data, &["--token-file", &right]);
    let list = |more: &[&str]| run(&[&["profile", "list", "--server", &url], more].concat());
    let missing = list(&[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        missing
            .stderr
            .contains("--token-file or HEADWATER_TOKEN: a token is needed"),
        "{}",
        missing.stderr
    );
    let refused = list(&["--token-file", &wrong]);
    assert!(
        refused.stderr.contains("not that of this server"),
        "{}",
        refused.stderr
    );
    assert!(list(&["--token-file", &right]).status.success());
}

#[test]
fn a_server_that_is_not_there_is_said_to_be() {
    let refused = run(&["profile", "--server", "http://127.0.0.1:1", "list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused
            .stderr
            .contains("the server 'http://127.0.0.1:1' cannot be reached"),
        "{}",
        refused.stderr
    );
    let wrong = run(&["profile", "--server", "here", "list"]);
    assert_eq!(wrong.status.code(), Some(2));
}

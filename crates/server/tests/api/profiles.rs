//! Connection profiles.

use headwater_testkit::Mosquitto;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::Running;

const PATH: &str = "/api/v1/connection_profiles";

fn post(name: &str, config: Value) -> Value {
    json!({ "name": name, "connector": "mqtt", "config": config })
}

#[tokio::test]
async fn a_profile_is_kept_listed_and_forgotten_and_its_secrets_are_not_told() {
    let server = Running::start().await;
    let config = json!({ "url": "mqtt://u:geheim@h", "password": "geheim", "username": "{{ HEADWATER_VAR_USER }}" });
    let created = server.post(PATH, post("plant", config)).await;
    let shown = json!({ "url": "mqtt://u:********@h", "password": "********", "username": "{{ HEADWATER_VAR_USER }}" });
    assert_eq!(created["config"], shown);
    assert_eq!(created["description"], "mqtt://u:********@h");
    let listed = server.get(PATH).await;
    assert_eq!(listed, json!({ "data": [created] }));
    server
        .delete(&format!("{PATH}/{}", created["id"].as_str().unwrap()))
        .await;
    assert_eq!(server.get(PATH).await, json!({ "data": [] }));
    // and on disk they are sealed
    let dir = server.stop().await;
    for file in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let bytes = match std::fs::read(path) {
            // the database's log goes when its last connection has been closed, which may be now
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        assert!(!bytes.windows(6).any(|part| part == b"geheim"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_profile_is_told() {
    let server = Running::start().await;
    server.profile("plant", "mqtt://h").await;
    let check = async |body: Value| server.refused(Method::POST, PATH, Some(body)).await;
    insta::assert_snapshot!(check(post("plant", json!({ "url": "mqtt://h" }))).await, @"409: a connection profile with the name 'plant' exists already");
    insta::assert_snapshot!(check(post("", json!({ "url": "mqtt://h" }))).await, @"400: the name must have 1 to 100 characters, none of them a control character");
    insta::assert_snapshot!(check(post("a", json!({ "uri": "mqtt://h" }))).await, @"400: unknown option 'uri'; did you mean 'url'?
missing option 'url': The broker's address, `scheme://host:port`");
    insta::assert_snapshot!(check(post("a", json!({ "url": "mqtt://h", "password": "********" }))).await, @"400: '********' stands for a secret that is not shown; give the secret itself");
    insta::assert_snapshot!(check(json!({ "name": "a", "connector": "mqqt", "config": {} })).await, @"400: unknown connector 'mqqt'; did you mean 'mqtt'?");
    insta::assert_snapshot!(check(post("a", json!({ "url": "127.0.0.1:1883" }))).await, @"400: option 'url': '127.0.0.1:1883' has no scheme; did you mean 'mqtt://127.0.0.1:1883'?");
    insta::assert_snapshot!(check(post("a", json!({ "url": "mqtt://h", "tls": { "ca": "/etc/ssl/ca.pem" } }))).await, @"400: tls.* is given, but the scheme of 'url' means no TLS; use mqtts://");
    insta::assert_snapshot!(check(json!({ "name": "a", "connector": "mqtt", "config": {}, "nmae": "b" })).await, @"400: the body: unknown field `nmae`, expected one of `name`, `connector`, `config` at line 1 column 49");
    insta::assert_snapshot!(check(json!({ "name": "a" })).await, @"400: the body: missing field `connector` at line 1 column 12");
    let unknown = server
        .refused(Method::DELETE, &format!("{PATH}/cp_none"), None)
        .await;
    insta::assert_snapshot!(unknown, @"404: no connection profile has this id");
}

#[tokio::test]
async fn a_list_that_is_asked_for_again_knows_what_has_changed() {
    let server = Running::start().await;
    assert_eq!(server.get(PATH).await["data"], json!([]));
    assert_eq!(server.get(PATH).await["data"], json!([]));
    let first = server.profile("a", "mqtt://h").await;
    let names = async || {
        let list = server.get(PATH).await;
        let names = list["data"].as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["a"]);
    server.profile("b", "mqtt://h").await;
    assert_eq!(names().await, ["b", "a"]);
    assert_eq!(names().await, ["b", "a"]);
    server.delete(&format!("{PATH}/{first}")).await;
    assert_eq!(names().await, ["b"]);
    let pipeline = server.pipeline("SELECT 1 AS a").await;
    server.wait_for_state(&pipeline, "Finished").await;
    let jobs = async || server.get("/api/v1/jobs").await["data"][0]["state"].clone();
    assert_eq!(jobs().await, "Finished");
    assert_eq!(jobs().await, "Finished");
}

#[tokio::test]
async fn a_profile_is_tested_against_a_broker() {
    let mut broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let body = post("plant", json!({ "url": broker.url() }));
    let path = format!("{PATH}/test");
    let passed = server.post(&path, body.clone()).await;
    assert_eq!(
        (&passed["error"], &passed["done"]),
        (&false.into(), &true.into()),
        "{passed}"
    );
    broker.kill().unwrap();
    let failed = server.post(&path, body).await;
    assert_eq!(
        (&failed["error"], &failed["done"]),
        (&true.into(), &true.into()),
        "{failed}"
    );
    assert!(
        failed["message"].as_str().unwrap().contains("connect"),
        "{failed}"
    );
}

#[tokio::test]
async fn what_is_used_is_not_forgotten() {
    let server = Running::start().await;
    let id = server.profile("plant", "mqtt://127.0.0.1:1").await;
    let path = format!("{PATH}/{id}");
    let pipeline = server
        .pipeline(
            "CREATE TABLE t (a INT) WITH (connector = 'mqtt', connection_profile = 'plant', type = 'source',
             topic = 'a', format = 'json'); SELECT a FROM t",
        )
        .await;
    let refused = server.refused(Method::DELETE, &path, None).await;
    insta::assert_snapshot!(refused, @"409: the connection profile is used by tables or pipelines; delete those first");
    server
        .patch(
            &format!("/api/v1/pipelines/{pipeline}"),
            json!({ "stop": "immediate" }),
        )
        .await;
    server.wait_for_state(&pipeline, "Stopped").await;
    server
        .delete(&format!("/api/v1/pipelines/{pipeline}"))
        .await;
    server.delete(&path).await;
}

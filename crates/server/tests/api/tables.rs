//! Connection tables.

use headwater_testkit::{Mosquitto, TestClient};
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Running, all, settings};

const PATH: &str = "/api/v1/connection_tables";

fn source(name: &str, profile: &str) -> Value {
    json!({
        "name": name, "connector": "mqtt", "connectionProfileId": profile,
        "config": { "topic": "sensors/{device}", "type": { "source": {} } },
        "schema": {
            "format": { "type": "json" },
            "badData": { "behavior": "drop" },
            "fields": [
                { "name": "device", "type": "string", "metadataKey": "topic.device" },
                { "name": "t", "type": "f64", "required": true },
                { "name": "at", "type": "timestamp", "unit": "millisecond" },
                { "name": "rest", "type": "json" },
                { "name": "list", "type": "list", "items": { "name": "item", "type": "int64" } },
            ],
        },
    })
}

#[tokio::test]
async fn a_table_is_kept_and_all_pipelines_know_it() {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let profile = server.profile("plant", &broker.url()).await;
    let mut readings = source("readings", &profile);
    readings["schema"]["primaryKeys"] = json!(["device", "at"]);
    let table = server.post(PATH, readings).await;
    assert_eq!(table["tableType"], "source");
    assert_eq!(table["schema"]["primaryKeys"], json!(["device", "at"]));
    assert_eq!(table["connectionProfile"]["name"], "plant");
    let sink = json!({
        "name": "alerts", "connector": "mqtt", "connectionProfileId": profile,
        "config": { "topic": "alerts/{device}", "type": { "sink": {} }, "qos": "AtLeastOnce" },
        "schema": { "format": { "type": "json" }, "fields": [
            { "name": "device", "type": "string" }, { "name": "t", "type": "f64" },
        ] },
    });
    server.post(PATH, sink).await;
    let pipeline = server
        .pipeline("INSERT INTO alerts SELECT device, t FROM readings WHERE t > 70")
        .await;
    server.wait_for_state(&pipeline, "Running").await;
    let mut client = TestClient::connect(&broker).await.unwrap();
    client.subscribe("alerts/#", 1).await.unwrap();
    client
        .publish("sensors/a", r#"{"t": 71.5}"#, 1, false)
        .await
        .unwrap();
    let alert = client.recv(DEADLINE).await.unwrap();
    assert_eq!(
        (alert.topic.as_str(), alert.text().as_str()),
        ("alerts/a", r#"{"device":"a","t":71.5}"#)
    );

    let listed = server.get(PATH).await;
    assert_eq!(listed["data"][0]["name"], "alerts");
    assert_eq!(listed["data"][1]["consumers"], 1);
    assert_eq!(listed["data"][1]["schema"], table["schema"]);
    let id = table["id"].as_str().unwrap();
    let used = server
        .refused(Method::DELETE, &format!("{PATH}/{id}"), None)
        .await;
    insta::assert_snapshot!(used, @"409: the connection table is used by pipelines; delete those first");
    let profile = server
        .refused(
            Method::DELETE,
            &format!("/api/v1/connection_profiles/{profile}"),
            None,
        )
        .await;
    insta::assert_snapshot!(profile, @"409: the connection profile is used by tables or pipelines; delete those first");
}

#[tokio::test]
async fn windows_go_by_the_event_time_that_a_kept_table_says() {
    let broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let profile = server.profile("plant", &broker.url()).await;
    let mut table = source("readings", &profile);
    table["schema"]["eventTimeField"] = json!("at");
    table["schema"]["watermark"] = json!("at - INTERVAL '2 seconds'");
    let kept = server.post(PATH, table).await;
    assert_eq!(kept["schema"]["eventTimeField"], "at");
    let pipeline = server
        .pipeline(
            "SELECT device, window.start AS start, n FROM (
               SELECT device, tumble(INTERVAL '10 seconds') AS window, count(*) AS n FROM readings GROUP BY device, window)",
        )
        .await;
    server.wait_for_state(&pipeline, "Running").await;
    let jobs = server
        .get(&format!("/api/v1/pipelines/{pipeline}/jobs"))
        .await;
    let job = jobs["data"][0]["id"].as_str().unwrap();
    let output = format!("/api/v1/pipelines/{pipeline}/jobs/{job}/output");
    let mut rows = server
        .client
        .events(Method::GET, &output, None)
        .await
        .unwrap();
    let client = TestClient::connect(&broker).await.unwrap();
    // the watermark has passed the end of the first window only with the last message
    for seconds in [1, 9, 11, 8, 12] {
        let message = json!({ "t": 1.5, "at": seconds * 1000 }).to_string();
        client
            .publish("sensors/a", message, 1, false)
            .await
            .unwrap();
    }
    let row = tokio::time::timeout(DEADLINE, rows.next()).await.unwrap();
    assert_eq!(
        row.unwrap().unwrap()["value"],
        r#"{"device":"a","start":"1970-01-01T00:00:00","n":3}"#
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_event_time_is_told_when_the_table_is_made() {
    let server = Running::start().await;
    let profile = server.profile("plant", "mqtt://h").await;
    let check = async |change: fn(&mut Value)| {
        let mut table = source("t", &profile);
        change(&mut table["schema"]);
        server.refused(Method::POST, PATH, Some(table)).await
    };
    insta::assert_snapshot!(check(|s| s["eventTimeField"] = json!("att")).await, @"400: column 'att' not found; did you mean 'at'?");
    insta::assert_snapshot!(check(|s| s["eventTimeField"] = json!("t")).await, @"400: column 't' is of the type DOUBLE, and an event time is a TIMESTAMP; compute one: ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED");
    insta::assert_snapshot!(check(|s| s["watermark"] = json!("at")).await, @"400: a watermark needs 'event_time_field' beside it");
    insta::assert_snapshot!(check(|s| s["watermarkField"] = json!("at")).await, @"400: option 'watermark_field' needs 'event_time_field' beside it");
    insta::assert_snapshot!(check(|s| s["idleMicros"] = json!(0)).await, @"400: option 'idle_micros' is '0', and must be a number of microseconds, or -1 to wait for ever");
    let with = |watermark: &'static str| {
        let mut table = source("t", &profile);
        table["schema"]["eventTimeField"] = json!("at");
        table["schema"]["watermark"] = json!(watermark);
        server.refused(Method::POST, PATH, Some(table))
    };
    insta::assert_snapshot!(with("att - INTERVAL '1 second'").await, @"400: column 'att' not found; did you mean 'at'?");
    insta::assert_snapshot!(with("t").await, @"400: the watermark is of the type DOUBLE, and an event time is a TIMESTAMP; compute one: ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED");
    insta::assert_snapshot!(with("at -").await, @"400: expected an expression, found the end of the statement");
    insta::assert_snapshot!(with("").await, @"400: expected an expression, found the end of the statement");
    insta::assert_snapshot!(with("at; SELECT 1").await, @"400: expected end of expression, found ;");
    insta::assert_snapshot!(with("(SELECT at FROM t)").await, @"400: a subquery in an expression is a join, which this version cannot run yet");
    insta::assert_snapshot!(with("count(*)").await, @"400: 'count' looks at many rows, and the expression of a column at one");
    let sink = json!({
        "name": "o", "connector": "blackhole", "config": {}, "schema": { "eventTimeField": "at" },
    });
    insta::assert_snapshot!(server.refused(Method::POST, PATH, Some(sink)).await, @"400: table 'o' is no source, and only sources have an event time");
}

#[tokio::test]
async fn a_table_that_sql_could_not_know_is_not_kept() {
    let server = Running::start().await;
    let check = async |name: &str, fields: Value| {
        let table = json!({
            "name": name, "connector": "impulse", "config": {}, "schema": { "fields": fields },
        });
        server.client.call(Method::POST, PATH, Some(&table)).await
    };
    let twice = json!([{ "name": "a", "type": "int64" }, { "name": "a", "type": "int64" }]);
    check("twice", twice).await.unwrap_err();
    // names that must be quoted in SQL are names all the same
    for name in [
        "Upper",
        "with space",
        "dotted.name",
        "quote\"d",
        "select",
        "ü",
    ] {
        check(name, json!([])).await.unwrap();
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let query = json!({ "query": format!("SELECT counter FROM {quoted}") });
        let checked = server.post("/api/v1/pipelines/validate_query", query).await;
        assert_eq!(checked["errors"], json!([]), "{name}");
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_used_any_more_is_still_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut configured = settings(dir.path());
    configured.allow_path = vec![dir.path().to_owned()];
    let path = dir.path().join("in.json");
    let server = Running::with(dir, configured).await;
    let table = json!({
        "name": "t", "connector": "single_file", "config": { "path": path, "type": { "source": {} } },
        "schema": { "format": { "type": "json" }, "fields": [{ "name": "a", "type": "int32" }] },
    });
    let kept = server.post(PATH, table).await;
    let dir = server.stop().await;
    let strict = settings(dir.path());
    let server = Running::with(dir, strict).await;
    let listed = server.get(PATH).await;
    assert_eq!(listed["data"][0]["tableType"], "source");
    // nobody else is kept from planning
    server.pipeline("SELECT 1 AS a").await;
    let id = kept["id"].as_str().unwrap();
    server.delete(&format!("{PATH}/{id}")).await;
}

#[tokio::test]
async fn tables_come_in_pages_newest_first() {
    let server = Running::start().await;
    for n in 0..5 {
        let table = json!({
            "name": format!("t{n}"), "connector": "blackhole", "config": { "type": "sink" },
        });
        server.post(PATH, table).await;
    }
    let mut names = Vec::new();
    let mut path = format!("{PATH}?limit=2");
    loop {
        let page = server.get(&path).await;
        let data = page["data"].as_array().unwrap();
        names.extend(
            data.iter()
                .map(|table| table["name"].as_str().unwrap().to_owned()),
        );
        if page["hasMore"] == false {
            break;
        }
        let last = data.last().unwrap()["id"].as_str().unwrap();
        path = format!("{PATH}?limit=2&starting_after={last}");
    }
    assert_eq!(names, ["t4", "t3", "t2", "t1", "t0"]);
    let check = async |query: &str| {
        server
            .refused(Method::GET, &format!("{PATH}?{query}"), None)
            .await
    };
    insta::assert_snapshot!(check("limit=0").await, @"400: limit must be from 1 to 1000");
    insta::assert_snapshot!(check("limit=x").await, @"400: the query: limit: invalid digit found in string");
    insta::assert_snapshot!(check("limt=1").await, @"400: the query: limt: unknown field `limt`, expected `starting_after` or `limit`");
    insta::assert_snapshot!(check("starting_after=ct_none").await, @"404: no item to start after has this id");
}

#[tokio::test]
async fn what_is_wrong_with_a_table_is_told() {
    let server = Running::start().await;
    let profile = server.profile("plant", "mqtt://h").await;
    let check = async |change: fn(&mut Value)| {
        let mut table = source("t", &profile);
        change(&mut table);
        server.refused(Method::POST, PATH, Some(table)).await
    };
    insta::assert_snapshot!(check(|t| t["connectionProfileId"] = json!("cp_none")).await, @"400: there is no connection profile with the id 'cp_none'");
    let by_name = check(|t| t["connectionProfileId"] = json!("plant")).await;
    insta::assert_snapshot!(by_name.replace(&profile, "cp_…"), @"400: there is no connection profile with the id 'plant'; that of 'plant' is 'cp_…'");
    insta::assert_snapshot!(check(|t| t["schema"]["fields"] = json!([])).await, @"400: a table that is read needs columns: list them in schema.fields");
    insta::assert_snapshot!(check(|t| t["schema"]["format"] = json!("json")).await, @r#"
    400: the body: invalid type: string "json", expected an object like {"type": "json"} at line 1 column 155
    "#);
    insta::assert_snapshot!(check(|t| t["schema"] = json!([null, null])).await, @"400: the body: invalid type: sequence, expected an object at line 1 column 139");
    insta::assert_snapshot!(check(|t| t["schema"]["badData"] = json!(["drop"])).await, @"400: the body: invalid type: sequence, expected an object at line 1 column 175");
    insta::assert_snapshot!(check(|t| t["schema"]["eventTimeFeld"] = json!("at")).await, @"400: the body: unknown field `eventTimeFeld`, expected one of `format`, `badData`, `framing`, `fields`, `eventTimeField`, `watermarkField`, `watermark`, `idleMicros`, `definition`, `inferred`, `primaryKeys` at line 1 column 479");
    insta::assert_snapshot!(check(|t| t["connectionProfileId"] = json!(null)).await, @"400: a table of 'mqtt' needs connectionProfileId");
    insta::assert_snapshot!(check(|t| t["config"]["topik"] = json!("a")).await, @"400: unknown option 'topik'; did you mean 'topic'?");
    insta::assert_snapshot!(check(|t| t["schema"]["format"] = json!(null)).await, @"400: a table of 'mqtt' needs schema.format");
    insta::assert_snapshot!(check(|t| t["schema"]["format"]["type"] = json!("jsn")).await, @"400: schema: unknown variant `jsn`, expected one of `json`, `debezium_json`, `raw_string`, `raw_bytes`, `csv`, `msgpack`, `cbor`, `avro`, `protobuf`, `sparkplug_b`");
    insta::assert_snapshot!(check(|t| t["schema"]["fields"][1]["type"] = json!("f65")).await, @"400: the body: unknown variant `f65`, expected one of `int32`, `int64`, `uInt32`, `uint32`, `uInt64`, `uint64`, `f32`, `f64`, `bool`, `string`, `utf8`, `binary`, `bytes`, `timestamp`, `json`, `struct`, `list` at line 1 column 309");
    insta::assert_snapshot!(check(|t| t["schema"]["definition"] = json!({})).await, @"400: schema.definition is not supported; give the columns in schema.fields");
    insta::assert_snapshot!(check(|t| t["schema"]["primaryKeys"] = json!(["at", "devise"])).await, @"400: schema.primaryKeys: column 'devise' not found; did you mean 'device'?");
    insta::assert_snapshot!(check(|t| t["schema"]["primaryKeys"] = json!("device")).await, @r#"400: the body: invalid type: string "device", expected a sequence at line 1 column 486"#);
    insta::assert_snapshot!(check(|t| t["connector"] = json!("stdout")).await, @"400: connection profile 'plant' is for the connector 'mqtt', not for 'stdout'");
}

#[tokio::test]
async fn a_table_is_tested_step_by_step() {
    let mut broker = Mosquitto::start().unwrap();
    let server = Running::start().await;
    let profile = server.profile("plant", &broker.url()).await;
    let path = format!("{PATH}/test");
    let test = async || {
        let table = source("t", &profile);
        all(server
            .client
            .events(Method::POST, &path, Some(&table))
            .await
            .unwrap())
        .await
    };
    let steps = test().await;
    assert!(steps.len() > 3, "{steps:?}");
    assert_eq!(
        steps.last().unwrap(),
        &json!({ "error": false, "done": true, "message": "passed" })
    );
    assert!(
        steps
            .iter()
            .any(|step| step["message"].as_str().unwrap().starts_with("subscribe: "))
    );
    broker.kill().unwrap();
    let steps = test().await;
    assert_eq!(
        steps.last().unwrap(),
        &json!({ "error": true, "done": true, "message": "failed" })
    );
}

#[tokio::test]
async fn a_schema_is_tested() {
    let server = Running::start().await;
    let path = format!("{PATH}/schemas/test");
    let fields = json!([{ "name": "value", "type": "string" }]);
    server
        .post(
            &path,
            json!({ "format": { "type": "rawString" }, "fields": fields }),
        )
        .await;
    let check = async |body: Value| server.refused(Method::POST, &path, Some(body)).await;
    insta::assert_snapshot!(check(json!({ "format": { "type": "json", "unstructurd": true } })).await, @"400: schema: unknown field `unstructurd`, expected one of `unstructured`, `timestamp_format`, `decimal_encoding`");
    let two = json!([{ "name": "a", "type": "string" }, { "name": "b", "type": "string" }]);
    insta::assert_snapshot!(check(json!({ "format": { "type": "raw_string" }, "fields": two })).await, @"400: format 'raw_string' needs exactly one payload column, of type TEXT or BYTEA; the table has 'a' (Utf8), 'b' (Utf8)");
}

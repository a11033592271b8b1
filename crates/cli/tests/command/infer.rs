//! `headwater infer`: what it prints works as printed.

use headwater_testkit::{Mosquitto, TestClient, free_port};
use nix::sys::signal::Signal;

use crate::support::{DEADLINE, Finished, Headwater, command, file, run};

/// Publishes retained messages and infers a table from them.
async fn infer(broker: &Mosquitto, filter: &str, messages: &[(&str, &str)]) -> Finished {
    let client = TestClient::connect(broker).await.unwrap();
    for (topic, payload) in messages {
        client
            .publish(topic, payload.to_string(), 1, true)
            .await
            .unwrap();
    }
    let count = messages.len().to_string();
    let url = broker.url();
    // the broker is a process of its own, so that nothing of this test has to go on meanwhile
    run(&[
        "infer",
        "--profile",
        &url,
        "--topic",
        filter,
        "--count",
        &count,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_checks_runs_and_reads_every_sample() {
    let broker = Mosquitto::start().unwrap();
    let payload = |n: i64| {
        format!(
            r#"{{"temperature":{n}.5,"ts":{},"at":"2026-11-21T06:24:48Z","position":{{"lat":1.5,"Long":{n}}},"tags":["a"],"order":{n},"extra":null}}"#,
            1_763_706_288 + n
        )
    };
    let messages = [payload(1), payload(2), payload(3)];
    let topics = [
        "sensors/a/temperature",
        "sensors/b/temperature",
        "sensors/c/temperature",
    ];
    let published: Vec<_> = topics
        .into_iter()
        .zip(messages.iter().map(String::as_str))
        .collect();
    let inferred = infer(&broker, "sensors/+/temperature", &published).await;
    assert!(inferred.status.success(), "{}", inferred.stderr);
    assert_eq!(
        inferred.stdout,
        format!(
            "CREATE TABLE temperature (
  sensor      TEXT METADATA FROM 'topic.sensor',
  temperature DOUBLE,
  ts          TIMESTAMP,
  at          TIMESTAMP,
  position    STRUCT<lat DOUBLE, \"Long\" BIGINT>,
  tags        TEXT[],
  \"order\"     BIGINT,
  extra       TEXT
) WITH (
  connector             = 'mqtt',
  topic                 = 'sensors/{{sensor}}/temperature',
  type                  = 'source',
  url                   = '{}',
  format                = 'json',
  json.timestamp_format = 'unix_seconds'
);
",
            broker.url()
        )
    );
    assert!(
        inferred.stderr.contains("from 3 messages on 3 topics"),
        "{}",
        inferred.stderr
    );

    let dir = tempfile::tempdir().unwrap();
    let sql = format!(
        "{}CREATE TABLE out WITH (connector = 'mqtt', type = 'sink', url = '{}', topic = 'out',
           qos = 'AtLeastOnce', format = 'json');
         INSERT INTO out SELECT * FROM temperature;",
        inferred.stdout,
        broker.url()
    );
    let path = file(dir.path(), "job.sql", &sql);
    let path = path.to_str().unwrap();
    let mut client = TestClient::connect(&broker).await.unwrap();
    client.subscribe("out", 1).await.unwrap();
    let checked = run(&["check", path]);
    assert!(checked.status.success(), "{}", checked.stderr);
    let _job = Headwater::start(&["run", path]);
    let mut rows: Vec<_> = client
        .collect(3, DEADLINE)
        .await
        .unwrap()
        .iter()
        .map(|m| m.text())
        .collect();
    rows.sort();
    assert_eq!(
        rows[0],
        r#"{"sensor":"a","temperature":1.5,"ts":"2025-11-21T06:24:49","at":"2026-11-21T06:24:48","position":{"lat":1.5,"Long":1},"tags":["a"],"order":1,"extra":null}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_are_told_apart() {
    for (filter, messages, expect) in [
        (
            "rooms/#",
            [("rooms/1", "21.5"), ("rooms/2/x", "22")],
            [
                "value TEXT",
                "topic TEXT METADATA FROM 'topic'",
                "format    = 'raw_string'",
            ],
        ),
        (
            "lines",
            [("lines", "{\"v\":1}\n{\"v\":2}\n"), ("lines2", "")],
            ["v BIGINT", "framing   = 'newline'", "format    = 'json'"],
        ),
        (
            "docs/+",
            [("docs/1", "[1, 2]"), ("docs/2", "{\"a\": 1}")],
            [
                "value JSON",
                "json.unstructured = 'true'",
                "doc      TEXT METADATA FROM 'topic.doc'",
            ],
        ),
    ] {
        let broker = Mosquitto::start().unwrap();
        let messages: Vec<_> = messages
            .into_iter()
            .filter(|(_, payload)| !payload.is_empty())
            .collect();
        let inferred = infer(&broker, filter, &messages).await;
        for part in expect {
            assert!(
                squeezed(&inferred.stdout).contains(&squeezed(part)),
                "{}{}",
                inferred.stdout,
                inferred.stderr
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "t.sql", &inferred.stdout);
        let checked = run(&["check", path.to_str().unwrap()]);
        assert!(checked.status.success(), "{}", checked.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_strangers_do_not_spoil_the_table() {
    let broker = Mosquitto::start().unwrap();
    let topics: Vec<_> = (0..10).map(|n| format!("in/{n}")).collect();
    let messages: Vec<_> = topics
        .iter()
        .map(|topic| match topic.as_str() {
            "in/7" => (topic.as_str(), "offline"),
            topic => (topic, r#"{"v":1}"#),
        })
        .collect();
    let inferred = infer(&broker, "in/+", &messages).await;
    let table = squeezed(&inferred.stdout);
    assert!(table.contains("v BIGINT"), "{table}");
    assert!(table.contains("bad_data = 'drop'"), "{table}");
    let note =
        "note: 1 of 10 messages do not fit, and are dropped by bad_data = 'drop'; the first: ";
    assert!(inferred.stderr.contains(note), "{}", inferred.stderr);
}

/// Without the spaces that align columns.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_takes_nothing_from_a_shared_subscription_and_stops_when_told() {
    let broker = Mosquitto::builder().debug_log().start().unwrap();
    let url = broker.url();
    let mut listening = Headwater::start(&[
        "infer",
        "--profile",
        &url,
        "--topic",
        "$share/g/in/+",
        "--seconds",
        "600",
    ]);
    listening.wait_for_line("listening to '$share/g/in/+'");
    let client = TestClient::connect(&broker).await.unwrap();
    client.publish("in/a", "{\"v\":1}", 1, false).await.unwrap();
    listening.wait_for_line("the first message has come");
    listening.signal(Signal::SIGINT);
    let finished = listening.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished
            .stdout
            .contains("topic     = '$share/g/in/{level2}'"),
        "{}",
        finished.stdout
    );
    let log = broker.log();
    assert!(!log.contains("$share"), "it joined the group: {log}");
    assert!(!log.contains("Sending PUBACK to headwater_infer_"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_exits_with_1_and_says_what_to_do() {
    let broker = Mosquitto::start().unwrap();
    let url = broker.url();
    let finished = run(&[
        "infer",
        "--profile",
        &url,
        "--topic",
        "a/+/b",
        "--seconds",
        "1",
    ]);
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(finished.stdout, "");
    assert!(
        finished.stderr.contains("nothing was published to 'a/+/b'"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("widen the topic ('a/#')"),
        "{}",
        finished.stderr
    );
    let finished = run(&[
        "infer",
        "--profile",
        &url,
        "--topic",
        "a/#",
        "--seconds",
        "1",
    ]);
    let stderr = finished.stderr;
    assert!(
        stderr.contains("(--seconds), or ask"),
        "nothing is wider: {stderr}"
    );
}

#[test]
fn secrets_stay_in_the_environment() {
    let broker = Mosquitto::builder().user("u", "pa55word").start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = format!(
        r#"{{"url": "{}", "username": "u", "password": "pa55word"}}"#,
        broker.url()
    );
    let bare = file(dir.path(), "bare.json", &options);
    let named = format!(r#"{{"name": "plant", "connector": "mqtt", "config": {options}}}"#);
    let named = file(dir.path(), "named.json", &named);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let builder = TestClient::builder().login("u", "pa55word");
        let client = builder.connect(broker.plain_addr()).await.unwrap();
        client.publish("t", "{\"v\":1}", 1, true).await.unwrap();
    });
    let with_user = broker.url().replace("://", "://u@");
    for (profile, expect) in [
        (bare.to_str().unwrap(), "{{ MQTT_PASSWORD }}"),
        (named.to_str().unwrap(), "connection_profile = 'plant'"),
        (with_user.as_str(), "{{ MQTT_PASSWORD }}"),
    ] {
        let output = command([
            "infer",
            "--profile",
            profile,
            "--topic",
            "t",
            "--count",
            "1",
        ])
        .env("MQTT_PASSWORD", "pa55word")
        .output()
        .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(stdout.contains(expect), "{stdout}");
        assert!(
            !stdout.contains("pa55word") && !stderr.contains("pa55word"),
            "{stdout}{stderr}"
        );
    }
}

#[test]
fn mistakes_exit_with_2_and_faults_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let no_json = file(dir.path(), "no.json", "url = x");
    let misspelt = file(dir.path(), "misspelt.json", r#"{"ulr": "mqtt://h"}"#);
    for (profile, topic, named) in [
        ("/nowhere/p.json", "t", "'/nowhere/p.json'"),
        (no_json.to_str().unwrap(), "t", "no.json"),
        (misspelt.to_str().unwrap(), "t", "'url'"),
        ("http://h", "t", "web address"),
        ("mqtt://h/a", "t", "--topic"),
        ("mqtt://h", "a/#/b", "'#'"),
    ] {
        let finished = run(&["infer", "--profile", profile, "--topic", topic]);
        assert_eq!(
            finished.status.code(),
            Some(2),
            "{profile}: {}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(named),
            "{profile}: {}",
            finished.stderr
        );
    }
    let closed = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let finished = run(&["infer", "--profile", &closed, "--topic", "t"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("Connection refused"),
        "{}",
        finished.stderr
    );
}

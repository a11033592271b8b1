//! The command as its users meet it: what it prints, how it ends, and what it says to their mistakes.

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

use headwater_testkit::{Mosquitto, TestClient, free_port};
use nix::sys::signal::Signal;
use support::{DEADLINE, Headwater, file, run};

fn sql(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "job.sql", text);
    (dir, path.to_str().unwrap().to_owned())
}

fn copy(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT) WITH (connector = 'mqtt', type = 'source',
           url = '{url}', topic = 'in', qos = 'AtLeastOnce', format = 'json');
         CREATE TABLE copies WITH (connector = 'mqtt', type = 'sink',
           url = '{url}', topic = 'out', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO copies SELECT n FROM numbers;"
    )
}

#[test]
fn a_bounded_pipeline_prints_its_rows_and_exits_with_0() {
    let (_dir, file) = sql("CREATE TABLE ticks (counter BIGINT) WITH (
           connector = 'impulse', message_count = '3', event_rate = '1000');
         SELECT counter * 10 AS ten FROM ticks;");
    let finished = run(&["run", &file]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(finished.stdout, "{\"ten\":0}\n{\"ten\":10}\n{\"ten\":20}\n");
}

#[test]
fn sql_comes_from_standard_input_too() {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = support::command(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(
            b"CREATE TABLE t (counter BIGINT) WITH (connector = 'impulse', message_count = '1');
              SELECT counter FROM t;",
        )
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\"counter\":0}\n"
    );
}

#[test]
fn wrong_sql_exits_with_2_and_shows_the_place() {
    let (_dir, file) = sql(
        "CREATE TABLE t (counter BIGINT) WITH (connector = 'impulse');\n\
                            SELECT m FROM t;",
    );
    for command in ["run", "check"] {
        let finished = run(&[command, &file]);
        assert_eq!(finished.status.code(), Some(2));
        assert!(finished.stderr.contains(":2:8"), "{}", finished.stderr);
        assert!(finished.stderr.contains("'m'"), "{}", finished.stderr);
    }
}

#[test]
fn a_missing_file_is_named() {
    let finished = run(&["run", "/nowhere/job.sql"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(
        finished.stderr.contains("'/nowhere/job.sql'"),
        "{}",
        finished.stderr
    );
}

#[test]
fn check_connects_to_nothing() {
    let (_dir, file) = sql(&copy(&format!("mqtt://127.0.0.1:{}", free_port().unwrap())));
    let finished = run(&["check", &file]);
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("ok: 2 tables"),
        "{}",
        finished.stdout
    );
}

#[test]
fn connectors_are_listed_with_options_and_schemas() {
    let list = run(&["connectors"]).stdout;
    for name in ["mqtt", "single_file", "stdout", "blackhole", "impulse"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    assert!(run(&["connectors", "mqtt"]).stdout.contains("tls.ca"));
    let schemas = run(&["connectors", "--schema", "mqtt"]).stdout;
    let schemas: serde_json::Value = serde_json::from_str(&schemas).unwrap();
    assert!(schemas["profile"]["properties"]["url"].is_object());
    let unknown = run(&["connectors", "mqt"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(unknown.stderr.contains("'mqtt'"), "{}", unknown.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_and_exits_with_0() {
    let broker = Mosquitto::start().unwrap();
    let (_dir, file) = sql(&copy(&broker.url()));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let headwater = Headwater::running(&["run", &file]);
        let mut results = TestClient::connect(&broker).await.unwrap();
        results.subscribe("out", 1).await.unwrap();
        let client = TestClient::connect(&broker).await.unwrap();
        client
            .publish_many("in", (0..500).map(|n| format!("{{\"n\":{n}}}")), 1)
            .await
            .unwrap();
        results.collect(1, DEADLINE).await.unwrap();
        headwater.signal(signal);
        let finished = headwater.finish();
        assert!(finished.status.success(), "{}", finished.stderr);
        // what was not read before the interrupt is still the broker's, for the session of this job
        let mut again = Headwater::running(&["run", &file]);
        results.collect(499, DEADLINE).await.unwrap();
        again.signal(Signal::SIGINT);
        again.wait_for_line("done:");
    }
}

#[test]
fn a_job_whose_broker_is_away_says_so_and_can_be_stopped() {
    let url = format!("mqtt://127.0.0.1:{}", free_port().unwrap());
    let (_dir, file) = sql(&copy(&url));
    let mut headwater = Headwater::start(&["run", &file]);
    let line = headwater.wait_for_line("refused");
    assert!(line.contains("127.0.0.1"), "{line}");
    headwater.signal(Signal::SIGINT);
    let finished = headwater.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
}

#[test]
fn a_wrong_password_fails_the_job_and_is_not_shown() {
    let broker = Mosquitto::builder().user("plant", "right").start().unwrap();
    let url = broker.url().replace("mqtt://", "mqtt://plant:wr0ng@");
    let (_dir, file) = sql(&copy(&url));
    let finished = run(&["run", &file]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("password"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("wr0ng"), "{}", finished.stderr);
    let tested = run(&["test-connection", &file]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(!tested.stdout.contains("wr0ng"), "{}", tested.stdout);
}

#[test]
fn test_connection_tells_every_step() {
    let broker = Mosquitto::start().unwrap();
    let (_dir, file) = sql(&copy(&broker.url()));
    let finished = run(&["test-connection", &file]);
    assert!(
        finished.status.success(),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
    for step in ["connect", "login", "subscribe", "publish"] {
        assert!(
            finished.stdout.contains(step),
            "{step}: {}",
            finished.stdout
        );
    }
    let one = run(&["test-connection", &file, "copies"]);
    assert!(!one.stdout.contains("numbers"), "{}", one.stdout);
    let none = run(&["test-connection", &file, "copis"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stderr.contains("copies"), "{}", none.stderr);
}

#[test]
fn a_profile_comes_from_a_file() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let profile = format!(
        r#"{{"name": "plant", "connector": "mqtt", "config": {{"url": "{}"}}}}"#,
        broker.url()
    );
    let profile = file(dir.path(), "plant.json", &profile);
    let sql = file(
        dir.path(),
        "job.sql",
        "CREATE TABLE t (n BIGINT) WITH (connector = 'mqtt', connection_profile = 'plant',
           type = 'source', topic = 'in', format = 'json');",
    );
    let args = [
        "test-connection",
        sql.to_str().unwrap(),
        "--profile",
        profile.to_str().unwrap(),
    ];
    let finished = run(&args);
    assert!(
        finished.status.success(),
        "{}{}",
        finished.stdout,
        finished.stderr
    );
}

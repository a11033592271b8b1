//! Nothing is lost at QoS 1: not when Headwater is killed, not when the broker is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use headwater_testkit::{Mosquitto, MosquittoBuilder, TestClient};

use crate::support::{Headwater, file};

const MESSAGES: usize = 3000;
const QUIET: Duration = Duration::from_secs(30);

fn pipeline(url: &str, protocol: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT NOT NULL) WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+',
           qos = 'AtLeastOnce', protocol_version = '{protocol}', format = 'json');
         CREATE TABLE doubles WITH (
           connector = 'mqtt', type = 'sink', url = '{url}', topic = 'doubles',
           qos = 'AtLeastOnce', protocol_version = '{protocol}', format = 'json');
         INSERT INTO doubles SELECT n, n * 2 AS twice FROM numbers;"
    )
}

fn broker() -> MosquittoBuilder {
    Mosquitto::builder().max_inflight_messages(200)
}

/// Publishes in steps, so that the kills fall into the middle of the stream.
async fn publish(client: &TestClient, numbers: std::ops::Range<usize>) {
    let payloads = numbers.map(|n| format!("{{\"n\":{n}}}"));
    client
        .publish_many("numbers/one", payloads, 1)
        .await
        .unwrap();
}

/// Receives until every number has arrived at least once.
async fn receive_until(results: &mut TestClient, seen: &mut BTreeSet<usize>, count: usize) {
    while seen.len() < count {
        let message = match results.recv(QUIET).await {
            Ok(message) => message,
            Err(error) => {
                let missing: Vec<_> = (0..count).filter(|n| !seen.contains(n)).take(10).collect();
                panic!(
                    "{} of {count} arrived, missing {missing:?}…: {error:#}",
                    seen.len()
                );
            }
        };
        note(&message.text(), seen);
    }
}

fn note(text: &str, seen: &mut BTreeSet<usize>) {
    let n = text
        .trim_start_matches("{\"n\":")
        .split(',')
        .next()
        .unwrap();
    let n: usize = n.parse().unwrap();
    assert_eq!(text, format!("{{\"n\":{n},\"twice\":{}}}", 2 * n));
    seen.insert(n);
}

async fn headwater_is_killed(protocol: &str) {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "crash.sql", &pipeline(&broker.url(), protocol));
    let args = ["run", sql.to_str().unwrap()];
    let mut headwater = Headwater::running(&args);
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("doubles", 1).await.unwrap();
    let publisher = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    for step in 0..4 {
        let numbers = step * MESSAGES / 4..(step + 1) * MESSAGES / 4;
        // half of a step has come through when it is killed, the rest is under way or queued
        let killed_at = seen.len() + numbers.len() / 2;
        tokio::join!(
            publish(&publisher, numbers),
            receive_until(&mut results, &mut seen, killed_at)
        );
        headwater.kill();
        headwater = Headwater::running(&args);
    }
    receive_until(&mut results, &mut seen, MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_headwater_is_killed() {
    headwater_is_killed("5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_headwater_is_killed_on_3_1_1() {
    headwater_is_killed("3.1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_broker_restarts() {
    // it writes its whole database at the end, not after every message
    let broker = broker().persistence().line("autosave_on_changes false");
    let mut broker = broker.start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "restart.sql", &pipeline(&broker.url(), "5"));
    let headwater = Headwater::running(&["run", sql.to_str().unwrap()]);
    let session = || TestClient::builder().session("the-results");
    let mut results = session().connect(broker.plain_addr()).await.unwrap();
    results.subscribe("doubles", 1).await.unwrap();
    let mut seen = BTreeSet::new();
    for step in 0..3 {
        let publisher = TestClient::connect(&broker).await.unwrap();
        let numbers = step * MESSAGES / 3..(step + 1) * MESSAGES / 3;
        let some = seen.len() + numbers.len() / 3;
        tokio::join!(
            publish(&publisher, numbers),
            receive_until(&mut results, &mut seen, some)
        );
        // it keeps what it has accepted in its database, as a broker of that name should
        broker.restart().unwrap();
        // what the old connection has received is acknowledged and will not come again
        while let Ok(message) = results.recv(QUIET).await {
            note(&message.text(), &mut seen);
        }
        results = session().connect(broker.plain_addr()).await.unwrap();
    }
    receive_until(&mut results, &mut seen, MESSAGES).await;
    headwater.signal(nix::sys::signal::Signal::SIGINT);
    let finished = headwater.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
}

/// Even numbers fit, odd ones do not.
fn half_bad(n: usize) -> String {
    match n % 2 {
        0 => format!("{{\"n\":{n}}}"),
        _ => format!("odd {n}"),
    }
}

/// The number in a result or in a dead letter.
fn number_in(topic: &str, text: &str) -> usize {
    let start = match topic {
        "dead" => "{\"payload\":\"odd ",
        _ => "{\"n\":",
    };
    let rest = text.strip_prefix(start).unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let n = digits.parse().unwrap();
    assert_eq!(topic == "dead", n % 2 == 1, "{text}");
    n
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bad_message_is_lost_when_headwater_is_killed() {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = broker.url();
    let pipeline = pipeline(&url, "5").replacen(
        "format = 'json')",
        "format = 'json', bad_data = 'dead_letter', dead_letter.topic = 'dead')",
        1,
    );
    let sql = file(dir.path(), "bad.sql", &pipeline);
    let args = ["run", sql.to_str().unwrap()];
    let mut headwater = Headwater::running(&args);
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("doubles", 1).await.unwrap();
    results.subscribe("dead", 1).await.unwrap();
    let publisher = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    for step in 0..4 {
        let numbers = step * MESSAGES / 4..(step + 1) * MESSAGES / 4;
        let until = match step {
            3 => MESSAGES,
            // half of a step has come through when it is killed, the rest is under way or queued
            _ => seen.len() + numbers.len() / 2,
        };
        let publish = publisher.publish_many("numbers/one", numbers.map(half_bad), 1);
        let receive = async {
            while seen.len() < until {
                let message = results.recv(QUIET).await.unwrap();
                seen.insert(number_in(&message.topic, &message.text()));
            }
        };
        let (published, ()) = tokio::join!(publish, receive);
        published.unwrap();
        if step < 3 {
            headwater.kill();
            headwater = Headwater::running(&args);
        }
    }
}

/// So many rows has each window of each key.
const COUNT: usize = 25;
const KEYS: usize = 4;

/// Numbers that are ten milliseconds apart, counted by the second and by their remainder, though some may come twice.
fn windows(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(n * 10)) STORED, WATERMARK FOR at AS at) WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+', qos = 'AtLeastOnce',
           format = 'json');
         CREATE TABLE counts WITH (
           connector = 'mqtt', type = 'sink', url = '{url}', topic = 'counts', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO counts SELECT min(n) AS first, count(DISTINCT n) AS n FROM numbers
           GROUP BY tumble(INTERVAL '1 second'), n % {KEYS};"
    )
}

/// Starts it on the state that earlier runs have left, with so many workers.
fn on_state(dir: &Path, sql: &str, workers: usize) -> Headwater {
    let state = dir.join("state");
    let state = state.to_str().unwrap();
    let workers = workers.to_string();
    let rest = ["--checkpoint-interval-s", "1", "--parallelism", &workers];
    Headwater::running(&[&["run", sql, "--state-dir", state][..], &rest].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_an_open_window_is_lost_when_headwater_is_killed() {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "windows.sql", &windows(&broker.url()));
    let start = |workers| on_state(dir.path(), sql.to_str().unwrap(), workers);
    let mut headwater = start(1);
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("counts", 1).await.unwrap();
    let publisher = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    let all = MESSAGES / COUNT;
    // the last window of a step is open when it is killed, and some before it are not out
    for (step, workers) in [3, 2, 2].into_iter().enumerate() {
        let numbers = step * MESSAGES / 3..(step + 1) * MESSAGES / 3;
        let until = match step {
            2 => all - KEYS,
            _ => numbers.end / COUNT - 4 * KEYS,
        };
        let (_, ()) = tokio::join!(
            publish(&publisher, numbers),
            windows_until(&mut results, &mut seen, until)
        );
        if step == 2 {
            // it stops with the last window open, and goes on with it
            headwater.signal(nix::sys::signal::Signal::SIGINT);
            let finished = headwater.finish();
            assert!(finished.status.success(), "{}", finished.stderr);
        } else {
            headwater.kill();
        }
        headwater = start(workers);
    }
    publish(&publisher, MESSAGES..MESSAGES + 1).await;
    windows_until(&mut results, &mut seen, all).await;
}

/// Receives until so many windows have come, each whole.
async fn windows_until(results: &mut TestClient, seen: &mut BTreeSet<u64>, count: usize) {
    while seen.len() < count {
        let text = results.recv(QUIET).await.unwrap().text();
        let window: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(window["n"], COUNT, "{text}");
        seen.insert(window["first"].as_u64().unwrap());
    }
}

//! Nothing is lost at QoS 1: not when Headwater is killed, not when the broker is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use headwater_testkit::{Mosquitto, MosquittoBuilder, TestClient};
use serde_json::{Value, json};

use crate::support::{Headwater, file, run, wait_until};

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

pub(crate) fn broker() -> MosquittoBuilder {
    Mosquitto::builder().max_inflight_messages(200)
}

/// Publishes in steps, so that the kills fall into the middle of the stream.
pub(crate) async fn publish(client: &TestClient, numbers: std::ops::Range<usize>) {
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

async fn headwater_is_killed(pipeline: impl Fn(&str, &Path) -> String) {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pipeline = pipeline(&broker.url(), dir.path());
    let sql = file(dir.path(), "crash.sql", &pipeline);
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
    headwater_is_killed(|url, _| pipeline(url, "5")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_headwater_is_killed_on_3_1_1() {
    headwater_is_killed(|url, _| pipeline(url, "3.1.1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_that_is_looked_up_is_lost_when_headwater_is_killed() {
    let looked_up = |url: &str, dir: &Path| {
        let rows = (0..MESSAGES).map(|n| format!("{{\"id\":{n},\"twice\":{}}}\n", 2 * n));
        let rows = file(dir, "twice.jsonl", &rows.collect::<String>());
        let table = format!(
            "CREATE TEMPORARY TABLE doubled (id BIGINT PRIMARY KEY, twice BIGINT) WITH (
               connector = 'single_file', type = 'lookup', path = '{}', format = 'json');",
            rows.display()
        );
        let join = "SELECT n, twice FROM numbers JOIN doubled ON numbers.n = doubled.id";
        table + &pipeline(url, "5").replace("SELECT n, n * 2 AS twice FROM numbers", join)
    };
    headwater_is_killed(looked_up).await;
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

/// Numbers that are ten milliseconds apart, and ten seconds more after each hundred, counted by the hundred, which is a window, and
/// by their remainder, though some may come twice.
fn windows(url: &str, window: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(n * 10 + n / 100 * 10000)) STORED, WATERMARK FOR at AS at) WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+', qos = 'AtLeastOnce',
           format = 'json');
         CREATE TABLE counts WITH (
           connector = 'mqtt', type = 'sink', url = '{url}', topic = 'counts', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO counts SELECT min(n) AS first, count(DISTINCT n) AS n FROM numbers
           GROUP BY {window}, n % {KEYS};"
    )
}

/// Starts it on the state that earlier runs have left, with so many workers.
pub(crate) fn on_state(dir: &Path, sql: &str, workers: usize) -> Headwater {
    on_state_every("1")(dir, sql, workers)
}

/// The same with so many seconds between checkpoints.
fn on_state_every(interval: &str) -> impl Fn(&Path, &str, usize) -> Headwater {
    move |dir, sql, workers| {
        let state = dir.join("state");
        let state = state.to_str().unwrap();
        let workers = workers.to_string();
        let rest = [
            "--checkpoint-interval-s",
            interval,
            "--parallelism",
            &workers,
        ];
        Headwater::running(&[&["run", sql, "--state-dir", state][..], &rest].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_an_open_window_is_lost_when_headwater_is_killed() {
    is_right_after_kills("tumble(INTERVAL '1 second')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_an_open_session_is_lost_when_headwater_is_killed() {
    is_right_after_kills("session(INTERVAL '5 seconds')").await;
}

async fn is_right_after_kills(window: &str) {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "windows.sql", &windows(&broker.url(), window));
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

/// How much the only job has in its state folder.
fn kept_bytes(state: &Path) -> u64 {
    let jobs = state.read_dir().unwrap().map(|job| job.unwrap().path());
    let files = jobs.flat_map(|job| job.read_dir().unwrap());
    files
        .map(|file| file.unwrap().metadata().map_or(0, |file| file.len()))
        .sum()
}

#[test]
fn state_that_is_on_disk_for_want_of_memory_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.json");
    let sql = format!(
        "CREATE TABLE ticks (counter BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(counter)) STORED, WATERMARK FOR at AS at) WITH (
           connector = 'impulse', message_count = '400000', event_rate = '80000');
         CREATE TABLE counts WITH (connector = 'single_file', type = 'sink', path = '{}', format = 'json');
         INSERT INTO counts SELECT count(*) AS n, sum(counter) AS sum FROM ticks
           GROUP BY tumble(INTERVAL '1000 seconds'), 'key ' || (counter % 50000);",
        out.display()
    );
    let sql = file(dir.path(), "windows.sql", &sql);
    let state = dir.path().join("state");
    let args = [
        "run",
        sql.to_str().unwrap(),
        "--state-dir",
        state.to_str().unwrap(),
        "--checkpoint-interval-s",
        "1",
        "--state-limit-mib",
        "1",
        "--state-over-limit",
        "spill",
    ];
    // each time it has kept more than there is memory for, and the window is open
    for _ in 0..2 {
        let headwater = Headwater::running(&args);
        let before = kept_bytes(&state);
        wait_until(|| kept_bytes(&state) > before + (2 << 20));
        headwater.kill();
    }
    let finished = run(&args);
    assert!(finished.status.success(), "{}", finished.stderr);
    let text = std::fs::read_to_string(&out).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 50_000);
    assert!(rows.iter().all(|row| row["n"] == 8));
    let sum: u64 = rows.iter().map(|row| row["sum"].as_u64().unwrap()).sum();
    assert_eq!(sum, (0..400_000).sum::<u64>());
}

/// Receives until so many windows have come, each whole.
async fn windows_until(results: &mut TestClient, seen: &mut BTreeSet<u64>, count: usize) {
    while seen.len() < count {
        let text = results.recv(QUIET).await.unwrap().text();
        let window: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(window["n"], COUNT, "{text}");
        seen.insert(window["first"].as_u64().unwrap());
    }
}

/// What a consumer has who applies changes as they come, by the key `k`.
type Table = BTreeMap<u64, Value>;

fn apply(table: &mut Table, text: &str) {
    let change: Value = serde_json::from_str(text).unwrap();
    if let Some(key) = change["before"]["k"].as_u64() {
        table.remove(&key);
    }
    if let Some(key) = change["after"]["k"].as_u64() {
        table.insert(key, change["after"].clone());
    }
}

/// A query of numbers whose results change, and the table that they should lead to after the first so many.
struct Changing {
    columns: &'static str,
    query: String,
    expected: fn(usize) -> Table,
    /// The seconds between checkpoints, run by run.
    intervals: [&'static str; 4],
}

impl Changing {
    fn sql(&self, url: &str) -> String {
        let Self { columns, query, .. } = self;
        format!(
            "CREATE TABLE numbers (n BIGINT NOT NULL) WITH (
               connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+', qos = 'AtLeastOnce',
               format = 'json');
             CREATE TABLE results ({columns}) WITH (
               connector = 'mqtt', type = 'sink', url = '{url}', topic = 'results', qos = 'AtLeastOnce',
               format = 'debezium_json');
             INSERT INTO results {query};"
        )
    }

    async fn until(&self, results: &mut TestClient, table: &mut Table, numbers: usize) {
        while *table != (self.expected)(numbers) {
            match results.recv(QUIET).await {
                Ok(message) => apply(table, &message.text()),
                Err(error) => panic!("not right after {numbers}: {table:?}: {error:#}"),
            }
        }
    }

    /// Kills it three times, with changes told since the last checkpoint and rows of which nothing was told.
    async fn is_right_in_the_end(&self) {
        let broker = broker().start().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let sql = file(dir.path(), "changing.sql", &self.sql(&broker.url()));
        let mut results = TestClient::connect(&broker).await.unwrap();
        results.subscribe("results", 1).await.unwrap();
        let publisher = TestClient::connect(&broker).await.unwrap();
        let mut table = Table::new();
        for (step, workers) in [1, 3, 2, 1].into_iter().enumerate() {
            let start = on_state_every(self.intervals[step]);
            let headwater = start(dir.path(), sql.to_str().unwrap(), workers);
            let numbers = step * MESSAGES / 4..(step + 1) * MESSAGES / 4;
            let some = numbers.start + numbers.len() / 2;
            publish(&publisher, numbers.start..some).await;
            self.until(&mut results, &mut table, some).await;
            publish(&publisher, some..numbers.end).await;
            if step < 3 {
                headwater.kill();
                continue;
            }
            self.until(&mut results, &mut table, MESSAGES).await;
            headwater.signal(nix::sys::signal::Signal::SIGINT);
            let finished = headwater.finish();
            assert!(finished.status.success(), "{}", finished.stderr);
        }
        // nothing that has come later makes it wrong
        results.subscribe("end", 1).await.unwrap();
        publisher.publish_many("end", ["end"], 1).await.unwrap();
        loop {
            let message = results.recv(QUIET).await.unwrap();
            match message.topic.as_str() {
                "end" => break,
                _ => apply(&mut table, &message.text()),
            }
        }
        assert_eq!(table, (self.expected)(MESSAGES));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_lead_to_the_right_table_when_headwater_is_killed() {
    let expected = |numbers: usize| {
        let rows = (0..KEYS).map(|k| {
            let of_key: Vec<_> = (k..numbers).step_by(KEYS).collect();
            let row = json!({"k": k, "n": of_key.len(), "first": k, "last": of_key.last(),
                             "total": of_key.iter().sum::<usize>()});
            (k as u64, row)
        });
        rows.collect()
    };
    // though some numbers may come twice
    let totals = Changing {
        columns: "k BIGINT PRIMARY KEY, n BIGINT, first BIGINT, last BIGINT, total BIGINT",
        query: format!(
            "SELECT n % {KEYS}, count(DISTINCT n), min(n), max(n), sum(DISTINCT n) FROM numbers
             GROUP BY n % {KEYS}"
        ),
        expected,
        intervals: ["1"; 4],
    };
    totals.is_right_in_the_end().await;
}

/// Results that come and go, perhaps so fast that they are not told the next time.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_before_a_kill_is_taken_back() {
    let expected = |numbers: usize| {
        let size = numbers / COUNT;
        Table::from([(size as u64, json!({"k": size, "groups": COUNT}))])
    };
    let sizes = Changing {
        columns: "k BIGINT PRIMARY KEY, groups BIGINT",
        query: format!(
            "SELECT size, count(*) FROM (
               SELECT n % {COUNT} AS k, count(DISTINCT n) AS size FROM numbers GROUP BY n % {COUNT})
             GROUP BY size"
        ),
        expected,
        intervals: ["3600", "3600", "1", "3600"],
    };
    sizes.is_right_in_the_end().await;
}

/// Groups to which nothing comes for several checkpoints and runs, so that they are written once and only named then.
#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_quiet_for_long_outlive_kills() {
    // those of the first run come again in the last one
    const GROUP: usize = 20;
    const GROUPS: usize = MESSAGES * 3 / 4 / GROUP;
    let expected = |numbers: usize| {
        let mut groups = BTreeMap::<usize, Vec<usize>>::new();
        for n in 0..numbers {
            groups.entry(n / GROUP % GROUPS).or_default().push(n);
        }
        let row = |(k, of_key): (usize, Vec<usize>)| {
            let row = json!({"k": k, "n": of_key.len(), "last": of_key.last()});
            (k as u64, row)
        };
        groups.into_iter().map(row).collect()
    };
    let quiet = Changing {
        columns: "k BIGINT PRIMARY KEY, n BIGINT, last BIGINT",
        query: format!(
            "SELECT n / {GROUP} % {GROUPS}, count(DISTINCT n), max(n) FROM numbers GROUP BY n / {GROUP} % {GROUPS}"
        ),
        expected,
        intervals: ["1"; 4],
    };
    quiet.is_right_in_the_end().await;
}

/// Numbers meet their doubles, which come later.
fn pairs(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT NOT NULL) WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+', qos = 'AtLeastOnce',
           format = 'json');
         CREATE TABLE later (twice BIGINT NOT NULL) WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'later/+', qos = 'AtLeastOnce',
           format = 'json');
         CREATE TABLE doubles WITH (
           connector = 'mqtt', type = 'sink', url = '{url}', topic = 'doubles', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO doubles SELECT n, twice FROM numbers JOIN later ON n * 2 = twice;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pair_of_a_join_is_lost_when_headwater_is_killed() {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "pairs.sql", &pairs(&broker.url()));
    let start = |workers| on_state(dir.path(), sql.to_str().unwrap(), workers);
    let mut headwater = start(1);
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("doubles", 1).await.unwrap();
    let publisher = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    let later = |numbers: std::ops::Range<usize>| {
        let doubles = numbers.map(|n| format!("{{\"twice\":{}}}", 2 * n));
        publisher.publish_many("later/one", doubles, 1)
    };
    // what waits for its double when it is killed finds it in the next run
    for (step, workers) in [3, 2, 2].into_iter().enumerate() {
        let numbers = step * MESSAGES / 3..(step + 1) * MESSAGES / 3;
        let half = numbers.start + numbers.len() / 2;
        publish(&publisher, numbers.clone()).await;
        later(numbers.start..half).await.unwrap();
        receive_until(&mut results, &mut seen, half).await;
        headwater.kill();
        headwater = start(workers);
        later(half..numbers.end).await.unwrap();
        receive_until(&mut results, &mut seen, numbers.end).await;
    }
}

#[test]
fn changes_of_a_run_that_was_killed_before_any_checkpoint_are_taken_back_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.json");
    let sql = format!(
        "CREATE TABLE ticks (counter BIGINT NOT NULL) WITH (connector = 'impulse', event_rate = '1000');
         CREATE TABLE counts (n BIGINT) WITH (
           connector = 'single_file', type = 'sink', path = '{}', format = 'debezium_json');
         INSERT INTO counts SELECT count(*) AS n FROM ticks;",
        out.display()
    );
    let sql = file(dir.path(), "counts.sql", &sql);
    let start = || on_state_every("3600")(dir.path(), sql.to_str().unwrap(), 1);
    let text = || std::fs::read_to_string(&out).unwrap_or_default();
    let headwater = start();
    wait_until(|| text().lines().count() > 1);
    headwater.kill();
    let told = text();
    let headwater = start();
    wait_until(|| text().lines().count() > 2 * told.lines().count());
    headwater.kill();
    let all = text();
    assert!(all.starts_with(&told), "{told} is not in front of {all}");
    // all is taken back before anything new comes
    let (mut rows, mut least) = (0, i64::MAX);
    for line in all
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        rows -= i64::from(!line["before"].is_null());
        rows += i64::from(!line["after"].is_null());
        least = least.min(rows);
    }
    assert_eq!((rows, least), (1, 0));
}

//! Functions over the rows before each row, of a job that is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_testkit::TestClient;
use serde_json::{Value, json};

use crate::crash::{broker, on_state, publish};
use crate::support::file;

const MESSAGES: usize = 1500;
const KEYS: usize = 4;
const QUIET: Duration = Duration::from_secs(30);

/// Of numbers that are ten milliseconds apart, those before them with the same remainder; some may come twice.
fn sql(url: &str) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT NOT NULL,
           at TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(n * 10)) STORED,
           WATERMARK FOR at AS at - INTERVAL '100 milliseconds') WITH (
           connector = 'mqtt', type = 'source', url = '{url}', topic = 'numbers/+', qos = 'AtLeastOnce',
           format = 'json');
         CREATE TABLE results WITH (
           connector = 'mqtt', type = 'sink', url = '{url}', topic = 'results', qos = 'AtLeastOnce', format = 'json');
         INSERT INTO results SELECT n, count(DISTINCT n) OVER (PARTITION BY n % {KEYS} ORDER BY at) AS place,
           count(DISTINCT n) OVER (PARTITION BY n % {KEYS} ORDER BY at
             RANGE BETWEEN INTERVAL '200 milliseconds' PRECEDING AND CURRENT ROW) AS near,
           max(n) OVER (PARTITION BY n % {KEYS} ORDER BY at
             RANGE BETWEEN INTERVAL '1 second' PRECEDING AND INTERVAL '1 millisecond' PRECEDING) AS before
         FROM numbers;"
    )
}

fn expected(n: usize) -> Value {
    json!({
        "n": n,
        "place": n / KEYS + 1,
        "near": (n / KEYS + 1).min(20 / KEYS + 1),
        "before": n.checked_sub(KEYS),
    })
}

/// Receives until so many numbers have come, each with what is right.
async fn right_until(results: &mut TestClient, seen: &mut BTreeSet<usize>, count: usize) {
    while seen.len() < count {
        let text = results.recv(QUIET).await.unwrap().text();
        let row: Value = serde_json::from_str(&text).unwrap();
        let n = usize::try_from(row["n"].as_u64().unwrap()).unwrap();
        assert_eq!(row, expected(n));
        seen.insert(n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_see_those_before_a_kill() {
    let broker = broker().start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let sql = file(dir.path(), "over.sql", &sql(&broker.url()));
    let start = |workers| on_state(dir.path(), sql.to_str().unwrap(), workers);
    let mut headwater = start(1);
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("results", 1).await.unwrap();
    let publisher = TestClient::connect(&broker).await.unwrap();
    let mut seen = BTreeSet::new();
    for (step, workers) in [3, 2, 1].into_iter().enumerate() {
        let numbers = step * MESSAGES / 3..(step + 1) * MESSAGES / 3;
        // the last are not due when it is killed
        let until = numbers.end - 20;
        tokio::join!(
            publish(&publisher, numbers),
            right_until(&mut results, &mut seen, until)
        );
        headwater.kill();
        headwater = start(workers);
    }
    publish(&publisher, MESSAGES..MESSAGES + 20).await;
    right_until(&mut results, &mut seen, MESSAGES).await;
}

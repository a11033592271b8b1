//! A stream gives the answers of a batch: whatever the parallelism, the size of batches, and the order of arrival within
//! what the watermark allows, a query answers what DataFusion answers over the same rows, all at once.
//!
//! Each case is a pair: our SQL over the streams `a` and `b`, and DataFusion's over tables of the same rows.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod joins;
mod over;
mod rows;
mod stream;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use headwater_engine::connector::CHANGE;
use proptest::prelude::*;
use std::sync::Arc;

use crate::rows::{Events, events, many_events};
use crate::stream::answers;

/// How a query is asked of a stream, and of a batch.
struct Case {
    name: &'static str,
    stream: &'static str,
    batch: String,
}

fn case(name: &'static str, stream: &'static str, batch: &str) -> Case {
    Case {
        name,
        stream,
        batch: batch.to_owned(),
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(
            "tumbling, by a key that may be null",
            "SELECT window.start AS s, device, n, total, low FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, device, count(*) AS n, sum(value) AS total, min(value) AS low
               FROM a GROUP BY window, device)",
            "SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*), sum(value), min(value)
             FROM a GROUP BY 1, 2",
        ),
        case(
            "tumbling without keys, filtered, distinct",
            "SELECT window.end AS e, n, few FROM (
               SELECT tumble(INTERVAL '7 seconds') AS window, count(DISTINCT device) AS n, count(*) FILTER (WHERE value > 50) AS few
               FROM a WHERE value <> 13 GROUP BY window)",
            "SELECT date_bin(INTERVAL '7 seconds', ts, TIMESTAMP '1970-01-01') + INTERVAL '7 seconds', count(DISTINCT device),
               count(*) FILTER (WHERE value > 50)
             FROM a WHERE value <> 13 GROUP BY 1",
        ),
        case(
            "tumbling by what is computed, of what is computed",
            "SELECT window.start AS s, rest, most, shares, first FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, value % 3 AS rest, max(value * 2 - 1) AS most,
                 sum(1000 / value) FILTER (WHERE value > 0) AS shares, min(upper(device)) AS first
               FROM a GROUP BY window, value % 3)",
            "SELECT date_bin(INTERVAL '10 seconds', ts), value % 3, max(value * 2 - 1),
               sum(CASE WHEN value > 0 THEN 1000 / value END), min(upper(device))
             FROM a GROUP BY 1, 2",
        ),
        Case {
            name: "hopping",
            stream: "SELECT window.start AS s, device, n, total FROM (
                       SELECT hop(INTERVAL '5 seconds', INTERVAL '20 seconds') AS window, device, count(*) AS n, sum(value) AS total
                       FROM a GROUP BY window, device)",
            batch: format!(
                "SELECT s, device, count(*), sum(value) FROM ({}) GROUP BY s, device",
                shifted(&[0, 5, 10, 15])
            ),
        },
        case(
            "windows of windows",
            "SELECT window.start AS s, most FROM (
               SELECT tumble(INTERVAL '30 seconds') AS window, max(n) AS most FROM (
                 SELECT device, tumble(INTERVAL '10 seconds') AS inner, count(*) AS n FROM a GROUP BY device, inner)
               GROUP BY window)",
            "SELECT date_bin(INTERVAL '30 seconds', s), max(n) FROM (
               SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*) AS n FROM a GROUP BY 1, 2)
             GROUP BY 1",
        ),
        case(
            "over each window of windows",
            "SELECT window.start AS s, most FROM (
               SELECT window, max(n) AS most FROM (
                 SELECT device, tumble(INTERVAL '10 seconds') AS window, count(*) AS n FROM a GROUP BY device, window)
               GROUP BY window)",
            "SELECT s, max(n) FROM (
               SELECT date_bin(INTERVAL '10 seconds', ts) AS s, device, count(*) AS n FROM a GROUP BY 1, 2)
             GROUP BY 1",
        ),
        case(
            "sessions",
            "SELECT window.start AS s, window.end AS e, device, n, total FROM (
               SELECT session(INTERVAL '4 seconds') AS window, device, count(*) AS n, sum(value) AS total
               FROM a GROUP BY window, device)",
            "SELECT min(ts), max(ts) + INTERVAL '4 seconds', device, count(*), sum(value) FROM (
               SELECT *, sum(begins) OVER (PARTITION BY device ORDER BY ts) AS id FROM (
                 SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY device ORDER BY ts) < INTERVAL '4 seconds' THEN 0 ELSE 1 END AS begins
                 FROM a))
             GROUP BY device, id",
        ),
        case(
            "two sources together",
            "SELECT window.start AS s, device, n FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, device, count(*) AS n
               FROM (SELECT device FROM a UNION ALL SELECT device FROM b) GROUP BY window, device)",
            "SELECT date_bin(INTERVAL '10 seconds', ts), device, count(*)
             FROM (SELECT ts, device FROM a UNION ALL SELECT ts, device FROM b) GROUP BY 1, 2",
        ),
    ]
}

/// Aggregates whose states are sent in the place of rows.
fn aggregated() -> Vec<Case> {
    let of = "count(*), count(device), sum(value), avg(value), min(value), max(ts), bit_xor(value), bool_or(value > 98),
               CAST(round(stddev(value) * 1000) AS BIGINT), sum(value) FILTER (WHERE value < 7)";
    vec![
        Case {
            name: "many aggregates, by two keys",
            stream: "SELECT window.start AS s, device, rest, a, b, c, d, e, f, g, h, i, j FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, device, value % 3 AS rest, count(*) AS a, count(device) AS b,
                 sum(value) AS c, avg(value) AS d, min(value) AS e, max(ts) AS f, bit_xor(value) AS g, bool_or(value > 98) AS h,
                 CAST(round(stddev(value) * 1000) AS BIGINT) AS i, sum(value) FILTER (WHERE value < 7) AS j
               FROM a GROUP BY window, device, value % 3)",
            batch: format!(
                "SELECT date_bin(INTERVAL '10 seconds', ts), device, value % 3, {of} FROM a GROUP BY 1, 2, 3"
            ),
        },
        case(
            "without keys",
            "SELECT window.start AS s, n, total, mean FROM (
               SELECT tumble(INTERVAL '3 seconds') AS window, count(*) AS n, sum(value) AS total, avg(value) AS mean
               FROM a GROUP BY window)",
            "SELECT date_bin(INTERVAL '3 seconds', ts), count(*), sum(value), avg(value) FROM a GROUP BY 1",
        ),
        case(
            "keys alone",
            "SELECT window.start AS s, device FROM (
               SELECT tumble(INTERVAL '10 seconds') AS window, device FROM a GROUP BY window, device)",
            "SELECT DISTINCT date_bin(INTERVAL '10 seconds', ts), device FROM a",
        ),
    ]
}

/// Queries whose results change: of what was told, what was not taken back is the answer.
fn changing() -> Vec<Case> {
    let same = |name, sql: &'static str| Case {
        name,
        stream: sql,
        batch: sql.to_owned(),
    };
    vec![
        same(
            "by a key that may be null",
            "SELECT device, count(*) AS n, sum(value) AS total, avg(value) AS mean, count(DISTINCT value) AS few,
               max(value) FILTER (WHERE value < 50) AS low
             FROM a GROUP BY device HAVING count(*) > 1",
        ),
        same("distinct", "SELECT DISTINCT device, value % 3 AS rest FROM a"),
        same(
            "by what is computed, of what is computed",
            "SELECT upper(device) AS name, value % 2 AS rest, sum(value * 3) AS total, min(value + 1) AS low,
               count(DISTINCT value / 10) AS few
             FROM a GROUP BY upper(device), value % 2",
        ),
        same(
            "an aggregate of aggregates",
            "SELECT n, count(*) AS devices, max(total) AS most FROM (
               SELECT device, count(*) AS n, sum(value) AS total FROM a GROUP BY device)
             GROUP BY n",
        ),
        same(
            "a left join",
            "SELECT a.device, a.value, b.value AS other FROM a LEFT JOIN b ON a.device = b.device AND b.value > 40",
        ),
        same(
            "a full join",
            "SELECT a.device, a.value, b.device AS partner, b.value AS other FROM a FULL JOIN b ON a.device = b.device",
        ),
        same(
            "a join of aggregates, on what changes, and of rows",
            "SELECT x.device, x.n, y.devices, b.value FROM (SELECT device, count(*) AS n FROM a GROUP BY device) x
             JOIN (SELECT n, count(*) AS devices FROM (SELECT device, count(*) AS n FROM b GROUP BY device) GROUP BY n) y
             ON x.n = y.n
             RIGHT JOIN b ON x.device = b.device",
        ),
        same(
            "a union of rows that change and rows that stay",
            "SELECT device, sum(n) AS n FROM (
               SELECT device, count(*) AS n FROM a GROUP BY device UNION ALL SELECT device, 1 AS n FROM b)
             GROUP BY device",
        ),
    ]
}

/// The rows of `a`, once for each window of the hops that they are in.
fn shifted(seconds: &[u32]) -> String {
    let selects = seconds.iter().map(|back| {
        format!("SELECT date_bin(INTERVAL '5 seconds', ts) - INTERVAL '{back} seconds' AS s, device, value FROM a")
    });
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

/// Rows as sorted lines, without those that are taken back.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let mut columns: Vec<_> = columns.collect();
        let change = batch.column_by_name(CHANGE);
        let change = change.map(|change| change.as_primitive::<Int64Type>().values());
        columns.truncate(columns.len() - usize::from(change.is_some()));
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).to_string());
            let line = values.collect::<Vec<_>>().join(" ");
            match change.is_some_and(|change| change[row] < 0) {
                true => {
                    let sent = lines.iter().position(|sent| *sent == line).unwrap();
                    lines.swap_remove(sent);
                }
                false => lines.push(line),
            }
        }
    }
    lines.sort();
    lines
}

async fn batch_answers(a: &Events, b: &Events, sql: &str) -> Vec<String> {
    let context = SessionContext::new();
    for (name, events) in [("a", a), ("b", b)] {
        let batch = events.batch();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    lines(&context.sql(sql).await.unwrap().collect().await.unwrap())
}

fn check(cases: Vec<Case>, a: &Events, b: &Events) {
    check_in_batches(cases, (a, b), &[1, 32, 8192]);
}

fn check_in_batches(cases: Vec<Case>, (a, b): (&Events, &Events), batches: &[usize]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for case in cases {
        let expected = runtime.block_on(batch_answers(a, b, &case.batch));
        for parallelism in [1, 2, 3] {
            for batch_rows in batches.iter().copied() {
                let rows = runtime.block_on(answers(a, b, case.stream, parallelism, batch_rows));
                let place = format!(
                    "{}, parallelism {parallelism}, batches of {batch_rows}",
                    case.name
                );
                assert_eq!(lines(&rows), expected, "{place}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn windows_answer_what_a_batch_does(a in events(150), b in events(40)) {
        check(cases(), &a, &b);
    }

    #[test]
    fn windows_of_many_rows_answer_what_a_batch_does(a in many_events(2_000), b in many_events(500)) {
        let cases = aggregated().into_iter().chain(cases()).collect();
        check_in_batches(cases, (&a, &b), &[500, 8192]);
    }

    #[test]
    fn changes_lead_to_what_a_batch_answers(a in events(150), b in events(40)) {
        check(changing(), &a, &b);
    }

    #[test]
    fn joins_answer_what_a_batch_does(a in events(150), b in events(40)) {
        check(joins::cases(), &a, &b);
    }

    #[test]
    fn rows_before_rows_answer_what_a_batch_does(a in events(150), b in events(40)) {
        check(over::cases(), &a, &b);
    }
}

#[test]
fn nothing_is_answered_with_nothing() {
    for cases in [
        cases(),
        aggregated(),
        changing(),
        joins::cases(),
        over::cases(),
    ] {
        check(cases, &Events::default(), &Events::default());
    }
}

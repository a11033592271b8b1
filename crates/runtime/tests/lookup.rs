//! Lookups within jobs: what is acknowledged when, in which order rows go on, how jobs end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use support::{Bench, ended, reached, rows};

/// Lookups without an end.
const ALL: usize = 1_000_000;

#[tokio::test]
async fn nothing_is_committed_before_it_was_looked_up() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        bench.lookup("table", 0),
        bench.sink("out", 1),
    ];
    let job = bench.start(nodes, 1);
    // what is found, and what is not: both are dealt with only when the table has answered
    bench.send("in", rows(&[2]));
    bench.send("in", rows(&[3]));
    let read = bench.stage.read.lock().unwrap()["in"].subscribe();
    reached(read, |read| *read == 2, "both rows").await;
    assert_eq!(bench.committed_now("in"), 0);
    bench.let_look("table", ALL);
    bench.committed("in", 2).await;
    assert_eq!(bench.rows("out", 1).await, [2]);
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn rows_keep_their_order_however_many_lookups_are_waited_for() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        bench.lookup("table", 0),
        bench.sink("out", 1),
    ];
    for n in 0..200 {
        bench.send("in", rows(&[2 * n, 1, 2 * n, 0]));
    }
    bench.inputs.clear();
    let job = bench.start(nodes, 1);
    bench.let_look("table", ALL);
    ended(&job).await.unwrap();
    let expected: Vec<i64> = (0..200).flat_map(|n| [2 * n, 2 * n, 0]).collect();
    assert_eq!(bench.rows("out", 600).await, expected);
    assert_eq!(bench.committed_now("in"), 200);
}

#[tokio::test]
async fn workers_share_the_table() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("one"),
        bench.source("two"),
        support::union_of(&[0, 1]),
        bench.lookup("table", 2),
        bench.sink("out", 3),
    ];
    for n in 0..100 {
        bench.send("one", rows(&[4 * n]));
        bench.send("two", rows(&[4 * n + 2, 1]));
    }
    bench.inputs.clear();
    let job = bench.start(nodes, 2);
    bench.let_look("table", ALL);
    ended(&job).await.unwrap();
    let mut found = bench.rows("out", 200).await;
    found.sort_unstable();
    assert_eq!(found, (0..200).map(|n| 2 * n).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_that_is_stopped_finishes_its_lookups() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        bench.lookup("table", 0),
        bench.sink("out", 1),
    ];
    let job = bench.start(nodes, 1);
    bench.send("in", rows(&[2]));
    let read = bench.stage.read.lock().unwrap()["in"].subscribe();
    reached(read, |read| *read == 1, "the row").await;
    job.stop();
    // in good order: what has been read is finished
    bench.let_look("table", 1);
    ended(&job).await.unwrap();
    assert_eq!(bench.committed_now("in"), 1);
    assert_eq!(bench.rows("out", 1).await, [2]);
}

//! Lookups in memory tables within jobs: what waits for a table that is read whole, who is not read meanwhile, how jobs end, and
//! what another run takes up.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use std::time::Duration;

use headwater_connector::State;
use headwater_runtime::Job;
use support::memory::{known, looked_up};
use support::{Bench, ended, reached, rows};
use tempfile::TempDir;

const OFTEN: Duration = Duration::from_millis(20);

/// More rows than a source may have in the dataflow.
const MANY: i64 = 300_000;

/// What has been found, in the order of numbers.
async fn found(bench: &Bench, count: usize) -> Vec<i64> {
    let mut found = bench.rows("out", count).await;
    found.sort_unstable();
    found
}

async fn read(bench: &Bench, source: &str, batches: u64) {
    let read = bench.stage.read.lock().unwrap()[source].subscribe();
    reached(read, |read| *read >= batches, "a batch").await;
}

#[tokio::test]
async fn a_stream_is_not_read_until_its_table_has_been() {
    for parallelism in [1, 2, 3] {
        let mut bench = Bench::default();
        let nodes = looked_up(&mut bench, true);
        let job = bench.start(nodes, parallelism);
        for n in 0..20 {
            bench.send("stream", rows(&[n, n]));
        }
        // far more than the table's source could have in the dataflow if rows that wait held it up
        for first in (0..MANY).step_by(10_000) {
            let some: Vec<_> = (first..first + 10_000).map(|n| (n % 1_000, n)).collect();
            bench.send("table", known(&some));
        }
        bench.committed("table", 30).await;
        let read = *bench.stage.read.lock().unwrap()["stream"].borrow();
        assert!(read <= 6, "{read} batches are read");
        assert!(bench.state("out").rows.borrow().is_empty());
        bench.inputs.remove("table");
        let last = |n: i64| MANY - 1_000 + n;
        let expect: Vec<_> = (0..20).flat_map(|n| [last(n), last(n)]).collect();
        assert_eq!(found(&bench, 40).await, expect);
        bench.committed("stream", 20).await;
        bench.inputs.clear();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_waits_for_a_table_that_goes_on() {
    for parallelism in [1, 2] {
        let mut bench = Bench::default();
        let nodes = looked_up(&mut bench, false);
        let job = bench.start(nodes, parallelism);
        bench.send("stream", rows(&[1]));
        bench.committed("stream", 1).await;
        bench.send("table", known(&[(1, 10), (2, 20)]));
        bench.committed("table", 1).await;
        bench.send("stream", rows(&[1, 3]));
        assert_eq!(found(&bench, 1).await, [10]);
        bench.send("table", known(&[(1, 11)]));
        bench.committed("table", 2).await;
        bench.send("stream", rows(&[2, 1]));
        assert_eq!(found(&bench, 3).await, [10, 11, 20]);
        // the end of the stream is that of the job, as far as event time goes
        bench.inputs.clear();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_that_is_stopped_meanwhile_answers_with_what_has_been_read() {
    for parallelism in [1, 2] {
        let mut bench = Bench::default();
        let nodes = looked_up(&mut bench, true);
        let job = bench.start(nodes, parallelism);
        bench.send("table", known(&[(1, 10)]));
        bench.committed("table", 1).await;
        bench.send("stream", rows(&[1, 2]));
        read(&bench, "stream", 1).await;
        job.stop();
        ended(&job).await.unwrap();
        assert_eq!(found(&bench, 1).await, [10]);
        assert_eq!(bench.committed_now("stream"), 1);
    }
}

/// A run on what earlier ones have left.
fn start(folder: &TempDir, waits: bool, parallelism: usize) -> (Bench, Job) {
    let mut bench = Bench::default();
    let nodes = looked_up(&mut bench, waits);
    let state = State::open(folder.path()).unwrap();
    let job = bench.start_again(nodes, parallelism, (state, OFTEN));
    (bench, job.unwrap())
}

#[tokio::test]
async fn another_run_goes_on_with_the_table_and_with_what_waits_for_it() {
    let folder = TempDir::new().unwrap();
    for (run, parallelism) in (0..).zip([1, 3, 2]) {
        let (bench, job) = start(&folder, true, parallelism);
        bench.send("table", known(&[(run, 10 * run), (7, run)]));
        bench.send("stream", rows(&[run, 7]));
        bench.committed("table", 1).await;
        read(&bench, "stream", 1).await;
        job.stop();
        ended(&job).await.unwrap();
        assert!(bench.state("out").rows.borrow().is_empty());
    }
    let (mut bench, job) = start(&folder, true, 2);
    bench.inputs.clear();
    ended(&job).await.unwrap();
    assert_eq!(found(&bench, 6).await, [0, 2, 2, 2, 10, 20]);
}

#[tokio::test]
async fn a_crash_loses_no_row_of_the_table() {
    let folder = TempDir::new().unwrap();
    for (run, parallelism) in (0..).zip([1, 2, 2, 3, 1]) {
        let (bench, job) = start(&folder, false, parallelism);
        bench.send("table", known(&[(run, 100 + run), (9, run)]));
        bench.committed("table", 1).await;
        if run % 2 == 0 {
            let taken = async {
                let mut look = tokio::time::interval(Duration::from_millis(5));
                while job.checkpoints().is_empty() {
                    look.tick().await;
                }
            };
            tokio::time::timeout(support::DEADLINE, taken)
                .await
                .unwrap();
        }
        // what is on disk has been committed, and may be on its way to the table: so it is asked again and again
        let all: Vec<_> = (0..=run).chain([9]).collect();
        let expect: Vec<_> = (0..=run).map(|n| 100 + n).chain([run]).collect();
        let has_come = async {
            let mut ask = tokio::time::interval(Duration::from_millis(10));
            let out = bench.state("out");
            while !expect.iter().all(|value| out.rows.borrow().contains(value)) {
                ask.tick().await;
                bench.send("stream", rows(&all));
            }
        };
        let has_come = tokio::time::timeout(support::DEADLINE, has_come).await;
        has_come.unwrap_or_else(|_| panic!("{expect:?} in run {run}"));
        job.abort();
        ended(&job).await.unwrap();
    }
}

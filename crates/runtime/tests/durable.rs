//! Jobs that keep their state: killed, stopped, finished, started again.
//!
//! Two sources whose other side cannot be read again, and an operator whose rows come out in the order of their event
//! time, as far as the watermark of both has come.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use headwater_connector::State;
use headwater_runtime::{Job, JobError};
use support::time::two_sources;
use support::{Bench, DEADLINE, ended, rows};
use tempfile::TempDir;

/// Often enough that there are some; never.
const OFTEN: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3600);

/// One run of the job on what earlier ones have left.
struct Run {
    bench: Bench,
    job: Job,
}

fn start(folder: &TempDir, interval: Duration, parallelism: usize) -> Result<Run, JobError> {
    let mut bench = Bench::default();
    let nodes = two_sources(&mut bench, None);
    let state = State::open(folder.path()).unwrap();
    let job = bench.start_again(nodes, parallelism, (state, interval))?;
    Ok(Run { bench, job })
}

impl Run {
    /// Rows of both sources, which are committed before it goes on.
    async fn commit(&self, source: &str, values: &[i64]) {
        let read = *self.bench.stage.read.lock().unwrap()[source].borrow();
        self.bench.send(source, rows(values));
        self.bench.committed(source, read + 1).await;
    }

    async fn checkpoints(&self, count: usize) {
        let taken = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while self.job.checkpoints().len() < count {
                look.tick().await;
            }
        };
        tokio::time::timeout(DEADLINE, taken)
            .await
            .expect("checkpoints are taken");
    }

    fn out(&self) -> Vec<i64> {
        self.bench.state("out").rows.borrow().clone()
    }

    /// Ends it as a crash does: nothing is said to anyone.
    async fn kill(self) -> Vec<i64> {
        self.job.abort();
        ended(&self.job).await.unwrap();
        self.out()
    }

    async fn stop(self) -> Vec<i64> {
        self.job.stop();
        ended(&self.job).await.unwrap();
        self.out()
    }

    /// Ends both sources.
    async fn end(mut self) -> Vec<i64> {
        self.bench.inputs.clear();
        ended(&self.job).await.unwrap();
        self.out()
    }
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_committed() {
    for parallelism in [1, 2, 3] {
        for interval in [OFTEN, NEVER] {
            let folder = TempDir::new().unwrap();
            let run = start(&folder, interval, parallelism).unwrap();
            run.commit("a", &[5, 1, 8]).await;
            run.commit("b", &[3, 7]).await;
            if interval == OFTEN {
                run.checkpoints(1).await;
            }
            run.commit("a", &[11]).await;
            run.commit("b", &[10]).await;
            let first = run.kill().await;

            let run = start(&folder, interval, parallelism).unwrap();
            run.commit("b", &[12]).await;
            let second = run.kill().await;

            let run = start(&folder, interval, parallelism).unwrap();
            run.commit("a", &[13]).await;
            let third = run.end().await;
            for made in [&first, &second, &third] {
                assert!(made.is_sorted(), "{made:?}");
            }
            let made: BTreeSet<i64> = [first, second, third].concat().into_iter().collect();
            let expected = [1, 3, 5, 7, 8, 10, 11, 12, 13].into();
            assert_eq!(made, expected, "every {interval:?}");
        }
    }
}

#[tokio::test]
async fn what_was_put_out_before_a_checkpoint_does_not_come_again() {
    let folder = TempDir::new().unwrap();
    let run = start(&folder, OFTEN, 2).unwrap();
    run.commit("a", &[1, 5]).await;
    run.commit("b", &[4]).await;
    assert_eq!(run.bench.rows("out", 1).await, [1]);
    let taken = run.job.checkpoints().len();
    // one may have begun before the row was out
    run.commit("b", &[4]).await;
    run.checkpoints(taken + 1).await;
    run.commit("b", &[4]).await;
    run.checkpoints(taken + 2).await;
    run.kill().await;
    let run = start(&folder, NEVER, 2).unwrap();
    assert_eq!(run.end().await, [4, 4, 4, 5]);
}

#[tokio::test]
async fn a_job_that_was_stopped_goes_on_where_it_was() {
    for parallelism in [1, 2] {
        let folder = TempDir::new().unwrap();
        let run = start(&folder, NEVER, parallelism).unwrap();
        run.commit("a", &[5, 1, 8]).await;
        run.commit("b", &[3, 7]).await;
        run.bench.rows("out", 3).await;
        assert_eq!(run.stop().await, [1, 3, 5]);
        let run = start(&folder, NEVER, parallelism).unwrap();
        // time has not gone back
        run.commit("a", &[2, 9]).await;
        run.commit("b", &[9]).await;
        run.bench.rows("out", 2).await;
        assert_eq!(run.stop().await, [7, 8]);
        let run = start(&folder, NEVER, parallelism).unwrap();
        assert_eq!(run.end().await, [9, 9]);
        let run = start(&folder, NEVER, parallelism).unwrap();
        run.commit("a", &[1]).await;
        assert_eq!(run.end().await, [1], "a job that has ended begins anew");
    }
}

#[tokio::test]
async fn another_number_of_workers_takes_up_the_state() {
    let folder = TempDir::new().unwrap();
    let run = start(&folder, NEVER, 2).unwrap();
    run.commit("a", &[5, 1]).await;
    run.commit("b", &[3, 4]).await;
    run.bench.rows("out", 2).await;
    assert_eq!(run.stop().await, [1, 3]);
    let run = start(&folder, NEVER, 3).unwrap();
    run.commit("b", &[9]).await;
    run.commit("a", &[6]).await;
    run.bench.rows("out", 2).await;
    assert_eq!(run.kill().await, [4, 5]);
    let run = start(&folder, NEVER, 1).unwrap();
    assert_eq!(run.end().await, [4, 5, 6, 9]);
}

#[tokio::test]
async fn a_job_that_is_finished_keeps_nothing() {
    let folder = TempDir::new().unwrap();
    let run = start(&folder, OFTEN, 2).unwrap();
    run.commit("a", &[5, 1]).await;
    run.checkpoints(1).await;
    run.job.finish();
    ended(&run.job).await.unwrap();
    assert_eq!(run.out(), [1, 5]);
    let run = start(&folder, NEVER, 1).unwrap();
    assert_eq!(run.end().await, [0_i64; 0]);
}

/// What is said when it does not start.
fn refusal(run: Result<Run, JobError>) -> String {
    let error = run.err().expect("it does not start");
    format!("{error}: {}", error.source().expect("a cause"))
}

#[tokio::test]
async fn state_is_taken_up_by_the_same_job_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let path = path.display();
    let run = start(&folder, OFTEN, 2).unwrap();
    assert_eq!(
        refusal(start(&folder, OFTEN, 2)),
        format!(
            "the job's state cannot be kept: '{path}' is in use: another process runs this job; end that, or give \
             this one another job id"
        )
    );
    run.commit("a", &[5, 1]).await;
    run.kill().await;
    let mut bench = Bench::default();
    let mut nodes = two_sources(&mut bench, None);
    nodes[7].id = "other".to_owned();
    let other = bench.sink("other", 6);
    nodes[7] = other;
    let state = State::open(folder.path()).unwrap();
    let job = bench.start_again(nodes, 2, (state, NEVER));
    let run = job.map(|job| Run { bench, job });
    assert_eq!(
        refusal(run),
        format!(
            "the job's state cannot be kept: '{path}' is the state of another query than this: run that one again \
             until it has ended, or give this one another job id; or remove the file, and with it what was \
             acknowledged and not yet put out"
        )
    );
    std::fs::write(folder.path().join("state.db"), "no database").unwrap();
    std::fs::remove_file(folder.path().join("state.db-wal")).ok();
    let refused = refusal(start(&folder, OFTEN, 2));
    assert!(refused.contains("cannot be read or written"), "{refused}");
}

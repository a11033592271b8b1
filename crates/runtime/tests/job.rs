//! Jobs over scripted sources and sinks: what is committed, when, and how jobs end.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, cast, lit};
use headwater_connector::{Registry, State};
use headwater_format::BadData;
use headwater_planner::plan::{Plan, Step};
use headwater_runtime::{BACKLOG_ROWS, CHECKPOINT_INTERVAL, Job, JobError, JobOptions};
use tokio::sync::Semaphore;

use support::{
    Bench, DEADLINE, Fault, Scripted, UNSENDABLE, chain, dead_letters, ended, expr, reached, rows,
    rows_with, schema, thousandfold, union_of,
};

#[tokio::test]
async fn a_bounded_source_runs_to_its_end_and_everything_is_committed() {
    let mut bench = Bench::default();
    let nodes = vec![bench.source("in"), bench.sink("out", 0)];
    for n in 0..100 {
        bench.send("in", rows(&[n]));
    }
    bench.inputs.clear();
    let job = bench.start(nodes, 1);
    ended(&job).await.unwrap();
    assert_eq!(
        bench.rows("out", 100).await,
        (0..100).collect::<Vec<_>>(),
        "in order, once"
    );
    assert_eq!(bench.committed_now("in"), 100);
    bench.state("out").closed.notified().await;
}

#[tokio::test]
async fn nothing_is_committed_before_the_sink_has_accepted_it() {
    let mut bench = Bench::default();
    let nodes = vec![bench.source("in"), bench.sink("out", 0)];
    bench.state("out").accepting.send_replace(false);
    let job = bench.start(nodes, 1);
    bench.send("in", rows(&[1, 2, 3]));
    bench.rows("out", 3).await;
    bench.send("in", rows(&[4]));
    bench.rows("out", 4).await;
    assert_eq!(bench.committed_now("in"), 0, "written is not accepted");
    bench.state("out").accepting.send_replace(true);
    bench.committed("in", 2).await;
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn a_row_is_committed_only_when_every_sink_has_accepted_it() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        bench.sink("fast", 0),
        bench.sink("slow", 0),
    ];
    bench.state("slow").accepting.send_replace(false);
    let job = bench.start(nodes, 1);
    bench.send("in", rows(&[1]));
    bench.rows("fast", 1).await;
    bench.rows("slow", 1).await;
    assert_eq!(bench.committed_now("in"), 0);
    bench.state("slow").accepting.send_replace(true);
    bench.committed("in", 1).await;
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn rows_that_are_filtered_out_are_committed() {
    let mut bench = Bench::default();
    let none = binary(expr("n"), Op::Lt, lit(0_i64), &schema()).unwrap();
    let steps = vec![Step::Filter {
        predicate: none,
        projection: None,
    }];
    let nodes = vec![bench.source("in"), chain(steps, 0), bench.sink("out", 1)];
    let job = bench.start(nodes, 1);
    bench.send("in", rows(&[1, 2]));
    bench.committed("in", 1).await;
    bench.send("in", RecordBatch::new_empty(schema()));
    bench.committed("in", 2).await;
    job.stop();
    ended(&job).await.unwrap();
    assert!(bench.state("out").rows.borrow().is_empty());
}

#[tokio::test]
async fn an_idle_source_does_not_hold_back_its_sibling_at_a_union() {
    for parallelism in [1, 2, 3] {
        let mut bench = Bench::default();
        let nodes = vec![
            bench.source("busy"),
            bench.source("idle"),
            union_of(&[0, 1]),
            bench.sink("out", 2),
        ];
        let job = bench.start(nodes, parallelism);
        for n in 1..=50 {
            bench.send("busy", rows(&[n]));
            bench.committed("busy", n.unsigned_abs()).await;
        }
        job.stop();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_while_a_sink_is_stuck() {
    let mut bench = Bench::default();
    let nodes = vec![bench.source("in"), bench.sink("out", 0)];
    bench.state("out").accepting.send_replace(false);
    let job = bench.start(nodes, 1);
    let batch = rows(&(0..8192).collect::<Vec<_>>());
    for _ in 0..200 {
        bench.send("in", batch.clone());
    }
    // 262,144 rows of credit are 32 batches; the queue holds 4, and one may wait at its door
    let read = bench.stage.read.lock().unwrap()["in"].subscribe();
    reached(read.clone(), |read| *read >= 36, "the credit to be spent").await;
    assert!(*read.borrow() <= 38, "{} batches were read", *read.borrow());
    bench.state("out").accepting.send_replace(true);
    bench.committed("in", 200).await;
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn stop_drains_what_was_read() {
    let mut bench = Bench::default();
    let nodes = vec![bench.source("in"), bench.sink("out", 0)];
    bench.state("out").accepting.send_replace(false);
    let job = bench.start(nodes, 2);
    bench.send("in", rows(&[1, 2]));
    bench.rows("out", 2).await;
    job.stop();
    assert!(job.outcome().is_none(), "there is something to wait for");
    bench.state("out").accepting.send_replace(true);
    ended(&job).await.unwrap();
    assert_eq!(bench.committed_now("in"), 1);
}

#[tokio::test]
async fn a_failing_sink_fails_the_job_and_nothing_is_committed() {
    let mut bench = Bench::default();
    let nodes = vec![bench.source("in"), bench.sink("out", 0)];
    *bench.state("out").fails.lock().unwrap() = Some(Fault::Error);
    let job = bench.start(nodes, 2);
    bench.send("in", rows(&[1]));
    let error = anyhow::Error::from(ended(&job).await.unwrap_err());
    assert_eq!(format!("{error:#}"), "table 'out' failed: the disk is full");
    assert_eq!(bench.committed_now("in"), 0);
}

#[tokio::test]
async fn a_panic_in_one_job_is_reported_and_leaves_the_other_running() {
    let (mut good, mut bad) = (Bench::default(), Bench::default());
    let nodes = vec![good.source("in"), good.sink("out", 0)];
    let good_job = good.start(nodes, 2);
    let nodes = vec![bad.source("in"), bad.sink("out", 0)];
    *bad.state("out").fails.lock().unwrap() = Some(Fault::Panic);
    let bad_job = bad.start(nodes, 2);
    bad.send("in", rows(&[1]));
    let error = ended(&bad_job).await.unwrap_err();
    assert!(matches!(&*error, JobError::Panicked { message, .. } if message == "scripted panic"));
    good.send("in", rows(&[1]));
    good.committed("in", 1).await;
    good_job.stop();
    ended(&good_job).await.unwrap();
}

/// An expression that panics, on whichever worker evaluates it.
#[tokio::test]
async fn a_panic_of_a_worker_fails_the_job_on_every_thread() {
    for parallelism in [1, 3] {
        let mut bench = Bench::default();
        // a column that the batch does not have: evaluation indexes out of bounds
        let missing = Step::Columns(vec![0, 1]);
        let bad = Step::Project {
            exprs: vec![Arc::new(Panics)],
            schema: schema(),
        };
        let nodes = vec![
            bench.source("in"),
            chain(vec![missing, bad], 0),
            bench.sink("out", 1),
        ];
        let job = bench.start(nodes, parallelism);
        bench.send("in", rows(&[1]));
        let error = ended(&job).await.unwrap_err();
        let JobError::Panicked { place, message } = &*error else {
            panic!("{error}")
        };
        assert!(place.starts_with("worker"), "{place}");
        assert_eq!(message, "scripted panic of an expression");
        assert_eq!(bench.committed_now("in"), 0);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Panics;

impl std::fmt::Display for Panics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("panics")
    }
}

impl PhysicalExpr for Panics {
    fn evaluate(
        &self,
        _batch: &RecordBatch,
    ) -> datafusion::common::Result<datafusion::logical_expr::ColumnarValue> {
        panic!("scripted panic of an expression")
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![]
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> datafusion::common::Result<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("panics")
    }
}

fn cast_text() -> Vec<Step> {
    let number = cast(expr("text"), &schema(), DataType::Int64).unwrap();
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    vec![Step::Project {
        exprs: vec![number],
        schema: Arc::new(schema),
    }]
}

#[tokio::test]
async fn a_row_on_which_an_expression_fails_fails_the_job() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        chain(cast_text(), 0),
        bench.sink("out", 1),
    ];
    let job = bench.start(nodes, 1);
    bench.send(
        "in",
        rows_with(&[1, 2], vec!["1".to_owned(), "two".to_owned()]),
    );
    let error = anyhow::Error::from(ended(&job).await.unwrap_err());
    assert!(format!("{error:#}").contains("two"), "{error:#}");
    assert_eq!(bench.committed_now("in"), 0);
}

#[tokio::test]
async fn with_bad_data_dropped_the_other_rows_go_on() {
    let mut bench = Bench::default();
    let source = bench.source_with("in", BadData::Drop);
    let nodes = vec![source, chain(cast_text(), 0), bench.sink("out", 1)];
    let job = bench.start(nodes, 1);
    let texts = ["1", "two", "3"].map(str::to_owned).to_vec();
    bench.send("in", rows_with(&[1, 2, 3], texts));
    assert_eq!(bench.rows("out", 2).await, [1, 3]);
    bench.committed("in", 1).await;
    let dropped: u64 = job
        .operators()
        .iter()
        .map(|operator| operator.metrics.snapshot().bad_data)
        .sum();
    assert_eq!(dropped, 1);
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn nothing_is_committed_before_its_dead_letter_has_been_accepted() {
    for parallelism in [1, 3] {
        let mut bench = Bench::default();
        let nodes = vec![
            bench.source_with("in", BadData::DeadLetter),
            bench.sink("out", 0),
            dead_letters(0),
            bench.sink("dead", 2),
        ];
        bench.state("dead").accepting.send_replace(false);
        let job = bench.start(nodes, parallelism);
        bench.send("in", rows(&[1]));
        bench.committed("in", 1).await;
        bench.send("in", rows(&[2, -7, 3]));
        assert_eq!(bench.rows("out", 3).await, [1, 2, 3]);
        assert_eq!(bench.rows("dead", 1).await, [7]);
        bench.send("in", rows(&[4]));
        bench.rows("out", 4).await;
        assert_eq!(
            bench.committed_now("in"),
            1,
            "the dead letter is on its way"
        );
        bench.state("dead").accepting.send_replace(true);
        bench.committed("in", 3).await;
        // a batch of nothing but bad data
        bench.send("in", rows(&[-8]));
        bench.committed("in", 4).await;
        assert_eq!(bench.rows("dead", 2).await, [7, 8]);
        job.stop();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_committed_before_the_dead_letter_of_a_sink_has_been_accepted() {
    for parallelism in [1, 3] {
        let mut bench = Bench::default();
        let nodes = vec![
            bench.source("in"),
            bench.sink_with("out", 0, BadData::DeadLetter),
            dead_letters(1),
            bench.sink("dead", 2),
        ];
        bench.state("dead").accepting.send_replace(false);
        let job = bench.start(nodes, parallelism);
        bench.send("in", rows(&[1]));
        bench.committed("in", 1).await;
        bench.send("in", rows(&[2, UNSENDABLE + 7, UNSENDABLE + 8]));
        assert_eq!(bench.rows("dead", 2).await, [7, 8]);
        bench.send("in", rows(&[3]));
        assert_eq!(bench.rows("out", 3).await, [1, 2, 3]);
        assert_eq!(
            bench.committed_now("in"),
            1,
            "the dead letters are on their way"
        );
        bench.state("dead").accepting.send_replace(true);
        bench.committed("in", 3).await;
        job.stop();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn rows_on_which_an_expression_fails_become_dead_letters() {
    let mut bench = Bench::default();
    let source = bench.source_with("in", BadData::DeadLetter);
    let nodes = vec![
        source,
        chain(cast_text(), 0),
        bench.sink("out", 1),
        dead_letters(1),
        dead_letters(0),
        union_of(&[3, 4]),
        bench.sink("dead", 5),
    ];
    let job = bench.start(nodes, 2);
    let texts = ["1", "two", "3"].map(str::to_owned).to_vec();
    bench.send("in", rows_with(&[1, 2, 3], texts));
    assert_eq!(bench.rows("out", 2).await, [1, 3]);
    bench.committed("in", 1).await;
    assert_eq!(bench.rows("dead", 1).await.len(), 1);
    let source = &job.operators()[0];
    assert_eq!(source.metrics.snapshot().dead_letters, 1);
    job.stop();
    ended(&job).await.unwrap();
}

#[tokio::test]
async fn a_plan_that_would_lose_dead_letters_does_not_start() {
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source_with("in", BadData::DeadLetter),
        bench.sink("out", 0),
    ];
    let registry = Registry::default().with(Scripted(Arc::clone(&bench.stage)));
    let options = JobOptions {
        checkpoint_interval: CHECKPOINT_INTERVAL,
        job_id: "test".to_owned(),
        parallelism: 1,
        state_limit_bytes: None,
        over_limit: headwater_runtime::OverLimit::default(),
        state: State::default(),
        preview: Arc::new(|_, _| anyhow::bail!("no previews here")),
    };
    let error = Job::start(Plan { nodes }, &registry, options)
        .err()
        .unwrap();
    assert!(matches!(error, JobError::Start { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_sink_is_bounded_although_a_chain_makes_more_of_its_rows() {
    const ROWS: i64 = 8192;
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        chain(thousandfold(), 0),
        bench.sink("out", 1),
    ];
    let state = bench.state("out");
    state.room.forget_permits(Semaphore::MAX_PERMITS);
    let job = bench.start(nodes, 1);
    bench.send("in", rows(&(0..ROWS).collect::<Vec<_>>()));
    let backlog = Arc::clone(job.backlog());
    let full = async {
        while backlog.rows() < BACKLOG_ROWS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, full).await.unwrap();
    // every batch that is taken lets the chain go on, as far as the bound
    let mut taken = 0;
    while taken < 4 * BACKLOG_ROWS as usize {
        state.room.add_permits(1);
        let mut seen = state.rows.subscribe();
        let more = seen.wait_for(|rows| rows.len() > taken);
        taken = tokio::time::timeout(DEADLINE, more)
            .await
            .unwrap()
            .unwrap()
            .len();
    }
    state.room.add_permits(1 << 20);
    bench.committed("in", 1).await;
    let seen = state.rows.borrow().clone();
    assert_eq!(seen.len(), 1000 * ROWS as usize);
    assert!(seen.is_sorted(), "in order");
    assert_eq!(backlog.rows(), 0);
    let peak = backlog.peak_rows();
    assert!(peak >= BACKLOG_ROWS, "{peak}");
    // what may be under way between the chain and the sink
    assert!(peak < BACKLOG_ROWS + 6 * 65_536, "{peak}");
    job.stop();
    ended(&job).await.unwrap();
}

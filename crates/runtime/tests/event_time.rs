//! Jobs in which time passes: watermarks of several sources and workers, idleness, the end.
//!
//! The operator with state is the simplest there is: a query over each instant that gives its rows as they are. So rows
//! come out in the order of their event time, as far as the watermark has come.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use datafusion::physical_expr::expressions::cast;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use headwater_format::BadData;
use headwater_planner::plan::{InstantInput, with_time};
use headwater_runtime::{JobError, OperatorKind};
use support::time::*;
use support::{Bench, chain, dead_letters, ended, expr, rows, rows_with, schema};

#[tokio::test]
async fn instants_come_as_far_as_the_watermark_of_both_sources() {
    for parallelism in [1, 2, 3] {
        let mut bench = Bench::default();
        let nodes = two_sources(&mut bench, None);
        let job = bench.start(nodes, parallelism);
        instants_follow_both(&mut bench, async || ended(&job).await.unwrap()).await;
    }
}

#[tokio::test]
async fn rows_are_committed_although_the_state_holds_them() {
    for parallelism in [1, 2] {
        let mut bench = Bench::default();
        let nodes = two_sources(&mut bench, None);
        let job = bench.start(nodes, parallelism);
        for n in 0..10 {
            bench.send("a", rows(&[n]));
        }
        bench.committed("a", 10).await;
        assert!(bench.state("out").rows.borrow().is_empty());
        job.abort();
        ended(&job).await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_source_is_not_waited_for_for_ever() {
    for parallelism in [1, 2, 3] {
        let mut bench = Bench::default();
        let nodes = two_sources(&mut bench, Some(Duration::from_millis(50)));
        let job = bench.start(nodes, parallelism);
        bench.send("a", rows(&[1, 5]));
        assert_eq!(bench.rows("out", 1).await, [1]);
        // when it speaks again, it is too late for what has gone out, but not for what has not
        bench.send("b", rows(&[2, 6]));
        bench.committed("b", 1).await;
        bench.send("a", rows(&[7]));
        assert_eq!(bench.rows("out", 2).await, [1, 5]);
        bench.inputs.clear();
        ended(&job).await.unwrap();
        assert_eq!(bench.rows("out", 4).await, [1, 5, 6, 7]);
        let late = |id: &str| {
            let operator = job.operators().iter().find(|operator| operator.id == id);
            operator.unwrap().metrics.snapshot().late_rows
        };
        assert_eq!(late("instants_5"), 1);
    }
}

#[tokio::test]
async fn a_job_that_is_stopped_puts_out_what_its_state_holds() {
    for parallelism in [1, 2, 3] {
        let mut bench = Bench::default();
        let mut nodes = two_sources(&mut bench, None);
        nodes.truncate(7);
        nodes.extend([instants(6), bench.sink("out", 7)]);
        let job = bench.start(nodes, parallelism);
        bench.send("a", rows(&[3, 1, 2]));
        bench.committed("a", 1).await;
        job.stop();
        ended(&job).await.unwrap();
        assert_eq!(bench.rows("out", 3).await, [1, 2, 3]);
    }
}

#[tokio::test]
async fn rows_that_come_on_two_ways_are_not_late_on_either() {
    const ROWS: i64 = 300;
    for parallelism in [1, 2] {
        let mut bench = Bench::default();
        let passes = || {
            let mut chain = chain(vec![], 1);
            chain.schema = with_time(&schema());
            chain
        };
        let nodes = vec![
            bench.source("a"),
            watermark(0),
            passes(),
            gather(2),
            union(&[1, 3]),
            gather(4),
            instants(5),
            bench.sink("out", 6),
        ];
        let job = bench.start(nodes, parallelism);
        for n in 0..ROWS {
            bench.send("a", rows(&[n]));
        }
        bench.inputs.clear();
        ended(&job).await.unwrap();
        let out = bench.state("out").rows.borrow().clone();
        let missing = (0..ROWS).find(|n| out.iter().filter(|out| *out == n).count() != 2);
        assert_eq!(missing, None, "of {} rows", out.len());
        assert!(out.is_sorted());
    }
}

#[tokio::test]
async fn operators_with_state_are_counted() {
    let mut bench = Bench::default();
    let nodes = two_sources(&mut bench, None);
    let job = bench.start(nodes, 2);
    bench.send("a", rows(&[1, 2, 8]));
    bench.send("b", rows(&[6]));
    bench.rows("out", 2).await;
    let kinds: Vec<_> = job
        .operators()
        .iter()
        .map(|operator| operator.kind)
        .collect();
    use OperatorKind::{Sink, Source, Stateful};
    assert_eq!(kinds, [Source, Source, Stateful, Sink]);
    let counted = job.operators()[2].metrics.snapshot();
    assert_eq!((counted.rows, counted.rows_out), (4, 2));
    assert_eq!(counted.watermark_ns, Some(6));
    bench.inputs.clear();
    ended(&job).await.unwrap();
    let counted = job.operators()[2].metrics.snapshot();
    assert_eq!((counted.rows_out, counted.state_bytes), (4, 0));
}

#[tokio::test]
async fn a_row_without_event_time_is_bad_data() {
    let some_bad = || rows_with(&[1, 2], vec!["1".to_owned(), "two".to_owned()]);
    let mut bench = Bench::default();
    let nodes = vec![
        bench.source("in"),
        watermark_of(&expr("text"), None, 0),
        bench.sink("out", 1),
    ];
    let job = bench.start(nodes, 1);
    bench.send("in", some_bad());
    let error = ended(&job).await.unwrap_err();
    let JobError::Evaluate { operator, reason } = error.as_ref() else {
        panic!("{error}");
    };
    assert_eq!(operator.id(), "watermark_0");
    assert!(reason.contains("'two'"), "{reason}");
    assert_eq!(bench.committed_now("in"), 0);

    let mut bench = Bench::default();
    let mut letters = dead_letters(1);
    letters.schema = Arc::new(arrow::datatypes::Schema::new(vec![Field::new(
        "position",
        DataType::Int64,
        true,
    )]));
    let nodes = vec![
        bench.source_with("in", BadData::DeadLetter),
        watermark_of(&expr("text"), None, 0),
        bench.sink("out", 1),
        dead_letters(0),
        letters,
        bench.sink("of_source", 3),
        bench.sink("letters", 4),
    ];
    let job = bench.start(nodes, 1);
    bench.send("in", some_bad());
    bench.inputs.clear();
    ended(&job).await.unwrap();
    assert_eq!(bench.rows("out", 1).await, [1]);
    assert_eq!(bench.state("letters").rows.borrow().len(), 1);
    assert!(bench.state("of_source").rows.borrow().is_empty());
    assert_eq!(bench.committed_now("in"), 1);
}

#[tokio::test]
async fn an_operator_with_state_that_fails_fails_the_job() {
    let mut bench = Bench::default();
    let input = with_time(&schema());
    let column = |name: &str| datafusion::physical_expr::expressions::col(name, &input).unwrap();
    let number = cast(column("text"), &input, DataType::Int64).unwrap();
    let columns = [
        ("n", number),
        ("text", column("text")),
        ("__headwater_time", column("__headwater_time")),
    ];
    let columns = columns.map(|(name, expr)| ProjectionExpr::new(expr, name.to_owned()));
    let rows = Arc::new(InstantInput::new(0, Arc::clone(&input)));
    let plan = ProjectionExec::try_new(columns, rows).unwrap();
    let nodes = vec![
        bench.source("in"),
        watermark(0),
        instants_of(Arc::new(plan), 1),
        bench.sink("out", 2),
    ];
    let job = bench.start(nodes, 2);
    bench.send("in", rows_with(&[1], vec!["one".to_owned()]));
    bench.committed("in", 1).await;
    bench.inputs.clear();
    let error = ended(&job).await.unwrap_err();
    let JobError::Compute { operator, reason } = error.as_ref() else {
        panic!("{error}");
    };
    assert_eq!(operator.id(), "instants_1");
    assert!(reason.contains("'one'"), "{reason}");
}

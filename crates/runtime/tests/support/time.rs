//! Plans in which time passes.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::cast;
use datafusion::physical_plan::ExecutionPlan;
use headwater_planner::plan::{
    EventTime, Instant, InstantInput, Node, NodeId, PlanOperator, TIME_TYPE, Watermark, with_time,
};

use super::{Bench, expr, rows, schema};

pub(crate) fn node(id: &str, operator: PlanOperator, inputs: &[usize]) -> Node {
    Node {
        id: id.to_owned(),
        operator,
        inputs: inputs.iter().copied().map(NodeId).collect(),
        schema: with_time(&schema()),
    }
}

/// The event time is the number, or that in the text; the watermark is the latest.
pub(crate) fn watermark_of(
    time: &Arc<dyn PhysicalExpr>,
    idle: Option<Duration>,
    input: usize,
) -> Node {
    let number = cast(Arc::clone(time), &schema(), DataType::Int64).unwrap();
    let time = cast(number, &schema(), TIME_TYPE).unwrap();
    let watermark = Watermark {
        time: EventTime::Value {
            time: Arc::clone(&time),
            watermark: time,
        },
        idle,
        table: "in".to_owned(),
    };
    let id = format!("watermark_{input}");
    node(&id, PlanOperator::Watermark(Arc::new(watermark)), &[input])
}

pub(crate) fn watermark(input: usize) -> Node {
    watermark_of(&expr("n"), None, input)
}

pub(crate) fn union(inputs: &[usize]) -> Node {
    node("union", PlanOperator::Union, inputs)
}

/// All rows to one worker, so that their order can be seen.
pub(crate) fn gather(input: usize) -> Node {
    node("exchange", PlanOperator::Exchange(vec![]), &[input])
}

pub(crate) fn instants_of(plan: Arc<dyn ExecutionPlan>, input: usize) -> Node {
    let instant = Instant {
        plan,
        times: vec![2],
    };
    let id = format!("instants_{input}");
    node(&id, PlanOperator::Instant(Arc::new(instant)), &[input])
}

pub(crate) fn instants(input: usize) -> Node {
    let rows = InstantInput::new(0, with_time(&schema()));
    instants_of(Arc::new(rows), input)
}

/// Sources `a` and `b` in one stream, of which `out` sees the instants.
pub(crate) fn two_sources(bench: &mut Bench, idle: Option<Duration>) -> Vec<Node> {
    vec![
        bench.source("a"),
        bench.source("b"),
        watermark_of(&expr("n"), idle, 0),
        watermark_of(&expr("n"), idle, 1),
        union(&[2, 3]),
        gather(4),
        instants(5),
        bench.sink("out", 6),
    ]
}

/// Rows of two sources come as far as the watermark of both; those of one that has ended are not waited for. `ended` is when
/// the job has.
pub(crate) async fn instants_follow_both(bench: &mut Bench, ended: impl AsyncFnOnce()) {
    bench.send("a", rows(&[5, 1]));
    bench.send("b", rows(&[3]));
    assert_eq!(bench.rows("out", 1).await, [1]);
    bench.send("a", rows(&[9]));
    bench.send("b", rows(&[4, 7]));
    assert_eq!(bench.rows("out", 4).await, [1, 3, 4, 5]);
    bench.send("a", rows(&[10, 11]));
    bench.inputs.remove("b");
    assert_eq!(bench.rows("out", 7).await, [1, 3, 4, 5, 7, 9, 10]);
    bench.inputs.clear();
    ended().await;
    assert_eq!(bench.rows("out", 8).await.last(), Some(&11));
    assert_eq!(bench.committed_now("a"), 3);
    assert_eq!(bench.committed_now("b"), 2);
}

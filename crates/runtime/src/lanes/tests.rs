use std::sync::Arc;

use arrow::datatypes::Schema;
use headwater_planner::plan::{EventTime, Node, TtlJoin, Watermark};

use super::*;

fn plan(nodes: Vec<(PlanOperator, Vec<usize>)>) -> Plan {
    let nodes = nodes.into_iter().enumerate();
    let node = |(index, (operator, inputs)): (usize, (_, Vec<usize>))| Node {
        id: index.to_string(),
        operator,
        inputs: inputs.into_iter().map(NodeId).collect(),
        schema: Arc::new(Schema::empty()),
    };
    let nodes = nodes.map(node).collect();
    Plan { nodes }
}

fn source() -> (PlanOperator, Vec<usize>) {
    let rows = arrow::record_batch::RecordBatch::new_empty(Arc::new(Schema::empty()));
    (PlanOperator::Values(rows), vec![])
}

fn watermark(idle: Option<Duration>, input: usize) -> (PlanOperator, Vec<usize>) {
    let watermark = Watermark {
        time: EventTime::Arrival {
            delay: Duration::ZERO,
        },
        idle,
        table: "t".to_owned(),
    };
    (PlanOperator::Watermark(Arc::new(watermark)), vec![input])
}

fn exchange(input: usize) -> (PlanOperator, Vec<usize>) {
    (PlanOperator::Exchange(vec![]), vec![input])
}

fn union(inputs: &[usize]) -> (PlanOperator, Vec<usize>) {
    (PlanOperator::Union, inputs.to_vec())
}

fn join(left: usize, right: usize) -> (PlanOperator, Vec<usize>) {
    let join = TtlJoin {
        on: vec![],
        times: [0, 0],
        ttl: Duration::ZERO,
    };
    (PlanOperator::TtlJoin(Arc::new(join)), vec![left, right])
}

fn chain(input: usize) -> (PlanOperator, Vec<usize>) {
    (PlanOperator::Chain(vec![]), vec![input])
}

/// The lanes out of a node on each of two workers.
fn check(plan: &Plan, node: usize, expect: [&[u32]; 2]) -> Lanes {
    let lanes = Lanes::of(plan, 2);
    for (worker, expect) in expect.into_iter().enumerate() {
        let carried: Vec<_> = lanes.carried(NodeId(node), worker).iter().collect();
        let expect: Vec<_> = expect.iter().copied().map(Lane).collect();
        assert_eq!(carried, expect.iter().collect::<Vec<_>>());
    }
    lanes
}

#[test]
fn lanes_go_down_to_the_next_operator_that_makes_watermarks() {
    let sources = [source(), source(), watermark(None, 0), watermark(None, 1)];
    let plan = plan(
        sources
            .into_iter()
            .chain([chain(2), exchange(3), union(&[4, 5]), join(4, 5), chain(7)])
            .collect(),
    );
    check(&plan, 1, [&[2], &[3]]);
    check(&plan, 4, [&[4], &[5]]);
    // beyond an exchange they are those of all workers
    check(&plan, 5, [&[6, 7], &[6, 7]]);
    let lanes = check(&plan, 6, [&[4, 6, 7], &[5, 6, 7]]);
    assert!(lanes.renames(NodeId(6), 0).is_none());
    assert!(lanes.renames(NodeId(6), 1).is_none());
    check(&plan, 8, [&[8], &[9]]);
    assert_eq!(lanes.own(NodeId(3), 1), Some(Lane(7)));
    assert_eq!(lanes.own(NodeId(7), 1), Some(Lane(9)));
    assert_eq!(lanes.own(NodeId(8), 1), None);
}

/// The renames of an input on each of two workers.
fn renames(lanes: &Lanes, node: usize, input: usize) -> Option<Vec<Vec<(u32, u32)>>> {
    let pairs = |renames: &Renames| renames.iter().map(|(from, to)| (from.0, to.0)).collect();
    let renames = lanes.renames(NodeId(node), input)?;
    Some(renames.iter().map(pairs).collect())
}

#[test]
fn a_lane_that_meets_itself_in_a_union_is_renamed() {
    let plan = plan(vec![
        source(),
        watermark(None, 0),
        chain(1),
        exchange(1),
        union(&[1, 2, 3]),
    ]);
    let lanes = check(&plan, 4, [&[2, 4, 6, 7], &[3, 5, 8, 9]]);
    assert_eq!(renames(&lanes, 4, 0), None);
    assert_eq!(
        renames(&lanes, 4, 1),
        Some(vec![vec![(2, 4)], vec![(3, 5)]])
    );
    let behind_exchange = vec![vec![(2, 6), (3, 7)], vec![(2, 8), (3, 9)]];
    assert_eq!(renames(&lanes, 4, 2), Some(behind_exchange));
}

#[test]
fn a_lane_that_several_workers_send_on_is_renamed_by_all_but_the_first() {
    let plan = plan(vec![
        source(),
        watermark(None, 0),
        exchange(1),
        chain(2),
        exchange(3),
    ]);
    let lanes = check(&plan, 4, [&[2, 3, 4, 5], &[2, 3, 4, 5]]);
    assert_eq!(renames(&lanes, 2, 0), None);
    assert_eq!(
        renames(&lanes, 4, 0),
        Some(vec![vec![], vec![(2, 4), (3, 5)]])
    );
}

#[test]
fn a_lane_knows_the_sources_that_it_comes_from() {
    let plan = plan(vec![
        source(),
        source(),
        watermark(None, 0),
        watermark(None, 0),
        watermark(None, 1),
        exchange(2),
        exchange(4),
        join(5, 6),
        chain(2),
        exchange(8),
        union(&[9, 2]),
    ]);
    let lanes = Lanes::of(&plan, 2);
    let roots = |node: usize, worker: usize| {
        let carried = lanes.carried(NodeId(node), worker).iter();
        let roots = carried.map(|lane| lanes.roots(*lane).iter().map(|root| root.0).collect());
        roots.collect::<Vec<Vec<_>>>()
    };
    assert_eq!(roots(0, 1), [[1]]);
    // two watermarks of one source
    assert_eq!(roots(2, 0), [[0]]);
    assert_eq!(roots(3, 0), [[0]]);
    // behind exchanges the same on all workers
    assert_eq!(roots(7, 0), [[0, 1, 2, 3]]);
    assert_eq!(roots(7, 1), [[0, 1, 2, 3]]);
    // a new name changes nothing
    assert_eq!(roots(10, 0), [[0], [1], [0]]);
}

#[test]
fn sources_tell_the_time_only_to_whoever_wants_it_and_as_often() {
    let check = |idle_ms: Option<u64>, expect_ms| {
        let idle = idle_ms.map(Duration::from_millis);
        let plan = plan(vec![
            source(),
            source(),
            chain(0),
            watermark(idle, 2),
            chain(1),
            source(),
            join(3, 5),
        ]);
        let expect = Some(Duration::from_millis(expect_ms));
        assert_eq!(tick_every(&plan, NodeId(0)), expect);
        assert_eq!(tick_every(&plan, NodeId(1)), None);
        // an operator with state waits at least for the end
        assert_eq!(tick_every(&plan, NodeId(5)), Some(Duration::from_secs(1)));
    };
    check(None, 1000);
    check(Some(300_000), 1000);
    check(Some(200), 200);
    check(Some(0), 50);
}

//! Sinks that write what a source above them reads, so that rows may come back and go round for ever.

use std::collections::HashSet;
use std::sync::Arc;

use headwater_connector::{Connection, Registry};
use headwater_planner::plan::{NodeId, Plan, PlanOperator};

/// Warns of every such sink. It may be meant: a filter may end the round. What is wrong with a table is said when its operator is
/// made.
pub(crate) fn warn(plan: &Plan, registry: &Registry) {
    for (index, node) in plan.nodes.iter().enumerate() {
        let PlanOperator::Sink(sink) = &node.operator else {
            continue;
        };
        let Ok(connector) = registry.get(&sink.connector) else {
            continue;
        };
        let sources = sources_above(plan, NodeId(index));
        for source in sources.filter(|source| source.connector == sink.connector) {
            if let Ok(Some(read)) = connector.feeds(sink, source) {
                tracing::warn!(
                    "'{}' writes what '{}' reads ('{read}'), so that its rows come back and may go round in a loop",
                    sink.name,
                    source.name
                );
            }
        }
    }
}

/// The tables of which the rows of a node come.
fn sources_above(plan: &Plan, node: NodeId) -> impl Iterator<Item = &Arc<Connection>> {
    let (mut above, mut open) = (HashSet::new(), vec![node]);
    while let Some(node) = open.pop() {
        if above.insert(node.0) {
            open.extend(&plan.nodes[node.0].inputs);
        }
    }
    let above = plan
        .nodes
        .iter()
        .enumerate()
        .filter(move |(index, _)| above.contains(index));
    above.filter_map(|(_, node)| match &node.operator {
        PlanOperator::Source(table) => Some(table),
        _ => None,
    })
}

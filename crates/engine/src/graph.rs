//! A plan as a picture: what it does, operator by operator, and what flows where. For those who show it.

use headwater_planner::plan::LookupTable;
use headwater_planner::{Plan, PlanOperator};

/// The operators of a plan and the streams between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// The operators, inputs first.
    pub vertices: Vec<Vertex>,
    /// The streams.
    pub edges: Vec<Edge>,
}

/// One operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// Its id, which its metrics have too.
    pub id: String,
    /// What it is, in a word or two.
    pub operator: String,
    /// What it does, as `EXPLAIN` tells it.
    pub description: String,
}

/// A stream of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The operator that puts it out.
    pub from: String,
    /// The operator that takes it.
    pub to: String,
    /// Whether rows are brought to the worker of their key.
    pub shuffled: bool,
}

impl From<&Plan> for Graph {
    fn from(plan: &Plan) -> Self {
        let vertices = plan.nodes.iter().map(|node| Vertex {
            id: node.id.clone(),
            operator: kind(&node.operator),
            description: plan.describe(node),
        });
        let edges = plan.nodes.iter().flat_map(|node| {
            node.inputs.iter().map(|input| Edge {
                from: plan.nodes[input.0].id.clone(),
                to: node.id.clone(),
                shuffled: matches!(node.operator, PlanOperator::Exchange(_)),
            })
        });
        Self {
            vertices: vertices.collect(),
            edges: edges.collect(),
        }
    }
}

fn kind(operator: &PlanOperator) -> String {
    let fixed = match operator {
        PlanOperator::Source(table) => return format!("{} source", table.connector),
        PlanOperator::Sink(table) => return format!("{} sink", table.connector),
        PlanOperator::Lookup(lookup) => match &lookup.table {
            LookupTable::Connected(table) => return format!("{} lookup", table.connector),
            LookupTable::Constant(_) => "values lookup",
        },
        PlanOperator::MemoryLookup(_) => "memory lookup",
        PlanOperator::Values(_) => "values",
        PlanOperator::Chain(_) => "chain",
        PlanOperator::Union => "union",
        PlanOperator::Watermark(_) => "watermark",
        PlanOperator::PartialWindowAggregate(_) => "partial window aggregate",
        PlanOperator::Exchange(_) => "exchange",
        PlanOperator::WindowAggregate(_) => "window aggregate",
        PlanOperator::Instant(_) => "window query",
        PlanOperator::Over(_) => "over rows",
        PlanOperator::TtlJoin(_) => "join",
        PlanOperator::UpdatingAggregate(_) => "updating aggregate",
        PlanOperator::UpdatingJoin(_) => "updating join",
        PlanOperator::DeadLetters { .. } => "dead letters",
        PlanOperator::Preview => "preview",
    };
    fixed.to_owned()
}

/// The same dataflow with every sink replaced by a preview, so that trying it out writes nothing.
#[must_use]
pub fn previewed(mut plan: Plan) -> Plan {
    for node in &mut plan.nodes {
        if matches!(node.operator, PlanOperator::Sink(_)) {
            node.operator = PlanOperator::Preview;
        }
    }
    plan
}

//! Nodes of plans.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::col;
use headwater_planner::plan::{Node, NodeId, PlanOperator, Step};

use super::schema;

pub(crate) fn union_of(inputs: &[usize]) -> Node {
    Node {
        id: "union".to_owned(),
        operator: PlanOperator::Union,
        inputs: inputs.iter().copied().map(NodeId).collect(),
        schema: schema(),
    }
}

/// The dead letters of a node, of which scripted sinks see the position.
pub(crate) fn dead_letters(input: usize) -> Node {
    let columns = vec![
        Field::new("position", DataType::Int64, true),
        Field::new("payload", DataType::Binary, false),
    ];
    Node {
        id: format!("bad_data_{input}"),
        operator: PlanOperator::DeadLetters {
            table: "in".to_owned(),
        },
        inputs: vec![NodeId(input)],
        schema: Arc::new(Schema::new(columns)),
    }
}

pub(crate) fn chain(steps: Vec<Step>, input: usize) -> Node {
    Node {
        id: "chain".to_owned(),
        operator: PlanOperator::Chain(steps),
        inputs: vec![NodeId(input)],
        schema: schema(),
    }
}

pub(crate) fn expr(name: &str) -> Arc<dyn PhysicalExpr> {
    col(name, &schema()).unwrap()
}

/// A thousand rows of each.
pub(crate) fn thousandfold() -> Vec<Step> {
    super::thousandfold::thousandfold(expr("n"))
}

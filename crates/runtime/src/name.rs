//! What an operator is called: by its id in metrics and in the API, and in the words of the SQL in errors.

use std::collections::BTreeSet;
use std::fmt;

use headwater_planner::plan::{Node, NodeId, Plan, PlanOperator};

/// The name of an operator; shows itself as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorName {
    id: String,
    shown: String,
}

impl OperatorName {
    /// The name of a node of a plan.
    pub(crate) fn of(plan: &Plan, id: NodeId) -> Self {
        let node = &plan.nodes[id.0];
        let shown = match &node.operator {
            PlanOperator::Source(table) | PlanOperator::Sink(table) => {
                format!("table '{}'", table.name)
            }
            PlanOperator::Preview => "the output".to_owned(),
            PlanOperator::DeadLetters { table } => format!("dead letters of table '{table}'"),
            _ => match written(plan, id) {
                Some(table) => format!("the query that writes table '{table}'"),
                None => "the query".to_owned(),
            },
        };
        Self {
            id: node.id.clone(),
            shown,
        }
    }

    /// The name of a table that has no node of its own, but the one of this id.
    pub(crate) fn of_table(id: &str, table: &str) -> Self {
        Self {
            id: id.to_owned(),
            shown: format!("table '{table}'"),
        }
    }

    /// The operator's id in the plan.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The first table into which the rows of a node go.
fn written(plan: &Plan, id: NodeId) -> Option<&str> {
    let mut reached = BTreeSet::from([id]);
    // inputs come first, so one pass is enough
    for (index, node) in plan.nodes.iter().enumerate() {
        let leads_here = |node: &Node| node.inputs.iter().any(|input| reached.contains(input));
        match &node.operator {
            PlanOperator::DeadLetters { .. } => {}
            PlanOperator::Sink(table) if leads_here(node) => return Some(&table.name),
            _ if leads_here(node) => {
                reached.insert(NodeId(index));
            }
            _ => {}
        }
    }
    None
}

//! Nodes of plans.

use std::sync::Arc;

use arrow::array::{Int64Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{ScalarValue, UnnestOptions};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{col, lit};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
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
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let listed = Arc::new(Schema::new(vec![
        number("n"),
        Field::new("list", DataType::List(Arc::clone(&item)), true),
    ]));
    let unnested = Arc::new(Schema::new(vec![
        number("n"),
        Field::new("list", DataType::Int64, true),
    ]));
    let mut list = ListBuilder::new(Int64Builder::new());
    list.append_value((0..1000).map(Some));
    let list = ScalarValue::List(Arc::new(list.finish()));
    let lists = Step::Project {
        exprs: vec![expr("n"), lit(list)],
        schema: Arc::clone(&listed),
    };
    let unnest = UnnestExec::new(
        Arc::new(EmptyExec::new(listed)),
        vec![ListUnnest {
            index_in_input_schema: 1,
            depth: 1,
        }],
        vec![],
        unnested,
        UnnestOptions::default(),
    );
    vec![lists, Step::Unnest(Arc::new(unnest.unwrap()))]
}

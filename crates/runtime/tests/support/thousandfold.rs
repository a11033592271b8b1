//! Steps that make a thousand rows of each: for the unit tests of chains that grow, too.

use std::sync::Arc;

use arrow::array::{Int64Builder, ListBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{ScalarValue, UnnestOptions};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use headwater_planner::plan::Step;

/// `SELECT n, unnest([0, 1, …, 999])`.
pub(crate) fn thousandfold(n: Arc<dyn PhysicalExpr>) -> Vec<Step> {
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
        exprs: vec![n, lit(list)],
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

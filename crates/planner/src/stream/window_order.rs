//! `OVER (… ORDER BY window)`: by its end. A frame of RANGE, which is what there is if nothing is said, is over one value, and a
//! window is a struct of two.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::functions::core::get_field;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Window, WindowFrameUnits, lit};

use crate::functions::window_type;

/// Has functions that are ordered by windows ordered by their ends; they are called what they were.
pub(crate) fn by_ends(query: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = query.transform_up(|node| match node {
        LogicalPlan::Window(window) => {
            let functions = window.window_expr.into_iter();
            let functions = functions.map(|function| by_end(function, &window.input));
            let window = Window::try_new(functions.collect::<Result<_>>()?, window.input)?;
            Ok(Transformed::yes(LogicalPlan::Window(window)))
        }
        node => Ok(Transformed::no(node)),
    });
    ordered.data()
}

fn by_end(function: Expr, input: &Arc<LogicalPlan>) -> Result<Expr> {
    let name = function.schema_name().to_string();
    let Expr::WindowFunction(mut call) = function else {
        return Ok(function);
    };
    let mut is_other = false;
    if call.params.window_frame.units == WindowFrameUnits::Range {
        for sort in &mut call.params.order_by {
            if sort.expr.get_type(input.schema())? == window_type() {
                let window = std::mem::take(&mut sort.expr);
                sort.expr = get_field().call(vec![window, lit("end")]);
                is_other = true;
            }
        }
    }
    let function = Expr::WindowFunction(call);
    Ok(match is_other {
        true => function.alias(name),
        false => function,
    })
}

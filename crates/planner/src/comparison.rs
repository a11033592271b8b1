//! Text that is compared with a number. DataFusion would cast the text, and the first that is no number would end the job: so it
//! is refused while planning, as Arroyo does. (Text that stands in the query is read as a number there and then, and a number that
//! was cast to text is one again.) And the least of what has no order.

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan};
use headwater_connector::Location;

use crate::error::PlanError;
use crate::type_name::sql_type;
use crate::types::is_json_union;

/// Refuses a bound query that compares text with numbers.
///
/// # Errors
/// Names the types and the place.
pub(crate) fn refuse_mixed(query: &LogicalPlan) -> Result<()> {
    query.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        for expr in node.expressions() {
            refuse_mixed_in(&expr, &schema)?;
        }
        if let LogicalPlan::Join(join) = node {
            for (left, right) in &join.on {
                compared([left, right], &schema)?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Refuses an expression that compares text with numbers.
///
/// # Errors
/// Names the types and the place.
pub(crate) fn refuse_mixed_in(expr: &Expr, schema: &DFSchema) -> Result<()> {
    expr.apply(|part| {
        match part {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
                compared([left, right], schema)?;
            }
            Expr::Between(Between {
                expr, low, high, ..
            }) => {
                compared([expr, low], schema)?;
                compared([expr, high], schema)?;
            }
            Expr::InList(InList { expr, list, .. }) => {
                for item in list {
                    compared([expr, item], schema)?;
                }
            }
            Expr::AggregateFunction(call) => {
                in_order(call.func.name(), &call.params.args, schema)?;
            }
            Expr::WindowFunction(call) => {
                in_order(call.fun.name(), &call.params.args, schema)?;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Refuses the two if one is text that comes with the rows and the other a number. What has no type yet is looked at later.
fn compared(sides: [&Expr; 2], schema: &DFSchema) -> Result<()> {
    let [Ok(left), Ok(right)] = sides.map(|side| side.get_type(schema)) else {
        return Ok(());
    };
    let (text, number) = match (left.is_string(), right.is_string()) {
        (true, false) if right.is_numeric() => (sides[0], right),
        (false, true) if left.is_numeric() => (sides[1], left),
        _ => return Ok(()),
    };
    if is_constant(text) || was_number(text, schema) {
        return Ok(());
    }
    Err(mixed(text, number).into())
}

/// Refuses the least and the greatest of what `->` gives, among which there is no order.
fn in_order(function: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    let json = |arg: &&Expr| arg.get_type(schema).is_ok_and(|it| is_json_union(&it));
    match args.iter().find(json) {
        Some(arg) if matches!(function, "min" | "max") => {
            let message = format!("{function} of JSON, whose values have no order");
            let error = PlanError::new(message).at(first_column(arg));
            let hint =
                "say what they are: (value -> 'a')::DOUBLE for numbers, value ->> 'a' for text";
            Err(error.hint(hint).into())
        }
        _ => Ok(()),
    }
}

fn is_constant(expr: &Expr) -> bool {
    !expr.is_volatile() && !expr.any_column_refs()
}

fn was_number(text: &Expr, schema: &DFSchema) -> bool {
    match text {
        Expr::Cast(cast) => cast.expr.get_type(schema).is_ok_and(|it| it.is_numeric()),
        _ => false,
    }
}

fn mixed(text: &Expr, number: DataType) -> PlanError {
    let number = sql_type(&Field::new("", number, true));
    let message = format!(
        "TEXT is compared with {number}, and the first text that is no number would end the job"
    );
    PlanError::new(message).at(first_column(text)).hint(format!(
        "compare it with text, '5', or write TRY_CAST(… AS {number}), which is null where the text is no number"
    ))
}

/// Where the first column of an expression stands in the text.
fn first_column(expr: &Expr) -> Option<Location> {
    let mut first = None;
    let walked = expr.apply(|part| {
        first = match part {
            Expr::Column(column) => column.spans().first(),
            _ => None,
        };
        Ok(match first {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    let span = walked.ok().and(first)?;
    Some(Location {
        line: span.start.line,
        column: span.start.column,
    })
}

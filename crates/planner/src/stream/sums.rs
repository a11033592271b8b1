//! Sums of whole numbers that do not wrap around.
//!
//! DataFusion adds numbers of 64 bits up in 64 bits, and a sum that does not fit becomes another number. Here they are added
//! up with room, and the sum is made BIGINT again above the operator: if it does not fit, that is bad data of the row of
//! results, and whether it does depends on nothing but the rows.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LogicalPlan, Projection, WindowFunctionDefinition,
};

use crate::functions::exact;

/// Has calls add up with room. The types of their results, where they are to be [cast](fitted) back.
pub(super) fn with_room(calls: &mut [Expr], input: &DFSchema) -> Result<Vec<Option<DataType>>> {
    let types = calls.iter_mut().map(|call| {
        let name = NamePreserver::new_for_projection().save(call);
        let wanted = match summand(call) {
            Some(summand) => whole(summand, input)?.inspect(|_wanted| {
                let given = std::mem::take(summand);
                *summand = exact(given);
            }),
            None => None,
        };
        if wanted.is_some() {
            *call = name.restore(std::mem::take(call));
        }
        Ok(wanted)
    });
    types.collect()
}

/// What a call adds up, if it is a sum.
fn summand(call: &mut Expr) -> Option<&mut Expr> {
    let (function, args) = match call {
        Expr::Alias(Alias { expr, .. }) => return summand(expr),
        Expr::AggregateFunction(AggregateFunction { func, params }) => (func, &mut params.args),
        Expr::WindowFunction(call) => match call.as_mut() {
            WindowFunction {
                fun: WindowFunctionDefinition::AggregateUDF(func),
                params,
            } => (func, &mut params.args),
            _ => return None,
        },
        _ => return None,
    };
    match args.as_mut_slice() {
        [summand] if function.name() == "sum" => Some(summand),
        _ => None,
    }
}

/// The type of numbers whose sum may not fit: not of those that were made longer to be added up.
fn whole(summand: &Expr, input: &DFSchema) -> Result<Option<DataType>> {
    if let Expr::Cast(Cast { expr, .. }) = summand {
        let given = expr.get_type(input)?;
        if given.is_integer() && given.primitive_width() < Some(size_of::<i64>()) {
            return Ok(None);
        }
    }
    let data_type = summand.get_type(input)?;
    let is_long = matches!(data_type, DataType::Int64 | DataType::UInt64);
    Ok(is_long.then_some(data_type))
}

/// A stream whose columns from `first` on are again of the types that are given.
pub(super) fn fitted(
    stream: LogicalPlan,
    first: usize,
    types: &[Option<DataType>],
) -> Result<LogicalPlan> {
    if types.iter().all(Option::is_none) {
        return Ok(stream);
    }
    let columns = stream.schema().columns().into_iter().enumerate();
    let columns = columns.map(|(index, column)| {
        let wanted = index
            .checked_sub(first)
            .and_then(|index| types.get(index)?.clone());
        match wanted {
            Some(wanted) => {
                let (table, name) = (column.relation.clone(), column.name.clone());
                let sum = Box::new(Expr::Column(column));
                Expr::Cast(Cast::new(sum, wanted)).alias_qualified(table, name)
            }
            None => Expr::Column(column),
        }
    });
    Projection::try_new(columns.collect(), Arc::new(stream)).map(LogicalPlan::Projection)
}

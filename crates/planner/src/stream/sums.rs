//! Sums of whole numbers and decimals that do not wrap around.
//!
//! DataFusion adds numbers of 64 bits up in 64 bits and decimals in 128, and a sum that does not fit becomes another number.
//! Here they are added up with room, and the sum is given its type again above the operator: if it does not fit, that is bad
//! data of the row of results, and whether it does depends on nothing but the rows.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LogicalPlan, Projection, WindowFunctionDefinition,
};

use crate::functions::exact;

/// How many digits a number of 64 bits has at most.
const LONG_DIGITS: u8 = 20;

/// How many digits more than its summands a sum may have: more rows than that nobody waits for.
const COUNT_DIGITS: u8 = 10;

/// Has calls add up with room. The types of their results, where they are to be [cast](fitted) back.
pub(super) fn with_room(calls: &mut [Expr], input: &DFSchema) -> Result<Vec<Option<DataType>>> {
    let types = calls.iter_mut().map(|call| {
        let name = NamePreserver::new_for_projection().save(call);
        let wanted = match summand(call) {
            Some(summand) => narrow(summand, input)?.inspect(|wanted| {
                let given = std::mem::take(summand);
                *summand = widened(given, wanted);
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

/// The type of a sum that may not fit: not of numbers that were made longer to be added up.
fn narrow(summand: &Expr, input: &DFSchema) -> Result<Option<DataType>> {
    let data_type = summand.get_type(input)?;
    let digits = match summand {
        Expr::Cast(Cast { expr, .. }) => whole_digits(&expr.get_type(input)?),
        _ => None,
    };
    Ok(match data_type {
        DataType::Int64 | DataType::UInt64 => {
            (digits.is_none_or(|digits| digits >= LONG_DIGITS)).then_some(data_type)
        }
        DataType::Decimal128(precision, scale) => {
            let digits = digits.map_or(precision, |digits| digits.saturating_add_signed(scale));
            let sum = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
            (digits + COUNT_DIGITS > DECIMAL128_MAX_PRECISION).then_some(sum)
        }
        _ => None,
    })
}

/// How many digits a whole number has at most.
fn whole_digits(data_type: &DataType) -> Option<u8> {
    let bytes = data_type.primitive_width();
    let bytes = bytes.filter(|_bytes| data_type.is_integer());
    bytes.map(|bytes| {
        if bytes < size_of::<i64>() {
            10
        } else {
            LONG_DIGITS
        }
    })
}

/// What is added up, with room for a sum of this type and much more.
fn widened(summand: Expr, sum: &DataType) -> Expr {
    match sum {
        DataType::Decimal128(precision, scale) => {
            let wide = DataType::Decimal256(*precision, *scale);
            Expr::Cast(Cast::new(Box::new(summand), wide))
        }
        _ => exact(summand),
    }
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

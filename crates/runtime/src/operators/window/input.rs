//! What a batch of rows means to the aggregates: its keys, the arguments of the functions, their filters, computed once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use headwater_planner::plan::Aggregate;

use crate::operators::keys::with_one_zero;
use crate::operators::one_zero::OneZero;

/// The arguments of an aggregate, and its filter.
type Expressions = (Vec<Arc<dyn PhysicalExpr>>, Option<Arc<dyn PhysicalExpr>>);

/// Computes it.
pub(in crate::operators) struct Input {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Expressions>,
}

/// The keys of some rows and what the functions take of them.
pub(in crate::operators) struct Columns {
    pub(in crate::operators) rows: usize,
    pub(in crate::operators) keys: Vec<ArrayRef>,
    /// Of each function.
    pub(in crate::operators) arguments: Vec<Arguments>,
}

/// What one function takes.
pub(in crate::operators) struct Arguments {
    pub(in crate::operators) values: Vec<ArrayRef>,
    pub(in crate::operators) filter: Option<BooleanArray>,
}

/// Some rows of a batch, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Selection {
    /// So many from this one on.
    Range(usize, usize),
    /// Those with these numbers.
    Rows(UInt32Array),
}

impl Input {
    pub(in crate::operators) fn new(
        keys: &[Arc<dyn PhysicalExpr>],
        aggregates: &[Aggregate],
    ) -> Self {
        let function =
            |aggregate: &Aggregate| (arguments(&aggregate.function), aggregate.filter.clone());
        Self {
            keys: keys.to_vec(),
            functions: aggregates.iter().map(function).collect(),
        }
    }

    pub(in crate::operators) fn columns(&self, batch: &RecordBatch) -> Result<Columns> {
        let arguments = self.functions.iter().map(|(values, filter)| {
            let filter = filter.as_ref().map(|filter| evaluate(filter, batch));
            let filter = filter.transpose()?;
            Ok(Arguments {
                values: evaluate_all(values, batch)?,
                filter: filter
                    .as_deref()
                    .map(as_boolean_array)
                    .transpose()?
                    .cloned(),
            })
        });
        Ok(Columns {
            rows: batch.num_rows(),
            keys: with_one_zero(&evaluate_all(&self.keys, batch)?),
            arguments: arguments.collect::<Result<_>>()?,
        })
    }
}

/// Functions that heed an order are given what it is of, too. Those that take each value once are given one zero.
pub(in crate::operators) fn arguments(
    function: &AggregateFunctionExpr,
) -> Vec<Arc<dyn PhysicalExpr>> {
    let order = function.order_bys().iter();
    let order = order.map(|sort| Arc::clone(&sort.expr));
    let all = function.expressions().into_iter().chain(order);
    match function.is_distinct() {
        true => all.map(|expr| Arc::new(OneZero(expr)) as _).collect(),
        false => all.collect(),
    }
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(batch)?.into_array(batch.num_rows())
}

fn evaluate_all(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| evaluate(expr, batch)).collect()
}

impl Columns {
    /// Those of some rows.
    pub(super) fn select(&self, selection: &Selection) -> Result<Self> {
        let arguments = self.arguments.iter().map(|arguments| {
            let filter = arguments.filter.as_ref();
            let filter = filter.map(|filter| selection.of(filter)).transpose()?;
            Ok(Arguments {
                values: selection.of_all(&arguments.values)?,
                filter: filter
                    .as_deref()
                    .map(as_boolean_array)
                    .transpose()?
                    .cloned(),
            })
        });
        Ok(Self {
            rows: selection.len(),
            keys: selection.of_all(&self.keys)?,
            arguments: arguments.collect::<Result<_>>()?,
        })
    }
}

impl Selection {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range(_, length) => *length,
            Self::Rows(rows) => rows.len(),
        }
    }

    /// The values that an array has in these rows.
    fn of(&self, array: &dyn Array) -> Result<ArrayRef> {
        Ok(match self {
            Self::Range(first, length) => array.slice(*first, *length),
            Self::Rows(rows) => take(array, rows, None)?,
        })
    }

    pub(super) fn of_all(&self, arrays: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        arrays.iter().map(|array| self.of(array)).collect()
    }

    /// The rows of a batch.
    pub(super) fn of_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.of_all(batch.columns())?;
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }
}

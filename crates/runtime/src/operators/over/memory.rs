//! Which columns are kept of rows: what functions take of them, each once.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

/// The columns.
pub(super) struct Memory {
    input: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// What a function takes.
pub(super) enum Argument {
    /// The column with this number.
    Kept(usize),
    /// The same of every row.
    Constant(Arc<dyn PhysicalExpr>),
}

impl Memory {
    pub(super) fn new(input: &SchemaRef) -> Self {
        Self {
            input: Arc::clone(input),
            exprs: Vec::new(),
        }
    }

    /// Keeps what an expression says of rows.
    pub(super) fn argument(&mut self, expr: Arc<dyn PhysicalExpr>) -> Argument {
        if expr.is::<Literal>() {
            return Argument::Constant(expr);
        }
        let same = self
            .exprs
            .iter()
            .position(|other| other.as_ref() == expr.as_ref());
        Argument::Kept(same.unwrap_or_else(|| {
            self.exprs.push(expr);
            self.exprs.len() - 1
        }))
    }

    /// Keeps one column at least, for there are no rows without columns.
    pub(super) fn finish(mut self, time: usize) -> Self {
        if self.exprs.is_empty() {
            let name = self.input.field(time).name();
            self.exprs.push(Arc::new(Column::new(name, time)));
        }
        self
    }

    /// How many columns there are.
    pub(super) fn width(&self) -> usize {
        self.exprs.len()
    }

    /// What is kept of rows.
    pub(super) fn of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.exprs.iter();
        let columns = columns.map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()));
        columns.collect()
    }
}

impl Argument {
    /// Its values.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        match self {
            Self::Kept(index) => Ok(Arc::clone(rows.column(*index))),
            Self::Constant(expr) => expr.evaluate(rows)?.into_array(rows.num_rows()),
        }
    }
}

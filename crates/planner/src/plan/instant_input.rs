//! The leaf of a query over one instant: it stands for the rows of an input, which the runtime puts in its place.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::Boundedness;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::source::never_executed;

/// The rows of one input of an [`Instant`](super::Instant).
#[derive(Debug)]
pub struct InstantInput {
    /// Which input.
    pub index: usize,
    properties: Arc<PlanProperties>,
}

impl InstantInput {
    /// Stands for the rows of an input with these columns.
    pub fn new(index: usize, schema: SchemaRef) -> Self {
        let properties = never_executed(schema, Boundedness::Bounded);
        Self {
            index,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for InstantInput {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "InstantInput: {}", self.index)
    }
}

impl ExecutionPlan for InstantInput {
    fn name(&self) -> &'static str {
        "InstantInput"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("the input of an instant has no inputs"),
        }
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("the runtime puts rows in the place of this leaf")
    }
}

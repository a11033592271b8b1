//! A node of a stream in a physical plan: it carries what the runtime needs, and is never executed.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::Boundedness;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};

use crate::plan::PlanOperator;
use crate::source::never_executed;

/// One operator of a dataflow, with the exchanges before it.
#[derive(Debug)]
pub(crate) struct StreamExec {
    /// What it does.
    pub(crate) operator: PlanOperator,
    /// What its inputs are exchanged by; `None` for an operator to which it does not matter where rows are.
    pub(crate) exchange: Option<Vec<Vec<Arc<dyn PhysicalExpr>>>>,
    /// Its inputs.
    pub(crate) inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl StreamExec {
    pub(crate) fn new(
        operator: PlanOperator,
        exchange: Option<Vec<Vec<Arc<dyn PhysicalExpr>>>>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        schema: SchemaRef,
    ) -> Self {
        let unbounded = Boundedness::Unbounded {
            requires_infinite_memory: false,
        };
        let properties = never_executed(schema, unbounded);
        Self {
            operator,
            exchange,
            inputs,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for StreamExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "StreamExec: {:?}", self.operator)
    }
}

impl ExecutionPlan for StreamExec {
    fn name(&self) -> &'static str {
        "StreamExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != self.inputs.len() {
            return internal_err!("a node of a stream has {} inputs", self.inputs.len());
        }
        Ok(Arc::new(Self::new(
            self.operator.clone(),
            self.exchange.clone(),
            children,
            Arc::clone(self.properties.equivalence_properties().schema()),
        )))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, recompute)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a stream is run by the runtime, not by DataFusion")
    }
}

//! A table as DataFusion sees it: an unbounded leaf that is planned and never executed.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err, not_impl_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use headwater_connector::Connection;

/// The physical columns of a source table, for DataFusion's planner.
#[derive(Debug)]
pub(crate) struct SourceTable {
    connection: Arc<Connection>,
    /// Whether it ends by itself.
    ends: bool,
    schema: SchemaRef,
}

impl SourceTable {
    pub(crate) fn new(connection: Arc<Connection>, ends: bool) -> Self {
        let schema = connection.config.schema.arrow_schema();
        Self {
            connection,
            ends,
            schema,
        }
    }

    /// The table.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if limit.is_some() {
            return not_impl_err!("LIMIT on the source '{}'", self.connection.name);
        }
        let scan = SourceExec::try_new(self, projection)?;
        Ok(Arc::new(scan))
    }
}

/// The leaf of a physical plan: the table, and which of its columns the query needs.
#[derive(Debug)]
pub(crate) struct SourceExec {
    /// The table.
    pub connection: Arc<Connection>,
    /// Indices of its columns, if not all in their order.
    pub projection: Option<Vec<usize>>,
    /// Whether the table ends by itself.
    pub ends: bool,
    properties: Arc<PlanProperties>,
}

impl SourceExec {
    fn try_new(table: &SourceTable, projection: Option<&Vec<usize>>) -> Result<Self> {
        let schema = &table.schema;
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let projection = projection.filter(|columns| **columns != all).cloned();
        let schema = match &projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => Arc::clone(schema),
        };
        let unbounded = Boundedness::Unbounded {
            requires_infinite_memory: false,
        };
        let properties = never_executed(schema, unbounded);
        Ok(Self {
            connection: Arc::clone(&table.connection),
            projection,
            ends: table.ends,
            properties: Arc::new(properties),
        })
    }
}

/// The properties of a plan that is planned and never executed: one partition, which comes bit by bit.
pub(crate) fn never_executed(schema: SchemaRef, boundedness: Boundedness) -> PlanProperties {
    PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        boundedness,
    )
    .with_scheduling_type(SchedulingType::Cooperative)
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SourceExec: {}", self.connection.name)
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &'static str {
        "SourceExec"
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
        if children.is_empty() {
            Ok(self)
        } else {
            internal_err!("a source has no inputs")
        }
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a source is read by the runtime, not by DataFusion")
    }
}

//! The scan of a source in a physical plan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use crate::stream::{Pick, Reading, read};

/// Reads a source. Input: none. Output: one partition in the order of arrival, unbounded unless it has a limit. Memory:
/// one batch of the source.
#[derive(Debug, Clone)]
pub(crate) struct SourceExec {
    reading: Arc<Reading>,
    pick: Pick,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SourceExec {
    pub(crate) fn try_new(
        reading: Arc<Reading>,
        projection: Option<&Vec<usize>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
    ) -> Result<Self> {
        let all = reading.connection.config.schema.arrow_schema();
        let schema = match projection {
            Some(columns) => Arc::new(all.project(columns)?),
            None => all,
        };
        let pick = Pick {
            filter,
            projection: projection.cloned(),
            limit: None,
        };
        Ok(Self {
            reading,
            pick,
            properties: Arc::new(properties(&schema, None)),
            schema,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan that stops after so many rows, which bounds it.
    pub(crate) fn limited(&self, limit: Option<usize>) -> Self {
        let mut limited = self.clone();
        limited.pick.limit = limit;
        limited.properties = Arc::new(properties(&self.schema, limit));
        limited.metrics = ExecutionPlanMetricsSet::new();
        limited
    }
}

fn properties(schema: &SchemaRef, limit: Option<usize>) -> PlanProperties {
    let boundedness = match limit {
        Some(_) => Boundedness::Bounded,
        None => Boundedness::Unbounded {
            requires_infinite_memory: false,
        },
    };
    PlanProperties::new(
        EquivalenceProperties::new(Arc::clone(schema)),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        boundedness,
    )
    .with_scheduling_type(SchedulingType::Cooperative)
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceExec: {}", self.reading.connection.description)?;
        if let Some(filter) = &self.pick.filter {
            write!(f, ", filter={filter}")?;
        }
        match self.pick.limit {
            Some(limit) => write!(f, ", fetch={limit}"),
            None => Ok(()),
        }
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
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.pick.filter {
            Some(filter) => visit(filter),
            None => Ok(TreeNodeRecursion::Continue),
        }
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

    fn fetch(&self) -> Option<usize> {
        self.pick.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.limited(limit)))
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = read(Arc::clone(&self.reading), self.pick.clone(), metrics);
        let stream = RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows);
        Ok(make_cooperative(Box::pin(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

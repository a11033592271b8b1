//! Filters, projections and the like: everything that looks at one batch at a time.
//!
//! Input and output: batches, in the order of arrival, in the same epoch. Memory: none. DataFusion's own `FilterExec`
//! coalesces rows until a batch is full, which on a slow stream takes for ever; so the physical expressions are
//! evaluated here, batch by batch.
//!
//! Errors: an expression that fails (`CAST('abc' AS INT)`, a division by zero) is bad data of the row it fails on; see
//! [`bad_rows`](super::bad_rows).

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, collect,
};
use headwater_planner::plan::Step;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::operators::apply::apply;
use crate::operators::bad_rows::{BadRows, Evaluated};
use crate::rows::Rows;

/// A chain of steps, ready to run.
#[derive(Clone)]
pub(crate) struct Chain {
    steps: Arc<[Step]>,
    bad_rows: BadRows,
    context: Arc<TaskContext>,
}

impl Chain {
    pub(crate) fn new(steps: &[Step], bad_rows: BadRows) -> Self {
        Self {
            steps: steps.into(),
            bad_rows,
            context: Arc::default(),
        }
    }

    /// What becomes of a batch.
    pub(crate) fn evaluate(&self, batch: &RecordBatch) -> Result<Vec<Rows>> {
        let Evaluated { good, letters } = self
            .bad_rows
            .evaluate(batch, |rows| self.run(rows.clone()))?;
        let good = good.into_iter().flatten().map(Rows::new);
        Ok(good.chain(letters.map(Rows::rejected)).collect())
    }

    fn run(&self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut batches = vec![batch];
        for step in self.steps.iter() {
            let mut next = Vec::with_capacity(batches.len());
            for batch in batches {
                self.step(step, batch, &mut next)?;
            }
            next.retain(|batch| batch.num_rows() > 0);
            batches = next;
        }
        Ok(batches)
    }

    fn step(&self, step: &Step, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<()> {
        match step {
            Step::Filter {
                predicate,
                projection,
            } => {
                out.push(filter(&batch, predicate, projection.as_deref())?);
            }
            Step::Project { exprs, schema } => {
                let rows = batch.num_rows();
                let columns = exprs
                    .iter()
                    .map(|expr| expr.evaluate(&batch)?.into_array(rows))
                    .collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let schema = Arc::clone(schema);
                out.push(RecordBatch::try_new_with_options(
                    schema, columns, &options,
                )?);
            }
            Step::Columns(columns) => out.push(batch.project(columns)?),
            Step::Unnest(unnest) => out.extend(self.unnest(unnest, batch)?),
        }
        Ok(())
    }

    /// Runs DataFusion's operator over one batch. It neither waits nor keeps anything, so this ends at once.
    fn unnest(&self, unnest: &Arc<UnnestExec>, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let schema = batch.schema();
        let input = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None)?;
        let unnest = Arc::clone(unnest) as Arc<dyn ExecutionPlan>;
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let plan = unnest.replace_children(vec![input], recompute)?;
        futures::executor::block_on(collect(plan, Arc::clone(&self.context)))
    }
}

fn filter(
    batch: &RecordBatch,
    predicate: &Arc<dyn PhysicalExpr>,
    projection: Option<&[usize]>,
) -> Result<RecordBatch> {
    let mask = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let mask = as_boolean_array(&mask)
        .map_err(|error| internal_datafusion_err!("a filter that is not boolean: {error}"))?;
    Ok(match projection {
        Some(columns) => filter_record_batch(&batch.project(columns)?, mask)?,
        None => filter_record_batch(batch, mask)?,
    })
}

/// Builds the operator. An evaluation that fails goes to `fail`, and the batch is withheld.
pub(crate) fn chain_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    chain: Chain,
    fail: impl Fn(DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let evaluate = move |rows| match rows {
        Rows::Batch(batch) => chain.evaluate(&batch),
        control @ Rows::Control(_) => Ok(vec![control]),
        Rows::Empty | Rows::Rejected(_) | Rows::Partial(_) => Ok(Vec::new()),
    };
    apply(rows, Pipeline, name, evaluate, fail)
}

//! Filters, projections and the like: everything that looks at one batch at a time.
//!
//! Input and output: batches, in the order of arrival, in the same epoch. Memory: none. DataFusion's own `FilterExec`
//! coalesces rows until a batch is full, which on a slow stream takes for ever; so the physical expressions are
//! evaluated here, batch by batch.
//!
//! Errors: an expression that fails (`CAST('abc' AS INT)`, a division by zero) is bad data of the row it fails on. With
//! `bad_data = 'drop'` or `'dead_letter'` in the sources above, the batch is evaluated again row by row; the bad rows are
//! counted and left out, or leave as dead letters in which the row is a JSON object. Otherwise the job fails.

use std::sync::Arc;

use arrow::compute::filter_record_batch;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, collect,
};
use headwater_connector::dead_letter::DeadLetters;
use headwater_connector::{Metrics, Rejection};
use headwater_planner::plan::Step;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use crate::documents::Documents;
use crate::error::row_fault;
use crate::operators::RowsBuilder;
use crate::rows::Rows;

/// What happens to a row on which an expression fails.
#[derive(Clone)]
pub(crate) enum BadRows {
    /// The job fails.
    Fail,
    /// The row is counted here and left out.
    Drop(Arc<Metrics>),
    /// The row is counted here and becomes a dead letter.
    DeadLetter(Arc<Metrics>),
}

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
        match (self.run(batch.clone()), &self.bad_rows) {
            (Ok(batches), _) => Ok(batches.into_iter().map(Rows::new).collect()),
            (Err(error), BadRows::Fail) => Err(error),
            (Err(_), BadRows::Drop(metrics)) => {
                let (kept, bad) = self.row_by_row(batch);
                let reason = || {
                    bad.last()
                        .map_or_else(String::new, |(_, error)| error.clone())
                };
                metrics.drop_bad_data(bad.len() as u64, reason);
                Ok(kept)
            }
            (Err(_), BadRows::DeadLetter(metrics)) => {
                let (mut kept, bad) = self.row_by_row(batch);
                metrics.add_dead_letters(bad.len() as u64);
                kept.extend(letters(batch, &bad)?.map(Rows::rejected));
                Ok(kept)
            }
        }
    }

    /// What becomes of the good rows, and which ones are bad and why.
    fn row_by_row(&self, batch: &RecordBatch) -> (Vec<Rows>, Vec<(usize, String)>) {
        let mut kept = Vec::new();
        let mut bad = Vec::new();
        for row in 0..batch.num_rows() {
            match self.run(batch.slice(row, 1)) {
                Ok(batches) => kept.extend(batches.into_iter().map(Rows::new)),
                Err(error) => bad.push((row, row_fault(&error))),
            }
        }
        (kept, bad)
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

/// Rows of a batch as dead letters.
fn letters(batch: &RecordBatch, bad: &[(usize, String)]) -> Result<Option<RecordBatch>> {
    let mut letters = DeadLetters::default();
    let mut documents = Documents::new(batch)?;
    for (row, error) in bad {
        letters.push(&Rejection {
            payload: &documents.row(*row)?,
            topic: None,
            error,
            position: None,
        });
    }
    Ok(letters.finish()?)
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
    fail: impl Fn(datafusion::error::DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    rows.unary::<RowsBuilder, _, _, _>(Pipeline, name, move |_capability, _info| {
        // after a failure the epoch is kept open, so that nothing of it can be acknowledged
        let mut failed = None;
        move |input, output| {
            input.for_each(|capability, data| {
                let Some(batch) = data.take() else { return };
                match chain.evaluate(&batch) {
                    Ok(batches) => {
                        for mut rows in batches {
                            output.session(&capability).give_container(&mut rows);
                        }
                    }
                    Err(error) => {
                        failed.get_or_insert_with(|| capability.retain(0));
                        fail(error);
                    }
                }
            });
        }
    })
}

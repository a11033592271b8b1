//! State for another number of workers: what each has left is divided among all as the exchanges above the operator divide
//! rows.
//!
//! At a cut all workers have been told the same about event time, so of what is not rows the first worker's word holds. But what
//! was due then may have been put out by some and not by others, so all begin with the event time of the one that is behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use headwater_planner::plan::{NodeId, Plan, PlanOperator};

use super::part::{Part, columns};
use crate::operators::stateful::{Held, Stateful};

/// The parts for each of so many workers, of those that earlier ones have left, the first of each being what event time was.
pub(crate) fn divided(
    plan: &Plan,
    id: NodeId,
    machine: &dyn Stateful,
    left: Vec<Vec<Part>>,
    workers: usize,
) -> Result<Vec<Vec<Part>>> {
    divided_by(machine, left, workers, |input, rows| {
        input_keys(plan, id, input, rows)
    })
}

/// The same, with what gives the keys of an input's rows.
pub(crate) fn divided_by(
    machine: &dyn Stateful,
    left: Vec<Vec<Part>>,
    workers: usize,
    keys_of: impl Fn(usize, &RecordBatch) -> Result<Vec<ArrayRef>>,
) -> Result<Vec<Vec<Part>>> {
    let mut divided = vec![Vec::new(); workers];
    let told: Vec<i64> = left
        .iter()
        .filter_map(|parts| parts.first())
        .map(Part::about)
        .collect::<Result<_>>()?;
    if let Some(told) = told.into_iter().min() {
        let told = Part::word(&told)?;
        divided
            .iter_mut()
            .for_each(|parts| parts.push(told.clone()));
    }
    for (from, parts) in left.into_iter().enumerate() {
        for part in parts.into_iter().skip(1) {
            let loaded = part.loaded()?;
            let keys = match machine.held(&loaded)? {
                Held::Word if from > 0 => continue,
                Held::Word => {
                    divided
                        .iter_mut()
                        .for_each(|parts| parts.push(part.clone()));
                    continue;
                }
                Held::Keyed(keys) => keys,
                Held::Input(input) => keys_of(input, &loaded.rows)?,
            };
            for (worker, rows) in by_hash(&loaded.rows, keys, workers)? {
                divided[worker].push(part.with(rows)?);
            }
        }
    }
    Ok(divided)
}

/// The keys of rows as the exchange above an input sees them; without one there is but one worker's work.
fn input_keys(plan: &Plan, id: NodeId, input: usize, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let above = plan.nodes[id.0].inputs.get(input);
    match above.map(|above| &plan.nodes[above.0].operator) {
        Some(PlanOperator::Exchange(keys)) => {
            let keys = keys.iter();
            keys.map(|key| key.evaluate(rows)?.into_array(rows.num_rows()))
                .collect()
        }
        _ => internal_err!("rows are kept of an input that is not exchanged"),
    }
}

/// The rows of each worker, or of each of so many other shares.
pub(crate) fn by_hash(
    rows: &RecordBatch,
    mut keys: Vec<ArrayRef>,
    shares: usize,
) -> Result<Vec<(usize, RecordBatch)>> {
    if keys.is_empty() {
        return Ok(vec![(0, rows.clone())]);
    }
    let by = keys.iter().enumerate();
    let by = by.map(|(index, _)| Arc::new(Column::new(&index.to_string(), index)) as _);
    let by: Vec<Arc<dyn PhysicalExpr>> = by.collect();
    let numbers = keys.len();
    keys.push(Arc::new(
        (0..rows.num_rows() as u32).collect::<UInt32Array>(),
    ));
    let numbered = columns(keys, rows.num_rows())?;
    let mut partitioner = BatchPartitioner::new_hash_partitioner(by, shares, Time::new())?;
    let mut divided = Vec::new();
    partitioner.partition(numbered, |share, part| {
        let numbers = part.column(numbers).as_primitive::<UInt32Type>();
        divided.push((share, take_record_batch(rows, numbers)?));
        Ok(())
    })?;
    Ok(divided)
}

//! Brings rows with equal keys to the same worker, and what is said about time to all of them.
//!
//! Two operators: one *addresses* what comes in, the other, behind the exchange between the workers, opens it. What one
//! worker sends another arrives in order; what several send is mixed. Memory: what is on its way. With one worker it is
//! nothing at all.
//!
//! The worker is a hash of the keys, with the same seed everywhere; without keys it is the first. Keys are columns, made
//! by a chain above, so they do not fail.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};

use crate::operators::apply::apply;
use crate::parcel::{Delivery, Parcel};
use crate::rows::Rows;

/// How rows are divided among workers.
pub(crate) struct Exchange {
    workers: usize,
    /// Without keys there is none.
    partitioner: Option<BatchPartitioner>,
}

impl Exchange {
    pub(crate) fn new(keys: &[Arc<dyn PhysicalExpr>], workers: usize) -> Result<Self> {
        let by = |keys: &[_]| {
            BatchPartitioner::new_hash_partitioner(keys.to_vec(), workers, Time::new())
        };
        let partitioner = (!keys.is_empty()).then(|| by(keys)).transpose()?;
        Ok(Self {
            workers,
            partitioner,
        })
    }

    fn address(&mut self, rows: Rows) -> Result<Vec<Parcel>> {
        match rows {
            Rows::Batch(batch) => self.divide(batch),
            Rows::Control(_) => {
                let copy = |worker| Parcel::new(worker, rows.clone());
                Ok((0..self.workers).map(copy).collect())
            }
            Rows::Rejected(_) | Rows::Empty => Ok(Vec::new()),
        }
    }

    fn divide(&mut self, batch: RecordBatch) -> Result<Vec<Parcel>> {
        let Some(partitioner) = &mut self.partitioner else {
            return Ok(vec![Parcel::new(0, Rows::new(batch))]);
        };
        let mut parcels = Vec::with_capacity(self.workers);
        partitioner.partition(batch, |worker, part| {
            parcels.push(Parcel::new(worker, Rows::new(part)));
            Ok(())
        })?;
        Ok(parcels)
    }
}

/// Builds the operators. An error goes to `fail`, and the batch is withheld.
pub(crate) fn exchange_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    mut exchange: Exchange,
    fail: impl Fn(DataFusionError) + Clone + 'static,
) -> Stream<'scope, u64, Rows> {
    if exchange.workers == 1 {
        return rows;
    }
    let address = move |rows| exchange.address(rows);
    let parcels = apply(rows, Pipeline, name, address, fail.clone());
    let open = |parcel: Parcel| parcel.open().map(|rows| vec![rows]);
    let delivery = DistributorPact(|_workers| Delivery);
    apply(parcels, delivery, name, open, move |error| {
        fail(error.into());
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

//! Brings rows with equal keys to the same worker, and what is said about time to all of them.
//!
//! Two operators: one *addresses* what comes in, the other, behind the exchange between the workers, opens it. What one
//! worker sends another arrives in order; what several send is mixed. Memory: what is on its way. With one worker it is
//! nothing at all.
//!
//! The worker is a hash of the keys, with the same seed everywhere; without keys it is the first. Keys are columns, made
//! by a chain above, so they do not fail. Groups that were made of rows go where their rows would: their keys are their first
//! columns.
//!
//! Where a job runs in several processes, there is such a pair of operators also before every sink: it brings all rows to
//! the process of the sink, and nothing of what is said about time, which ends there anyway. What goes from process to
//! process is counted ([`Away`]).

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};

use crate::operators::apply::apply;
use crate::parcel::{Delivery, Parcel};
use crate::peers::away::Away;
use crate::rows::Rows;

/// How rows are divided among workers.
pub(crate) struct Exchange {
    workers: usize,
    route: Route,
    /// If there are other processes.
    away: Option<Away>,
}

/// Which worker rows are for.
enum Route {
    ByKey(Box<ByKey>),
    /// All to one, and what is said about time to all.
    First,
    /// All to one, and nothing else to anyone.
    Sink(usize),
}

/// The same keys of rows and of groups.
struct ByKey {
    rows: BatchPartitioner,
    groups: BatchPartitioner,
}

impl Exchange {
    pub(crate) fn new(keys: &[Arc<dyn PhysicalExpr>], workers: usize) -> Result<Self> {
        let by = |keys| BatchPartitioner::new_hash_partitioner(keys, workers, Time::new());
        let column = |index| Arc::new(Column::new("", index)) as Arc<dyn PhysicalExpr>;
        let route = match keys {
            [] => Route::First,
            keys => Route::ByKey(Box::new(ByKey {
                rows: by(keys.to_vec())?,
                groups: by((0..keys.len()).map(column).collect())?,
            })),
        };
        Ok(Self {
            workers,
            route,
            away: None,
        })
    }

    /// To the process of a sink, from this worker to that one.
    pub(crate) fn to_sink(worker: usize, away: Away) -> Self {
        Self {
            workers: away.layout.all_workers(),
            route: Route::Sink(worker),
            away: Some(away),
        }
    }

    /// The same over several processes.
    pub(crate) fn over(self, away: Option<Away>) -> Self {
        Self { away, ..self }
    }

    fn address(&mut self, rows: Rows) -> Result<Vec<Parcel>> {
        let mut parcels = self.parcels(rows)?;
        if let Some(away) = &self.away {
            parcels.iter_mut().for_each(|parcel| away.send(parcel));
        }
        Ok(parcels)
    }

    fn parcels(&mut self, rows: Rows) -> Result<Vec<Parcel>> {
        match rows {
            Rows::Batch(batch) => match &mut self.route {
                Route::ByKey(by) => divide(&mut by.rows, batch, Rows::new),
                Route::First => Ok(vec![Parcel::new(0, Rows::new(batch))]),
                Route::Sink(worker) => Ok(vec![Parcel::new(*worker, Rows::new(batch))]),
            },
            Rows::Partial(made) => match &mut self.route {
                Route::ByKey(by) => divide(&mut by.groups, made, Rows::partial),
                Route::First => Ok(vec![Parcel::new(0, Rows::partial(made))]),
                Route::Sink(_) => internal_err!("groups have come to a sink"),
            },
            Rows::Control(_) if matches!(self.route, Route::Sink(_)) => Ok(Vec::new()),
            Rows::Control(_) => {
                let copy = |worker| Parcel::new(worker, rows.clone());
                Ok((0..self.workers).map(copy).collect())
            }
            Rows::Rejected(_) | Rows::Empty => Ok(Vec::new()),
        }
    }
}

/// The share of each worker.
fn divide(
    by: &mut BatchPartitioner,
    batch: RecordBatch,
    wrap: fn(RecordBatch) -> Rows,
) -> Result<Vec<Parcel>> {
    let mut parcels = Vec::new();
    by.partition(batch, |worker, part| {
        parcels.push(Parcel::new(worker, wrap(part)));
        Ok(())
    })?;
    Ok(parcels)
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
    let away = exchange.away.clone();
    let address = move |rows| exchange.address(rows);
    let parcels = apply(rows, Pipeline, name, address, fail.clone());
    let open = move |parcel: Parcel| {
        if let Some(away) = &away {
            away.open(&parcel);
        }
        parcel.open().map(|rows| vec![rows])
    };
    let delivery = DistributorPact(|_workers| Delivery);
    apply(parcels, delivery, name, open, move |error| {
        fail(error.into());
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

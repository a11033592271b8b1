//! One reading of a source: the stream behind a scan.
//!
//! ```text
//! poll ─► commit what was given before ─► SourceOperator::next ─► filter ─► project ─► limit ─► batch
//! drop ─► SourceOperator::close, in the background: what was committed is written, the rest stays with the other side
//! ```
//!
//! The operator is made at the first poll, since that must happen within a tokio runtime.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::Stream;
use futures::stream::try_unfold;
use headwater_connector::{
    Connection, ErasedConnector, Metrics, Operator, OperatorError, Position, Rejects,
    SourceOperator,
};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use crate::filter;
use crate::identity::{Seat, Seats};

/// What can be read, any number of times.
pub(crate) struct Reading {
    pub(crate) connector: Arc<dyn ErasedConnector>,
    pub(crate) connection: Connection,
    pub(crate) seats: Arc<Seats>,
}

impl std::fmt::Debug for Reading {
    // the connection may hold secrets
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("name", &self.connection.name)
            .field("description", &self.connection.description)
            .finish_non_exhaustive()
    }
}

/// What a query wants of it.
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) projection: Option<Vec<usize>>,
    pub(crate) limit: Option<usize>,
}

impl Pick {
    /// What is left of a batch. Keeps count of the limit.
    fn of(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        let mut rows = match &self.filter {
            Some(filter) => filter::keep(filter.as_ref(), &rows)?,
            None => rows,
        };
        if let Some(columns) = &self.projection {
            rows = rows.project(columns)?;
        }
        if let Some(left) = &mut self.limit {
            rows = rows.slice(0, rows.num_rows().min(*left));
            *left -= rows.num_rows();
        }
        Ok(rows)
    }
}

/// The rows of one scan.
pub(crate) fn read(
    reading: Arc<Reading>,
    pick: Pick,
    metrics: BaselineMetrics,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    let start = Scan {
        seat: reading.seats.take(),
        reading,
        pick,
        running: None,
        given: None,
        metrics,
    };
    try_unfold(start, |mut scan| async move {
        let batch = scan.next().await?;
        Ok(batch.map(|batch| (batch, scan)))
    })
}

struct Scan {
    reading: Arc<Reading>,
    pick: Pick,
    running: Option<Running>,
    /// The position of the batch that the query has and has not come back from.
    given: Option<Position>,
    metrics: BaselineMetrics,
    seat: Seat,
}

impl Scan {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // nothing more is asked of a source whose rows would be thrown away: its last batch stays unacknowledged
        if self.pick.limit == Some(0) {
            return Ok(None);
        }
        if self.running.is_none() {
            self.running = Some(Running::start(&self.reading, &self.seat).await?);
        }
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        let source = &mut running.source;
        if let Some(position) = self.given.take() {
            source.commit(position).await.map_err(external)?;
        }
        loop {
            let Some(batch) = source.next().await.map_err(external)? else {
                return Ok(None);
            };
            let rows = self.pick.of(batch.rows)?;
            if rows.num_rows() > 0 {
                self.given = Some(batch.position);
                self.metrics.record_output(rows.num_rows());
                return Ok(Some(rows));
            }
            source.commit(batch.position).await.map_err(external)?;
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        // The operators bound how long it takes. If the runtime ends before, they end with it.
        running.runtime.clone().spawn(async move {
            if let Err(error) = running.source.close().await {
                tracing::warn!("a source was not closed in good order: {error}");
            }
            drop(running.gate);
        });
    }
}

/// A source that is connected, or on its way to be.
struct Running {
    source: Box<dyn SourceOperator>,
    runtime: Handle,
    /// Until the connection is closed, nobody else may be who we are.
    gate: OwnedMutexGuard<()>,
}

impl Running {
    async fn start(reading: &Reading, seat: &Seat) -> Result<Self> {
        let gate = Arc::clone(&seat.gate).lock_owned().await;
        let connection = &reading.connection;
        let metrics = Arc::new(Metrics::of(&connection.name));
        let context = seat.context(metrics, Rejects::default());
        let operator = reading.connector.make_operator(connection, context);
        match operator.map_err(|e| DataFusionError::External(e.into_boxed_dyn_error()))? {
            Operator::Source(source) => Ok(Self {
                source,
                runtime: Handle::current(),
                gate,
            }),
            Operator::Sink(_) | Operator::Lookup(_) => {
                plan_err!("table '{}' is no source", connection.name)
            }
        }
    }
}

pub(crate) fn external(error: OperatorError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

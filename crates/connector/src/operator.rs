//! What a connector does at run time: sources that yield batches with positions, sinks that take batches.
//!
//! ```text
//! SourceOperator ── (RecordBatch, Position) ──► the dataflow ── RecordBatch ──► SinkOperator
//!        ▲                                                                        │
//!        └── commit(Position) ◄── every row derived from it is durable ◄── flush ─┘
//! ```
//!
//! Both are owned by one task each, own their connection, and reconnect by themselves: a fault of the world is
//! retried inside the operator, so whatever comes out as an error is final for the job.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::future::BoxFuture;
use headwater_format::FormatConfig;

use crate::dead_letter::Rejects;
use crate::lookup::LookupOperator;
use crate::metrics::Metrics;
use crate::state::State;
use crate::table::TableSchema;

/// How far a source has been read: everything up to and including this position. Grows within one operator's life;
/// its meaning is the operator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// What a source yields: rows, and the position that is durable once all of them are.
#[derive(Debug, Clone)]
pub struct SourceBatch {
    /// Rows in the order of arrival, in the table's schema. May be empty, when everything up to `position` was bad
    /// data: the position must still be committed.
    pub rows: RecordBatch,
    /// The bad data among them, in [`dead_letter::schema`](crate::dead_letter::schema), from a table with
    /// `bad_data = 'dead_letter'`. Durable, like the rows, before the position is.
    pub rejected: Option<RecordBatch>,
    /// Greater than that of the batch before.
    pub position: Position,
}

impl SourceBatch {
    /// A batch without bad data.
    pub fn new(rows: RecordBatch, position: Position) -> Self {
        Self {
            rows,
            rejected: None,
            position,
        }
    }
}

/// Why an operator gave up. Faults that pass (a lost connection) are retried inside and never come out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A message or row that does not fit, in a table with `bad_data = 'fail'`.
    #[error("bad data: {0}")]
    BadData(String),
    /// Nobody reads any more what is written (`| head` has what it wants). The job ends where it stands, and that is no
    /// failure.
    #[error("{0}")]
    Unread(String),
    /// A fault that trying again does not mend (a wrong password, a refused filter, a full disk).
    #[error("{message}")]
    Fatal {
        /// What failed, where, and what to do about it.
        message: String,
        /// The cause, if another library reported it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl OperatorError {
    /// A fatal error without an underlying cause.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal {
            message: message.into(),
            source: None,
        }
    }

    /// A fatal error caused by another.
    pub fn caused_by(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Fatal {
            message: message.into(),
            source: Some(source.into()),
        }
    }
}

/// Reads one table, or one subtask's share of it.
///
/// The runtime calls `next` and `commit` from one task; a `next` that is pending is dropped when a commit is due and
/// called again afterwards, so it must be cancel-safe: no message may be lost with a dropped future.
#[async_trait]
pub trait SourceOperator: Send {
    /// Resolves when the other side has been reached and every message from now on will be read (connected, subscribed).
    /// Faults that pass are retried for as long as it takes; cancel-safe.
    async fn open(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Waits for the next rows. `None` means that there will never be more (a file has ended).
    ///
    /// The runtime stops calling it for back-pressure; the operator must then stop reading from the world (in bounded
    /// buffers) without losing its connection.
    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError>;

    /// Tells that everything up to `position` is durable downstream, and may be acknowledged to the other side.
    /// Positions come in order; some may be skipped, since each includes those before it.
    async fn commit(&mut self, position: Position) -> Result<(), OperatorError>;

    /// Whether all positions can be read again after a restart, as those of a file can. Then [`resume`](Self::resume) leads
    /// back to them; else the runtime keeps a journal of what was read and not yet dealt with.
    fn rereads(&self) -> bool {
        false
    }

    /// Goes on behind a position that an operator for the same table gave out in an earlier run. Called before `open`,
    /// only if it [`rereads`](Self::rereads).
    fn resume(&mut self, _position: Position) {}

    /// Whether the other side holds messages back until earlier ones are acknowledged (a window, as brokers have at
    /// QoS 1). The runtime then never lets rows gather while that seems to be the case.
    fn awaits_commits(&self) -> bool {
        false
    }

    /// Ends the source in good order: acknowledgements that were committed are written, the connection is closed.
    /// What was read but never committed stays unacknowledged.
    async fn close(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// The answer of [`SinkOperator::flush`]; it borrows nothing, so that writing may go on while it is awaited.
pub type Flushed = BoxFuture<'static, Result<(), OperatorError>>;

/// Writes one table, or one subtask's share of it.
#[async_trait]
pub trait SinkOperator: Send {
    /// Tells, before `open`, that the job goes on where an earlier run has stopped: what that has written stays.
    fn resume(&mut self) {}

    /// Resolves when the other side has been reached. Faults that pass are retried for as long as it takes; cancel-safe.
    async fn open(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }

    /// Takes a batch in the table's schema. Waits while the operator's bound of unaccepted rows is reached.
    /// Rows leave in the order in which they were given. A row that cannot be sent is given to the context's
    /// [`Rejects`].
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError>;

    /// A future that resolves when all that was written before this call is accepted by the other side (acknowledged
    /// by the broker, on disk) or [rejected](crate::dead_letter). Later writes do not delay it.
    fn flush(&mut self) -> Flushed;

    /// Ends the sink in good order; called after the last flush has resolved.
    async fn close(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// One subtask of a table's operator.
pub enum Operator {
    /// Rows come in.
    Source(Box<dyn SourceOperator>),
    /// Rows go out.
    Sink(Box<dyn SinkOperator>),
    /// Rows are looked up.
    Lookup(Box<dyn LookupOperator>),
}

/// What all connectors need to know beside their own profile and table.
#[derive(Debug, Clone, Default)]
pub struct OperatorConfig {
    /// The columns.
    pub schema: TableSchema,
    /// `format`, `bad_data` and the options of the format.
    pub format: FormatConfig,
}

/// Who an operator is: stable across restarts of the same job, so that persistent sessions are found again.
#[derive(Debug, Clone)]
pub struct TaskContext {
    /// The job's id.
    pub job_id: String,
    /// The operator's id within the job, derived from the table's name.
    pub operator_id: String,
    /// Which share of the table this is, from 0.
    pub subtask: usize,
    /// In how many shares the table is read or written.
    pub parallelism: usize,
    /// Where the operator counts.
    pub metrics: Arc<Metrics>,
    /// What becomes of rows that a sink cannot send.
    pub rejects: Rejects,
    /// What this share of the table remembers from one run to the next.
    pub state: State,
}

//! The tokio task of a lookup table: keys in, rows out, with a cache between.
//!
//! ```text
//!  keys of some batches ──► cache ── those that it does not know, once each ──► LookupOperator
//!                             │                                                      │
//!  rows of each batch ◄───────┴──────────────────────────────────────────────────────┘
//! ```
//!
//! One lookup is under way at a time, with the keys of all batches that waited for it, at most [`KEYS_AT_ONCE`] in one
//! call; what waits is bounded by the bridge. All workers share the cache.
//!
//! Errors: a fault that passes is tried again, after 0.1 s and then ever later, for [`PATIENCE`] in all; then it ends the
//! job, as does one that does not pass. Until then nothing that waits for it is acknowledged.

mod answer;
mod cache;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use backon::{BackoffBuilder, ExponentialBuilder};
use headwater_connector::{Found, LookupError, LookupOperator, Metrics, OperatorError};
use tokio::time::{Instant, sleep, timeout};

use self::answer::Answers;
use crate::bridge::lookup::{LookupEnd, LookupRequest};

/// How many keys are given to an operator in one call.
const KEYS_AT_ONCE: usize = 8192;

/// How many batches are answered in one go.
const REQUESTS_AT_ONCE: usize = 64;

/// For how long a lookup is tried before the job fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// For how long one try is waited for.
const TRY: Duration = Duration::from_secs(30);

/// What a lookup table's task is about.
pub(crate) struct LookupTask {
    /// The table's name, for errors.
    pub(crate) table: String,
    pub(crate) operator: Box<dyn LookupOperator>,
    /// The columns of the table that are equal to the keys, in their order.
    pub(crate) keys: SchemaRef,
    /// The columns of the table.
    pub(crate) schema: SchemaRef,
    /// Counts what is asked of the other side (`messages`) and what is remembered (`state`), if answers are remembered.
    pub(crate) metrics: Arc<Metrics>,
}

impl LookupTask {
    /// Answers until the dataflow has ended. `opened` is called once the table has been reached.
    pub(crate) async fn run(
        self,
        mut end: LookupEnd,
        opened: impl FnOnce(),
    ) -> Result<(), OperatorError> {
        let cache = self.operator.cache();
        let mut answers = Answers::new(&self.keys, &self.schema, cache, &self.metrics)?;
        let mut table = Asking {
            table: self.table,
            operator: self.operator,
            metrics: self.metrics,
        };
        let mut waiting = Vec::with_capacity(REQUESTS_AT_ONCE);
        // a job whose table is away can be stopped before anything was asked for
        let reached = tokio::select! {
            biased;
            reached = table.open() => { reached?; true }
            count = end.requests.recv_many(&mut waiting, 1) => match count {
                0 => return Ok(()),
                _ => false,
            },
        };
        if !reached {
            table.open().await?;
        }
        opened();
        loop {
            if waiting.is_empty()
                && end.requests.recv_many(&mut waiting, REQUESTS_AT_ONCE).await == 0
            {
                return table.operator.close().await;
            }
            let workers: Vec<_> = waiting.iter().map(|request| request.worker).collect();
            let keys = waiting.drain(..).map(|LookupRequest { keys, .. }| keys);
            let found = answers.of(keys.collect(), &mut table).await?;
            for (worker, found) in workers.into_iter().zip(found) {
                end.answer(worker, found);
            }
        }
    }
}

/// An operator, asked until it answers or is given up.
struct Asking {
    table: String,
    operator: Box<dyn LookupOperator>,
    metrics: Arc<Metrics>,
}

impl Asking {
    async fn open(&mut self) -> Result<(), OperatorError> {
        let mut patience = Patience::new(&self.table);
        loop {
            let opened = timeout(TRY, self.operator.open()).await;
            match opened.unwrap_or_else(|_elapsed| Err(no_answer())) {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// The rows of some keys, of which there is one at least.
    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, OperatorError> {
        let mut patience = Patience::new(&self.table);
        loop {
            let found = timeout(TRY, self.operator.lookup(keys)).await;
            let mut error = match found.unwrap_or_else(|_elapsed| Err(no_answer())) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            loop {
                patience.after(error).await?;
                self.metrics.add_reconnect();
                let opened = timeout(TRY, self.operator.open()).await;
                match opened.unwrap_or_else(|_elapsed| Err(no_answer())) {
                    Ok(()) => break,
                    Err(again) => error = again,
                }
            }
        }
    }
}

fn no_answer() -> LookupError {
    let message = format!("no answer within {} s", TRY.as_secs());
    LookupError::Passing(OperatorError::fatal(message))
}

/// How long faults that pass have lasted.
struct Patience<'a> {
    table: &'a str,
    pauses: backon::ExponentialBackoff,
    since: Instant,
}

impl<'a> Patience<'a> {
    fn new(table: &'a str) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times();
        Self {
            table,
            pauses: pauses.build(),
            since: Instant::now(),
        }
    }

    /// Waits after a fault until it is time to try again.
    ///
    /// # Errors
    /// It does not pass, or has not for too long.
    async fn after(&mut self, error: LookupError) -> Result<(), OperatorError> {
        let table = self.table;
        let error = match error {
            LookupError::Final(error) => return Err(error),
            LookupError::Passing(error) => error,
        };
        match self.pauses.next() {
            Some(pause) if self.since.elapsed() + pause < PATIENCE => {
                tracing::warn!("lookup table '{table}': {error}; trying again");
                sleep(pause).await;
                Ok(())
            }
            _ => Err(OperatorError::caused_by(
                format!(
                    "lookup table '{table}' could not be asked for {} s; see that it can be reached (headwater \
                     test-connection tries it), and start the job again",
                    PATIENCE.as_secs()
                ),
                error,
            )),
        }
    }
}

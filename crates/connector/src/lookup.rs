//! Tables in which rows of a stream look others up by key, as they come: the third kind beside sources and sinks.
//!
//! ```text
//! rows ── the distinct keys of a batch ──► cache ── those it does not know ──► LookupOperator ──► the other side
//!   └──────── joined, in their order ◄───────┴──────────────── Found ◄──────────────┘
//! ```
//!
//! The cache, the retries and their end are the caller's affair (`runtime/lookup`), the same for every connector. An
//! operator answers keys, and says whether a fault passes.

mod rows;

use std::fmt;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use tokio::time::Instant;

pub use self::rows::{FixedRows, RowIndex, with_one_zero};
use crate::operator::OperatorError;
use crate::progress::Progress;

/// The most bytes of answers that are remembered if nothing is said: 64 MiB.
pub const CACHE_BYTES: u64 = 64 << 20;

/// For how long an answer is remembered if nothing is said.
pub const CACHE_TTL: Duration = Duration::from_secs(60);

/// What is remembered of a table, also that a key has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOptions {
    /// The most bytes of keys and rows together (`lookup.cache.max_bytes`). What was asked for longest ago goes first.
    pub max_bytes: u64,
    /// How old an answer may be (`lookup.cache.ttl`); `None` for as old as may be.
    pub ttl: Option<Duration>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            max_bytes: CACHE_BYTES,
            ttl: Some(CACHE_TTL),
        }
    }
}

/// The rows of some keys.
#[derive(Debug, Clone)]
pub struct Found {
    /// Rows in the table's schema.
    pub rows: RecordBatch,
    /// For each of them which key it is of, from 0; ascending, so that the rows of a key stand together.
    pub keys: Vec<u32>,
}

/// Why keys could not be looked up.
#[derive(Debug)]
pub enum LookupError {
    /// A fault that may pass (a lost connection, a file that is being replaced): the caller tries again for a while.
    Passing(OperatorError),
    /// A fault that trying again does not mend.
    Final(OperatorError),
}

impl From<OperatorError> for LookupError {
    /// Operators give up for good unless they say otherwise.
    fn from(error: OperatorError) -> Self {
        Self::Final(error)
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(error) | Self::Final(error) => error.fmt(f),
        }
    }
}

/// Looks rows up in one table. Owned by one task, called by it one call after the other.
#[async_trait]
pub trait LookupOperator: Send {
    /// Reaches the other side. Called before anything else, and again after a fault that passes.
    async fn open(&mut self) -> Result<(), LookupError>;

    /// The rows of these keys. The columns of `keys` have the names and types of the table's columns that must be equal;
    /// its rows are distinct, at least one, none of them with a null. A key may have no row, and several.
    ///
    /// A future that is dropped may have asked the other side; nothing depends on it.
    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError>;

    /// What of the answers may be remembered; `None` if they are given from memory anyway.
    fn cache(&self) -> Option<CacheOptions> {
        None
    }

    /// Ends it in good order.
    async fn close(&mut self) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// The connection test of a lookup table: whether it can be opened. `remedy` is what to do if not.
pub async fn try_lookup(
    mut operator: Box<dyn LookupOperator>,
    progress: Progress,
    remedy: &'static str,
) -> bool {
    let started = Instant::now();
    match operator.open().await {
        Ok(()) => progress.ok("open", started, "rows can be looked up"),
        Err(LookupError::Passing(error) | LookupError::Final(error)) => {
            progress.failed("open", started, with_causes(&error), remedy);
            return false;
        }
    }
    // the test is over, and what was found out holds
    operator.close().await.ok();
    true
}

/// An error with all that caused it.
fn with_causes(error: &OperatorError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

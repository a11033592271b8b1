//! Dead letters: what did not fit, with what is needed to find out why and to send it again.
//!
//! `bad_data` says what happens to bad data: the job fails, it is counted and left out, or it becomes a *dead letter*
//! and goes where `dead_letter.topic` or `dead_letter.table` say. A dead letter counts as something derived from its
//! message: the source's position becomes durable only when the sink of the dead letters has accepted it.
//!
//! ```text
//!              SourceBatch { rows, rejected, position }
//! source task ──────────────┬─────────────────────────► chain ──► sink operator ──► sink task ── SinkOperator
//!                           │ rejected                    │ rows that fail  ▲           │  Rejects::reject
//!                           ▼                             ▼                 │ rejected  │
//!                      dead letters ◄─────────────────────┴─────────────────┴───────────┘
//!                           └── fit ──► the sink of the dead letters ── accepted ──► the position is durable
//! ```
//!
//! **A source** decodes with a [`RowDecoder`](crate::RowDecoder), which follows `bad_data` by itself: rejected payloads
//! leave it in [`SourceBatch::rejected`](crate::SourceBatch::rejected), beside the rows of the same messages' batch.
//!
//! **A sink** is given a [`Rejects`] in its [`TaskContext`](crate::TaskContext). For a row that cannot be sent (a topic
//! that is illegal, a payload above the broker's limit, a refusal by the broker's ACL) it calls [`Rejects::reject`],
//! which does what the table says: with `fail` it answers the error that the operator must return from `write` or from
//! the flush that covers the row; else it answers `Ok`, and the row is done with. It may be called from any task. The
//! one rule: **a row is rejected before the flush that covers it resolves**, because the row's message is acknowledged
//! once that flush has resolved and all dead letters that were reported until then have been accepted.
//!
//! **Memory.** Letters wait in their batch (a source counts them into the batch's bound) or until the next flush resolves
//! (a sink: at most what its own bound holds in flight).
//!
//! [`schema`] is what all of them have inside the engine; [`fit`] makes the columns of a user's table of it, in which
//! the payload can always be had back exactly: as BYTEA, or as text with `encoding` beside it.

mod documents;
mod fit;
mod rejects;

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use headwater_format::{BadData, DeadLetterOptions, FormatConfig};

use crate::config::ConfigError;

pub use documents::Documents;
pub use fit::{check_columns, fit, standard_columns};
pub use rejects::Rejects;

/// One piece of bad data, as whoever met it knows it.
#[derive(Debug, Clone, Copy)]
pub struct Rejection<'a> {
    /// The message's payload as it came; for a row that could not be sent, as it would have been sent.
    pub payload: &'a [u8],
    /// The topic from which it came or to which it should have gone, or what a connector has in its place.
    pub topic: Option<&'a str>,
    /// What is wrong, for people.
    pub error: &'a str,
    /// The number of its message in the source, if it has one.
    pub position: Option<u64>,
}

/// The columns of dead letters inside the engine: `payload`, `topic`, `error`, `time`, `position`.
#[must_use]
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
        Arc::new(Schema::new(vec![
            Field::new("payload", DataType::Binary, false),
            Field::new("topic", DataType::Utf8, true),
            Field::new("error", DataType::Utf8, false),
            Field::new("time", time, false),
            Field::new("position", DataType::Int64, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Dead letters that grow one by one. Bounded by whoever fills it, through [`rows`](Self::rows) and
/// [`bytes`](Self::bytes), far below the 2 GiB that a batch can hold.
#[derive(Debug, Default)]
pub struct DeadLetters {
    payloads: BinaryBuilder,
    topics: StringBuilder,
    errors: StringBuilder,
    times: TimestampNanosecondBuilder,
    positions: Int64Builder,
    rows: usize,
    bytes: usize,
}

impl DeadLetters {
    /// Adds one, with the present moment as its time.
    pub fn push(&mut self, rejection: &Rejection<'_>) {
        self.payloads.append_value(rejection.payload);
        self.topics.append_option(rejection.topic);
        self.errors.append_value(rejection.error);
        self.times.append_value(now_ns());
        // positions are counters from 0
        let position = rejection.position.and_then(|at| i64::try_from(at).ok());
        self.positions.append_option(position);
        self.rows += 1;
        self.bytes += rejection.payload.len() + rejection.error.len();
    }

    /// How many there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of their payloads and errors.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in the order in which they came; `None` if there are none.
    ///
    /// # Errors
    /// Arrow refuses the columns, which would be a bug.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.rows == 0 {
            return Ok(None);
        }
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.payloads.finish()),
            Arc::new(self.topics.finish()),
            Arc::new(self.errors.finish()),
            Arc::new(self.times.finish()),
            Arc::new(self.positions.finish()),
        ];
        RecordBatch::try_new(schema(), columns).map(Some)
    }
}

fn now_ns() -> i64 {
    // a clock before 1970 only makes times wrong
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Checks that `bad_data` and `dead_letter.…` go together.
///
/// # Errors
/// `bad_data = 'dead_letter'` without a place for them or with two, and a place without `bad_data = 'dead_letter'`.
pub fn check_options(format: &FormatConfig) -> Result<(), ConfigError> {
    let DeadLetterOptions { topic, table } = &format.dead_letter;
    let given = match (topic, table) {
        (Some(_), Some(_)) => {
            let message = "options 'dead_letter.topic' and 'dead_letter.table' are both given; leave one of them out";
            return Err(ConfigError::new(Some("dead_letter.topic"), message));
        }
        (Some(_), None) => Some("dead_letter.topic"),
        (None, Some(_)) => Some("dead_letter.table"),
        (None, None) => None,
    };
    match (format.bad_data, given) {
        (BadData::DeadLetter, Some(_)) | (BadData::Fail | BadData::Drop, None) => Ok(()),
        (BadData::DeadLetter, None) => {
            let message = "option 'bad_data' is 'dead_letter', but nothing says where dead letters go; \
                 add dead_letter.topic = '…' or dead_letter.table = '…'";
            Err(ConfigError::new(Some("bad_data"), message))
        }
        (BadData::Fail | BadData::Drop, Some(option)) => {
            let message = format!(
                "option '{option}' is given, but bad data does not become dead letters; add bad_data = 'dead_letter'"
            );
            Err(ConfigError::new(Some(option), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bad_data: BadData, topic: Option<&str>, table: Option<&str>) -> String {
        let format = FormatConfig {
            bad_data,
            dead_letter: DeadLetterOptions {
                topic: topic.map(str::to_owned),
                table: table.map(str::to_owned),
            },
            ..FormatConfig::default()
        };
        check_options(&format).map_or_else(|error| error.message, |()| "ok".to_owned())
    }

    #[test]
    fn the_options_go_together() {
        assert_eq!(check(BadData::Fail, None, None), "ok");
        assert_eq!(check(BadData::DeadLetter, Some("t"), None), "ok");
        assert_eq!(check(BadData::DeadLetter, None, Some("t")), "ok");
        let missing = check(BadData::DeadLetter, None, None);
        assert!(missing.contains("add dead_letter.topic"), "{missing}");
        let both = check(BadData::DeadLetter, Some("t"), Some("t"));
        assert!(both.contains("leave one of them out"), "{both}");
        for bad_data in [BadData::Fail, BadData::Drop] {
            let surplus = check(bad_data, None, Some("t"));
            assert!(
                surplus.contains("add bad_data = 'dead_letter'"),
                "{surplus}"
            );
        }
    }
}

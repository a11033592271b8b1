//! Rows as lines: what `single_file` and `stdout` write.
//!
//! One payload a line. A payload that itself holds a line feed (only `raw_string` and `raw_bytes` can) would be read
//! back as two messages, so it is bad data.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use headwater_connector::{Metrics, OperatorConfig, OperatorError, Rejection, Rejects, RowEncoder};

/// To formats whose messages belong to topics.
const NO_TOPIC: &str =
    "the format needs the topic of a message, which this connector does not have";

/// Turns batches into lines.
pub(crate) struct LineEncoder {
    encoder: RowEncoder,
    metrics: Arc<Metrics>,
    rejects: Rejects,
}

impl LineEncoder {
    /// An encoder for the table's columns.
    pub(crate) fn new(
        config: &OperatorConfig,
        metrics: Arc<Metrics>,
        rejects: Rejects,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            encoder: RowEncoder::new(
                &config.format,
                config.schema.payload_schema(),
                rejects.clone(),
            )?,
            metrics,
            rejects,
        })
    }

    /// The rows as lines, in order.
    pub(crate) fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, OperatorError> {
        self.encoder.encode(rows, |_| Err(NO_TOPIC.to_owned()))?;
        let payloads = self.encoder.payloads();
        let mut lines = Vec::with_capacity(payloads.bytes() + rows.num_rows());
        let mut written = 0;
        for payload in payloads.iter() {
            if memchr::memchr(b'\n', payload).is_some() {
                bad_row(&self.rejects, payload)?;
                continue;
            }
            lines.extend_from_slice(payload);
            lines.push(b'\n');
            written += 1;
        }
        self.metrics.add_messages(written, lines.len() as u64);
        self.metrics.add_rows(written);
        Ok(lines)
    }
}

fn bad_row(rejects: &Rejects, payload: &[u8]) -> Result<(), OperatorError> {
    let error = format!(
        "a line cannot hold the line feed in '{}'; use format 'json'",
        String::from_utf8_lossy(&payload[..payload.len().min(120)]).escape_debug()
    );
    rejects.reject(&Rejection {
        payload,
        topic: None,
        error: &error,
        position: None,
    })
}

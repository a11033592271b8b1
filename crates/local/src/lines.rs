//! Rows as lines: what `single_file` and `stdout` write.
//!
//! One payload a line. A payload that itself holds a line feed (only `raw_string` and `raw_bytes` can) would be read
//! back as two messages, so it is bad data.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use headwater_connector::{Metrics, OperatorConfig, OperatorError, Rejection, Rejects};
use headwater_format::{Encoder, Payloads};

/// Turns batches into lines.
pub(crate) struct LineEncoder {
    encoder: Encoder,
    payloads: Payloads,
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
            encoder: Encoder::new(&config.format, config.schema.payload_schema())?,
            payloads: Payloads::default(),
            metrics,
            rejects,
        })
    }

    /// The rows as lines, in order.
    pub(crate) fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, OperatorError> {
        self.payloads.clear();
        self.encoder
            .encode(rows, &mut self.payloads)
            .map_err(|error| OperatorError::caused_by("rows cannot be encoded", error))?;
        let mut lines = Vec::with_capacity(self.payloads.bytes() + rows.num_rows());
        let mut written = 0;
        for payload in self.payloads.iter() {
            if memchr::memchr(b'\n', payload).is_some() {
                self.bad_row(payload)?;
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

    fn bad_row(&self, payload: &[u8]) -> Result<(), OperatorError> {
        let error = format!(
            "a line cannot hold the line feed in '{}'; use format 'json'",
            String::from_utf8_lossy(&payload[..payload.len().min(120)]).escape_debug()
        );
        self.rejects.reject(&Rejection {
            payload,
            topic: None,
            error: &error,
            position: None,
        })
    }
}

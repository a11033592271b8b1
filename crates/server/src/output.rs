//! Rows that are shown: what bare `SELECT`s put out, for whoever listens over the API.
//!
//! Nobody has to listen: rows are accepted at once, the latest are kept for those who come later, and a listener that
//! is too slow misses some. So showing never holds a pipeline up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::stream::{self, Stream, StreamExt};
use futures::{FutureExt, future};
use headwater_engine::PreviewFactory;
use headwater_engine::connector::{Flushed, OperatorError, SinkOperator, TableSchema};
use headwater_format::{Encoder, FormatConfig, Payloads};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::types::{OutputData, now_micros};

/// How many rows are kept for those who come later, and how many a listener may be behind.
const ROWS_KEPT: usize = 256;

/// What one run shows.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Shown>>);

struct Shown {
    latest: VecDeque<OutputData>,
    /// Gone when the run has ended.
    listeners: Option<broadcast::Sender<OutputData>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        let (sender, _) = broadcast::channel(ROWS_KEPT);
        Self(Arc::new(Mutex::new(Shown {
            latest: VecDeque::with_capacity(ROWS_KEPT),
            listeners: Some(sender),
        })))
    }

    /// Makes the sinks of a job that show rows here.
    pub(crate) fn factory(&self) -> PreviewFactory {
        let output = self.clone();
        Arc::new(move |schema, context| {
            let (_, format) = TableSchema::shown(&schema);
            let config = FormatConfig {
                format: Some(format),
                ..FormatConfig::default()
            };
            Ok(Box::new(ShowRows {
                encoder: Encoder::new(&config, schema)?,
                payloads: Payloads::new(),
                operator_id: context.operator_id,
                metrics: context.metrics,
                output: output.clone(),
            }))
        })
    }

    /// The latest rows, then those that come, until the run ends.
    pub(crate) fn listen(&self) -> impl Stream<Item = OutputData> + Send + use<> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest: Vec<_> = shown.latest.iter().cloned().collect();
        let receiver = shown.listeners.as_ref().map(broadcast::Sender::subscribe);
        let coming = stream::unfold(receiver, async |receiver| {
            let mut receiver = receiver?;
            loop {
                match receiver.recv().await {
                    Ok(row) => return Some((row, Some(receiver))),
                    Err(RecvError::Lagged(_missed)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        stream::iter(latest).chain(coming)
    }

    /// Ends the streams of all listeners, once they have had what was shown.
    pub(crate) fn close(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .listeners = None;
    }

    fn show(&self, row: OutputData) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.latest.len() == ROWS_KEPT {
            shown.latest.pop_front();
        }
        shown.latest.push_back(row.clone());
        if let Some(listeners) = &shown.listeners {
            // an error means that nobody listens
            listeners.send(row).ok();
        }
    }

    fn is_listened_to(&self) -> bool {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown
            .listeners
            .as_ref()
            .is_some_and(|listeners| listeners.receiver_count() > 0)
    }
}

/// A sink that shows its rows.
struct ShowRows {
    encoder: Encoder,
    payloads: Payloads,
    operator_id: String,
    metrics: Arc<headwater_engine::connector::Metrics>,
    output: Output,
}

#[async_trait]
impl SinkOperator for ShowRows {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.metrics.add_rows(rows.num_rows() as u64);
        let unseen = match self.output.is_listened_to() {
            true => 0,
            false => rows.num_rows().saturating_sub(ROWS_KEPT),
        };
        let rows = rows.slice(unseen, rows.num_rows() - unseen);
        self.payloads.clear();
        let encoded = self.encoder.encode(&rows, &mut self.payloads);
        encoded.map_err(|error| OperatorError::caused_by("rows cannot be shown as JSON", error))?;
        let timestamp = now_micros();
        for payload in self.payloads.iter() {
            self.output.show(OutputData {
                operator_id: self.operator_id.clone(),
                timestamp,
                value: String::from_utf8_lossy(payload).into_owned(),
            });
        }
        Ok(())
    }

    fn flush(&mut self) -> Flushed {
        future::ready(Ok(())).boxed()
    }
}

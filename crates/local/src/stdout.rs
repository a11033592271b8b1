//! `stdout`: the standard output of the process, one message a line.
//!
//! Every batch is written with one call and flushed at once: rows that people look at or that a pipe hands on must not
//! wait for the next batch. When the reader of a pipe has gone (`| head`), the job ends.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future;
use headwater_connector::{
    ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Flushed, Operator,
    OperatorConfig, OperatorError, SinkOperator, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use tokio::task::spawn_blocking;

use crate::lines::LineEncoder;
pub use crate::options::StdoutTable;
use crate::{Parts, refuse_metadata};

const NAME: &str = "stdout";

/// Makes sinks that print.
#[derive(Debug, Clone, Copy)]
pub struct StdoutConnector;

impl Connector for StdoutConnector {
    type ProfileT = ();
    type TableT = StdoutTable;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "Standard output",
            description: "Prints rows, one a line",
            source: false,
            sink: true,
            lookup: false,
            testing: false,
            format: true,
            profile_schema: None,
            table_schema: include_str!("../../../schemas/local/stdout/table.json"),
        }
    }

    fn table_type(&self, (): &(), _table: &StdoutTable) -> ConnectionType {
        ConnectionType::Sink
    }

    fn from_config(
        &self,
        name: &str,
        (): (),
        table: StdoutTable,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        refuse_metadata(NAME, &schema)?;
        let parts = Parts {
            connector: NAME,
            name,
            connection_type: ConnectionType::Sink,
            table: &table,
            schema,
            format,
            description: "Stdout".to_owned(),
        };
        parts.connection()
    }

    fn make_operator(
        &self,
        (): (),
        _table: StdoutTable,
        config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let lines = LineEncoder::new(&config, context.metrics, context.rejects)?;
        Ok(Operator::Sink(Box::new(StdoutSink::new(
            lines,
            io::stdout(),
        ))))
    }
}

type Output = Arc<Mutex<dyn Write + Send>>;

/// Prints to anything that can be written, so that tests can read what was printed.
pub(crate) struct StdoutSink {
    lines: LineEncoder,
    output: Output,
}

impl StdoutSink {
    pub(crate) fn new(lines: LineEncoder, output: impl Write + Send + 'static) -> Self {
        Self {
            lines,
            output: Arc::new(Mutex::new(output)),
        }
    }
}

#[async_trait]
impl SinkOperator for StdoutSink {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        let lines = self.lines.encode(&rows)?;
        let output = Arc::clone(&self.output);
        // A terminal or a pipe may block for as long as its reader likes.
        let written = spawn_blocking(move || {
            // Printing has no state that a panic could leave half changed.
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.write_all(&lines)?;
            output.flush()
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                let gone = "the reader of the standard output has gone away";
                Err(OperatorError::Unread(gone.to_owned()))
            }
            Ok(Err(error)) => Err(OperatorError::caused_by(
                "the standard output cannot be written",
                error,
            )),
            Err(error) => Err(OperatorError::caused_by("printing was interrupted", error)),
        }
    }

    fn flush(&mut self) -> Flushed {
        // `write` returns only when its rows have left the process.
        future::ready(Ok(())).boxed()
    }
}

//! `blackhole`: a sink that counts rows and forgets them. For benchmarks, and for trying out a query.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::FutureExt;
use futures::future;
use headwater_connector::{
    ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Flushed, Metrics,
    Operator, OperatorConfig, OperatorError, SinkOperator, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;

use crate::Parts;
pub use crate::options::BlackholeTable;

const NAME: &str = "blackhole";

/// Makes black holes.
#[derive(Debug, Clone, Copy)]
pub struct BlackholeConnector;

impl Connector for BlackholeConnector {
    type ProfileT = ();
    type TableT = BlackholeTable;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "Black hole",
            description: "Counts rows and forgets them",
            source: false,
            sink: true,
            lookup: false,
            testing: false,
            format: false,
            profile_schema: None,
            table_schema: include_str!("../../../schemas/local/blackhole/table.json"),
        }
    }

    fn table_type(&self, (): &(), _table: &BlackholeTable) -> ConnectionType {
        ConnectionType::Sink
    }

    fn from_config(
        &self,
        name: &str,
        (): (),
        table: BlackholeTable,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        let parts = Parts {
            connector: NAME,
            name,
            connection_type: ConnectionType::Sink,
            table: &table,
            schema,
            format,
            description: "Blackhole".to_owned(),
        };
        parts.connection()
    }

    fn max_parallelism(&self, (): &(), _table: &BlackholeTable) -> usize {
        usize::MAX
    }

    fn make_operator(
        &self,
        (): (),
        _table: BlackholeTable,
        _config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        Ok(Operator::Sink(Box::new(BlackholeSink {
            metrics: context.metrics,
        })))
    }
}

struct BlackholeSink {
    metrics: Arc<Metrics>,
}

#[async_trait]
impl SinkOperator for BlackholeSink {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.metrics.add_rows(rows.num_rows() as u64);
        Ok(())
    }

    fn flush(&mut self) -> Flushed {
        future::ready(Ok(())).boxed()
    }
}

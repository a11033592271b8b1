//! A connector whose sources give rows that a test has made, and the answers of a query over them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::State;
use headwater_connector::{
    ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Flushed, Operator,
    OperatorConfig, OperatorError, Position, Registry, SinkOperator, SourceBatch, SourceOperator,
    TableSchema, TaskContext,
};
use headwater_engine::{CHECKPOINT_INTERVAL, Engine, JobOptions};
use headwater_format::FormatConfig;
use serde_json::Value;

use crate::rows::{Events, LAG_MS};

/// What a query answers over the streams `a` and `b`.
pub(crate) async fn answers(
    a: &Events,
    b: &Events,
    query: &str,
    parallelism: usize,
    batch_rows: usize,
) -> Vec<RecordBatch> {
    let tables = [("source_a", a), ("source_b", b)];
    let tables =
        tables.map(|(name, events)| (name.to_owned(), pieces(&events.batch(), batch_rows)));
    let made = Made(Arc::new(BTreeMap::from(tables)));
    let engine = Engine::with_connectors(Registry::default().with(made));
    let collected = Collected::default();
    let shown = collected.clone();
    let options = JobOptions {
        checkpoint_interval: CHECKPOINT_INTERVAL,
        job_id: "same-answers".to_owned(),
        parallelism,
        state: State::default(),
        state_limit_bytes: None,
        over_limit: headwater_engine::OverLimit::default(),
        preview: Arc::new(move |_schema, _context| Ok(Box::new(shown.clone()))),
    };
    let sql = format!("{} {} {query}", table("a"), table("b"));
    let job = engine.execute(&sql, options).await.unwrap().job.unwrap();
    job.wait().await.unwrap();
    let mut rows = collected.0.lock().unwrap();
    std::mem::take(&mut *rows)
}

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (
           device TEXT, value BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
           WATERMARK FOR ts AS ts - INTERVAL '{LAG_MS} milliseconds'
         ) WITH (connector = 'made');"
    )
}

fn pieces(batch: &RecordBatch, rows: usize) -> VecDeque<RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows);
    starts
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// The batches of each source, by the id of its operator.
struct Made(Arc<BTreeMap<String, VecDeque<RecordBatch>>>);

impl Connector for Made {
    type ProfileT = Value;
    type TableT = Value;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: "made",
            name: "Made",
            description: "rows that a test has made",
            source: true,
            sink: false,
            lookup: false,
            testing: false,
            format: false,
            profile_schema: None,
            table_schema: r#"{"type": "object", "properties": {}}"#,
        }
    }

    fn table_type(&self, _: &Value, _: &Value) -> ConnectionType {
        ConnectionType::Source
    }

    fn from_config(
        &self,
        name: &str,
        profile: Value,
        table: Value,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        Ok(Connection {
            connector: "made".to_owned(),
            name: name.to_owned(),
            connection_type: ConnectionType::Source,
            profile,
            table,
            config: OperatorConfig { schema, format },
            description: name.to_owned(),
        })
    }

    fn ends(&self, _: &Value, _: &Value) -> bool {
        true
    }

    fn make_operator(
        &self,
        _: Value,
        _: Value,
        _: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        Ok(Operator::Source(Box::new(Source {
            batches: self.0[&context.operator_id].clone(),
            position: 0,
        })))
    }
}

struct Source {
    batches: VecDeque<RecordBatch>,
    position: u64,
}

#[async_trait]
impl SourceOperator for Source {
    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        self.position += 1;
        let batch = self.batches.pop_front();
        Ok(batch.map(|batch| SourceBatch::new(batch, Position(self.position))))
    }

    async fn commit(&mut self, _: Position) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// The rows that the query shows.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<RecordBatch>>>);

#[async_trait]
impl SinkOperator for Collected {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.0.lock().unwrap().push(rows);
        Ok(())
    }

    fn flush(&mut self) -> Flushed {
        Box::pin(std::future::ready(Ok(())))
    }
}

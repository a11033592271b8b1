//! A connector whose sources and sinks the test holds in its hands, and a bench to run plans on.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test, of which each binary uses its part"
)]

pub(crate) mod memory;
mod plans;
mod thousandfold;
pub(crate) mod time;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::physical_expr::expressions::col;
use headwater_connector::dead_letter::DeadLetters;
use headwater_connector::{
    ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Flushed, Found,
    LookupError, LookupOperator, Operator, OperatorConfig, OperatorError, Position, Registry,
    Rejection, Rejects, SinkOperator, SourceBatch, SourceOperator, State, TableSchema, TaskContext,
};
use headwater_format::{BadData, FormatConfig};
use headwater_planner::plan::{self, Node, NodeId, Plan, PlanOperator};
use headwater_runtime::{CHECKPOINT_INTERVAL, Job, JobError, JobOptions};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

pub(crate) use self::plans::*;

pub(crate) type Batches = mpsc::UnboundedReceiver<RecordBatch>;

#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) sources: Mutex<HashMap<String, Batches>>,
    pub(crate) committed: Mutex<HashMap<String, watch::Sender<u64>>>,
    pub(crate) read: Mutex<HashMap<String, watch::Sender<u64>>>,
    pub(crate) sinks: Mutex<HashMap<String, Arc<SinkState>>>,
    /// Lookups wait for this.
    pub(crate) looking: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// What a scripted sink does and has seen.
pub(crate) struct SinkState {
    pub(crate) rows: watch::Sender<Vec<i64>>,
    // flushes wait for this
    pub(crate) accepting: watch::Sender<bool>,
    // writes wait for this, once they have seen their rows
    pub(crate) room: Semaphore,
    pub(crate) fails: Mutex<Option<Fault>>,
    pub(crate) closed: Notify,
}

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Error,
    Panic,
}

#[derive(Clone)]
pub(crate) struct Scripted(pub(crate) Arc<Stage>);

impl Connector for Scripted {
    type ProfileT = Value;
    type TableT = Value;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: "scripted",
            name: "Scripted",
            description: "a test holds both ends",
            source: true,
            sink: true,
            lookup: false,
            testing: false,
            format: false,
            profile_schema: None,
            table_schema: "{}",
        }
    }

    fn table_type(&self, _profile: &Value, table: &Value) -> ConnectionType {
        if table["sink"] == json!(true) {
            ConnectionType::Sink
        } else {
            ConnectionType::Source
        }
    }

    fn from_config(
        &self,
        _name: &str,
        _profile: Value,
        _table: Value,
        _schema: TableSchema,
        _format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        Err(ConfigError::new(None, "tests make connections by hand"))
    }

    fn make_operator(
        &self,
        profile: Value,
        table: Value,
        _config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let name = context.operator_id;
        if self.table_type(&profile, &table) == ConnectionType::Sink {
            let state = Arc::clone(&self.0.sinks.lock().unwrap()[&name]);
            let rejects = context.rejects;
            return Ok(Operator::Sink(Box::new(Sink { state, rejects })));
        }
        if let Some(gate) = self.0.looking.lock().unwrap().get(&name) {
            let gate = Arc::clone(gate);
            return Ok(Operator::Lookup(Box::new(Lookup { gate })));
        }
        let batches = self.0.sources.lock().unwrap().remove(&name).unwrap();
        let committed = self.0.committed.lock().unwrap()[&name].clone();
        let read = self.0.read.lock().unwrap()[&name].clone();
        Ok(Operator::Source(Box::new(Source {
            batches,
            position: 0,
            committed,
            read,
        })))
    }
}

/// Numbers from here on cannot be sent by a sink: they become dead letters with what is above for a position.
pub(crate) const UNSENDABLE: i64 = 1_000_000_000;

pub(crate) struct Source {
    batches: Batches,
    position: u64,
    committed: watch::Sender<u64>,
    read: watch::Sender<u64>,
}

#[async_trait]
impl SourceOperator for Source {
    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        let Some(rows) = self.batches.recv().await else {
            return Ok(None);
        };
        self.position += 1;
        self.read.send_replace(self.position);
        let (rows, rejected) = without_negative(rows);
        Ok(Some(SourceBatch {
            rejected,
            rows,
            position: Position(self.position),
        }))
    }

    async fn commit(&mut self, position: Position) -> Result<(), OperatorError> {
        assert!(position.0 > *self.committed.borrow(), "positions grow");
        assert!(
            position.0 <= self.position,
            "only what was read is committed"
        );
        self.committed.send_replace(position.0);
        Ok(())
    }
}

/// Numbers below zero are bad data: they become dead letters with the number's amount for a position.
pub(crate) fn without_negative(rows: RecordBatch) -> (RecordBatch, Option<RecordBatch>) {
    let numbers = rows.column(0).as_primitive::<Int64Type>();
    let mut letters = DeadLetters::default();
    for bad in numbers.values().iter().filter(|n| **n < 0) {
        letters.push(&Rejection {
            payload: b"below zero",
            topic: None,
            error: "below zero",
            position: Some(bad.unsigned_abs()),
        });
    }
    let good = numbers.iter().map(|n| n.map(|n| n >= 0)).collect();
    let good = arrow::compute::filter_record_batch(&rows, &good).unwrap();
    (good, letters.finish().unwrap())
}

pub(crate) struct Sink {
    state: Arc<SinkState>,
    rejects: Rejects,
}

#[async_trait]
impl SinkOperator for Sink {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        let fault = *self.state.fails.lock().unwrap();
        match fault {
            Some(Fault::Error) => return Err(OperatorError::fatal("the disk is full")),
            Some(Fault::Panic) => panic!("scripted panic"),
            None => {}
        }
        let mut values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        for bad in values.extract_if(.., |n| *n >= UNSENDABLE) {
            self.rejects.reject(&Rejection {
                payload: b"unsendable",
                topic: None,
                error: "unsendable",
                position: Some((bad - UNSENDABLE).unsigned_abs()),
            })?;
        }
        self.state.rows.send_modify(|seen| seen.extend(values));
        self.state.room.acquire().await.unwrap().forget();
        Ok(())
    }

    fn flush(&mut self) -> Flushed {
        let mut accepting = self.state.accepting.subscribe();
        Box::pin(async move {
            accepting.wait_for(|accepting| *accepting).await.unwrap();
            Ok(())
        })
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        self.state.closed.notify_one();
        Ok(())
    }
}

/// A table that has every number that is even.
pub(crate) struct Lookup {
    gate: Arc<Semaphore>,
}

#[async_trait]
impl LookupOperator for Lookup {
    async fn open(&mut self) -> Result<(), LookupError> {
        Ok(())
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        self.gate.acquire().await.unwrap().forget();
        let numbers = keys.column(0).as_primitive::<Int64Type>().values().iter();
        let even = numbers.enumerate().filter(|(_, number)| *number % 2 == 0);
        let (keys, numbers): (Vec<u32>, Vec<i64>) =
            even.map(|(key, number)| (key as u32, *number)).unzip();
        let rows = rows(&numbers);
        Ok(Found { rows, keys })
    }
}

// ---- a bench to run plans on

#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) stage: Arc<Stage>,
    pub(crate) inputs: HashMap<String, mpsc::UnboundedSender<RecordBatch>>,
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]))
}

pub(crate) fn rows(values: &[i64]) -> RecordBatch {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    rows_with(values, texts)
}

pub(crate) fn rows_with(values: &[i64], texts: Vec<String>) -> RecordBatch {
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(Int64Array::from(values.to_vec())),
        Arc::new(StringArray::from(texts)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(crate) fn table(
    name: &str,
    connection_type: ConnectionType,
    bad_data: BadData,
) -> Arc<Connection> {
    let format = FormatConfig {
        bad_data,
        ..FormatConfig::default()
    };
    Arc::new(Connection {
        connector: "scripted".to_owned(),
        name: name.to_owned(),
        connection_type,
        profile: Value::Null,
        table: json!({ "sink": connection_type == ConnectionType::Sink }),
        config: OperatorConfig {
            schema: TableSchema::payload_only(&schema()),
            format,
        },
        description: name.to_owned(),
    })
}

impl Bench {
    pub(crate) fn source(&mut self, name: &str) -> Node {
        self.source_with(name, BadData::Fail)
    }

    pub(crate) fn source_with(&mut self, name: &str, bad_data: BadData) -> Node {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inputs.insert(name.to_owned(), sender);
        self.stage
            .sources
            .lock()
            .unwrap()
            .insert(name.to_owned(), receiver);
        self.stage
            .committed
            .lock()
            .unwrap()
            .insert(name.to_owned(), watch::Sender::default());
        self.stage
            .read
            .lock()
            .unwrap()
            .insert(name.to_owned(), watch::Sender::default());
        let operator = PlanOperator::Source(table(name, ConnectionType::Source, bad_data));
        Node {
            id: name.to_owned(),
            operator,
            inputs: vec![],
            schema: schema(),
        }
    }

    /// Looks up the numbers of a node; what was found stands behind them.
    pub(crate) fn lookup(&mut self, name: &str, input: usize) -> Node {
        let gate = Arc::new(Semaphore::new(0));
        let mut looking = self.stage.looking.lock().unwrap();
        looking.insert(name.to_owned(), gate);
        let lookup = plan::Lookup {
            table: plan::LookupTable::Connected(table(name, ConnectionType::Lookup, BadData::Fail)),
            pairing: plan::Pairing {
                keys: vec![col("n", &schema()).unwrap()],
                columns: vec![0],
                filter: None,
                outer: false,
                timed: false,
            },
        };
        let fields = schema()
            .fields()
            .iter()
            .chain(schema().fields())
            .cloned()
            .collect::<Vec<_>>();
        Node {
            id: name.to_owned(),
            operator: PlanOperator::Lookup(Arc::new(lookup)),
            inputs: vec![NodeId(input)],
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// Lets some lookups happen.
    pub(crate) fn let_look(&self, name: &str, lookups: usize) {
        self.stage.looking.lock().unwrap()[name].add_permits(lookups);
    }

    pub(crate) fn sink(&mut self, name: &str, input: usize) -> Node {
        self.sink_with(name, input, BadData::Fail)
    }

    pub(crate) fn sink_with(&mut self, name: &str, input: usize, bad_data: BadData) -> Node {
        let state = SinkState {
            rows: watch::Sender::default(),
            accepting: watch::Sender::new(true),
            room: Semaphore::new(Semaphore::MAX_PERMITS),
            fails: Mutex::default(),
            closed: Notify::new(),
        };
        self.stage
            .sinks
            .lock()
            .unwrap()
            .insert(name.to_owned(), Arc::new(state));
        let operator = PlanOperator::Sink(table(name, ConnectionType::Sink, bad_data));
        Node {
            id: name.to_owned(),
            operator,
            inputs: vec![NodeId(input)],
            schema: schema(),
        }
    }

    pub(crate) fn state(&self, sink: &str) -> Arc<SinkState> {
        Arc::clone(&self.stage.sinks.lock().unwrap()[sink])
    }

    pub(crate) fn send(&self, source: &str, batch: RecordBatch) {
        self.inputs[source].send(batch).unwrap();
    }

    pub(crate) fn start(&self, nodes: Vec<Node>, parallelism: usize) -> Job {
        let kept = (State::default(), CHECKPOINT_INTERVAL);
        self.start_again(nodes, parallelism, kept).unwrap()
    }

    /// Starts a job that keeps its state.
    pub(crate) fn start_again(
        &self,
        nodes: Vec<Node>,
        parallelism: usize,
        (state, checkpoint_interval): (State, Duration),
    ) -> Result<Job, JobError> {
        let registry = Registry::default().with(Scripted(Arc::clone(&self.stage)));
        let options = JobOptions {
            checkpoint_interval,
            job_id: "test".to_owned(),
            parallelism,
            state_limit_bytes: None,
            over_limit: headwater_runtime::OverLimit::default(),
            state,
            preview: Arc::new(|_, _| anyhow::bail!("no previews here")),
        };
        Job::start(Plan { nodes }, &registry, options)
    }

    pub(crate) async fn committed(&self, source: &str, position: u64) {
        let watch = self.stage.committed.lock().unwrap()[source].subscribe();
        reached(watch, |at| *at >= position, "a commit").await;
    }

    pub(crate) fn committed_now(&self, source: &str) -> u64 {
        *self.stage.committed.lock().unwrap()[source].borrow()
    }

    pub(crate) async fn rows(&self, sink: &str, count: usize) -> Vec<i64> {
        let watch = self.state(sink).rows.subscribe();
        reached(watch, |rows| rows.len() >= count, "rows").await
    }
}

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn reached<T: Clone>(
    mut watch: watch::Receiver<T>,
    condition: impl Fn(&T) -> bool,
    what: &str,
) -> T {
    let value = tokio::time::timeout(DEADLINE, watch.wait_for(|value| condition(value))).await;
    value
        .unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
        .unwrap()
        .clone()
}

pub(crate) async fn ended(job: &Job) -> Result<(), Arc<JobError>> {
    tokio::time::timeout(DEADLINE, job.wait())
        .await
        .expect("the job ends")
}

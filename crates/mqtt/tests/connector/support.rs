//! Tables from options, operators from tables, and rows out of operators.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use headwater_connector::{
    Column, ColumnOrigin, Connection, ErasedConnector, Metrics, Operator, Options, Position,
    Rejects, SinkOperator, SourceOperator, SqlOption, State, TableSchema, TaskContext,
};
use headwater_mqtt::MqttConnector;
use headwater_testkit::Mosquitto;
use tokio::time::timeout;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Every combination of version and QoS.
pub(crate) const SERVICES: [(&str, &str, u8); 6] = [
    ("5", "AtMostOnce", 0),
    ("5", "AtLeastOnce", 1),
    ("5", "ExactlyOnce", 2),
    ("3.1.1", "AtMostOnce", 0),
    ("3.1.1", "AtLeastOnce", 1),
    ("3.1.1", "ExactlyOnce", 2),
];

/// Options as they stand in `WITH`. Later ones take the place of earlier ones.
#[derive(Debug, Clone)]
pub(crate) struct With(Vec<(String, String)>);

impl With {
    pub(crate) fn broker(broker: &Mosquitto) -> Self {
        Self::url(&broker.url())
    }

    pub(crate) fn url(url: &str) -> Self {
        Self(Vec::new()).and("url", url).and("format", "json")
    }

    pub(crate) fn source(broker: &Mosquitto, topic: &str) -> Self {
        Self::broker(broker)
            .and("type", "source")
            .and("topic", topic)
    }

    pub(crate) fn sink(broker: &Mosquitto, topic: &str) -> Self {
        Self::broker(broker).and("type", "sink").and("topic", topic)
    }

    pub(crate) fn and(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn qos_1(self) -> Self {
        self.and("qos", "AtLeastOnce")
    }

    pub(crate) fn connection(self, schema: TableSchema) -> Result<Connection> {
        let option = |(key, value)| SqlOption {
            key,
            value,
            location: None,
        };
        let options = Options(self.0.into_iter().map(option).collect());
        let connector: &dyn ErasedConnector = &MqttConnector;
        Ok(connector.from_options("t", &options, schema, None)?)
    }
}

/// `v BIGINT`, from the payload.
pub(crate) fn one_column() -> TableSchema {
    TableSchema::payload_only(&Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

/// `v BIGINT` and metadata columns of these types, which are named like their metadata.
pub(crate) fn with_metadata(metadata: &[(&str, DataType)]) -> TableSchema {
    let mut schema = one_column();
    for (name, data_type) in metadata {
        schema.columns.push(Column {
            field: Arc::new(Field::new(*name, data_type.clone(), true)),
            origin: ColumnOrigin::Metadata((*name).to_owned()),
        });
    }
    schema
}

pub(crate) fn context(job: &str) -> TaskContext {
    TaskContext {
        job_id: job.to_owned(),
        operator_id: "t".to_owned(),
        subtask: 0,
        parallelism: 1,
        metrics: Arc::new(Metrics::default()),
        rejects: Rejects::default(),
        state: State::default(),
    }
}

/// A source of a job, and what it counts.
pub(crate) fn make_source(
    job: &str,
    with: With,
    schema: TableSchema,
) -> Result<(Box<dyn SourceOperator>, Arc<Metrics>)> {
    let context = context(job);
    let metrics = Arc::clone(&context.metrics);
    let connector: &dyn ErasedConnector = &MqttConnector;
    match connector.make_operator(&with.connection(schema)?, context)? {
        Operator::Source(source) => Ok((source, metrics)),
        _ => bail!("the options make no source"),
    }
}

/// A source that has subscribed and remembers what in a state folder.
pub(crate) async fn open_with_state(
    job: &str,
    state: State,
    with: With,
    schema: TableSchema,
) -> Result<Box<dyn SourceOperator>> {
    let context = TaskContext {
        state,
        ..context(job)
    };
    let connector: &dyn ErasedConnector = &MqttConnector;
    let Operator::Source(mut source) =
        connector.make_operator(&with.connection(schema)?, context)?
    else {
        bail!("the options make a sink");
    };
    timeout(DEADLINE, source.open()).await.context("open")??;
    Ok(source)
}

/// A source that has subscribed.
pub(crate) async fn open_source(
    job: &str,
    with: With,
    schema: TableSchema,
) -> Result<(Box<dyn SourceOperator>, Arc<Metrics>)> {
    let (mut source, metrics) = make_source(job, with, schema)?;
    timeout(DEADLINE, source.open()).await.context("open")??;
    Ok((source, metrics))
}

/// A sink of a job, and what it counts.
pub(crate) fn make_sink(job: &str, with: With) -> Result<(Box<dyn SinkOperator>, Arc<Metrics>)> {
    let context = context(job);
    let metrics = Arc::clone(&context.metrics);
    Ok((sink_in(context, with, one_column())?, metrics))
}

/// A sink in a place of its own.
pub(crate) fn sink_in(
    context: TaskContext,
    with: With,
    schema: TableSchema,
) -> Result<Box<dyn SinkOperator>> {
    let connector: &dyn ErasedConnector = &MqttConnector;
    match connector.make_operator(&with.connection(schema)?, context)? {
        Operator::Sink(sink) => Ok(sink),
        _ => bail!("the options make no sink"),
    }
}

/// The next rows, which are at least one.
pub(crate) async fn next_rows(source: &mut dyn SourceOperator) -> Result<(RecordBatch, Position)> {
    loop {
        let batch = timeout(DEADLINE, source.next())
            .await
            .context("no rows")??;
        let batch = batch.context("the source has ended")?;
        if batch.rows.num_rows() > 0 {
            return Ok((batch.rows, batch.position));
        }
    }
}

/// Reads until so many rows have come: their values of `v`, and the last position.
pub(crate) async fn read(
    source: &mut dyn SourceOperator,
    rows: usize,
) -> Result<(Vec<i64>, Position)> {
    let mut values = Vec::new();
    let mut position = Position(0);
    while values.len() < rows {
        let (batch, at) = next_rows(source)
            .await
            .with_context(|| format!("after {} of {rows} rows", values.len()))?;
        assert!(at > position, "positions must grow");
        position = at;
        values.extend(self::values(&batch));
    }
    Ok((values, position))
}

pub(crate) fn values(batch: &RecordBatch) -> Vec<i64> {
    let column = batch.column_by_name("v").unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// A batch for a sink.
pub(crate) fn batch(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: Int64Array = values.into_iter().collect();
    RecordBatch::try_new(one_column().arrow_schema(), vec![Arc::new(column)]).unwrap()
}

/// `{"v":n}`.
pub(crate) fn payload(value: i64) -> String {
    format!(r#"{{"v":{value}}}"#)
}

pub(crate) fn payloads(values: impl IntoIterator<Item = i64>) -> Vec<String> {
    values.into_iter().map(payload).collect()
}

/// A message goes to a sink and comes out of the source with the same options.
pub(crate) async fn works(job: &str, with: With) -> Result<()> {
    let (mut source, _) = open_source(job, with.clone(), one_column()).await?;
    let (mut sink, _) = make_sink(&format!("{job}-sink"), with.and("type", "sink"))?;
    sink.write(batch([42])).await?;
    timeout(DEADLINE, sink.flush()).await??;
    let (values, _) = read(&mut *source, 1).await?;
    assert_eq!(values, [42], "{job}");
    Ok(())
}

/// What a source says that cannot be opened.
pub(crate) async fn fails(with: With) -> Result<String> {
    let (mut source, _) = make_source("fails", with, one_column())?;
    let error = timeout(DEADLINE, source.open()).await?.err().unwrap();
    Ok(error.to_string())
}

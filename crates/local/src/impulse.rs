//! `impulse`: a generator of numbered rows, for demonstrations, tests and benchmarks.
//!
//! Columns: `counter`, which counts from 0, and `subtask_index`, the subtask that made the row; both BIGINT or BIGINT
//! UNSIGNED. A table without columns has both. The metadata column `event_time` is a timestamp:
//!
//! ```sql
//! CREATE TABLE ticks (counter BIGINT, at TIMESTAMP METADATA FROM 'event_time')
//! WITH (connector = 'impulse', event_rate = '100', message_count = '1000');
//! ```
//!
//! Several subtasks share the work: subtask `i` of `n` makes the counters `i`, `i + n`, `i + 2n`, …, each at its share
//! of the rate, so that every counter below `message_count` appears once whatever the parallelism. A generator that was
//! held up by back-pressure makes up for it at full speed. Rows cannot fail; positions are numbers of rows.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray, UInt64Array};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use headwater_connector::{
    Column, ColumnOrigin, ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata,
    MetadataDef, Metrics, Operator, OperatorConfig, OperatorError, Position, SourceBatch,
    SourceOperator, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use tokio::time::{Instant, sleep_until};

use crate::Parts;
pub use crate::options::ImpulseTable;

const NAME: &str = "impulse";
const COUNTER: &str = "counter";
const SUBTASK_INDEX: &str = "subtask_index";
const EVENT_TIME: &str = "event_time";
const EVENT_TIME_TYPE: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);
/// The most rows in one batch.
const BATCH_ROWS: u64 = 8192;

/// Makes generators.
#[derive(Debug, Clone, Copy)]
pub struct ImpulseConnector;

impl Connector for ImpulseConnector {
    type ProfileT = ();
    type TableT = ImpulseTable;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "Impulse",
            description: "Generates numbered rows at a given rate",
            source: true,
            sink: false,
            lookup: false,
            testing: false,
            format: false,
            profile_schema: None,
            table_schema: include_str!("../../../schemas/local/impulse/table.json"),
        }
    }

    fn metadata_defs(&self) -> Vec<MetadataDef> {
        vec![MetadataDef {
            name: EVENT_TIME,
            data_type: EVENT_TIME_TYPE,
            description: "when the row's event happened",
        }]
    }

    fn table_type(&self, (): &(), _table: &ImpulseTable) -> ConnectionType {
        ConnectionType::Source
    }

    fn from_config(
        &self,
        name: &str,
        (): (),
        table: ImpulseTable,
        mut schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        if schema.columns.is_empty() {
            schema.columns = default_columns();
        }
        schema.columns.iter().try_for_each(check_column)?;
        start_time_nanos(&table)?;
        let rate = match table.event_rate {
            Some(rate) => format!("{rate}/s"),
            None => "as fast as possible".to_owned(),
        };
        let parts = Parts {
            connector: NAME,
            name,
            connection_type: ConnectionType::Source,
            description: format!("ImpulseSource<{rate}>"),
            table: &table,
            schema,
            format,
        };
        parts.connection()
    }

    fn max_parallelism(&self, (): &(), _table: &ImpulseTable) -> usize {
        usize::MAX
    }

    fn ends(&self, (): &(), table: &ImpulseTable) -> bool {
        table.message_count.is_some()
    }

    fn make_operator(
        &self,
        (): (),
        table: ImpulseTable,
        config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let source = ImpulseSource::new(&table, &config, &context)?;
        Ok(Operator::Source(Box::new(source)))
    }
}

fn default_columns() -> Vec<Column> {
    let column = |name: &str| Column {
        field: Arc::new(Field::new(name, DataType::UInt64, false)),
        origin: ColumnOrigin::Payload,
    };
    vec![column(COUNTER), column(SUBTASK_INDEX)]
}

fn check_column(column: &Column) -> Result<(), ConfigError> {
    let (name, data_type) = (column.field.name(), column.field.data_type());
    let wrong = match &column.origin {
        ColumnOrigin::Payload if name != COUNTER && name != SUBTASK_INDEX => format!(
            "connector 'impulse' has no column '{name}'; it has '{COUNTER}' and '{SUBTASK_INDEX}'"
        ),
        ColumnOrigin::Payload if !matches!(data_type, DataType::Int64 | DataType::UInt64) => {
            format!(
                "column '{name}' of connector 'impulse' must be BIGINT or BIGINT UNSIGNED, not {data_type}"
            )
        }
        ColumnOrigin::Metadata(metadata) if metadata != EVENT_TIME => {
            format!("connector 'impulse' has no metadata '{metadata}'; it has '{EVENT_TIME}'")
        }
        ColumnOrigin::Metadata(_) if !matches!(data_type, DataType::Timestamp(_, _)) => {
            format!("column '{name}' holds the event time and must be TIMESTAMP, not {data_type}")
        }
        _ => return Ok(()),
    };
    Err(ConfigError::new(None, wrong))
}

/// The configured start of event time, in nanoseconds since 1970.
fn start_time_nanos(table: &ImpulseTable) -> Result<Option<i64>, ConfigError> {
    const OPTION: &str = "start_time";
    let Some(text) = &table.start_time else {
        return Ok(None);
    };
    if table.event_time_interval.is_none() {
        let message =
            "option 'start_time' needs 'event_time_interval', the event time between rows";
        return Err(ConfigError::new(Some(OPTION), message));
    }
    string_to_timestamp_nanos(text).map(Some).map_err(|error| {
        let message = format!(
            "option 'start_time' is '{text}', which is no timestamp like '2026-11-21T06:00:00Z': {error}"
        );
        ConfigError::new(Some(OPTION), message)
    })
}

fn now_nanos() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since_1970.unwrap_or(Duration::ZERO).as_nanos();
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

struct ImpulseSource {
    schema: SchemaRef,
    columns: Vec<Value>,
    /// The step from one counter of this subtask to its next: the parallelism.
    stride: u64,
    subtask: u64,
    /// Rows per second of this subtask.
    rate: Option<f64>,
    /// How many rows this subtask makes.
    limit: u64,
    event_time: EventTime,
    /// When the first row was asked for.
    started: Option<Instant>,
    made: u64,
    /// How many of these an earlier run has made.
    resumed: u64,
    metrics: Arc<Metrics>,
}

/// What a column holds.
#[derive(Clone, Copy)]
enum Value {
    Counter,
    SubtaskIndex,
    EventTime,
}

#[derive(Clone, Copy)]
enum EventTime {
    Now,
    /// In nanoseconds: that of counter 0, and from one counter to the next.
    Regular {
        start: i64,
        interval: u64,
    },
}

impl ImpulseSource {
    fn new(
        table: &ImpulseTable,
        config: &OperatorConfig,
        context: &TaskContext,
    ) -> anyhow::Result<Self> {
        let stride = u64::try_from(context.parallelism.max(1))?;
        let subtask = u64::try_from(context.subtask)?;
        let value = |column: &Column| match &column.origin {
            ColumnOrigin::Metadata(_) => Value::EventTime,
            ColumnOrigin::Payload if column.field.name() == COUNTER => Value::Counter,
            ColumnOrigin::Payload => Value::SubtaskIndex,
        };
        let event_time = match table.event_time_interval {
            None => EventTime::Now,
            Some(interval) => EventTime::Regular {
                start: start_time_nanos(table)?.unwrap_or_else(now_nanos),
                interval,
            },
        };
        let limit = table.message_count.unwrap_or(u64::MAX);
        Ok(Self {
            schema: config.schema.arrow_schema(),
            columns: config.schema.columns.iter().map(value).collect(),
            stride,
            subtask,
            rate: table.event_rate.map(|rate| rate / stride as f64),
            limit: limit.saturating_sub(subtask).div_ceil(stride),
            event_time,
            started: None,
            made: 0,
            resumed: 0,
            metrics: Arc::clone(&context.metrics),
        })
    }

    /// Waits until at least one row is due; answers how many are, at most a batch. Changes nothing that a dropped
    /// future would leave half done.
    async fn due(&mut self) -> u64 {
        let left = (self.limit - self.made).min(BATCH_ROWS);
        let Some(rate) = self.rate else {
            // Without a rate nothing here ever waits; others must have their turn all the same.
            tokio::task::yield_now().await;
            return left;
        };
        let started = *self.started.get_or_insert_with(Instant::now);
        let made = self.made - self.resumed;
        let wait = Duration::try_from_secs_f64(made as f64 / rate).unwrap_or(Duration::MAX);
        match started.checked_add(wait) {
            Some(next) => sleep_until(next).await,
            // Rates near zero put the next row beyond the clock.
            None => std::future::pending().await,
        }
        let elapsed = started.elapsed().as_secs_f64();
        // Row k is due k / rate seconds after the start, so the first one is due at once.
        let due = (elapsed * rate) as u64 + 1;
        due.saturating_sub(made).clamp(1, left)
    }

    fn batch(&mut self, rows: u64) -> Result<SourceBatch, OperatorError> {
        let counters = (self.made..self.made + rows).map(|k| self.subtask + k * self.stride);
        let counters: Vec<u64> = counters.collect();
        let columns = self.columns.iter().zip(self.schema.fields());
        let columns: Result<Vec<_>, _> = columns
            .map(|(value, field)| self.column(*value, field, &counters))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(counters.len()));
        let batch = columns.and_then(|columns| {
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
        });
        self.made += rows;
        self.metrics.add_messages(rows, 0);
        self.metrics.add_rows(rows);
        let rows = batch.map_err(|e| OperatorError::caused_by("rows cannot be generated", e))?;
        Ok(SourceBatch::new(rows, Position(self.made)))
    }

    fn column(
        &self,
        value: Value,
        field: &FieldRef,
        counters: &[u64],
    ) -> Result<ArrayRef, arrow::error::ArrowError> {
        let array: ArrayRef = match value {
            // Counters beyond i64 would take longer than anyone waits; they wrap like any two's complement.
            Value::Counter if *field.data_type() == DataType::Int64 => {
                Arc::new(counters.iter().map(|k| *k as i64).collect::<Int64Array>())
            }
            Value::Counter => Arc::new(UInt64Array::from(counters.to_vec())),
            Value::SubtaskIndex => Arc::new(UInt64Array::from(vec![self.subtask; counters.len()])),
            Value::EventTime => Arc::new(self.event_times(counters)),
        };
        cast(&array, field.data_type())
    }

    fn event_times(&self, counters: &[u64]) -> TimestampNanosecondArray {
        match self.event_time {
            EventTime::Now => TimestampNanosecondArray::from(vec![now_nanos(); counters.len()]),
            EventTime::Regular { start, interval } => {
                let time = |k: &u64| start.saturating_add_unsigned(k.saturating_mul(interval));
                counters.iter().map(|k| Some(time(k))).collect()
            }
        }
    }
}

#[async_trait]
impl SourceOperator for ImpulseSource {
    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        if self.made >= self.limit {
            return Ok(None);
        }
        let rows = self.due().await;
        self.batch(rows).map(Some)
    }

    fn rereads(&self) -> bool {
        true
    }

    fn resume(&mut self, position: Position) {
        (self.made, self.resumed) = (position.0, position.0);
    }

    async fn commit(&mut self, _position: Position) -> Result<(), OperatorError> {
        // Nobody keeps generated rows.
        Ok(())
    }
}

//! The rows: as tables of Headwater, as messages, and as tables in memory.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, Int64Array, TimestampNanosecondArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use headwater_testkit::fake_broker::Feed;

use super::case::{Case, START_NS};
use crate::case::INPUT_TOPIC;

/// As many rows in a batch as the generator's.
const BATCH_ROWS: u64 = 8_192;

/// The sources as views `a` and `b` with `key`, `value` and `at`, read from a broker if there is one.
pub(super) fn stream_sql(case: &Case, broker: Option<SocketAddr>) -> String {
    let sources = case.sources().iter();
    let sources = sources.map(|name| match broker {
        None => impulse(case, name),
        Some(addr) => format!(
            "CREATE TABLE {name}_source (device TEXT, ts TIMESTAMP NOT NULL, temperature DOUBLE, seq BIGINT,
               WATERMARK FOR ts AS ts - INTERVAL '1 second')
             WITH (connector = 'mqtt', type = 'source', url = 'mqtt://{addr}', topic = '{INPUT_TOPIC}', qos = 'AtMostOnce',
               format = 'json', json.timestamp_format = 'unix_nanos', source.session_expiry = '0');
             CREATE VIEW {name} AS SELECT device AS key, temperature AS value, ts AS at FROM {name}_source;"
        ),
    });
    sources.collect()
}

fn impulse(case: &Case, name: &str) -> String {
    format!(
        "CREATE TABLE {name}_source (counter BIGINT, at TIMESTAMP NOT NULL METADATA FROM 'event_time',
           WATERMARK FOR at AS at - INTERVAL '1 second')
         WITH (connector = 'impulse', message_count = '{}', event_time_interval = '{}', start_time = '2026-11-21T06:00:00Z');
         CREATE VIEW {name} AS SELECT {} AS key, counter AS value, at FROM {name}_source;",
        case.rows_of_source(),
        case.interval_ns(),
        case.key()
    )
}

/// The rows as messages of 100 bytes. All are different, as the event time goes on.
pub(super) fn feed(case: &Case) -> Feed {
    let message = |row| Bytes::from(message(row, case));
    Feed {
        topic: INPUT_TOPIC.to_owned(),
        payloads: (0..case.rows).map(message).collect(),
        qos: 0,
        count: case.rows,
        window: u16::MAX,
        per_second: None,
        stamp_at: None,
    }
}

fn message(row: u64, case: &Case) -> String {
    let (key, ts) = (
        row * 611_953 % case.keys,
        START_NS + row * case.interval_ns(),
    );
    let (whole, tenth, seq) = (row % 40 + 10, row % 10, 1_000 + row % 9_000);
    format!(
        r#"{{"device":"dev-{key:06}","ts":{ts},"temperature":{whole}.{tenth},"humidity":4{tenth}.5,"seq":{seq},"k":7}}"#
    )
}

/// The rows as tables `a` and `b` with `key`, `value` and `at`.
pub(super) async fn tables(case: &Case) -> Result<SessionContext> {
    let config = datafusion::prelude::SessionConfig::new().with_target_partitions(case.workers);
    let context = SessionContext::new_with_config(config);
    let keyed = format!(
        "SELECT {} AS key, counter AS value, at FROM counters",
        case.key()
    );
    context.register_table("counters", Arc::new(counters(case)?))?;
    let rows = context.sql(&keyed).await?;
    let schema = Arc::new(rows.schema().as_arrow().clone());
    let partitions = rows.collect_partitioned().await?;
    for name in case.sources() {
        let table = MemTable::try_new(Arc::clone(&schema), partitions.clone())?;
        context.register_table(*name, Arc::new(table))?;
    }
    context.deregister_table("counters")?;
    Ok(context)
}

fn counters(case: &Case) -> Result<MemTable> {
    let mut partitions = vec![Vec::new(); case.workers];
    let rows = case.rows_of_source();
    for (index, first) in (0..rows).step_by(BATCH_ROWS as usize).enumerate() {
        let batch = counted(first, (first + BATCH_ROWS).min(rows), case)?;
        partitions[index % case.workers].push(batch);
    }
    let first = partitions.iter().flatten().next();
    let schema = first.context("a case without rows")?.schema();
    Ok(MemTable::try_new(schema, partitions)?)
}

fn counted(first: u64, end: u64, case: &Case) -> Result<RecordBatch> {
    let counter = (first..end).map(|row| row as i64);
    let at = (first..end).map(|row| (START_NS + row * case.interval_ns()) as i64);
    let columns: [(&str, ArrayRef); 2] = [
        ("counter", Arc::new(Int64Array::from_iter_values(counter))),
        (
            "at",
            Arc::new(TimestampNanosecondArray::from_iter_values(at)),
        ),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_hundred_bytes() {
        for case in Case::all(10_000_000) {
            for row in [0, 7, 999, 1_000_000, 9_999_999] {
                assert_eq!(message(row, &case).len(), 100);
            }
        }
    }
}

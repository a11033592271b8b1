//! Events in an order that a watermark allows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

/// How far an event may come behind a later one: what the watermark of the streams allows.
pub(crate) const LAG_MS: i64 = 5_000;

/// The rows of a stream, in the order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Vec<Event>);

#[derive(Debug, Clone)]
struct Event {
    ts_ms: i64,
    device: Option<u8>,
    value: i64,
}

/// Up to `most` events, each less than [`LAG_MS`] behind the latest one before it. They begin before 1970.
pub(crate) fn events(most: usize) -> impl Strategy<Value = Events> {
    apart(1_500, 0..most)
}

/// So many events, or more, which are close to each other: hundreds of a key in each window, so that groups of them are made
/// before they are exchanged.
pub(crate) fn many_events(least: usize) -> impl Strategy<Value = Events> {
    apart(10, least..least + 500)
}

/// Events of which each is less than so long after the latest one before it.
fn apart(step_ms: i64, count: Range<usize>) -> impl Strategy<Value = Events> {
    let event = (
        0..step_ms,
        0..LAG_MS,
        prop::option::weighted(0.9, 0..5_u8),
        0..100_i64,
    );
    prop::collection::vec(event, count).prop_map(|events| {
        let mut latest_ms = -20_000;
        let events = events.into_iter().map(|(step, back, device, value)| {
            latest_ms += step;
            Event {
                ts_ms: latest_ms - back,
                device,
                value,
            }
        });
        Events(events.collect())
    })
}

impl Events {
    /// All of them, with the columns `device`, `value`, `ts`.
    pub(crate) fn batch(&self) -> RecordBatch {
        let devices = self
            .0
            .iter()
            .map(|event| event.device.map(|device| format!("d{device}")));
        let values = self.0.iter().map(|event| event.value);
        let times = self.0.iter().map(|event| event.ts_ms * 1_000_000);
        let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let schema = Schema::new(vec![
            Field::new("device", DataType::Utf8, true),
            Field::new("value", DataType::Int64, false),
            Field::new("ts", timestamp, false),
        ]);
        let columns: Vec<Arc<dyn arrow::array::Array>> = vec![
            Arc::new(devices.collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(values)),
            Arc::new(TimestampNanosecondArray::from_iter_values(times)),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }
}

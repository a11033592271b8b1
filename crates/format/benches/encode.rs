//! CPU time to encode one row, beside arrow-json's line writer on the same batch.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench fails by panicking, and criterion's macros write no docs"
)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_json::writer::LineDelimited;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_format::{Encoder, Format, FormatConfig, Payloads};

mod cpu;
use cpu::CpuTime;

const ROWS: i64 = 1024;

fn batch(ts: ArrayRef) -> RecordBatch {
    let device = StringArray::from_iter_values((0..ROWS).map(|i| format!("dev-{i:05}")));
    let temperature = Float64Array::from_iter_values((0..ROWS).map(|i| (i % 400) as f64 / 10.0));
    let seq = Int64Array::from_iter_values((0..ROWS).map(|i| 100_000 + i));
    RecordBatch::try_from_iter([
        ("device", Arc::new(device) as ArrayRef),
        ("ts", ts),
        ("temperature", Arc::new(temperature)),
        ("seq", Arc::new(seq)),
    ])
    .unwrap()
}

fn compare(criterion: &mut Criterion<CpuTime>, group: &str, batch: &RecordBatch) {
    let config = FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    };
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("headwater", |b| {
        let mut encoder = Encoder::new(&config, batch.schema()).unwrap();
        let mut payloads = Payloads::new();
        b.iter(|| {
            encoder.encode(batch, &mut payloads).unwrap();
            payloads.take()
        });
    });
    group.bench_function("arrow-json", |b| {
        b.iter(|| {
            let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, LineDelimited>(Vec::with_capacity(128 * 1024));
            writer.write(batch).unwrap();
            writer.into_inner().len()
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion<CpuTime>) {
    let millis = Int64Array::from_iter_values((0..ROWS).map(|i| 1_795_242_288_123 + i));
    compare(criterion, "encode/numbers", &batch(Arc::new(millis)));
    let nanos = (0..ROWS).map(|i| (1_795_242_288_123 + i) * 1_000_000);
    let timestamps = TimestampNanosecondArray::from_iter_values(nanos);
    compare(criterion, "encode/timestamps", &batch(Arc::new(timestamps)));
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = encode
}
criterion_main!(benches);

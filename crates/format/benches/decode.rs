//! CPU time to decode one payload, beside others on the same bytes.
//!
//! The payload is what a sensor sends: 97 bytes, six members, four of which are columns.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench fails by panicking, and criterion's macros write no docs"
)]

use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_format::{Decoder, Format, FormatConfig};

mod cpu;
use cpu::CpuTime;

const ROWS: usize = 1024;
/// As many as a source gathers for a batch under load: rows and columns no longer fit into the nearest caches.
const MANY_ROWS: usize = 8192;

fn sensor(i: usize) -> Vec<u8> {
    let (whole, tenth) = (i % 40 + 10, i % 10);
    format!(
        r#"{{"device":"de-{:04}","ts":{},"temperature":{whole}.{tenth},"humidity":4{tenth}.5,"seq":{:06},"ok":true}}"#,
        i % 10_000,
        1_795_242_288_123 + i,
        100_000 + i,
    )
    .into_bytes()
}

fn texts(i: usize) -> Vec<u8> {
    format!(
        r#"{{"ts":"2026-11-21T06:24:{:02}.123Z","unit":"°C","note":"line one\nline \"{i}\"","device":"dev-{i:05}"}}"#,
        i % 60
    )
    .into_bytes()
}

fn sensor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, true),
        Field::new("ts", DataType::Int64, true),
        Field::new("temperature", DataType::Float64, true),
        Field::new("seq", DataType::Int64, true),
    ]))
}

fn text_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("unit", DataType::Utf8, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

fn ours(criterion: &mut Criterion<CpuTime>, group: &str, schema: &SchemaRef, payloads: &[Vec<u8>]) {
    let config = FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    };
    let mut decoder = Decoder::new(&config, Arc::clone(schema)).unwrap();
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(payloads.len() as u64));
    group.bench_function("headwater", |b| {
        b.iter(|| {
            for payload in payloads {
                decoder.push(black_box(payload)).unwrap();
            }
            decoder.finish().unwrap()
        });
    });
    group.bench_function("arrow-json", |b| {
        let builder = arrow_json::ReaderBuilder::new(Arc::clone(schema));
        let mut decoder = builder
            .with_batch_size(payloads.len())
            .build_decoder()
            .unwrap();
        b.iter(|| {
            for payload in payloads {
                decoder.decode(black_box(payload)).unwrap();
            }
            decoder.flush().unwrap()
        });
    });
    group.bench_function("serde_json::Value", |b| {
        b.iter(|| {
            for payload in payloads {
                let value: serde_json::Value = serde_json::from_slice(black_box(payload)).unwrap();
                black_box(value);
            }
        });
    });
    group.finish();
}

fn decode(criterion: &mut Criterion<CpuTime>) {
    let payloads: Vec<_> = (0..ROWS).map(sensor).collect();
    assert!(payloads.iter().all(|payload| payload.len() == 97));
    ours(criterion, "decode/sensor", &sensor_schema(), &payloads);
    let payloads: Vec<_> = (0..MANY_ROWS).map(sensor).collect();
    ours(criterion, "decode/sensors", &sensor_schema(), &payloads);
    let payloads: Vec<_> = (0..ROWS).map(texts).collect();
    ours(criterion, "decode/texts", &text_schema(), &payloads);
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = decode
}
criterion_main!(benches);

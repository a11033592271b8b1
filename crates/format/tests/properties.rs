//! What holds for all inputs: no bytes do harm, arrow-json reads the same values, and what was written is read again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use headwater_format::{Decoder, Encoder, Format, FormatConfig, JsonOptions, Payloads};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

mod tables;
use tables::table;

fn config() -> FormatConfig {
    FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    }
}

fn unstructured() -> FormatConfig {
    let json = JsonOptions {
        unstructured: true,
        ..JsonOptions::default()
    };
    FormatConfig { json, ..config() }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

/// One column of every kind.
fn wide_schema() -> SchemaRef {
    let metadata = HashMap::from([("headwater.type".to_owned(), "json".to_owned())]);
    let inner = Fields::from(vec![
        Field::new("n", DataType::Int32, false),
        Field::new("s", DataType::new_list(DataType::Utf8View, true), true),
    ]);
    let inner = DataType::Struct(inner);
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Float64, true),
        Field::new("d", DataType::Boolean, true),
        Field::new("e", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("f", DataType::Binary, true),
        Field::new("g", DataType::Decimal128(20, 3), true),
        Field::new("h", inner.clone(), true),
        Field::new("i", DataType::new_list(inner, true), true),
        Field::new("j", DataType::Utf8, true).with_metadata(metadata),
        Field::new("k", DataType::Date32, true),
        Field::new("l", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("m", DataType::Float32, true),
        Field::new("n", DataType::UInt8, true),
    ]))
}

const WHOLE: &str = r#"{"a":-12,"b":"x\u00e9\ud83d\ude00é","c":1.5e3,"d":true,"e":"2026-11-21T06:24:48.123Z","f":"AP8=","g":12.345,"h":{"n":1,"s":["x",null]},"i":[{"n":2,"s":[]},null],"j":{"x":[1,{}]},"k":"2026-11-21","l":"06:24:48.5","m":0.1,"n":255,"unknown":[{"deep":[null,false]}]}"#;

/// Documents that are whole, or nearly so.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "\"",
            "\\",
            "\\u",
            "\\ud800",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "true",
            "-",
            "0",
            "1e999",
            "1e-9",
            "\u{0}",
            "\n",
            " ",
            "é",
            "999999999999999999999999999999999999999999",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    vec((any::<Index>(), 0usize..6, piece), 0..4).prop_map(|edits| {
        let mut document = WHOLE.as_bytes().to_vec();
        for (at, len, piece) in edits {
            let start = at.index(document.len() + 1);
            let end = (start + len).min(document.len());
            document.splice(start..end, piece);
        }
        document
    })
}

/// Pushes between whole documents; whatever comes of it, those stay whole.
fn check_harmless(payload: &[u8]) -> Result<bool, TestCaseError> {
    let schema = wide_schema();
    let mut decoder = Decoder::new(&config(), Arc::clone(&schema)).unwrap();
    let mut expect = Decoder::new(&config(), Arc::clone(&schema)).unwrap();
    decoder.push(WHOLE.as_bytes()).unwrap();
    let accepted = decoder.push(payload).is_ok();
    decoder.push(WHOLE.as_bytes()).unwrap();
    expect.push(WHOLE.as_bytes()).unwrap();
    expect.push(WHOLE.as_bytes()).unwrap();
    let rows = decoder.rows();
    prop_assert_eq!(rows, 2 + usize::from(accepted));
    let found = batch(&schema, decoder.finish().unwrap());
    let expect = batch(&schema, expect.finish().unwrap());
    prop_assert_eq!(found.slice(0, 1), expect.slice(0, 1));
    prop_assert_eq!(found.slice(rows - 1, 1), expect.slice(1, 1));
    Ok(accepted)
}

/// Whether a document is JSON, according to us.
fn is_json(payload: &[u8]) -> bool {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Utf8, true)]));
    let mut decoder = Decoder::new(&unstructured(), schema).unwrap();
    decoder.push(payload).is_ok()
}

fn decode<'a>(schema: &SchemaRef, payloads: impl IntoIterator<Item = &'a [u8]>) -> RecordBatch {
    let mut decoder = Decoder::new(&config(), Arc::clone(schema)).unwrap();
    for payload in payloads {
        decoder
            .push(payload)
            .unwrap_or_else(|bad| panic!("{bad}\nof {}", String::from_utf8_lossy(payload)));
    }
    batch(schema, decoder.finish().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_no_harm(payload in vec(any::<u8>(), 0..200)) {
        prop_assert!(!check_harmless(&payload)?);
        is_json(&payload);
        for format in [Format::RawString, Format::RawBytes] {
            let config = FormatConfig { format: Some(format), ..FormatConfig::default() };
            let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Binary, true)]));
            let mut decoder = Decoder::new(&config, schema).unwrap();
            let accepted = decoder.push(&payload).is_ok();
            let fits = format == Format::RawBytes || std::str::from_utf8(&payload).is_ok();
            prop_assert_eq!(accepted, fits);
        }
    }

    #[test]
    fn nearly_whole_documents_do_no_harm(payload in mutated()) {
        check_harmless(&payload)?;
    }

    #[test]
    fn what_is_json_is_what_serde_says(payload in mutated()) {
        let serde = std::str::from_utf8(&payload)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        prop_assert_eq!(is_json(&payload), serde, "{}", String::from_utf8_lossy(&payload));
    }

    #[test]
    fn arrow_json_reads_the_same((schema, rows) in table(), pretty in any::<bool>()) {
        let text = |row: &Value| if pretty {
            serde_json::to_vec_pretty(row).unwrap()
        } else {
            serde_json::to_vec(row).unwrap()
        };
        let payloads: Vec<_> = rows.iter().map(text).collect();
        let found = decode(&schema, payloads.iter().map(Vec::as_slice));
        let mut oracle = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build_decoder().unwrap();
        for payload in &payloads {
            prop_assert_eq!(oracle.decode(payload).unwrap(), payload.len());
        }
        prop_assert_eq!(found, oracle.flush().unwrap().unwrap());
    }

    #[test]
    fn what_was_written_is_read_again((schema, rows) in table()) {
        let payloads: Vec<_> = rows.iter().map(|row| serde_json::to_vec(row).unwrap()).collect();
        let original = decode(&schema, payloads.iter().map(Vec::as_slice));
        let mut encoder = Encoder::new(&config(), Arc::clone(&schema)).unwrap();
        let mut written = Payloads::new();
        encoder.encode(&original, &mut written).unwrap();
        for payload in written.iter() {
            prop_assert!(serde_json::from_slice::<Value>(payload).is_ok());
        }
        prop_assert_eq!(decode(&schema, written.iter()), original);
    }

    #[test]
    fn bytes_are_read_again(values in vec(prop::option::of(vec(any::<u8>(), 0..40)), 1..10)) {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("v", DataType::Binary, true)]));
        let column: ArrayRef = Arc::new(arrow::array::BinaryArray::from_iter(values));
        let original = batch(&schema, vec![column]);
        let mut encoder = Encoder::new(&config(), Arc::clone(&schema)).unwrap();
        let mut written = Payloads::new();
        encoder.encode(&original, &mut written).unwrap();
        prop_assert_eq!(decode(&schema, written.iter()), original);
    }
}

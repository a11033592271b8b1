//! Sparkplug B: births, aliases, data, deaths. Messages are made by another implementation from the `.proto`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod births;
mod round_trip;
mod values;
mod write;

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_format::{Decoder, Encoder, Format, FormatConfig, Payloads};
use proptest::collection::vec;
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};

fn config(format: Format) -> FormatConfig {
    FormatConfig {
        format: Some(format),
        ..FormatConfig::default()
    }
}

/// What the `.proto` says of a payload.
fn descriptor() -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas");
        let mut compiler = protox::Compiler::new([schemas]).unwrap();
        compiler.open_file("sparkplug_b.proto").unwrap();
        compiler.descriptor_pool()
    });
    pool.get_message_by_name("headwater.sparkplug_b.Payload")
        .unwrap()
}

/// A payload from its JSON notation.
fn payload(message: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(descriptor(), message)
        .unwrap()
        .encode_to_vec()
}

/// A payload in its JSON notation.
fn message(payload: &[u8]) -> Value {
    let message = DynamicMessage::decode(descriptor(), payload).unwrap();
    serde_json::to_value(message).unwrap()
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn columns() -> SchemaRef {
    schema(&[
        ("device_id", DataType::Utf8),
        ("name", DataType::Utf8),
        ("alias", DataType::Int64),
        ("datatype", DataType::Utf8),
        ("quality", DataType::Utf8),
        ("value", DataType::Utf8),
    ])
}

fn decoder() -> Decoder {
    Decoder::new(&config(Format::SparkplugB), columns()).unwrap()
}

/// The rows that a message brings, each as its cells with spaces between, or what is wrong.
fn push(decoder: &mut Decoder, topic: &str, message: &Value) -> Vec<String> {
    if let Err(rejected) = decoder.push_from(&payload(message), Some(topic)) {
        assert_eq!(decoder.rows(), 0);
        return vec![format!("! {}", rejected.bad[0].reason())];
    }
    rows(decoder, &columns())
}

fn rows(decoder: &mut Decoder, schema: &SchemaRef) -> Vec<String> {
    let batch = RecordBatch::try_new(Arc::clone(schema), decoder.finish().unwrap()).unwrap();
    let mut payloads = Payloads::new();
    let mut encoder = Encoder::new(&config(Format::Json), Arc::clone(schema)).unwrap();
    encoder.encode(&batch, &mut payloads).unwrap();
    let row = |payload: &[u8]| {
        let row: serde_json::Map<String, Value> = serde_json::from_slice(payload).unwrap();
        let cells = row.values().map(|cell| cell.to_string().replace('"', ""));
        cells.collect::<Vec<_>>().join(" ")
    };
    payloads.iter().map(row).collect()
}

fn node_birth() -> Value {
    json!({"timestamp": 1_000, "seq": 0, "metrics": [
        {"name": "bdSeq", "datatype": 8, "longValue": 3},
        {"name": "load", "alias": 1, "datatype": 10, "doubleValue": 0.5}]})
}

fn device_birth() -> Value {
    json!({"timestamp": 1_000, "seq": 1, "metrics": [
        {"name": "t", "alias": 2, "datatype": 9, "floatValue": 21.5},
        {"name": "on", "alias": 3, "datatype": 11, "booleanValue": false}]})
}

#[test]
fn births_name_the_aliases_of_data() {
    let mut decoder = decoder();
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NBIRTH/n", &node_birth()),
        [
            "null bdSeq null UInt64 GOOD 3",
            "null load 1 Double GOOD 0.5"
        ]
    );
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/DBIRTH/n/d", &device_birth()),
        ["d t 2 Float GOOD 21.5", "d on 3 Boolean GOOD false"]
    );
    let data = json!({"seq": 2, "metrics": [
        {"alias": 3, "booleanValue": true}, {"alias": 2, "isNull": true}, {"name": "t", "floatValue": 22.0}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/DDATA/n/d", &data),
        [
            "d on 3 Boolean GOOD true",
            "d t 2 Float GOOD null",
            "d t 2 Float GOOD 22"
        ]
    );
    // Aliases belong to a node, and to a device of it.
    let data = json!({"metrics": [{"alias": 1, "doubleValue": 1.0}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDATA/n", &data),
        ["null load 1 Double GOOD 1"]
    );
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/DDATA/n/d", &data),
        ["d load 1 Double GOOD 1"]
    );
    for elsewhere in ["spBv1.0/g/NDATA/other", "spBv1.0/h/NDATA/n"] {
        assert_eq!(
            push(&mut decoder, elsewhere, &data),
            ["null null 1 null GOOD 1"]
        );
    }
    // A new birth starts anew, also for the devices.
    let birth = json!({"metrics": [{"name": "speed", "alias": 1, "datatype": 3, "intValue": 7}]});
    push(&mut decoder, "spBv1.0/g/NBIRTH/n", &birth);
    let data = json!({"metrics": [{"alias": 1, "intValue": 4_294_967_295u32}, {"alias": 2, "floatValue": 1}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/DDATA/n/d", &data),
        ["d speed 1 Int32 GOOD -1", "d null 2 null GOOD 1"]
    );
}

#[test]
fn deaths_make_metrics_stale() {
    let mut decoder = decoder();
    push(&mut decoder, "spBv1.0/g/NBIRTH/n", &node_birth());
    push(&mut decoder, "spBv1.0/g/DBIRTH/n/d", &device_birth());
    let stale = ["d t 2 Float STALE null", "d on 3 Boolean STALE null"];
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/DDEATH/n/d", &json!({"seq": 3})),
        stale
    );
    assert!(push(&mut decoder, "spBv1.0/g/DDEATH/n/d", &json!({"seq": 3})).is_empty());
    push(&mut decoder, "spBv1.0/g/DBIRTH/n/d", &device_birth());
    // A will of an earlier connection, which the broker tells late, ends nothing.
    let death =
        |sequence| json!({"metrics": [{"name": "bdSeq", "datatype": 8, "longValue": sequence}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDEATH/n", &death(2)),
        ["null bdSeq null UInt64 STALE 2"]
    );
    let mut expect = vec![
        "null bdSeq null UInt64 STALE 3",
        "null load 1 Double STALE null",
    ];
    expect.extend(stale);
    assert_eq!(push(&mut decoder, "spBv1.0/g/NDEATH/n", &death(3)), expect);
    let data = json!({"metrics": [{"alias": 1, "doubleValue": 1.0}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDATA/n", &data),
        ["null null 1 null GOOD 1"]
    );
}

#[test]
fn every_datatype_has_its_column() {
    let schema = schema(&[
        ("value_double", DataType::Float64),
        ("value_bigint", DataType::Int64),
        ("value_boolean", DataType::Boolean),
        ("value_text", DataType::Utf8),
        ("value_bytes", DataType::Binary),
        ("value", DataType::Utf8),
    ]);
    let mut decoder = Decoder::new(&config(Format::SparkplugB), Arc::clone(&schema)).unwrap();
    for (metric, expect) in [
        (
            json!({"datatype": 1, "intValue": 128}),
            "-128.0 -128 null null null -128",
        ),
        (
            json!({"datatype": 1, "intValue": 4_294_967_168u32}),
            "-128.0 -128 null null null -128",
        ),
        (
            json!({"datatype": 2, "intValue": 65_535}),
            "-1.0 -1 null null null -1",
        ),
        (
            json!({"datatype": 7, "intValue": 4_294_967_295u32}),
            "4294967295.0 4294967295 null null null 4294967295",
        ),
        (
            json!({"datatype": 4, "longValue": "18446744073709551615"}),
            "-1.0 -1 null null null -1",
        ),
        (
            json!({"datatype": 8, "longValue": "18446744073709551615"}),
            "1.8446744073709552e+19 null null null null 18446744073709551615",
        ),
        (
            json!({"datatype": 9, "floatValue": 0.5}),
            "0.5 null null null null 0.5",
        ),
        (
            json!({"datatype": 12, "stringValue": "x"}),
            "null null null x null x",
        ),
        (
            json!({"datatype": 13, "longValue": 5}),
            "null 5 null null null 1970-01-01T00:00:00.005Z",
        ),
        (
            json!({"datatype": 11, "booleanValue": true}),
            "null null true null null true",
        ),
        (
            json!({"datatype": 17, "bytesValue": "AP8="}),
            "null null null null AP8= AP8=",
        ),
        (
            json!({"datatype": 16, "datasetValue": {"columns": ["n", "t"], "types": [1, 12], "rows": [
                {"elements": [{"intValue": 255}, {"stringValue": "x"}]}, {"elements": [{}, {"booleanValue": true}]}]}}),
            "null null null null null [{\\n\\:-1,\\t\\:\\x\\},{\\n\\:null,\\t\\:true}]",
        ),
        (json!({"datatype": 99}), "null null null null null null"),
    ] {
        let message = payload(&json!({"metrics": [metric]}));
        decoder
            .push_from(&message, Some("spBv1.0/g/NDATA/n"))
            .unwrap();
        assert_eq!(rows(&mut decoder, &schema), [expect], "{metric}");
    }
}

#[test]
fn what_the_message_says_is_in_every_row() {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let schema = schema(&[
        ("group_id", DataType::Utf8),
        ("node_id", DataType::Utf8),
        ("message_type", DataType::Utf8),
        ("seq", DataType::Int64),
        ("message_timestamp", nanos.clone()),
        ("timestamp", nanos),
        ("is_historical", DataType::Boolean),
        ("is_transient", DataType::Boolean),
        ("is_null", DataType::Boolean),
    ]);
    let mut decoder = Decoder::new(&config(Format::SparkplugB), Arc::clone(&schema)).unwrap();
    let message = json!({"timestamp": 1_000, "seq": 255, "metrics": [
        {"intValue": 1, "timestamp": 2_000, "isHistorical": true}, {"isTransient": true}]});
    decoder
        .push_from(&payload(&message), Some("spBv1.0/g/NCMD/n"))
        .unwrap();
    assert_eq!(
        rows(&mut decoder, &schema),
        [
            "g n NCMD 255 1970-01-01T00:00:01 1970-01-01T00:00:02 true false false",
            "g n NCMD 255 1970-01-01T00:00:01 1970-01-01T00:00:01 false true true"
        ]
    );
}

#[test]
fn what_is_not_sparkplug_is_bad_data() {
    let mut decoder = decoder();
    let data = json!({"metrics": []});
    for topic in [
        "",
        "a/b",
        "spBv1.0/g/NDATA",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/XDATA/n",
    ] {
        let found = push(&mut decoder, topic, &data);
        assert!(
            found[0].starts_with("! ") && found[0].contains("topic"),
            "{found:?}"
        );
    }
    assert!(push(&mut decoder, "spBv1.0/STATE/host", &data).is_empty());
    let compressed = json!({"uuid": "SPBV1.0_COMPRESSED", "body": ""});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDATA/n", &compressed),
        ["! the payload is compressed by Sparkplug's own means, which is not read"]
    );
    let rejected = decoder
        .push_from(b"{\"v\":1}", Some("spBv1.0/g/NDATA/n"))
        .unwrap_err();
    assert!(
        rejected.bad[0]
            .reason()
            .starts_with("the payload is no Sparkplug B message: ")
    );
    let error = Decoder::new(
        &config(Format::SparkplugB),
        schema(&[("temperature", DataType::Float64)]),
    );
    assert!(error.unwrap_err().to_string().starts_with(
        "column 'temperature' is no field of the format 'sparkplug_b', which has 'group_id', "
    ));
}

#[test]
fn a_name_that_must_be_there_makes_unknown_aliases_bad_data() {
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false)]));
    let mut decoder = Decoder::new(&config(Format::SparkplugB), schema).unwrap();
    let data = json!({"metrics": [{"name": "a"}, {"alias": 1}]});
    let rejected = decoder
        .push_from(&payload(&data), Some("spBv1.0/g/NDATA/n"))
        .unwrap_err();
    assert_eq!(
        rejected.bad[0].reason(),
        "field 'name': null in a NOT NULL column"
    );
    assert_eq!(decoder.rows(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_do_harm(noise in vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), byte in any::<u8>(), topic in "spBv1.0/g/(NBIRTH/n|DBIRTH/n/d|NDATA/n|DDEATH/n/d|NDEATH/n|)") {
        let mut decoder = decoder();
        let good = payload(&device_birth());
        let mut mutated = good.clone();
        let at = at.index(good.len());
        mutated[at] = byte;
        decoder.push_from(&good, Some("spBv1.0/g/DBIRTH/n/d")).unwrap();
        let mut count = 4;
        count += decoder.push_from(&noise, Some(&topic)).unwrap_or(0);
        count += decoder.push_from(&mutated, Some(&topic)).unwrap_or(0);
        decoder.push_from(&good, Some("spBv1.0/g/DBIRTH/n/d")).unwrap();
        let found = rows(&mut decoder, &columns());
        prop_assert_eq!(found.len(), count);
        prop_assert_eq!(&found[0], "d t 2 Float GOOD 21.5");
        prop_assert_eq!(&found[count - 1], "d on 3 Boolean GOOD false");
    }
}

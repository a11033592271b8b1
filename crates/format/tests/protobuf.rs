//! Protocol Buffers: the examples of the encoding's description, presence, and what comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_format::{Decoder, Encoder, Format, FormatConfig, Payloads, ProtobufOptions};
use proptest::collection::vec;
use proptest::prelude::*;

const PROTO: &str = r#"
syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "unit.proto";

message Reading {
  string device = 1;
  double t = 2;
  optional sint32 trend = 3;
  google.protobuf.Timestamp at = 4;
  repeated int64 samples = 5;
  map<string, float> extra = 6;
  Unit unit = 7;
  Place place = 8;
  bytes raw = 9;
  google.protobuf.DoubleValue limit = 10;
  fixed64 seq = 11;
  int64 millis = 12;
  map<int32, Place> places = 13;
  message Place { string building = 1; Place inside = 2; }
}
"#;

const UNIT: &str = r#"
syntax = "proto3";
package plant;
enum Unit { UNKNOWN = 0; CELSIUS = 1; }
"#;

/// The files of this test, in a folder that goes with it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plant.proto"), PROTO).unwrap();
        std::fs::write(folder.path().join("unit.proto"), UNIT).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn config(&self) -> FormatConfig {
        with(ProtobufOptions {
            file: Some(self.path("plant.proto")),
            message_name: Some("Reading".to_owned()),
            ..ProtobufOptions::default()
        })
    }
}

fn with(protobuf: ProtobufOptions) -> FormatConfig {
    FormatConfig {
        format: Some(Format::Protobuf),
        protobuf,
        ..FormatConfig::default()
    }
}

fn json() -> FormatConfig {
    FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn columns() -> SchemaRef {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let place = DataType::Struct(Fields::from(vec![Field::new(
        "building",
        DataType::Utf8,
        true,
    )]));
    let extra = DataType::Struct(Fields::from(vec![Field::new("a", DataType::Float32, true)]));
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, false),
        Field::new("t", DataType::Float64, true),
        Field::new("trend", DataType::Int32, true),
        Field::new("at", nanos.clone(), true),
        Field::new("samples", DataType::new_list(DataType::Int64, true), true),
        Field::new("extra", extra, true),
        Field::new("unit", DataType::Utf8, true),
        Field::new("place", place, true),
        Field::new("raw", DataType::Binary, true),
        Field::new("limit", DataType::Float64, true),
        Field::new("seq", DataType::UInt64, true),
        Field::new("millis", nanos, true),
    ]))
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let mut payloads = Payloads::new();
    Encoder::new(&json(), batch.schema())
        .unwrap()
        .encode(batch, &mut payloads)
        .unwrap();
    payloads
        .iter()
        .map(|row| String::from_utf8(row.to_vec()).unwrap())
        .collect()
}

fn decode(
    config: &FormatConfig,
    schema: &SchemaRef,
    payload: &[u8],
) -> Result<RecordBatch, String> {
    let mut decoder = Decoder::new(config, Arc::clone(schema)).unwrap();
    let pushed = decoder.push(payload);
    assert_eq!(decoder.rows(), usize::from(pushed.is_ok()));
    let batch = RecordBatch::try_new(Arc::clone(schema), decoder.finish().unwrap()).unwrap();
    pushed
        .map(|_| batch)
        .map_err(|rejected| rejected.bad[0].reason().to_owned())
}

const WHOLE: &str = "0a 02 64 31  11 00 00 00 00 00 80 35 40  18 03  22 08 08 a4 86 fc d3 06 10 01
    2a 04 01 02 96 01  32 08 0a 01 61 15 00 00 c0 3f  32 08 0a 01 62 15 00 00 c0 3f  38 01
    42 06 0a 01 42 12 01 00  4a 02 00 ff  52 09 09 00 00 00 00 00 00 f8 3f
    59 ff ff ff ff ff ff ff ff  60 e8 07  f0 06 01";

#[test]
fn fields_are_columns_by_name() {
    let files = Files::new();
    let whole = hex(&WHOLE.replace("42 06 0a 01 42 12 01 00", "42 03 0a 01 42"));
    let batch = decode(&files.config(), &columns(), &whole).unwrap();
    assert_eq!(
        shown(&batch),
        [
            r#"{"device":"d1","t":21.5,"trend":-2,"at":"2026-08-14T11:59:32.000000001","samples":[1,2,150],"extra":{"a":1.5},"unit":"CELSIUS","place":{"building":"B"},"raw":"AP8=","limit":1.5,"seq":18446744073709551615,"millis":"1970-01-01T00:00:01"}"#
        ]
    );
    // Nothing is there: what has no presence has its default, the rest is null.
    let batch = decode(&files.config(), &columns(), b"").unwrap();
    assert_eq!(
        shown(&batch),
        [
            r#"{"device":"","t":0.0,"trend":null,"at":null,"samples":[],"extra":{"a":null},"unit":"UNKNOWN","place":null,"raw":"","limit":null,"seq":0,"millis":"1970-01-01T00:00:00"}"#
        ]
    );
    // An enum's value that the file does not know.
    let batch = decode(&files.config(), &columns(), &hex("38 07")).unwrap();
    assert!(shown(&batch)[0].contains(r#""unit":"7""#));
}

#[test]
fn what_is_no_message_is_bad_data() {
    let files = Files::new();
    let bad = |payload: &str| decode(&files.config(), &columns(), &hex(payload)).unwrap_err();
    for payload in ["0a", "0a 05 61", "08 01", "ff", "0a 01 ff", "11 00"] {
        let reason = bad(payload);
        assert!(
            reason.starts_with("the payload is no message 'plant.Reading': "),
            "{reason}"
        );
    }
    assert_eq!(bad("22 02 10 ff"), bad("22 02 10 ff"));
    // A message within a message, a thousand deep.
    let mut deep = vec![];
    for _ in 0..1000 {
        deep = [&[0x12][..], &varint(deep.len()), &deep].concat();
    }
    let deep = [&[0x42][..], &varint(deep.len()), &deep].concat();
    let reason = decode(&files.config(), &columns(), &deep).unwrap_err();
    assert!(reason.contains("recursion limit"), "{reason}");
    let negative = "22 0b 10 ff ff ff ff ff ff ff ff ff 01";
    assert_eq!(
        bad(negative),
        "field 'at': a timestamp with -1 nanoseconds in a second"
    );
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn a_compiled_descriptor_set_does_as_well() {
    let files = Files::new();
    let set = protox::compile([files.path("plant.proto")], [files.0.path()]).unwrap();
    let mut pool = protox::Compiler::new([files.0.path()]).unwrap();
    pool.include_imports(true)
        .open_file(files.path("plant.proto"))
        .unwrap();
    assert!(!set.file.is_empty());
    std::fs::write(files.path("plant.pb"), pool.encode_file_descriptor_set()).unwrap();
    let config = with(ProtobufOptions {
        descriptor_set: Some(files.path("plant.pb")),
        message_name: Some("plant.Reading".to_owned()),
        ..ProtobufOptions::default()
    });
    let batch = decode(&config, &columns(), &hex("0a 02 64 31")).unwrap();
    assert!(shown(&batch)[0].starts_with(r#"{"device":"d1""#));
}

#[test]
fn descriptions_that_cannot_be_used_are_refused() {
    let files = Files::new();
    let error = |protobuf: ProtobufOptions| {
        let error = Decoder::new(&with(protobuf), columns())
            .unwrap_err()
            .to_string();
        error.replace(&files.0.path().display().to_string(), "$DIR")
    };
    insta::assert_snapshot!(error(ProtobufOptions::default()), @"format 'protobuf' needs one of the options 'protobuf.file' and 'protobuf.descriptor_set'");
    let file = |name: &str, message: Option<&str>| ProtobufOptions {
        file: Some(files.path(name)),
        message_name: message.map(str::to_owned),
        ..ProtobufOptions::default()
    };
    insta::assert_snapshot!(error(file("plant.proto", None)), @"missing option 'protobuf.message_name'; one of 'plant.Reading', 'plant.Reading.Place'");
    insta::assert_snapshot!(error(file("plant.proto", Some("Raeding"))), @"option 'protobuf.message_name': there is no message 'Raeding'; one of 'plant.Reading', 'plant.Reading.Place'");
    insta::assert_snapshot!(error(file("plant.proto", Some("Place"))), @"column 'device' is no field of the message 'plant.Reading.Place', which has 'building', 'inside'");
    assert!(
        error(file("none.proto", None))
            .starts_with("option 'protobuf.file': '$DIR/none.proto' cannot be compiled: ")
    );
    std::fs::write(
        files.path("broken.proto"),
        "syntax = \"proto3\"; message M { int32 }",
    )
    .unwrap();
    assert!(
        error(file("broken.proto", None))
            .starts_with("option 'protobuf.file': '$DIR/broken.proto' cannot be compiled: ")
    );
}

#[test]
fn rows_that_the_message_cannot_express_are_named() {
    let files = Files::new();
    let schema = Arc::new(Schema::new(vec![
        Field::new("trend", DataType::Int64, true),
        Field::new("unit", DataType::Utf8, true),
    ]));
    let error = |row: &str| {
        let batch = decode(&json(), &schema, row.as_bytes()).unwrap();
        let mut encoder = Encoder::new(&files.config(), Arc::clone(&schema)).unwrap();
        let mut payloads = Payloads::new();
        encoder
            .encode(&batch, &mut payloads)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(error(r#"{"trend": 3000000000}"#), @"row 0 of a batch cannot be written: field 'trend': expected sint32, found 3000000000");
    insta::assert_snapshot!(error(r#"{"unit": "KELVIN"}"#), @r#"row 0 of a batch cannot be written: field 'unit': "KELVIN" is no value of the enum 'plant.Unit'"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_again(device in "\\PC{0,10}", t in any::<f64>(), trend in prop::option::of(any::<i32>()), samples in vec(any::<i64>(), 0..5), raw in vec(any::<u8>(), 0..9), limit in prop::option::of(any::<f64>()), seq in any::<u64>(), at in prop::option::of(0i64..4_000_000_000)) {
        let files = Files::new();
        let at = at.map(|seconds| chrono::DateTime::from_timestamp(seconds, 7).unwrap().to_rfc3339());
        let raw = STANDARD.encode(raw);
        // Zero is zero: that it is negative gets lost, because it is the default.
        let row = serde_json::json!({"device": device, "t": t + 0.0, "trend": trend, "at": at, "samples": samples, "extra": {"a": 0.5},
            "unit": "CELSIUS", "place": {"building": ""}, "raw": raw, "limit": limit.map(|limit| limit + 0.0), "seq": seq, "millis": 5});
        let original = decode(&json(), &columns(), row.to_string().as_bytes()).unwrap();
        let mut payloads = Payloads::new();
        Encoder::new(&files.config(), columns()).unwrap().encode(&original, &mut payloads).unwrap();
        let payload = payloads.iter().next().unwrap();
        prop_assert_eq!(shown(&decode(&files.config(), &columns(), payload).unwrap()), shown(&original));
    }

    #[test]
    fn no_bytes_do_harm(noise in vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let files = Files::new();
        let good = hex("0a 02 64 31 22 08 08 a4 86 fc d3 06 10 01 2a 04 01 02 96 01");
        let mut mutated = good.clone();
        let at = at.index(good.len());
        mutated[at] = byte;
        let mut decoder = Decoder::new(&files.config(), columns()).unwrap();
        let mut count = 2;
        decoder.push(&good).unwrap();
        count += decoder.push(&noise).unwrap_or(0);
        count += decoder.push(&mutated).unwrap_or(0);
        decoder.push(&good).unwrap();
        let found = RecordBatch::try_new(columns(), decoder.finish().unwrap()).unwrap();
        let expect = decode(&files.config(), &columns(), &good).unwrap();
        prop_assert_eq!(found.num_rows(), count);
        prop_assert_eq!(found.slice(0, 1), expect.clone());
        prop_assert_eq!(found.slice(count - 1, 1), expect);
    }
}

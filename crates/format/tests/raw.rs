//! The formats without structure, and how a wrong declaration is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_format::{Decoder, Encoder, Format, FormatConfig, JsonOptions, Payloads};

fn config(format: Format) -> FormatConfig {
    FormatConfig {
        format: Some(format),
        ..FormatConfig::default()
    }
}

fn unstructured() -> FormatConfig {
    FormatConfig {
        json: JsonOptions {
            unstructured: true,
            ..JsonOptions::default()
        },
        ..config(Format::Json)
    }
}

fn table(types: &[DataType]) -> SchemaRef {
    let field = |(index, data_type): (usize, &DataType)| {
        Field::new(format!("c{index}"), data_type.clone(), true)
    };
    Arc::new(Schema::new(
        types.iter().enumerate().map(field).collect::<Vec<_>>(),
    ))
}

/// Reads payloads into a column of a type; answers those that were accepted, and the errors of the others.
fn read(
    config: &FormatConfig,
    data_type: DataType,
    payloads: &[&[u8]],
) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut decoder = Decoder::new(config, table(std::slice::from_ref(&data_type))).unwrap();
    let mut errors = Vec::new();
    for payload in payloads {
        match decoder.push(payload) {
            Ok(rows) => assert_eq!(rows, 1),
            Err(bad) => errors.push(bad.to_string()),
        }
    }
    assert_eq!(decoder.rows() + errors.len(), payloads.len());
    let columns = decoder.finish().unwrap();
    assert_eq!(decoder.rows(), 0);
    assert_eq!(columns[0].data_type(), &data_type);
    assert_eq!(columns[0].null_count(), 0);
    let bytes = cast(&columns[0], &DataType::Binary).unwrap();
    let values = bytes.as_binary::<i32>().iter().map(|v| v.unwrap().to_vec());
    (values.collect(), errors)
}

#[test]
fn strings_are_utf8() {
    for data_type in [
        DataType::Utf8,
        DataType::Utf8View,
        DataType::LargeUtf8,
        DataType::Binary,
    ] {
        let payloads: [&[u8]; 4] = ["grün".as_bytes(), b"ab\xffc", b"", b" {\"a\" "];
        let (values, errors) = read(&config(Format::RawString), data_type, &payloads);
        assert_eq!(values, [payloads[0], payloads[2], payloads[3]]);
        assert_eq!(errors, ["the payload is not UTF-8 (byte 2) in ab\u{fffd}c"]);
    }
}

#[test]
fn bytes_are_anything() {
    for data_type in [
        DataType::Binary,
        DataType::BinaryView,
        DataType::LargeBinary,
    ] {
        let payloads: [&[u8]; 3] = [b"\x00\xff", b"", b"text"];
        let (values, errors) = read(&config(Format::RawBytes), data_type, &payloads);
        assert_eq!(values, payloads);
        assert_eq!(errors, [""; 0]);
    }
}

#[test]
fn bytes_in_a_text_column_are_text() {
    let (values, errors) = read(&config(Format::RawBytes), DataType::Utf8, &[b"\xff", b"x"]);
    assert_eq!(values, [b"x"]);
    assert_eq!(errors, ["the payload is not UTF-8 (byte 0) in \u{fffd}"]);
}

#[test]
fn unstructured_documents_are_checked_and_kept() {
    let payloads: [&[u8]; 6] = [
        b" {\"a\": 1.0}\n",
        b"[1,2",
        b"null",
        b"{} {}",
        b"",
        b"\"\xff\"",
    ];
    let (values, errors) = read(&unstructured(), DataType::Utf8, &payloads);
    assert_eq!(values, [&b"{\"a\": 1.0}"[..], b"null"]);
    assert_eq!(
        errors,
        [
            "expected ',' or ']', found the end of the payload (byte 4) in [1,2",
            "expected the end of the payload, found an object (byte 3) in {} {}",
            "expected a JSON value, found the end of the payload (byte 0) in an empty payload",
            "a string is not UTF-8 (byte 1) in \"\u{fffd}\"",
        ]
    );
}

/// Writes one column.
fn written(config: &FormatConfig, column: impl Array + 'static) -> Vec<Vec<u8>> {
    let column: ArrayRef = Arc::new(column);
    let batch = RecordBatch::try_from_iter_with_nullable([("c0", column, true)]).unwrap();
    let mut encoder = Encoder::new(config, batch.schema()).unwrap();
    let mut payloads = Payloads::new();
    encoder.encode(&batch, &mut payloads).unwrap();
    payloads.iter().map(<[u8]>::to_vec).collect()
}

#[test]
fn values_are_written_as_they_are() {
    let texts = vec![Some("grün"), None, Some("")];
    let expect = ["grün".as_bytes(), b"", b""];
    assert_eq!(
        written(&config(Format::RawString), StringArray::from(texts.clone())),
        expect
    );
    assert_eq!(
        written(&config(Format::RawBytes), StringViewArray::from(texts)),
        expect
    );
    let bytes = vec![Some(&b"\x00\xff"[..]), None];
    let expect = [&b"\x00\xff"[..], b""];
    assert_eq!(
        written(&config(Format::RawBytes), BinaryArray::from(bytes.clone())),
        expect
    );
    assert_eq!(
        written(&config(Format::RawBytes), BinaryViewArray::from(bytes)),
        expect
    );
}

#[test]
fn unstructured_documents_are_always_json() {
    let texts = StringArray::from(vec![Some(" {\"a\": 1} "), None, Some("not json")]);
    let expect = ["{\"a\": 1}", "null", "\"not json\""];
    assert_eq!(written(&unstructured(), texts), expect.map(str::as_bytes));
}

#[test]
fn wrong_declarations_are_refused() {
    let error = |config: &FormatConfig, types: &[DataType]| {
        let reading = Decoder::new(config, table(types)).unwrap_err().to_string();
        let writing = Encoder::new(config, table(types)).unwrap_err().to_string();
        assert_eq!(reading, writing);
        reading
    };
    let none = FormatConfig::default();
    insta::assert_snapshot!(error(&none, &[DataType::Utf8]), @"missing option 'format'; one of 'json', 'debezium_json', 'raw_string', 'raw_bytes', 'csv', 'msgpack', 'cbor', 'avro', 'protobuf', 'sparkplug_b'");
    insta::assert_snapshot!(error(&config(Format::RawString), &[]), @"format 'raw_string' needs exactly one payload column, of type TEXT or BYTEA; the table has none");
    insta::assert_snapshot!(error(&config(Format::RawBytes), &[DataType::Utf8, DataType::Int64]), @"format 'raw_bytes' needs exactly one payload column, of type TEXT or BYTEA; the table has 'c0' (Utf8), 'c1' (Int64)");
    insta::assert_snapshot!(error(&unstructured(), &[DataType::Binary]), @"'json.unstructured' needs exactly one payload column, of type TEXT or JSON; the table has 'c0' (Binary)");
}

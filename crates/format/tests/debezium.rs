//! Debezium records: what each operation is as rows, what is none, and the way back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_format::{CHANGE, Decoder, Encoder, Format, FormatConfig, Payloads};

fn config() -> FormatConfig {
    FormatConfig {
        format: Some(Format::DebeziumJson),
        ..FormatConfig::default()
    }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new(CHANGE, DataType::Int64, false),
    ]))
}

/// What the rows of some records are written as; a record that is none is shown by its error.
fn check(records: &[&str], expect: &[&str]) {
    let mut decoder = Decoder::new(&config(), columns()).unwrap();
    let mut shown = Vec::new();
    for record in records {
        if let Err(rejected) = decoder.push(record.as_bytes()) {
            shown.extend(rejected.bad.iter().map(|bad| format!("! {bad}")));
        }
    }
    let batch = RecordBatch::try_new(columns(), decoder.finish().unwrap()).unwrap();
    let mut written = Payloads::new();
    let mut encoder = Encoder::new(&config(), columns()).unwrap();
    encoder.encode(&batch, &mut written).unwrap();
    let written = written.iter().map(|text| String::from_utf8(text.to_vec()));
    let written: Vec<_> = written.map(Result::unwrap).chain(shown).collect();
    assert_eq!(written, expect);
}

const CREATED: &str = r#"{"before":null,"after":{"id":1,"name":"a"},"op":"c"}"#;
const DELETED: &str = r#"{"before":{"id":1,"name":"a"},"after":null,"op":"d"}"#;

#[test]
fn rows_come_and_go() {
    check(&[CREATED, DELETED], &[CREATED, DELETED]);
    check(
        &[r#"{"op": "r", "after": {"id": 1, "name": "a"}, "ts_ms": 5}"#],
        &[CREATED],
    );
    check(
        &[r#"{"op":"d","before":{"id":1,"name":"a","more":{}}}"#],
        &[DELETED],
    );
}

#[test]
fn a_change_takes_back_and_sends_anew() {
    let short = r#"{"before":{"id":1,"name":"a"},"after":{"id":1},"op":"u"}"#;
    let whole = r#"{"before":{"id":1,"name":"a"},"after":{"id":1,"name":null},"op":"u"}"#;
    check(&[short], &[whole]);
    check(
        &[DELETED, CREATED, whole, CREATED, whole],
        &[DELETED, CREATED, whole, CREATED, whole],
    );
}

#[test]
fn a_row_has_no_record_of_its_own_if_the_next_takes_its_place() {
    let encoder = |columns| Encoder::new(&config(), columns).unwrap();
    let batch = |changes: Vec<i64>| {
        let ids = Int64Array::from_iter_values(0..changes.len() as i64);
        let changes = Int64Array::from(changes);
        let columns = columns().project(&[0, 2]).unwrap();
        RecordBatch::try_new(columns.into(), vec![Arc::new(ids), Arc::new(changes)]).unwrap()
    };
    let records = |changes: Vec<i64>| {
        let batch = batch(changes);
        let mut encoder = encoder(batch.schema());
        let mut written = Payloads::new();
        encoder.encode(&batch, &mut written).unwrap();
        let own = encoder.has_record(&batch);
        let count = own
            .as_ref()
            .map(|own| own.iter().filter(|own| **own).count());
        assert_eq!(count.unwrap_or(batch.num_rows()), written.len());
        own
    };
    assert_eq!(records(vec![1, 2, -3, 4, -5]), None);
    assert_eq!(records(vec![2, -2, -3, 4, 5]), None);
    assert_eq!(records(vec![i64::MIN, i64::MIN]), None);
    assert_eq!(records(vec![]), None);
    assert_eq!(
        records(vec![-1, 1, -2, 3, -3, 3]),
        Some(vec![false, true, true, true, false, true])
    );
}

#[test]
fn the_envelope_of_schema_and_payload_is_taken_off() {
    let record = format!(r#" {{"schema": {{"type": "struct"}}, "payload": {CREATED}}} "#);
    check(&[&record], &[CREATED]);
}

#[test]
fn a_tombstone_is_no_row() {
    check(&["null", CREATED, " null "], &[CREATED]);
}

#[test]
fn what_is_no_change_is_bad_data_and_leaves_nothing() {
    let bad = |record: &str, reason: &str| {
        check(
            &[record, CREATED],
            &[CREATED, &format!("! {reason} in {record}")],
        );
    };
    bad(r#"[]"#, "expected an object, found an array (byte 0)");
    bad(
        r#"{"after":{"id":1}}"#,
        "a record has a member 'op' (byte 0)",
    );
    bad(
        r#"{"after":{"id":1},"op":"t"}"#,
        "field 'op': 't' is not one of the operations c, r, u and d (byte 0)",
    );
    bad(
        r#"{"before":null,"after":{"id":1},"op":"u"}"#,
        "the operation 'u' needs 'before'; have the database log whole rows (REPLICA IDENTITY FULL) (byte 0)",
    );
    bad(r#"{"op":"c"}"#, "the operation 'c' needs 'after' (byte 0)");
    bad(
        r#"{"before":{"id":1},"after":{"id":"x"},"op":"u"}"#,
        "field 'after.id': expected an integer, found \"x\" (byte 33)",
    );
    bad(
        r#"{"op":"c","after":{"id":1}} x"#,
        "expected the end of the payload, found x (byte 28)",
    );
}

#[test]
fn whoever_reads_changes_needs_the_column_that_tells_them() {
    let columns = Arc::new(columns().project(&[0, 1]).unwrap());
    let error = Decoder::new(&config(), Arc::clone(&columns)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("__headwater_change BIGINT NOT NULL"),
        "{error}"
    );
    assert!(Encoder::new(&config(), columns).is_ok());
}

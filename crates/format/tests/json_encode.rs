//! What the format `json` writes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array,
    FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray,
    ListArray, MapArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    Time32SecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, Schema};
use headwater_format::{
    DecimalEncoding, Encoder, Format, FormatConfig, JsonOptions, Payloads, TimestampFormat,
};

fn config() -> FormatConfig {
    FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    }
}

fn written(config: &FormatConfig, batch: &RecordBatch) -> Vec<String> {
    let mut encoder = Encoder::new(config, batch.schema()).unwrap();
    let mut payloads = Payloads::new();
    encoder.encode(batch, &mut payloads).unwrap();
    assert_eq!(payloads.len(), batch.num_rows());
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    payloads.iter().map(text).collect()
}

fn values(config: &FormatConfig, column: ArrayRef) -> Vec<String> {
    let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
    let value = |payload: String| {
        let value = payload.strip_prefix("{\"v\":").unwrap();
        value.strip_suffix('}').unwrap().to_owned()
    };
    written(config, &batch).into_iter().map(value).collect()
}

/// Writes a column named `v` with the default options.
#[track_caller]
fn check(column: impl Array + 'static, expect: &[&str]) {
    assert_eq!(values(&config(), Arc::new(column)), expect);
}

#[test]
fn numbers() {
    check(
        Int64Array::from(vec![Some(i64::MIN), None, Some(7)]),
        &["-9223372036854775808", "null", "7"],
    );
    check(Int8Array::from(vec![-128]), &["-128"]);
    check(UInt64Array::from(vec![u64::MAX]), &["18446744073709551615"]);
    check(
        Float64Array::from(vec![
            0.1,
            -0.0,
            1e300,
            5e-324,
            21.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ]),
        &[
            "0.1", "-0.0", "1e+300", "5e-324", "21.0", "null", "null", "null",
        ],
    );
    check(Float32Array::from(vec![0.1, f32::NAN]), &["0.1", "null"]);
    check(
        BooleanArray::from(vec![Some(true), Some(false), None]),
        &["true", "false", "null"],
    );
    check(NullArray::new(2), &["null", "null"]);
}

#[test]
fn decimals() {
    let decimals = |values: Vec<i128>, scale| {
        Decimal128Array::from(values)
            .with_precision_and_scale(38, scale)
            .unwrap()
    };
    check(
        decimals(vec![1230, -5, 0, i128::MIN + 1], 2),
        &[
            "12.30",
            "-0.05",
            "0.00",
            "-1701411834604692317316873037158841057.27",
        ],
    );
    check(decimals(vec![7, 0], 0), &["7", "0"]);
    check(decimals(vec![7, -7, 0], -2), &["700", "-700", "0"]);
    let strings = JsonOptions {
        decimal_encoding: DecimalEncoding::String,
        ..JsonOptions::default()
    };
    let config = FormatConfig {
        json: strings,
        ..config()
    };
    assert_eq!(
        values(&config, Arc::new(decimals(vec![1230], 2))),
        ["\"12.30\""]
    );
}

#[test]
fn texts() {
    let texts = [
        "plain",
        "",
        "a\"b\\c/d",
        "\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}",
        "grün 温度 😀",
        "longer than eight\" bytes",
    ];
    let expect = [
        r#""plain""#,
        r#""""#,
        r#""a\"b\\c/d""#,
        "\"\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}\"",
        "\"grün 温度 😀\"",
        r#""longer than eight\" bytes""#,
    ];
    check(StringArray::from(texts.to_vec()), &expect);
    check(LargeStringArray::from(texts.to_vec()), &expect);
    check(StringViewArray::from(texts.to_vec()), &expect);
    check(
        BinaryArray::from(vec![&b"\x00\xff\x10"[..], b"\x00\xff", b""]),
        &["\"AP8Q\"", "\"AP8=\"", "\"\""],
    );
}

#[test]
fn json_columns_stay_as_they_are() {
    let metadata = HashMap::from([("headwater.type".to_owned(), "json".to_owned())]);
    let field = Field::new("v", DataType::Utf8, true).with_metadata(metadata);
    let texts = [
        Some(r#" {"a": [1]} "#),
        Some("12"),
        None,
        Some("not json"),
        Some("{\"a\":1} {}"),
        Some(""),
    ];
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    assert_eq!(
        written(&config(), &batch),
        [
            r#"{"v":{"a": [1]}}"#,
            r#"{"v":12}"#,
            r#"{"v":null}"#,
            r#"{"v":"not json"}"#,
            r#"{"v":"{\"a\":1} {}"}"#,
            r#"{"v":""}"#,
        ]
    );
}

#[test]
fn timestamps_are_utc_with_as_many_digits_as_needed() {
    check(
        TimestampNanosecondArray::from(vec![
            0,
            1_795_242_288_123_000_000,
            1_795_242_288_123_456_000,
            1_795_242_288_123_456_789,
            -1,
            i64::MIN,
            i64::MAX,
        ]),
        &[
            "\"1970-01-01T00:00:00\"",
            "\"2026-11-21T06:24:48.123\"",
            "\"2026-11-21T06:24:48.123456\"",
            "\"2026-11-21T06:24:48.123456789\"",
            "\"1969-12-31T23:59:59.999999999\"",
            "\"1677-09-21T00:12:43.145224192\"",
            "\"2262-04-11T23:47:16.854775807\"",
        ],
    );
    check(
        TimestampMillisecondArray::from(vec![1_709_251_199_000]).with_timezone("+02:00"),
        &["\"2024-02-29T23:59:59\""],
    );
    check(
        TimestampSecondArray::from(vec![253_402_300_800, -62_167_219_201]),
        &["\"+10000-01-01T00:00:00\"", "\"-0001-12-31T23:59:59\""],
    );
    check(
        TimestampSecondArray::from(vec![i64::MAX, i64::MIN]),
        &[
            "\"+292277026596-12-04T15:30:07\"",
            "\"-292277022657-01-27T08:29:52\"",
        ],
    );
}

#[test]
fn timestamps_are_as_wished() {
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
        Some(1_795_242_288_123_450),
        Some(-500_000),
        Some(2_000_000),
        None,
    ]));
    let check = |timestamp_format, expect: [&str; 4]| {
        let json = JsonOptions {
            timestamp_format,
            ..JsonOptions::default()
        };
        assert_eq!(
            values(&FormatConfig { json, ..config() }, Arc::clone(&micros)),
            expect
        );
    };
    check(
        TimestampFormat::Iso8601,
        [
            "\"2026-11-21T06:24:48.123450\"",
            "\"1969-12-31T23:59:59.500\"",
            "\"1970-01-01T00:00:02\"",
            "null",
        ],
    );
    check(
        TimestampFormat::Rfc3339,
        [
            "\"2026-11-21T06:24:48.123450Z\"",
            "\"1969-12-31T23:59:59.500Z\"",
            "\"1970-01-01T00:00:02Z\"",
            "null",
        ],
    );
    check(
        TimestampFormat::UnixSeconds,
        ["1795242288.12345", "-0.5", "2", "null"],
    );
    check(
        TimestampFormat::UnixMillis,
        ["1795242288123", "-500", "2000", "null"],
    );
    check(
        TimestampFormat::UnixMicros,
        ["1795242288123450", "-500000", "2000000", "null"],
    );
    check(
        TimestampFormat::UnixNanos,
        ["1795242288123450000", "-500000000", "2000000000", "null"],
    );
}

#[test]
fn dates_and_times() {
    check(
        Date32Array::from(vec![0, -719_528, 20_778]),
        &["\"1970-01-01\"", "\"0000-01-01\"", "\"2026-11-21\""],
    );
    check(Date64Array::from(vec![86_400_000]), &["\"1970-01-02\""]);
    check(
        Time64NanosecondArray::from(vec![0, 23_088_123_456_789]),
        &["\"00:00:00\"", "\"06:24:48.123456789\""],
    );
    check(
        Time32SecondArray::from(vec![86_399, 86_400]),
        &["\"23:59:59\"", "\"00:00:00\""],
    );
}

#[test]
fn nested_values() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(3)]),
    ]);
    check(lists.clone(), &["[1,null]", "null", "[]", "[3]"]);
    // A slice begins in the middle of the items.
    check(lists.slice(2, 2), &["[]", "[3]"]);
    let fixed = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(
        [Some(vec![Some(1.0), Some(2.0)]), None],
        2,
    );
    check(fixed, &["[1.0,2.0]", "null"]);
    let fields = Fields::from(vec![
        Field::new("a \"b\"", DataType::Utf8, true),
        Field::new("l", lists.data_type().clone(), true),
    ]);
    let names: ArrayRef = Arc::new(StringArray::from(vec![
        Some("x"),
        Some("y"),
        None,
        Some("z"),
    ]));
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    let objects = StructArray::new(fields, vec![names, Arc::new(lists)], Some(nulls));
    let expect = [
        r#"{"a \"b\"":"x","l":[1,null]}"#,
        "null",
        r#"{"a \"b\"":null,"l":[]}"#,
        r#"{"a \"b\"":"z","l":[3]}"#,
    ];
    check(objects.clone(), &expect);
    check(objects.slice(1, 3), &expect[1..]);
    check(StructArray::new_empty_fields(2, None), &["{}", "{}"]);
}

#[test]
fn maps_are_objects() {
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b\n", "c"]));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let fields = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, true),
    ]);
    let entries = StructArray::new(fields.clone(), vec![keys, values], None);
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::new(vec![0, 2, 2, 3].into());
    let nulls = NullBuffer::from(vec![true, true, false]);
    let map = MapArray::new(field, offsets, entries, Some(nulls), false);
    check(map, &[r#"{"a":1,"b\n":null}"#, "{}", "null"]);
}

#[test]
fn rows_are_objects_in_the_order_of_the_columns() {
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "b",
            Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
            true,
        ),
        (
            "a\"",
            Arc::new(StringArray::from(vec![Some("x"), None])),
            true,
        ),
    ])
    .unwrap();
    assert_eq!(
        written(&config(), &batch),
        [r#"{"b":1,"a\"":"x"}"#, r#"{"b":2,"a\"":null}"#]
    );
}

#[test]
fn payloads_gather_over_batches() {
    let batch =
        RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)])
            .unwrap();
    let mut encoder = Encoder::new(&config(), batch.schema()).unwrap();
    let mut payloads = Payloads::new();
    encoder.encode(&batch, &mut payloads).unwrap();
    encoder.encode(&batch.slice(1, 1), &mut payloads).unwrap();
    let all: Vec<_> = payloads.iter().collect();
    assert_eq!(all, [br#"{"v":1}"#, br#"{"v":2}"#, br#"{"v":2}"#]);
}

#[test]
fn what_cannot_be_written_is_refused_when_declared() {
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    let nested = DataType::new_list(interval, true);
    let schema = Arc::new(Schema::new(vec![Field::new("v", nested, true)]));
    let error = Encoder::new(&config(), schema).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"column 'v[]' has the type Interval(MonthDayNano), which format 'json' cannot write; cast it to TEXT in the query");
}

#[test]
fn batches_must_have_the_tables_types() {
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let mut encoder = Encoder::new(&config(), schema).unwrap();
    let mut payloads = Payloads::new();
    let other =
        RecordBatch::try_from_iter([("v", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
            .unwrap();
    let error = encoder
        .encode(&other, &mut payloads)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(error, @"the rows to write have the columns (Utf8), but the table has (Int64)");
    assert!(payloads.is_empty());
}

//! What the format `json` reads, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_format::{Decoder, Format, FormatConfig, JsonOptions, TimestampFormat};

fn config() -> FormatConfig {
    FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    }
}

fn with(json: JsonOptions) -> FormatConfig {
    FormatConfig { json, ..config() }
}

fn schema(fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    Arc::new(Schema::new(fields.into_iter().collect::<Vec<_>>()))
}

fn column(data_type: DataType) -> SchemaRef {
    schema([Field::new("v", data_type, true)])
}

fn json_column(name: &str) -> Field {
    let metadata = HashMap::from([("headwater.type".to_owned(), "json".to_owned())]);
    Field::new(name, DataType::Utf8, true).with_metadata(metadata)
}

fn show(array: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(array, &options).unwrap();
    formatter.value(row).to_string()
}

/// Reads one payload; its columns as text, or what is wrong.
fn read(config: &FormatConfig, schema: &SchemaRef, payload: &[u8]) -> String {
    let mut decoder = Decoder::new(config, Arc::clone(schema)).unwrap();
    let pushed = decoder.push(payload);
    assert_eq!(decoder.rows(), usize::from(pushed.is_ok()));
    let columns = decoder.finish().unwrap();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns).unwrap();
    match pushed {
        Ok(rows) => {
            assert_eq!((rows, batch.num_rows()), (1, 1));
            let row: Vec<_> = batch.columns().iter().map(|c| show(c, 0)).collect();
            row.join(" | ")
        }
        Err(bad) => {
            assert_eq!(batch.num_rows(), 0);
            format!("! {}", bad.bad[0].reason())
        }
    }
}

/// Reads `{"v": …}` into a column of this type.
#[track_caller]
fn check(data_type: DataType, value: &str, expect: &str) {
    let payload = format!("{{\"v\":{value}}}");
    assert_eq!(
        read(&config(), &column(data_type), payload.as_bytes()),
        expect,
        "{value}"
    );
}

/// Reads a payload into a table of one BIGINT.
#[track_caller]
fn check_document(payload: impl AsRef<[u8]>, expect: &str) {
    let payload = payload.as_ref();
    let shown = String::from_utf8_lossy(payload);
    let found = read(&config(), &column(DataType::Int64), payload);
    assert_eq!(found, expect, "{shown}");
}

#[test]
fn integers() {
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt32, UInt64};
    check(Int64, "42", "42");
    check(Int64, "-42", "-42");
    check(Int64, "-0", "0");
    check(Int64, "9223372036854775807", "9223372036854775807");
    check(Int64, "-9223372036854775808", "-9223372036854775808");
    check(Int64, "9223372036854775807.0", "9223372036854775807");
    check(Int64, "1.0", "1");
    check(Int64, "1.50e1", "15");
    check(Int64, "12e3", "12000");
    check(Int64, "100e-2", "1");
    check(Int64, "0e999999999999", "0");
    check(
        Int64,
        "1.00000000000000000000000000000000000000000000000000",
        "1",
    );
    check(Int64, "\"42\"", "42");
    check(UInt64, "18446744073709551615", "18446744073709551615");
    check(UInt64, "-0", "0");
    check(Int8, "-128", "-128");
    check(UInt8, "255", "255");
    check(Int16, "32767", "32767");
    check(Int32, "-2147483648", "-2147483648");
    check(UInt32, "4294967295", "4294967295");
    let not = |value: &str| {
        format!("! field 'v': {value} is not an integer of the column's range (byte 5)")
    };
    check(Int64, "9223372036854775808", &not("9223372036854775808"));
    check(Int64, "-9223372036854775809", &not("-9223372036854775809"));
    check(UInt64, "18446744073709551616", &not("18446744073709551616"));
    check(UInt64, "-1", &not("-1"));
    check(Int8, "128", &not("128"));
    check(UInt8, "256", &not("256"));
    check(Int64, "1.5", &not("1.5"));
    check(Int64, "1e-999999999999", &not("1e-999999999999"));
    check(Int64, "1e400", &not("1e400"));
    let many = "9".repeat(60);
    check(Int64, &many, &not(&format!("{}…", &many[..40])));
}

#[test]
fn floats() {
    use DataType::{Float32, Float64};
    check(Float64, "21.5", "21.5");
    check(Float64, "-0.0", "-0.0");
    check(Float64, "7", "7.0");
    check(Float64, "1E5", "100000.0");
    check(Float64, "\"21.5\"", "21.5");
    check(Float64, "0.1", "0.1");
    check(
        Float64,
        "123456789012345678901234567890",
        "1.2345678901234568e29",
    );
    check(Float64, "2.2250738585072011e-308", "2.225073858507201e-308");
    check(Float64, "1e-400", "0.0");
    check(Float64, "1.7976931348623157e308", "1.7976931348623157e308");
    check(
        Float64,
        "1e400",
        "! field 'v': 1e400 is out of range (byte 5)",
    );
    // Rounded once: through a double it would come out one step lower.
    check(Float32, "16777217.00000000001", "16777218.0");
    check(Float32, "0.1", "0.1");
    check(
        Float32,
        "1e39",
        "! field 'v': 1e39 is out of range (byte 5)",
    );
    check(
        Float64,
        "\"warm\"",
        "! field 'v': expected a number, found \"warm\" (byte 5)",
    );
    check(
        Float64,
        "NaN",
        "! field 'v': expected a number, found NaN (byte 5)",
    );
    check(
        Float64,
        "true",
        "! field 'v': expected a number, found true (byte 5)",
    );
    check(
        Float64,
        "[1]",
        "! field 'v': expected a number, found an array (byte 5)",
    );
}

#[test]
fn numbers_by_the_grammar() {
    for bad in [
        "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "--1", "1.e3", "-01",
    ] {
        let found = read(
            &config(),
            &column(DataType::Float64),
            format!("{{\"v\":{bad}}}").as_bytes(),
        );
        assert!(found.starts_with("! "), "{bad}: {found}");
        let skipped = read(
            &config(),
            &column(DataType::Float64),
            format!("{{\"x\":{bad}}}").as_bytes(),
        );
        assert!(skipped.starts_with("! "), "{bad}: {skipped}");
    }
}

#[test]
fn decimals() {
    let decimal = || DataType::Decimal128(6, 2);
    check(decimal(), "12.3", "12.30");
    check(decimal(), "-0.005", "-0.01");
    check(decimal(), "0.004", "0.00");
    check(decimal(), "\"9999.99\"", "9999.99");
    check(decimal(), "1e3", "1000.00");
    check(
        decimal(),
        "9999.995",
        "! field 'v': 9999.995 has more digits than the column (byte 5)",
    );
    check(
        decimal(),
        "10000",
        "! field 'v': 10000 has more digits than the column (byte 5)",
    );
    check(
        DataType::Decimal128(38, 0),
        "99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
    );
}

#[test]
fn texts() {
    use DataType::{LargeUtf8, Utf8, Utf8View};
    for data_type in [Utf8, LargeUtf8, Utf8View] {
        check(data_type.clone(), r#""plain""#, "plain");
        check(data_type.clone(), r#""""#, "");
        check(
            data_type,
            r#""a\"b\\c\/d\b\f\n\r\t\u00e9\ud83d\ude00""#,
            "a\"b\\c/d\u{8}\u{c}\n\r\té😀",
        );
    }
    check(Utf8, "\"grün 温度 😀\"", "grün 温度 😀");
    check(Utf8, r#""\u0000""#, "\0");
    check(
        Utf8,
        "12",
        "! field 'v': expected a string, found 12 (byte 5)",
    );
    check(
        Utf8,
        r#"{"a":1}"#,
        "! field 'v': expected a string, found an object (byte 5)",
    );
    let lone = "a lone surrogate is not a character (byte 7)";
    check(Utf8, r#""a\ud800""#, &format!("! field 'v': {lone}"));
    check(Utf8, r#""a\ud800\ud800""#, &format!("! field 'v': {lone}"));
    check(Utf8, r#""a\ud800x""#, &format!("! field 'v': {lone}"));
    check(Utf8, r#""a\udc00\ud800""#, &format!("! field 'v': {lone}"));
    check(
        Utf8,
        r#""a\x""#,
        "! field 'v': unknown escape in a string (byte 7)",
    );
    check(
        Utf8,
        r#""a\u12g4""#,
        "! field 'v': expected four hexadecimal digits after \\u (byte 7)",
    );
    check(
        Utf8,
        "\"a\nb\"",
        "! field 'v': the control character 0x0a must be escaped (byte 7)",
    );
}

#[test]
fn text_is_utf8() {
    for (bytes, place) in [
        (
            &b"{\"v\":\"abcdefgh\xff\"}"[..],
            "field 'v': a string is not UTF-8 (byte 14)",
        ),
        (
            b"{\"v\":\"\xc3\"}",
            "field 'v': a string is not UTF-8 (byte 6)",
        ),
        (
            b"{\"x\":\"\xed\xa0\x80\"}",
            "a string is not UTF-8 (byte 6)",
        ),
        (b"{\"\xff\":1}", "a string is not UTF-8 (byte 2)"),
    ] {
        let found = read(&config(), &column(DataType::Utf8), bytes);
        assert_eq!(found, format!("! {place}"));
    }
}

#[test]
fn json_columns_take_any_value_as_it_is_written() {
    let table = schema([json_column("v")]);
    let check = |value: &str, expect: &str| {
        let payload = format!("{{\"v\": {value} }}");
        assert_eq!(read(&config(), &table, payload.as_bytes()), expect);
    };
    check(r#"{"a": [1, 2.50]}"#, r#"{"a": [1, 2.50]}"#);
    check("[ ]", "[ ]");
    check("12.0", "12.0");
    check(r#""x\n""#, r#""x\n""#);
    check("true", "true");
    check("null", "null");
    check(
        "[1,]",
        "! field 'v': expected a JSON value, found ] (byte 9)",
    );
}

#[test]
fn booleans_and_binaries() {
    use DataType::{Binary, BinaryView, Boolean, LargeBinary};
    check(Boolean, "true", "true");
    check(Boolean, "false", "false");
    check(
        Boolean,
        "1",
        "! field 'v': expected true or false, found 1 (byte 5)",
    );
    check(
        Boolean,
        "truth",
        "! field 'v': expected a JSON value, found truth (byte 5)",
    );
    for data_type in [Binary, LargeBinary, BinaryView] {
        check(data_type.clone(), "\"AP8Q\"", "00ff10");
        check(data_type.clone(), "\"AP8=\"", "00ff");
        check(data_type.clone(), "\"AP8\"", "00ff");
        check(
            data_type,
            "\"*\"",
            "! field 'v': expected a string in base64, found \"*\" (byte 5)",
        );
    }
}

#[test]
fn timestamps() {
    use DataType::Timestamp;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let ms = || Timestamp(Millisecond, None);
    let expect = "2026-11-21T06:24:48.123";
    check(ms(), "\"2026-11-21T06:24:48.123Z\"", expect);
    check(ms(), "\"2026-11-21 06:24:48.1239999\"", expect);
    check(ms(), "\"2026-11-21t08:24:48.123+02:00\"", expect);
    check(ms(), "\"2026-11-21T00:54:48.123-0530\"", expect);
    check(ms(), "\"2026-11-21\"", "2026-11-21T00:00:00");
    check(ms(), "\"2026-11-21T06:24Z\"", "2026-11-21T06:24:00");
    check(ms(), "\"2024-02-29T23:59:60Z\"", "2024-03-01T00:00:00");
    check(
        ms(),
        "\"1969-12-31T23:59:59.999Z\"",
        "1969-12-31T23:59:59.999",
    );
    check(ms(), "1795242288123", expect);
    check(ms(), "1795242288123.9", expect);
    check(ms(), "-1.5", "1969-12-31T23:59:59.998");
    check(
        Timestamp(Second, None),
        "1795242288123",
        "2026-11-21T06:24:48",
    );
    check(Timestamp(Nanosecond, None), "1795242288123", expect);
    check(
        Timestamp(Nanosecond, None),
        "1795242288123.000001",
        "2026-11-21T06:24:48.123000001",
    );
    check(
        Timestamp(Microsecond, Some("+00:00".into())),
        "1795242288123",
        &format!("{expect}Z"),
    );
    let not = "expected a timestamp (RFC 3339) that the column can hold, found";
    for bad in [
        "2025-02-29T00:00:00Z",
        "2026-13-01",
        "2026-11-21T24:00:00Z",
        "2026-11-21T06:24:48+",
        "now",
        "",
    ] {
        check(
            ms(),
            &format!("\"{bad}\""),
            &format!("! field 'v': {not} \"{bad}\" (byte 5)"),
        );
    }
    check(
        Timestamp(Nanosecond, None),
        "\"2300-01-01T00:00:00Z\"",
        &format!("! field 'v': {not} \"2300-01-01T00:00:00Z\" (byte 5)"),
    );
    check(
        Timestamp(Nanosecond, None),
        "9999999999999999",
        "! field 'v': 9999999999999999 is beyond the column's range as unix_millis; json.timestamp_format = 'unix_nanos' may be meant (byte 5)",
    );
    check(
        Timestamp(Nanosecond, None),
        "1700000000000000",
        "! field 'v': 1700000000000000 is beyond the column's range as unix_millis; json.timestamp_format = 'unix_micros' may be meant (byte 5)",
    );
    check(
        Timestamp(Nanosecond, None),
        "-1e30",
        "! field 'v': -1e30 is beyond the column's range as unix_millis (byte 5)",
    );
}

#[test]
fn numbers_are_timestamps_of_the_given_unit() {
    let check = |timestamp_format, value: &str| {
        let options = JsonOptions {
            timestamp_format,
            ..JsonOptions::default()
        };
        let table = column(DataType::Timestamp(TimeUnit::Nanosecond, None));
        let payload = format!("{{\"v\":{value}}}");
        let found = read(&with(options), &table, payload.as_bytes());
        assert_eq!(found, "2026-11-21T06:24:48.123456789");
    };
    check(TimestampFormat::UnixSeconds, "1795242288.123456789");
    check(TimestampFormat::UnixMillis, "1795242288123.456789");
    check(TimestampFormat::UnixMicros, "1795242288123456.789");
    check(TimestampFormat::UnixNanos, "1795242288123456789");
    check(
        TimestampFormat::UnixSeconds,
        "\"2026-11-21T06:24:48.123456789Z\"",
    );
}

#[test]
fn dates_and_times() {
    use DataType::{Date32, Time32, Time64};
    check(Date32, "\"2026-11-21\"", "2026-11-21");
    check(Date32, "\"0001-01-01\"", "0001-01-01");
    check(
        Date32,
        "\"2026-11-21T00:00:00Z\"",
        "! field 'v': expected a date (yyyy-mm-dd), found \"2026-11-21T00:00:00Z\" (byte 5)",
    );
    check(
        Time64(TimeUnit::Nanosecond),
        "\"06:24:48.123456789\"",
        "06:24:48.123456789",
    );
    check(Time64(TimeUnit::Microsecond), "\"06:24\"", "06:24:00");
    check(
        Time32(TimeUnit::Millisecond),
        "\"06:24:48.1239\"",
        "06:24:48.123",
    );
    check(
        Time64(TimeUnit::Microsecond),
        "\"6:24\"",
        "! field 'v': expected a time (hh:mm:ss), found \"6:24\" (byte 5)",
    );
}

#[test]
fn intervals_are_refused_when_declared() {
    let table = column(DataType::Interval(
        arrow::datatypes::IntervalUnit::MonthDayNano,
    ));
    let error = Decoder::new(&config(), table).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"column 'v' has the type Interval(MonthDayNano), which format 'json' cannot read; declare it as TEXT and cast it in the query");
}

fn position() -> Field {
    let fields = Fields::from(vec![
        Field::new("lat", DataType::Float64, false),
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
    ]);
    Field::new("pos", DataType::Struct(fields), true)
}

#[test]
fn nested_values() {
    let table = schema([
        position(),
        Field::new(
            "n",
            DataType::new_list(DataType::new_list(DataType::Int64, false), true),
            true,
        ),
    ]);
    let check = |payload: &str, expect: &str| {
        assert_eq!(
            read(&config(), &table, payload.as_bytes()),
            expect,
            "{payload}"
        );
    };
    check(
        r#"{"pos":{"lat":1.5,"tags":["a",null]},"n":[[1,2],[],null]}"#,
        "{lat: 1.5, tags: [a, null]} | [[1, 2], [], null]",
    );
    check(r#"{"pos":null}"#, "null | null");
    check(
        r#"{"pos":{"tags":[],"lat":1},"n":[]}"#,
        "{lat: 1.0, tags: []} | []",
    );
    check(
        r#"{"pos":{"tags":["x"]}}"#,
        "! field 'pos.lat': missing, but the column is NOT NULL (byte 7)",
    );
    check(
        r#"{"pos":{"lat":null}}"#,
        "! field 'pos.lat': null in a NOT NULL column (byte 14)",
    );
    check(
        r#"{"pos":{"lat":1,"tags":["a",7]}}"#,
        "! field 'pos.tags[1]': expected a string, found 7 (byte 28)",
    );
    check(
        r#"{"n":[[1],[null]]}"#,
        "! field 'n[1][0]': null in a NOT NULL column (byte 11)",
    );
    check(
        r#"{"n":7}"#,
        "! field 'n': expected an array, found 7 (byte 5)",
    );
    check(
        r#"{"pos":[]}"#,
        "! field 'pos': expected an object, found an array (byte 7)",
    );
}

#[test]
fn members_are_found_by_name_in_any_order() {
    let names: Vec<String> = (0..20).map(|i| format!("column_number_{i}")).collect();
    let table = schema(
        names
            .iter()
            .map(|name| Field::new(name, DataType::Int64, true)),
    );
    let mut decoder = Decoder::new(&config(), Arc::clone(&table)).unwrap();
    for row in 0..40 {
        let member = |i: usize| {
            format!(
                "\"{}\" : {i}",
                names[(i + row) % 20].replace('_', "\\u005F")
            )
        };
        let plain = |i: usize| format!("\"{}\":{}", names[(i * 7 + row) % 20], (i * 7 + row) % 20);
        let members: Vec<_> = if row % 2 == 0 {
            (0..20).map(plain).collect()
        } else {
            (0..20).map(member).collect()
        };
        decoder
            .push(format!("{{ {} }}", members.join(" ,\n")).as_bytes())
            .unwrap();
    }
    for (index, column) in decoder.finish().unwrap().iter().enumerate() {
        for row in 0..40 {
            let expect = if row % 2 == 0 {
                index
            } else {
                (index + 40 - row) % 20
            };
            assert_eq!(column.as_primitive::<Int64Type>().value(row), expect as i64);
        }
    }
}

/// Names that are remembered and names that are too long for that, and those that differ from what is remembered in
/// their last byte, their length, or what follows.
#[test]
fn names_of_any_length_are_told_apart() {
    for len in 1..40 {
        let name = "n".repeat(len);
        let table = schema([Field::new(&name, DataType::Int64, true)]);
        let mut decoder = Decoder::new(&config(), table).unwrap();
        let other = format!("{}m", "n".repeat(len - 1));
        for payload in [
            format!(r#"{{"{name}":1}}"#),
            format!(r#"{{"{name}":2}}"#),
            format!(r#"{{"{other}":3}}"#),
            format!(r#"{{"{name}":4,"x":0}}"#),
            format!(r#"{{"{name}n":5}}"#),
            format!(r#"{{"{name}" : 6}}"#),
            format!(r#"{{"{name}": 7 }}"#),
        ] {
            decoder.push(payload.as_bytes()).unwrap();
        }
        let cut_off = format!(r#"{{"{name}"#);
        assert!(decoder.push(cut_off.as_bytes()).is_err());
        let column = decoder.finish().unwrap().remove(0);
        let values: Vec<_> = column.as_primitive::<Int64Type>().iter().collect();
        let expected = [Some(1), Some(2), None, Some(4), None, Some(6), Some(7)];
        assert_eq!(values, expected, "{len}");
    }
}

#[test]
fn documents() {
    check_document(r#"{"v":1}"#, "1");
    check_document(" \t\r\n{ \"v\" : 1 , \"x\" : [ { } , [ ] ] } \n", "1");
    check_document("{}", "null");
    check_document(r#"{"v":null}"#, "null");
    check_document(r#"{"V":1}"#, "null");
    check_document(r#"{"\u0076":1}"#, "1");
    check_document(r#"{"v":1,"v":2}"#, "2");
    check_document(r#"{"v":1,"v":null}"#, "null");
    check_document(r#"{"v":null,"v":2}"#, "2");
    check_document(
        r#"{"v":"x","v":2}"#,
        "! field 'v': expected an integer, found \"x\" (byte 5)",
    );
    check_document(r#"{"x":"\ud800","v":1}"#, "1");
    check_document(
        r#"{"v":1}{"v":2}"#,
        "! expected the end of the payload, found an object (byte 7)",
    );
    check_document(
        "{\"v\":1}\n{\"v\":2}",
        "! expected the end of the payload, found an object (byte 8)",
    );
    check_document(
        r#"{"v":1}]"#,
        "! expected the end of the payload, found ] (byte 7)",
    );
    check_document(
        "",
        "! expected an object, found the end of the payload (byte 0)",
    );
    check_document("null", "! expected an object, found null (byte 0)");
    check_document(
        "[{\"v\":1}]",
        "! expected an object, found an array (byte 0)",
    );
    check_document(
        "\u{feff}{}",
        "! expected an object, found \\u{feff} (byte 0)",
    );
    check_document(r#"{"v":1,}"#, "! expected a string, found } (byte 7)");
    check_document(r#"{"v" 1}"#, "! expected ':', found 1 (byte 5)");
    check_document(
        r#"{"v":1 "x":2}"#,
        "! expected ',' or '}', found \"x\" (byte 7)",
    );
    check_document(r#"{'v':1}"#, "! expected a string, found ' (byte 1)");
    check_document(
        "{\"v\":1}\0",
        "! expected the end of the payload, found \\u{0} (byte 7)",
    );
}

#[test]
fn every_part_of_a_document_is_refused() {
    let table = schema([
        position(),
        Field::new("v", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
        json_column("j"),
    ]);
    let whole = r#"{"pos":{"lat":-1.5e1,"tags":["a\u00e9é",null]},"v":12,"x":{"y":[true]},"t":"x","j":[{}]}"#;
    for end in 0..whole.len() {
        let found = read(&config(), &table, &whole.as_bytes()[..end]);
        assert!(
            found.starts_with("! "),
            "{}: {found}",
            &whole.as_bytes()[..end].escape_ascii()
        );
    }
    assert!(!read(&config(), &table, whole.as_bytes()).starts_with("! "));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        format!(
            "{{\"x\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    check_document(nested(128), "null");
    check_document(nested(129), "! nested more than 128 levels deep (byte 132)");
    check_document(
        "[".repeat(1_000_000),
        "! expected an object, found an array (byte 0)",
    );
    check_document(
        format!("{{\"v\":{}", "[{\"a\":".repeat(1_000_000)),
        "! field 'v': expected an integer, found an array (byte 5)",
    );
    let table = schema([json_column("v")]);
    let deep = format!("{{\"v\":{}", "[".repeat(1_000_000));
    assert_eq!(
        read(&config(), &table, deep.as_bytes()),
        "! field 'v': nested more than 128 levels deep (byte 132)"
    );
}

#[test]
fn not_null_columns_must_be_there() {
    let table = schema([
        Field::new("v", DataType::Int64, false),
        Field::new("w", DataType::Int64, true),
    ]);
    let check = |payload: &str, expect: &str| {
        assert_eq!(read(&config(), &table, payload.as_bytes()), expect);
    };
    check(r#"{"v":1}"#, "1 | null");
    check(
        r#"{"w":1}"#,
        "! field 'v': missing, but the column is NOT NULL (byte 0)",
    );
    check(
        r#"{"v":null}"#,
        "! field 'v': null in a NOT NULL column (byte 5)",
    );
}

#[test]
fn a_bad_payload_leaves_the_others_whole() {
    let table = schema([
        position(),
        Field::new(
            "n",
            DataType::new_list(DataType::new_list(DataType::Int64, true), true),
            true,
        ),
        Field::new("b", DataType::Boolean, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("last", DataType::Int64, false),
    ]);
    let good = |i: usize| {
        let tags = (0..i % 3)
            .map(|t| format!("\"tag {t}\""))
            .collect::<Vec<_>>()
            .join(",");
        format!(
            r#"{{"pos":{{"lat":{i},"tags":[{tags}]}},"n":[[{i},null],[]],"b":{},"t":"row {i}","last":{i}}}"#,
            i.is_multiple_of(2)
        )
    };
    let bad = [
        r#"{"pos":{"lat":1,"tags":["x","y",7]},"last":1}"#,
        r#"{"pos":{"lat":1,"tags":["x"]},"n":[[1,2],[3,"x"]],"last":1}"#,
        r#"{"pos":{"lat":1},"n":[[1],[2]],"b":true,"t":"left\ud800","last":1}"#,
        r#"{"pos":null,"n":null,"b":true,"t":"over","last":null}"#,
        r#"{"pos":null,"n":[[1]],"b":true,"t":"over"}"#,
        r#"{"last":1,"b":true,"t":"x","t":"y","n":[[5]],"pos":{"lat":1}} x"#,
        r#"{"b":true,"b":7,"last":1}"#,
    ];
    let mut mixed = Decoder::new(&config(), Arc::clone(&table)).unwrap();
    let mut clean = Decoder::new(&config(), Arc::clone(&table)).unwrap();
    for i in 0..50 {
        mixed.push(good(i).as_bytes()).unwrap();
        clean.push(good(i).as_bytes()).unwrap();
        mixed.push(bad[i % bad.len()].as_bytes()).unwrap_err();
        assert_eq!(mixed.rows(), i + 1);
        assert_eq!(mixed.bytes(), clean.bytes());
    }
    let mixed = RecordBatch::try_new(Arc::clone(&table), mixed.finish().unwrap()).unwrap();
    let clean = RecordBatch::try_new(table, clean.finish().unwrap()).unwrap();
    assert_eq!(mixed, clean);
    assert_eq!(mixed.num_rows(), 50);
}

#[test]
fn a_decoder_starts_anew_after_finish() {
    let mut decoder = Decoder::new(&config(), column(DataType::Utf8)).unwrap();
    for round in 0..3 {
        assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
        assert_eq!(decoder.finish().unwrap()[0].len(), 0);
        decoder
            .push(format!("{{\"v\":\"{round}\"}}").as_bytes())
            .unwrap();
        let columns = decoder.finish().unwrap();
        assert_eq!(columns[0].len(), 1);
        assert_eq!(show(&columns[0], 0), round.to_string());
    }
}

#[test]
fn errors_show_the_payload() {
    let mut decoder = Decoder::new(&config(), column(DataType::Float64)).unwrap();
    let mut error = |payload: &[u8]| decoder.push(payload).unwrap_err().to_string();
    insta::assert_snapshot!(error(br#"{"v":"warm"}"#), @r#"field 'v': expected a number, found "warm" (byte 5) in {"v":"warm"}"#);
    insta::assert_snapshot!(error(b""), @"expected an object, found the end of the payload (byte 0) in an empty payload");
    insta::assert_snapshot!(error(b"\xff\x00\n"), @r"expected an object, found � (byte 0) in �\u{0}\n");
    let long = format!(
        r#"{{"text":"{}","v":"{}"}}"#,
        "ü".repeat(100),
        "ü".repeat(100)
    );
    insta::assert_snapshot!(error(long.as_bytes()), @r#"field 'v': expected a number, found "üüüüüüüüüüüüüüüüüüü… (202 bytes) (byte 215) in {"text":"üüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüüü… (418 bytes)"#);
}

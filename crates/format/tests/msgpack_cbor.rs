//! MessagePack and CBOR: the examples of their specifications, other implementations, and any bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_format::{
    CborOptions, Decoder, Encoder, Format, FormatConfig, MsgpackOptions, Payloads, TimestampFormat,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

mod tables;
use tables::table;

const NANOS: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

fn config(format: Format) -> FormatConfig {
    FormatConfig {
        format: Some(format),
        ..FormatConfig::default()
    }
}

fn column(data_type: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", data_type, true)]))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Reads one payload into one column; its value as text, or what is wrong.
fn read(config: &FormatConfig, schema: &SchemaRef, payload: &[u8]) -> String {
    let mut decoder = Decoder::new(config, Arc::clone(schema)).unwrap();
    let pushed = decoder.push(payload);
    assert_eq!(decoder.rows(), usize::from(pushed.is_ok()));
    let columns = decoder.finish().unwrap();
    match pushed {
        Ok(_) => {
            let options = FormatOptions::default().with_null("null");
            let formatter = ArrayFormatter::try_new(&columns[0], &options).unwrap();
            formatter.value(0).to_string()
        }
        Err(rejected) => {
            assert!(columns[0].is_empty());
            format!("! {}", rejected.bad[0].reason())
        }
    }
}

/// `{"v": …}` with the value's bytes in hexadecimal.
#[track_caller]
fn msgpack(data_type: DataType, value: &str, expect: &str) {
    let payload = hex(&format!("81 a1 76 {value}"));
    let found = read(&config(Format::Msgpack), &column(data_type), &payload);
    assert_eq!(found, expect, "{value}");
}

#[track_caller]
fn cbor(data_type: DataType, value: &str, expect: &str) {
    let payload = hex(&format!("a1 61 76 {value}"));
    let found = read(&config(Format::Cbor), &column(data_type), &payload);
    assert_eq!(found, expect, "{value}");
}

#[test]
fn every_family_of_msgpack_is_understood() {
    use DataType::{Binary, Boolean, Float32, Float64, Int8, Int64, UInt64, Utf8};
    for (value, expect) in [
        ("00", "0"),
        ("7f", "127"),
        ("ff", "-1"),
        ("e0", "-32"),
        ("cc ff", "255"),
        ("cd ff ff", "65535"),
        ("ce ff ff ff ff", "4294967295"),
        ("d0 80", "-128"),
        ("d1 80 00", "-32768"),
        ("d2 80 00 00 00", "-2147483648"),
        ("d3 80 00 00 00 00 00 00 00", "-9223372036854775808"),
        ("cb 40 08 00 00 00 00 00 00", "3"),
        ("a2 34 32", "42"),
        ("c0", "null"),
        (
            "cf ff ff ff ff ff ff ff ff",
            "! field 'v': 18446744073709551615 is not an integer of the column's range (byte 3)",
        ),
        (
            "cb 3f f8 00 00 00 00 00 00",
            "! field 'v': 1.5 is not an integer of the column's range (byte 3)",
        ),
        (
            "c3",
            "! field 'v': expected an integer, found true (byte 3)",
        ),
        (
            "a1 78",
            "! field 'v': expected an integer, found \"x\" (byte 3)",
        ),
    ] {
        msgpack(Int64, value, expect);
    }
    msgpack(
        Int8,
        "cc 80",
        "! field 'v': 128 is not an integer of the column's range (byte 3)",
    );
    msgpack(UInt64, "cf ff ff ff ff ff ff ff ff", "18446744073709551615");
    msgpack(Boolean, "c2", "false");
    msgpack(Boolean, "c3", "true");
    msgpack(Float64, "cb 3f f8 00 00 00 00 00 00", "1.5");
    msgpack(Float64, "ca 3f c0 00 00", "1.5");
    msgpack(Float64, "cb 7f f8 00 00 00 00 00 00", "NaN");
    msgpack(Float64, "07", "7.0");
    msgpack(Float32, "ca 3d cc cc cd", "0.1");
    msgpack(
        Float32,
        "cb 47 ef ff ff ff ff ff ff",
        "! field 'v': 340282366920938430000000000000000000000 is out of range (byte 3)",
    );
    msgpack(Utf8, "a3 c3 a9 21", "é!");
    msgpack(Utf8, "d9 01 78", "x");
    msgpack(Utf8, "da 00 01 78", "x");
    msgpack(Utf8, "db 00 00 00 01 78", "x");
    msgpack(Utf8, "a1 ff", "! field 'v': a string is not UTF-8 (byte 4)");
    msgpack(
        Utf8,
        "07",
        "! field 'v': expected a string, found 7 (byte 3)",
    );
    msgpack(Binary, "c4 02 00 ff", "00ff");
    msgpack(Binary, "c5 00 02 00 ff", "00ff");
    msgpack(Binary, "c6 00 00 00 02 00 ff", "00ff");
    msgpack(Binary, "a4 41 50 38 3d", "00ff");
    msgpack(
        DataType::new_list(Int64, true),
        "93 01 c0 02",
        "[1, null, 2]",
    );
    msgpack(DataType::new_list(Int64, true), "dc 00 01 05", "[5]");
    msgpack(
        DataType::new_list(Int64, true),
        "93 01 c0 a1 78",
        "! field 'v[2]': expected an integer, found \"x\" (byte 6)",
    );
}

#[test]
fn timestamps_of_msgpack_have_three_forms() {
    msgpack(NANOS, "d6 ff 5b d8 3f 0e", "2018-10-30T11:22:54");
    msgpack(
        NANOS,
        "d7 ff 00 00 00 04 00 00 00 00",
        "1970-01-01T00:00:00.000000001",
    );
    msgpack(
        NANOS,
        "c7 0c ff 00 00 00 01 ff ff ff ff ff ff ff ff",
        "1969-12-31T23:59:59.000000001",
    );
    msgpack(
        NANOS,
        "d4 ff 00",
        "! field 'v': a timestamp of the wrong form (byte 4)",
    );
    // A number counts milliseconds, a text is RFC 3339.
    msgpack(
        NANOS,
        "cf 00 00 01 a1 fe 7b 6c 00",
        &millis(0x01a1_fe7b_6c00),
    );
    msgpack(
        NANOS,
        "b4 323032362d31312d32315430363a32343a34385a",
        "2026-11-21T06:24:48",
    );
}

fn millis(value: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(value).unwrap();
    let text = time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    text.trim_end_matches('Z').to_owned()
}

#[test]
fn what_is_no_msgpack_is_bad_data() {
    let schema = column(DataType::Int64);
    for (payload, expect) in [
        ("", "! the payload ends inside a value (byte 0)"),
        ("c1", "! the byte 0xc1 is no MessagePack (byte 0)"),
        ("93 01 02 03", "! expected a map, found a list (byte 0)"),
        (
            "81 a1 76 01 00",
            "! expected the end of the payload, found more bytes (byte 4)",
        ),
        ("82 a1 76 01", "! the payload ends inside a value (byte 4)"),
        (
            "81 c3 01",
            "! a map's key must be a string or an integer, not true (byte 1)",
        ),
        (
            "df ff ff ff ff",
            "! the payload ends inside a value (byte 5)",
        ),
        (
            "81 a1 78 db ff ff ff ff",
            "! the payload ends inside a value (byte 8)",
        ),
    ] {
        assert_eq!(
            read(&config(Format::Msgpack), &schema, &hex(payload)),
            expect,
            "{payload}"
        );
    }
    let deep = [&hex("81 a1 78")[..], &[0x91; 100_000]].concat();
    let found = read(&config(Format::Msgpack), &schema, &deep);
    assert_eq!(found, "! nested more than 128 levels deep (byte 130)");
}

/// RFC 8949, appendix A.
#[test]
fn the_examples_of_the_rfc_are_understood() {
    use DataType::{Binary, Boolean, Decimal128, Float64, Int64, UInt64, Utf8};
    for (value, expect) in [
        ("17", "23"),
        ("18 18", "24"),
        ("19 03 e8", "1000"),
        ("1a 00 0f 42 40", "1000000"),
        ("1b 00 00 00 e8 d4 a5 10 00", "1000000000000"),
        ("20", "-1"),
        ("38 63", "-100"),
        ("39 03 e7", "-1000"),
        ("c2 41 07", "7"),
        ("c3 41 07", "-8"),
        (
            "3b ff ff ff ff ff ff ff ff",
            "! field 'v': -18446744073709551616 is not an integer of the column's range (byte 3)",
        ),
        ("f6", "null"),
        ("f7", "null"),
        (
            "f0",
            "! field 'v': the simple value 16 has no meaning (byte 3)",
        ),
    ] {
        cbor(Int64, value, expect);
    }
    cbor(UInt64, "1b ff ff ff ff ff ff ff ff", "18446744073709551615");
    cbor(Float64, "f9 3c 00", "1.0");
    cbor(Float64, "fb 3f f1 99 99 99 99 99 9a", "1.1");
    cbor(Float64, "fa 47 c3 50 00", "100000.0");
    cbor(Float64, "f9 7c 00", "inf");
    cbor(Boolean, "f4", "false");
    cbor(Boolean, "f5", "true");
    cbor(Utf8, "64 49 45 54 46", "IETF");
    cbor(Utf8, "7f 65 73 74 72 65 61 64 6d 69 6e 67 ff", "streaming");
    cbor(
        Utf8,
        "d8 20 76 68 74 74 70 3a 2f 2f 77 77 77 2e 65 78 61 6d 70 6c 65 2e 63 6f 6d",
        "http://www.example.com",
    );
    cbor(Binary, "44 01 02 03 04", "01020304");
    cbor(Binary, "5f 42 01 02 43 03 04 05 ff", "0102030405");
    cbor(
        NANOS,
        "c0 74 32 30 31 33 2d 30 33 2d 32 31 54 32 30 3a 30 34 3a 30 30 5a",
        "2013-03-21T20:04:00",
    );
    cbor(NANOS, "c1 1a 51 4b 67 b0", "2013-03-21T20:04:00");
    cbor(
        NANOS,
        "c1 fb 41 d4 52 d9 ec 20 00 00",
        "2013-03-21T20:04:00.500",
    );
    cbor(
        DataType::Date32,
        "d9 03 ec 6a 31 39 34 30 2d 31 30 2d 30 39",
        "1940-10-09",
    );
    cbor(DataType::Date32, "d8 64 39 29 b3", "1940-10-09");
    // [-2, 27315] and a mantissa that is a large integer
    cbor(Decimal128(10, 2), "c4 82 21 19 6a b3", "273.15");
    cbor(Decimal128(10, 2), "c4 82 21 c2 42 6a b3", "273.15");
    let list = DataType::new_list(Int64, true);
    cbor(list.clone(), "83 01 02 03", "[1, 2, 3]");
    cbor(list.clone(), "9f 01 02 03 ff", "[1, 2, 3]");
    cbor(
        list,
        "9f 01 02",
        "! field 'v[2]': the payload ends inside a value (byte 6)",
    );
}

#[test]
fn what_is_no_cbor_is_bad_data() {
    let schema = column(DataType::Int64);
    for (payload, expect) in [
        ("", "! the payload ends inside a value (byte 0)"),
        ("1c", "! this byte begins no CBOR value (byte 0)"),
        ("83 01 02 03", "! expected a map, found a list (byte 0)"),
        ("ff", "! expected a value, found a tag or a break (byte 0)"),
        (
            "a1 61 76 01 00",
            "! expected the end of the payload, found more bytes (byte 4)",
        ),
        ("bf 61 76 01", "! the payload ends inside a value (byte 4)"),
        (
            "a1 61 78 7f 41 00 ff",
            "! a string's segments must be strings of its kind (byte 4)",
        ),
        (
            "bb ff ff ff ff ff ff ff ff",
            "! the payload ends inside a value (byte 9)",
        ),
        (
            "a1 61 78 5b ff ff ff ff ff ff ff ff",
            "! the payload ends inside a value (byte 12)",
        ),
        (
            "a1 61 76 c1 61 78",
            "! field 'v': tag 1 must stand before a number (byte 3)",
        ),
    ] {
        assert_eq!(
            read(&config(Format::Cbor), &schema, &hex(payload)),
            expect,
            "{payload}"
        );
    }
    for nest in [0x81, 0x9f, 0xc6] {
        let deep = [&hex("a1 61 78")[..], &vec![nest; 100_000]].concat();
        let found = read(&config(Format::Cbor), &schema, &deep);
        assert!(found.starts_with("! "), "{found}");
    }
    // Indefinite maps, and keys that are integers.
    assert_eq!(
        read(&config(Format::Cbor), &schema, &hex("bf 01 02 61 76 05 ff")),
        "5"
    );
    let senml = Arc::new(Schema::new(vec![Field::new("-2", DataType::Utf8, true)]));
    assert_eq!(
        read(&config(Format::Cbor), &senml, &hex("a1 21 61 78")),
        "x"
    );
}

#[test]
fn a_json_column_takes_anything() {
    let metadata = HashMap::from([("headwater.type".to_owned(), "json".to_owned())]);
    let field = Field::new("v", DataType::Utf8, true).with_metadata(metadata);
    let schema = Arc::new(Schema::new(vec![field]));
    let payload = hex("81 a1 76 83 a1 61 92 01 cb 3f f8 00 00 00 00 00 00 a1 62 c4 01 ff 05 c0");
    let expect = r#"{"a":[1,1.5],"b":"/w==","5":null}"#;
    assert_eq!(read(&config(Format::Msgpack), &schema, &payload), expect);
    let payload = hex("a1 61 76 a2 61 61 c1 1a 51 4b 67 b0 61 62 c4 82 21 19 6a b3");
    let expect = r#"{"a":"2013-03-21T20:04:00Z","b":273.15}"#;
    assert_eq!(read(&config(Format::Cbor), &schema, &payload), expect);
}

#[test]
fn timestamps_are_written_as_asked() {
    let column: ArrayRef = Arc::new(arrow::array::TimestampNanosecondArray::from(vec![
        1_795_242_288_500_000_000,
    ]));
    let schema = self::column(NANOS);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    for (timestamp_format, expect) in [
        (TimestampFormat::Rfc3339, "\"2026-11-21T06:24:48.500Z\""),
        (TimestampFormat::Iso8601, "\"2026-11-21T06:24:48.500\""),
        (TimestampFormat::UnixSeconds, "1795242288.5"),
        (TimestampFormat::UnixMillis, "1795242288500"),
        (TimestampFormat::UnixMicros, "1795242288500000"),
        (TimestampFormat::UnixNanos, "1795242288500000000"),
    ] {
        for format in [Format::Msgpack, Format::Cbor] {
            let config = FormatConfig {
                msgpack: MsgpackOptions { timestamp_format },
                cbor: CborOptions { timestamp_format },
                ..config(format)
            };
            let mut payloads = Payloads::new();
            let mut encoder = Encoder::new(&config, Arc::clone(&schema)).unwrap();
            encoder.encode(&batch, &mut payloads).unwrap();
            let payload = payloads.iter().next().unwrap();
            assert_eq!(by_others(format, payload)["v"].to_string(), expect);
            let mut decoder = Decoder::new(&config, Arc::clone(&schema)).unwrap();
            decoder.push(payload).unwrap();
            assert_eq!(decoder.finish().unwrap(), batch.columns());
        }
    }
}

/// What another implementation reads.
fn by_others(format: Format, payload: &[u8]) -> Value {
    match format {
        Format::Msgpack => rmp_serde::from_slice(payload).unwrap(),
        _ => ciborium::from_reader(payload).unwrap(),
    }
}

/// What another implementation writes.
fn of_others(format: Format, value: &Value) -> Vec<u8> {
    match format {
        Format::Msgpack => rmp_serde::to_vec_named(value).unwrap(),
        _ => {
            let mut payload = Vec::new();
            ciborium::into_writer(value, &mut payload).unwrap();
            payload
        }
    }
}

fn decode(config: &FormatConfig, schema: &SchemaRef, payloads: &[Vec<u8>]) -> RecordBatch {
    let mut decoder = Decoder::new(config, Arc::clone(schema)).unwrap();
    for payload in payloads {
        decoder.push(payload).unwrap();
    }
    RecordBatch::try_new(Arc::clone(schema), decoder.finish().unwrap()).unwrap()
}

fn encode(config: &FormatConfig, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let mut payloads = Payloads::new();
    let mut encoder = Encoder::new(config, batch.schema()).unwrap();
    encoder.encode(batch, &mut payloads).unwrap();
    payloads.iter().map(<[u8]>::to_vec).collect()
}

const BOTH: [Format; 2] = [Format::Msgpack, Format::Cbor];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_values_are_read_as_from_json((schema, rows) in table()) {
        let json: Vec<_> = rows.iter().map(|row| serde_json::to_vec(row).unwrap()).collect();
        let expect = decode(&config(Format::Json), &schema, &json);
        for format in BOTH {
            let payloads: Vec<_> = rows.iter().map(|row| of_others(format, row)).collect();
            prop_assert_eq!(&decode(&config(format), &schema, &payloads), &expect, "{}", format);
        }
    }

    #[test]
    fn what_was_written_is_read_again((schema, rows) in table()) {
        let json: Vec<_> = rows.iter().map(|row| serde_json::to_vec(row).unwrap()).collect();
        let original = decode(&config(Format::Json), &schema, &json);
        for format in BOTH {
            let payloads = encode(&config(format), &original);
            for payload in &payloads {
                prop_assert!(by_others(format, payload).is_object());
            }
            prop_assert_eq!(&decode(&config(format), &schema, &payloads), &original, "{}", format);
        }
    }

    #[test]
    fn bytes_are_read_again(values in vec(prop::option::of(vec(any::<u8>(), 0..40)), 1..10)) {
        let column: ArrayRef = Arc::new(BinaryArray::from_iter(values));
        let original = RecordBatch::try_new(self::column(DataType::Binary), vec![column]).unwrap();
        for format in BOTH {
            let payloads = encode(&config(format), &original);
            prop_assert_eq!(decode(&config(format), &original.schema(), &payloads), original.clone());
        }
    }

    #[test]
    fn no_bytes_do_harm((schema, rows) in table(), noise in vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), len in 0..6usize, piece in vec(any::<u8>(), 0..4)) {
        for format in BOTH {
            let good = of_others(format, &rows[0]);
            let mut mutated = good.clone();
            let start = at.index(mutated.len());
            let end = (start + len).min(mutated.len());
            mutated.splice(start..end, piece.clone());
            let mut decoder = Decoder::new(&config(format), Arc::clone(&schema)).unwrap();
            decoder.push(&good).unwrap();
            let mut count = 2;
            for payload in [&noise, &mutated] {
                count += decoder.push(payload).unwrap_or(0);
            }
            decoder.push(&good).unwrap();
            prop_assert_eq!(decoder.rows(), count);
            let found = RecordBatch::try_new(Arc::clone(&schema), decoder.finish().unwrap()).unwrap();
            let expect = decode(&config(format), &schema, std::slice::from_ref(&good));
            prop_assert_eq!(found.slice(0, 1), expect.clone());
            prop_assert_eq!(found.slice(count - 1, 1), expect);
        }
    }
}

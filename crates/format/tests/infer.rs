//! Inference: what samples become, and that it reads them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use headwater_format::infer::{Inference, infer};
use headwater_format::{Decoder, Format};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

mod tables;
use tables::table;

/// `options | column type, …`, with `!` behind columns that were always there.
fn shown(inference: &Inference) -> String {
    let options = inference
        .options
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let schema = inference.schema();
    let columns = inference
        .columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let mark = if column.nullable { "" } else { "!" };
            format!("{} {}{mark}", column.name(), sql_type(field))
        });
    let options: Vec<_> = options.collect();
    let columns: Vec<_> = columns.collect();
    format!("{} | {}", options.join(" "), columns.join(", "))
}

/// The types that can be inferred, as SQL calls them.
fn sql_type(field: &Field) -> String {
    match field.data_type() {
        DataType::Utf8 if field.metadata().contains_key("headwater.type") => "JSON".to_owned(),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::List(item) => format!("{}[]", sql_type(item)),
        DataType::Struct(fields) => {
            let member = |field: &Arc<Field>| format!("{} {}", field.name(), sql_type(field));
            let members: Vec<_> = fields.iter().map(member).collect();
            format!("STRUCT<{}>", members.join(", "))
        }
        other => other.to_string(),
    }
}

#[track_caller]
fn check(samples: &[&str], expect: &str) {
    let inference = infer(samples).unwrap();
    assert_eq!(shown(&inference), expect);
}

#[test]
fn objects_are_tables() {
    check(
        &[r#"{"device":"a","t":21.5,"n":1,"ok":true}"#],
        "format=json | device TEXT!, t DOUBLE!, n BIGINT!, ok BOOLEAN!",
    );
    check(
        &[r#"{"t":21}"#, r#"{"t":21.5,"x":null}"#, "{}"],
        "format=json | t DOUBLE, x TEXT",
    );
    check(
        &[r#"{"a":"2026-11-21T06:24:48Z","b":"2026-11-21","c":"06:24"}"#],
        "format=json | a TIMESTAMP!, b DATE!, c TEXT!",
    );
    check(
        &[r#"{"a":"2026-11-21T06:24:48Z"}"#, r#"{"a":"soon"}"#],
        "format=json | a TEXT!",
    );
    check(
        &[
            r#"{"pos":{"lat":1,"at":{}},"tags":["x",null],"m":[[1],[2.5]]}"#,
            r#"{"pos":{"lat":1.5}}"#,
        ],
        "format=json | pos JSON!, tags TEXT[], m DOUBLE[][]",
    );
    check(
        &[r#"{"pos":{"lat":1,"Lon":2},"l":[{"a":1},{"b":[]}]}"#],
        "format=json | pos STRUCT<lat BIGINT, Lon BIGINT>!, l JSON!",
    );
    check(&[r#"{"v":1}"#, r#"{"v":"on"}"#], "format=json | v JSON!");
    check(
        &[r#"{"v":18446744073709551615,"w":1e400,"order":1}"#],
        "format=json | v DECIMAL(38, 0)!, w JSON!, order BIGINT!",
    );
}

#[test]
fn times_are_told_by_name_and_range() {
    check(
        &[r#"{"ts":1795242288,"id":1795242288}"#],
        "format=json json.timestamp_format=unix_seconds | ts TIMESTAMP!, id BIGINT!",
    );
    check(
        &[r#"{"created_at":1795242288123,"x":{"sendTime":1795242288124}}"#],
        r#"format=json json.timestamp_format=unix_millis | created_at TIMESTAMP!, x STRUCT<sendTime TIMESTAMP>!"#,
    );
    check(
        &[r#"{"ts":1795242288.25}"#],
        "format=json json.timestamp_format=unix_seconds | ts TIMESTAMP!",
    );
    check(
        &[r#"{"timestamp":1795242288123456789}"#],
        "format=json json.timestamp_format=unix_nanos | timestamp TIMESTAMP!",
    );
    // Only one unit for a table; and a time that is far from our days is a number.
    check(
        &[r#"{"ts":1795242288,"time":1795242288123}"#],
        "format=json json.timestamp_format=unix_seconds | ts TIMESTAMP!, time BIGINT!",
    );
    check(
        &[r#"{"time":12}"#, r#"{"time":1795242288}"#],
        "format=json | time BIGINT!",
    );
}

#[test]
fn the_format_is_told_by_the_bytes() {
    check(
        &["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}"],
        "format=json framing=newline | a BIGINT!",
    );
    check(
        &["[1,2]", "{\"a\":1}"],
        "format=json json.unstructured=true | value JSON!",
    );
    check(&["21.5", "on"], "format=raw_string | value TEXT!");
    check(&["{\"a\":1}", "oops"], "format=raw_string | value TEXT!");
    check(
        &["a;1;2.5\nb;2;\n", "c;3;1"],
        "format=csv csv.delimiter=; | c1 TEXT!, c2 BIGINT!, c3 DOUBLE",
    );
    check(
        &["device,ts\na,1795242288\n", "device,ts\nb,1795242289"],
        "format=csv csv.header=true csv.timestamp_format=unix_seconds | device TEXT!, ts TIMESTAMP!",
    );
    let bytes = infer(&[&[0xFF, 0x00][..], b"text"]).unwrap();
    assert_eq!(shown(&bytes), "format=raw_bytes | value BYTEA!");
    let value = json!({"t": 21.5, "at": [1, 2]});
    let mut cbor = Vec::new();
    ciborium::into_writer(&value, &mut cbor).unwrap();
    assert_eq!(
        shown(&infer(&[&cbor]).unwrap()),
        "format=cbor | t DOUBLE!, at BIGINT[]!"
    );
    let packed = rmp_serde::to_vec_named(&value).unwrap();
    assert_eq!(
        shown(&infer(&[&packed]).unwrap()),
        "format=msgpack | t DOUBLE!, at BIGINT[]!"
    );
    let zstd = zstd::encode_all(&b"{\"a\":1}"[..], 3).unwrap();
    assert_eq!(
        shown(&infer(&[&zstd, &zstd]).unwrap()),
        "format=json compression=zstd | a BIGINT!"
    );
}

#[test]
fn nothing_comes_of_nothing() {
    assert!(infer::<&[u8]>(&[]).is_none());
    assert!(infer(&[""]).is_none());
    check(&["", r#"{"a":1}"#], "format=json | a BIGINT!");
}

fn reads(inference: &Inference, samples: &[Vec<u8>]) -> bool {
    let mut decoder = Decoder::new(inference.config(), inference.schema()).unwrap();
    samples.iter().all(|sample| decoder.push(sample).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_any_shape_are_read_by_their_format((_, rows) in table()) {
        let some = rows.iter().any(|row| row.as_object().is_some_and(|row| !row.is_empty()));
        prop_assume!(some);
        let json: Vec<_> = rows.iter().map(|row| serde_json::to_vec(row).unwrap()).collect();
        let packed: Vec<_> = rows.iter().map(|row| rmp_serde::to_vec_named(row).unwrap()).collect();
        for (format, samples) in [(Format::Json, json), (Format::Msgpack, packed)] {
            let inference = infer(&samples).unwrap();
            prop_assert_eq!(inference.config().format, Some(format));
            prop_assert!(!inference.config().json.unstructured);
            prop_assert!(reads(&inference, &samples));
        }
    }

    #[test]
    fn whatever_is_sampled_is_read(samples in vec(prop_oneof![
        vec(any::<u8>(), 1..20),
        "[a-c0-9,;. {}\n\"]{1,20}".prop_map(String::into_bytes),
        any::<i64>().prop_map(|v| json!({"a": v, "ts": v}).to_string().into_bytes()),
        Just(json!({"a": Value::Null, "b": [1, {"c": []}]}).to_string().into_bytes()),
    ], 1..5)) {
        let inference = infer(&samples).unwrap();
        prop_assert!(reads(&inference, &samples), "{}", shown(&inference));
    }
}

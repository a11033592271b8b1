//! Messages that another implementation has made, read and written again: nothing is lost of any type.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use base64::Engine;
use headwater_format::{Decoder, Format};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::write::{columns, encode, encoder, json_field};
use crate::{config, message, payload, schema};

fn all_columns() -> SchemaRef {
    let mut fields = columns().fields().to_vec();
    let more = [
        ("is_transient", DataType::Boolean),
        ("value_double", DataType::Float64),
        ("value_bigint", DataType::Int64),
        ("value_boolean", DataType::Boolean),
        ("value_text", DataType::Utf8),
        ("value_bytes", DataType::Binary),
    ];
    fields.extend(schema(&more).fields().iter().cloned());
    fields.extend([
        json_field("value_json").into(),
        json_field("properties").into(),
    ]);
    Arc::new(Schema::new(fields))
}

/// A datatype, and a value of it in the JSON notation of the message.
fn value() -> impl Strategy<Value = (u32, &'static str, Value)> {
    let base64 = |bytes: Vec<u8>| json!(base64::engine::general_purpose::STANDARD.encode(bytes));
    let float = prop_oneof![
        any::<f32>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| json!(v)),
        Just(json!("NaN")),
        Just(json!("-Infinity"))
    ];
    let double = prop_oneof![
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| json!(v)),
        Just(json!("NaN")),
        Just(json!("Infinity"))
    ];
    let time = 0..=253_402_300_799_999_u64;
    let bools = vec(any::<bool>(), 0..20).prop_map(move |bools| {
        let mut bytes = (bools.len() as u32).to_le_bytes().to_vec();
        for bits in bools.chunks(8) {
            let bit = |(at, is): (usize, &bool)| if *is { 0x80 >> at } else { 0 };
            bytes.push(bits.iter().enumerate().map(bit).sum());
        }
        base64(bytes)
    });
    let texts = vec("[a-zäß\"\\\\]{0,5}\0", 0..4)
        .prop_map(move |texts| base64(texts.concat().into_bytes()));
    let times = vec(time.clone(), 0..4)
        .prop_map(move |times| base64(times.iter().flat_map(|t| t.to_le_bytes()).collect()));
    let doubles = vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 0..4)
        .prop_map(move |items| base64(items.iter().flat_map(|v| v.to_le_bytes()).collect()));
    let int = |value: i32| json!(value as u32);
    prop_oneof![
        any::<i8>().prop_map(move |v| (1, "intValue", int(v.into()))),
        any::<i16>().prop_map(move |v| (2, "intValue", int(v.into()))),
        any::<i32>().prop_map(move |v| (3, "intValue", int(v))),
        any::<i64>().prop_map(|v| (4, "longValue", json!((v as u64).to_string()))),
        any::<u8>().prop_map(|v| (5, "intValue", json!(v))),
        any::<u16>().prop_map(|v| (6, "intValue", json!(v))),
        any::<u32>().prop_map(|v| (7, "intValue", json!(v))),
        any::<u64>().prop_map(|v| (8, "longValue", json!(v.to_string()))),
        float.prop_map(|v| (9, "floatValue", v)),
        double.prop_map(|v| (10, "doubleValue", v)),
        any::<bool>().prop_map(|v| (11, "booleanValue", json!(v))),
        (prop_oneof![Just(12), Just(14), Just(15)], ".*").prop_map(|(t, v)| (
            t,
            "stringValue",
            json!(v)
        )),
        time.prop_map(|v| (13, "longValue", json!(v.to_string()))),
        (
            prop_oneof![Just(17), Just(18), Just(22), Just(26)],
            vec(any::<u8>(), 0..20)
        )
            .prop_map(move |(t, v)| (t, "bytesValue", base64(v))),
        (prop_oneof![Just(25), Just(29)], vec(any::<[u8; 8]>(), 0..4)).prop_map(move |(t, v)| (
            t,
            "bytesValue",
            base64(v.concat())
        )),
        (prop_oneof![Just(24), Just(28)], vec(any::<[u8; 4]>(), 0..4)).prop_map(move |(t, v)| (
            t,
            "bytesValue",
            base64(v.concat())
        )),
        (prop_oneof![Just(23), Just(27)], vec(any::<[u8; 2]>(), 0..4)).prop_map(move |(t, v)| (
            t,
            "bytesValue",
            base64(v.concat())
        )),
        doubles.prop_map(|v| (31, "bytesValue", v)),
        bools.prop_map(|v| (32, "bytesValue", v)),
        texts.prop_map(|v| (33, "bytesValue", v)),
        times.prop_map(|v| (34, "bytesValue", v)),
        (1..=15_u32).prop_map(|t| (t, "isNull", json!(true))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_read_is_written_as_it_was((datatype, member, value) in value(), name in "\\PC{1,8}", alias in any::<Option<u32>>(), is_historical in any::<bool>(), stale in any::<bool>(), seq in 0..256_u32) {
        let mut metric = json!({"name": name, "timestamp": "1500", "datatype": datatype, member: value});
        if let Some(alias) = alias {
            metric["alias"] = json!(alias.to_string());
        }
        if is_historical {
            metric["isHistorical"] = json!(true);
        }
        if stale {
            metric["properties"] = json!({"keys": ["Quality"], "values": [{"type": 3, "intValue": 500}]});
        }
        let sent = json!({"timestamp": "1000", "metrics": [metric], "seq": seq.to_string()});
        let schema = all_columns();
        let read = |payload: &[u8]| {
            let mut decoder = Decoder::new(&config(Format::SparkplugB), Arc::clone(&schema)).unwrap();
            decoder.push_from(payload, Some("spBv1.0/g/DBIRTH/n/d")).unwrap();
            RecordBatch::try_new(Arc::clone(&schema), decoder.finish().unwrap()).unwrap()
        };
        let rows = read(&payload(&sent));
        let written = encode(&mut encoder(&schema), "spBv1.0/g/DBIRTH/n/d", &rows).remove(0).unwrap();
        prop_assert_eq!(message(&written), message(&payload(&sent)));
        prop_assert_eq!(format!("{:?}", read(&written)), format!("{rows:?}"));
    }
}

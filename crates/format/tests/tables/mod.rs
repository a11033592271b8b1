//! Tables of any types, and rows that fit them, as JSON values.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test fails by panicking, and not every test needs all of this"
)]

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Texts with and without what must be escaped.
pub fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{0,12}",
        "[\"\\\\/\u{0}-\u{1f} é😀a]{0,20}",
    ]
}

/// A value for a type, or null if it is nullable.
pub fn value_of(field: &Field) -> BoxedStrategy<Value> {
    let value = match field.data_type() {
        DataType::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        DataType::Int8 => any::<i8>().prop_map(Value::from).boxed(),
        DataType::Int16 => any::<i16>().prop_map(Value::from).boxed(),
        DataType::Int32 => any::<i32>().prop_map(Value::from).boxed(),
        DataType::Int64 => any::<i64>().prop_map(Value::from).boxed(),
        DataType::UInt8 => any::<u8>().prop_map(Value::from).boxed(),
        DataType::UInt16 => any::<u16>().prop_map(Value::from).boxed(),
        DataType::UInt32 => any::<u32>().prop_map(Value::from).boxed(),
        DataType::UInt64 => any::<u64>().prop_map(Value::from).boxed(),
        // serde_json writes a single with the digits of the double that equals it.
        DataType::Float32 => any::<f32>().prop_map(|v| json!(f64::from(v))).boxed(),
        DataType::Float64 => prop_oneof![
            any::<f64>(),
            (-10_000..10_000i32).prop_map(|v| f64::from(v) / 100.0)
        ]
        .prop_map(Value::from)
        .boxed(),
        DataType::Timestamp(..) => (0i64..4_000_000_000, 0i64..1_000_000_000)
            .prop_map(|(seconds, nanos)| {
                let time = chrono::DateTime::from_timestamp(seconds, nanos as u32).unwrap();
                json!(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, nanos % 2 == 0))
            })
            .boxed(),
        DataType::Date32 => (-100_000..100_000i64)
            .prop_map(|days| {
                let date = chrono::DateTime::from_timestamp(days * 86_400, 0).unwrap();
                json!(date.date_naive().to_string())
            })
            .boxed(),
        DataType::Decimal128(_, _) => (-1_000_000..1_000_000i64)
            .prop_map(|v| {
                serde_json::from_str(&format!("{}.{:03}", v / 1000, v.abs() % 1000)).unwrap()
            })
            .boxed(),
        DataType::Struct(fields) => object_of(fields).boxed(),
        DataType::List(item) => vec(value_of(item), 0..4).prop_map(Value::from).boxed(),
        _ => any_text().prop_map(Value::from).boxed(),
    };
    if field.is_nullable() {
        prop_oneof![1 => Just(Value::Null), 4 => value].boxed()
    } else {
        value
    }
}

/// An object with the members in any order, some nulls left out, and some members that nobody knows.
pub fn object_of(fields: &Fields) -> impl Strategy<Value = Value> + use<> {
    let members: Vec<_> = fields.iter().map(|field| value_of(field)).collect();
    let names: Vec<_> = fields.iter().map(|field| field.name().clone()).collect();
    let unknown = vec(("x[a-z]{0,20}", any_text()), 0..3);
    (members, any::<bool>(), unknown, any::<bool>()).prop_map(
        move |(values, omit, unknown, reverse)| {
            let known = names.iter().cloned().zip(values);
            let mut members: Vec<_> = known.filter(|(_, v)| !(omit && v.is_null())).collect();
            members.extend(
                unknown
                    .into_iter()
                    .map(|(name, v)| (name, json!([v, {"k": null}]))),
            );
            if reverse {
                members.reverse();
            }
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        },
    )
}

pub fn type_of() -> impl Strategy<Value = DataType> {
    use DataType::{
        Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let plain = prop::sample::select(vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Decimal128(10, 3),
        Date32,
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Millisecond, None),
        Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Timestamp(TimeUnit::Nanosecond, None),
    ]);
    plain.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>())
                .prop_map(|(item, nullable)| DataType::new_list(item, nullable)),
            fields_of(inner, 1..4).prop_map(DataType::Struct),
        ]
    })
}

pub fn fields_of(
    types: impl Strategy<Value = DataType>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Fields> {
    vec((types, any::<bool>()), count).prop_map(|types| {
        let field = |(index, (data_type, nullable)): (usize, (DataType, bool))| {
            // Short and long names, with and without escapes.
            let name = format!(
                "{}{index}",
                ["f", "a longer name of field ", "é\"\n"][index % 3]
            );
            Field::new(name, data_type, nullable)
        };
        types.into_iter().enumerate().map(field).collect()
    })
}

/// A table and rows that fit it.
pub fn table() -> impl Strategy<Value = (SchemaRef, Vec<Value>)> {
    fields_of(type_of(), 1..6).prop_flat_map(|fields| {
        let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
        (Just(schema), vec(object_of(&fields), 1..6))
    })
}

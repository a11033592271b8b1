//! Avro: beside arrow-avro, the specification's examples, and any bytes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_avro::reader::ReaderBuilder;
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use headwater_format::{AvroOptions, Decoder, Encoder, Format, FormatConfig, Payloads};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

mod tables;

fn config(schema: &Value, raw_datums: bool) -> FormatConfig {
    FormatConfig {
        format: Some(Format::Avro),
        avro: AvroOptions {
            schema: Some(schema.to_string()),
            raw_datums,
            ..AvroOptions::default()
        },
        ..FormatConfig::default()
    }
}

fn json_config() -> FormatConfig {
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

/// Reads `{"v": …}` of an Avro type into one column.
#[track_caller]
fn check(avro: Value, data_type: DataType, datum: &str, expect: &str) {
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "v", "type": avro}]});
    let columns = Arc::new(Schema::new(vec![Field::new("v", data_type, true)]));
    let mut decoder = Decoder::new(&config(&schema, true), columns).unwrap();
    let found = match decoder.push(&hex(datum)) {
        Err(rejected) => format!("! {}", rejected.bad[0].reason()),
        Ok(_) => {
            let columns = decoder.finish().unwrap();
            let options = FormatOptions::default().with_null("null");
            let formatter = ArrayFormatter::try_new(&columns[0], &options).unwrap();
            formatter.value(0).to_string()
        }
    };
    assert_eq!(found, expect, "{avro} {datum}");
}

#[test]
fn every_type_is_read() {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Int32, Int64, Utf8};
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let micros = DataType::Time64(TimeUnit::Microsecond);
    // The numbers of the specification.
    for (datum, expect) in [
        ("00", "0"),
        ("01", "-1"),
        ("02", "1"),
        ("03", "-2"),
        ("7f", "-64"),
        ("80 01", "64"),
    ] {
        check(json!("long"), Int64, datum, expect);
        check(json!("int"), Int32, datum, expect);
    }
    check(
        json!("long"),
        Int64,
        "ff ff ff ff ff ff ff ff ff 01",
        "-9223372036854775808",
    );
    check(
        json!("int"),
        Int64,
        "80 80 80 80 20",
        "! field 'v': an int of more than 32 bits (byte 0)",
    );
    check(
        json!("long"),
        Int64,
        "ff ff ff ff ff ff ff ff ff ff 01",
        "! field 'v': a number of more than 64 bits (byte 0)",
    );
    check(json!("boolean"), Boolean, "01", "true");
    check(
        json!("boolean"),
        Boolean,
        "02",
        "! field 'v': 2 is no boolean (byte 0)",
    );
    check(json!("float"), Float32, "00 00 c0 3f", "1.5");
    check(json!("double"), Float64, "00 00 00 00 00 00 f8 3f", "1.5");
    check(json!("string"), Utf8, "06 66 6f 6f", "foo");
    check(json!("string"), Int64, "04 34 32", "42");
    check(
        json!("string"),
        Utf8,
        "05",
        "! field 'v': a negative length (byte 0)",
    );
    check(
        json!("string"),
        Utf8,
        "08 66",
        "! field 'v': the payload ends inside a value (byte 2)",
    );
    check(json!("bytes"), Binary, "04 00 ff", "00ff");
    check(
        json!({"type": "fixed", "name": "f", "size": 2}),
        Binary,
        "00 ff",
        "00ff",
    );
    check(
        json!({"type": "enum", "name": "e", "symbols": ["A", "B"]}),
        Utf8,
        "02",
        "B",
    );
    check(
        json!({"type": "enum", "name": "e", "symbols": ["A", "B"]}),
        Utf8,
        "04",
        "! field 'v': a symbol that the enum does not have (byte 0)",
    );
    check(json!(["null", "string"]), Utf8, "00", "null");
    check(json!(["null", "string"]), Utf8, "02 02 61", "a");
    check(
        json!(["null", "string"]),
        Utf8,
        "04 02 61",
        "! field 'v': a branch that the union does not have (byte 0)",
    );
    check(
        json!({"type": "array", "items": "long"}),
        DataType::new_list(Int64, true),
        "04 06 36 00",
        "[3, 27]",
    );
    check(
        json!({"type": "array", "items": "long"}),
        DataType::new_list(Int64, true),
        "03 04 06 36 02 02 00",
        "[3, 27, 1]",
    );
    check(
        json!({"type": "int", "logicalType": "date"}),
        Date32,
        "02",
        "1970-01-02",
    );
    check(
        json!({"type": "long", "logicalType": "time-micros"}),
        micros,
        "02",
        "00:00:00.000001",
    );
    check(
        json!({"type": "long", "logicalType": "timestamp-millis"}),
        nanos.clone(),
        "02",
        "1970-01-01T00:00:00.001",
    );
    check(
        json!({"type": "long", "logicalType": "timestamp-micros"}),
        nanos.clone(),
        "01",
        "1969-12-31T23:59:59.999999",
    );
    check(json!("long"), nanos, "d0 0f", "1970-01-01T00:00:01");
    check(
        json!({"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}),
        Decimal128(6, 2),
        "04 fb 2e",
        "-12.34",
    );
    check(
        json!({"type": "fixed", "name": "d", "size": 20, "logicalType": "decimal", "precision": 6, "scale": 2}),
        Decimal128(6, 2),
        &format!("{} fb 2e", "ff".repeat(18)),
        "-12.34",
    );
    check(
        json!({"type": "string", "logicalType": "unheard-of"}),
        Utf8,
        "02 61",
        "a",
    );
    let place = DataType::Struct(Fields::from(vec![Field::new("lat", Int64, true)]));
    check(
        json!({"type": "map", "values": "long"}),
        place,
        "04 06 6c 61 74 0a 02 78 02 00",
        "{lat: 5}",
    );
}

#[test]
fn hostile_datums_are_bad_data() {
    let list = DataType::new_list(DataType::Int64, true);
    check(
        json!({"type": "array", "items": "null"}),
        list.clone(),
        "fe ff ff ff ff ff ff ff ff 01",
        "! field 'v': more than 100000 items without bytes (byte 10)",
    );
    check(
        json!({"type": "array", "items": "long"}),
        list,
        "fe ff ff ff ff ff ff ff ff 01 02",
        "! field 'v[1]': the payload ends inside a value (byte 11)",
    );
    check(
        json!("long"),
        DataType::Int64,
        "02 00",
        "! expected the end of the payload, found more bytes; is this the schema it was written with? (byte 1)",
    );
    // A list of itself, a hundred thousand deep.
    let node = json!({"type": "record", "name": "n", "fields": [
        {"name": "v", "type": ["null", "long"]}, {"name": "next", "type": ["null", "n"]}]});
    let columns = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let mut decoder = Decoder::new(&config(&node, true), columns).unwrap();
    assert_eq!(decoder.push(&hex("00 02 00 02 00 00")), Ok(1));
    let rejected = decoder.push(&hex(&"00 02 ".repeat(100_000))).unwrap_err();
    assert!(
        rejected.bad[0]
            .reason()
            .starts_with("nested more than 128 levels deep")
    );
    assert_eq!(decoder.rows(), 1);
}

#[test]
fn schemas_that_cannot_be_used_are_refused() {
    let columns = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let error = |schema: &Value| {
        let made = Decoder::new(&config(schema, true), Arc::clone(&columns));
        made.unwrap_err().to_string()
    };
    let record = |avro: Value| json!({"type": "record", "name": "r", "fields": [{"name": "v", "type": avro}]});
    insta::assert_snapshot!(error(&json!("long")), @"option 'avro.schema': the schema must be a record, whose fields are the columns");
    insta::assert_snapshot!(error(&record(json!("lnog"))), @"option 'avro.schema': field 'v': unknown type 'lnog'");
    insta::assert_snapshot!(error(&json!({"type": "record", "name": "r", "fields": [{"name": "w", "type": "long"}]})), @"column 'v' is no field of the Avro schema, which has 'w'");
    let mut config = config(&json!("long"), true);
    config.avro.schema = Some("{".to_owned());
    let made = Decoder::new(&config, Arc::clone(&columns));
    insta::assert_snapshot!(made.unwrap_err(), @"option 'avro.schema': not JSON: EOF while parsing an object at line 1 column 1");
    config.avro.schema = None;
    let made = Decoder::new(&config, Arc::clone(&columns));
    insta::assert_snapshot!(made.unwrap_err(), @"format 'avro' needs one of the options 'avro.schema' and 'avro.schema_file'");
    config.avro.schema_file = Some("/nowhere/x.avsc".to_owned());
    let made = Decoder::new(&config, columns);
    insta::assert_snapshot!(made.unwrap_err(), @"option 'avro.schema_file': '/nowhere/x.avsc' cannot be read: No such file or directory (os error 2)");
}

#[test]
fn fingerprints_are_those_of_others() {
    let schemas = [
        json!({"type": "record", "name": "r", "fields": []}),
        json!({"type": "record", "name": "a.b.R", "doc": "x", "aliases": ["old"], "fields": [
            {"name": "v", "type": ["null", {"type": "string"}], "default": null, "order": "ignore"},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"], "default": "A"}},
            {"name": "again", "type": "E"},
            {"name": "m", "type": {"type": "map", "values": {"type": "array", "items": "bytes"}}},
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}),
        json!({"type": "record", "name": "R", "namespace": "n.s", "fields": [
            {"name": "f", "type": {"type": "fixed", "name": "F", "size": 16, "namespace": "other"}},
            {"name": "g", "type": "other.F"},
            {"name": "next", "type": ["null", "R"]}]}),
    ];
    for schema in schemas {
        let expect = AvroSchema::new(schema.to_string())
            .fingerprint(FingerprintAlgorithm::Rabin)
            .unwrap();
        let columns = Arc::new(Schema::empty());
        let mut decoder = Decoder::new(&config(&schema, false), columns).unwrap();
        let other = decoder
            .push(&hex("c3 01 00 00 00 00 00 00 00 00"))
            .unwrap_err();
        let Fingerprint::Rabin(expect) = expect else {
            panic!("{expect:?}");
        };
        let expect = format!("the table's is {expect:016x} (byte 2)");
        assert!(other.bad[0].reason().ends_with(&expect), "{other} {schema}");
    }
}

#[test]
fn rows_that_the_schema_cannot_express_are_named() {
    let columns = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let mut decoder = Decoder::new(&json_config(), Arc::clone(&columns)).unwrap();
    for value in ["1", "3000000000", "null"] {
        decoder
            .push(format!("{{\"v\":{value}}}").as_bytes())
            .unwrap();
    }
    let batch = RecordBatch::try_new(Arc::clone(&columns), decoder.finish().unwrap()).unwrap();
    let schema = json!({"type": "record", "name": "r", "fields": [{"name": "v", "type": "int"}]});
    let mut encoder = Encoder::new(&config(&schema, true), columns).unwrap();
    let mut payloads = Payloads::new();
    let mut error = |batch| {
        encoder
            .encode(&batch, &mut payloads)
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(error(batch.clone()), @"row 1 of a batch cannot be written: field 'v': 3000000000 is beyond an int");
    insta::assert_snapshot!(error(batch.slice(2, 1)), @"row 0 of a batch cannot be written: field 'v': expected an integer, found null");
    // the row before the first of them was written, and nothing of those that could not be
    assert_eq!(payloads.iter().collect::<Vec<_>>(), [[2]]);
}

/// The Avro schema of an Arrow type. Records are numbered, because names are unique.
fn avro_of(field: &Field, records: &mut usize) -> Value {
    let logical = |plain: &str, logical: &str| json!({"type": plain, "logicalType": logical});
    let avro = match field.data_type() {
        DataType::Boolean => json!("boolean"),
        DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Binary => json!("bytes"),
        DataType::Date32 => logical("int", "date"),
        DataType::Timestamp(TimeUnit::Millisecond, _) => logical("long", "timestamp-millis"),
        DataType::Timestamp(..) => logical("long", "timestamp-micros"),
        DataType::Decimal128(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        DataType::List(item) => json!({"type": "array", "items": avro_of(item, records)}),
        DataType::Struct(fields) => record_of(fields, records),
        _ => json!("string"),
    };
    match field.is_nullable() {
        true => json!(["null", avro]),
        false => avro,
    }
}

fn record_of(fields: &Fields, records: &mut usize) -> Value {
    *records += 1;
    let name = format!("r{records}");
    let field = |field: &Arc<Field>| json!({"name": field.name(), "type": avro_of(field, records)});
    let fields: Vec<_> = fields.iter().map(field).collect();
    json!({"type": "record", "name": name, "fields": fields})
}

/// The same fields with names that Avro allows.
fn renamed(fields: &Fields) -> Fields {
    let rename = |(index, field): (usize, &Arc<Field>)| {
        let data_type = match field.data_type() {
            DataType::Struct(inner) => DataType::Struct(renamed(inner)),
            DataType::List(item) => {
                let item = renamed(&Fields::from(vec![Arc::clone(item)]));
                DataType::List(Arc::new(Field::clone(&item[0]).with_name("item")))
            }
            other => other.clone(),
        };
        Field::new(format!("f{index}"), data_type, field.is_nullable())
    };
    fields.iter().enumerate().map(rename).collect()
}

fn type_of() -> impl Strategy<Value = DataType> {
    let plain = prop::sample::select(vec![
        DataType::Boolean,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Date32,
        DataType::Decimal128(10, 3),
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, None),
    ]);
    plain.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(item, null)| DataType::new_list(item, null)),
            tables::fields_of(inner, 1..4).prop_map(DataType::Struct),
        ]
    })
}

/// A table and its rows, read from JSON.
fn table() -> impl Strategy<Value = RecordBatch> {
    let fields = tables::fields_of(type_of(), 1..6).prop_map(|fields| renamed(&fields));
    let rows = |fields: Fields| {
        let rows = vec(tables::object_of(&fields), 1..6);
        (Just(Arc::new(Schema::new(fields)) as SchemaRef), rows)
    };
    fields.prop_flat_map(rows).prop_map(|(schema, rows)| {
        let mut decoder = Decoder::new(&json_config(), Arc::clone(&schema)).unwrap();
        for row in rows {
            decoder.push(row.to_string().as_bytes()).unwrap();
        }
        RecordBatch::try_new(schema, decoder.finish().unwrap()).unwrap()
    })
}

fn encode(config: &FormatConfig, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let mut payloads = Payloads::new();
    let mut encoder = Encoder::new(config, batch.schema()).unwrap();
    encoder.encode(batch, &mut payloads).unwrap();
    payloads.iter().map(<[u8]>::to_vec).collect()
}

/// The rows as JSON, which does not care for the names of list items and other metadata.
fn shown(batch: &RecordBatch) -> Vec<String> {
    let rows = encode(&json_config(), batch);
    rows.into_iter()
        .map(|row| String::from_utf8(row).unwrap())
        .collect()
}

fn by_others(schema: &Value, payloads: &[Vec<u8>]) -> RecordBatch {
    let mut store = SchemaStore::new();
    store.register(AvroSchema::new(schema.to_string())).unwrap();
    let builder = ReaderBuilder::new().with_writer_schema_store(store);
    let mut decoder = builder.with_batch_size(1024).build_decoder().unwrap();
    for payload in payloads {
        assert_eq!(decoder.decode(payload).unwrap(), payload.len());
    }
    decoder.flush().unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_by_us_and_by_others(batch in table()) {
        let schema = record_of(batch.schema().fields(), &mut 0);
        for raw in [false, true] {
            let config = config(&schema, raw);
            let payloads = encode(&config, &batch);
            let mut decoder = Decoder::new(&config, batch.schema()).unwrap();
            for payload in &payloads {
                prop_assert_eq!(decoder.push(payload).map_err(|e| e.to_string()), Ok(1));
            }
            prop_assert_eq!(&decoder.finish().unwrap()[..], batch.columns());
            if !raw {
                prop_assert_eq!(shown(&by_others(&schema, &payloads)), shown(&batch));
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(batch in table(), noise in vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let schema = record_of(batch.schema().fields(), &mut 0);
        let config = config(&schema, true);
        let good = encode(&config, &batch).swap_remove(0);
        let mut mutated = good.clone();
        if !mutated.is_empty() {
            let at = at.index(mutated.len());
            mutated[at] = byte;
        }
        let mut decoder = Decoder::new(&config, batch.schema()).unwrap();
        let mut count = 2;
        decoder.push(&good).unwrap();
        count += decoder.push(&noise).unwrap_or(0);
        count += decoder.push(&mutated).unwrap_or(0);
        decoder.push(&good).unwrap();
        let found = RecordBatch::try_new(batch.schema(), decoder.finish().unwrap()).unwrap();
        prop_assert_eq!(found.num_rows(), count);
        prop_assert_eq!(found.slice(0, 1), batch.slice(0, 1));
        prop_assert_eq!(found.slice(count - 1, 1), batch.slice(0, 1));
    }

    #[test]
    fn no_schema_does_harm(text in "\\PC{0,40}") {
        let mut config = config(&Value::Null, true);
        config.avro.schema = Some(text);
        let columns = Arc::new(Schema::new_with_metadata(Fields::empty(), HashMap::new()));
        drop(Decoder::new(&config, columns));
    }
}

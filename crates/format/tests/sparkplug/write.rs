//! Rows to messages, read by another implementation from the `.proto`, and by our own decoder.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_format::{Decoder, Encoder, Format, FormatError, Payloads};
use serde_json::{Value, json};

use crate::{config, message, schema};

const NANOS: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

pub(crate) fn json_field(name: &str) -> Field {
    let metadata = [("headwater.type".to_owned(), "json".to_owned())];
    Field::new(name, DataType::Utf8, true).with_metadata(metadata.into())
}

fn batch(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    let mut decoder = Decoder::new(&config(Format::Json), Arc::clone(schema)).unwrap();
    for row in rows {
        decoder.push(row.to_string().as_bytes()).unwrap();
    }
    RecordBatch::try_new(Arc::clone(schema), decoder.finish().unwrap()).unwrap()
}

/// The payloads of rows that go to one topic; of those that cannot, why.
pub(crate) fn encode(
    encoder: &mut Encoder,
    topic: &str,
    rows: &RecordBatch,
) -> Vec<Result<Vec<u8>, String>> {
    let one = |row| {
        let mut payloads = Payloads::new();
        let mut topics = |_| Ok(topic.to_owned());
        match encoder.encode_to(&rows.slice(row, 1), &mut topics, &mut payloads) {
            Ok(()) => Ok(payloads.iter().next().unwrap().to_vec()),
            Err(FormatError::Row { reason, .. }) => Err(reason),
            Err(other) => Err(other.to_string()),
        }
    };
    (0..rows.num_rows()).map(one).collect()
}

/// Messages in their JSON notation, `! …` for what is bad data.
fn write(encoder: &mut Encoder, schema: &SchemaRef, topic: &str, rows: &[Value]) -> Vec<String> {
    let written = encode(encoder, topic, &batch(schema, rows));
    let tell = |written: Result<Vec<u8>, String>| match written {
        Ok(payload) => message(&payload).to_string().replace('"', ""),
        Err(reason) => format!("! {reason}"),
    };
    written.into_iter().map(tell).collect()
}

pub(crate) fn encoder(schema: &SchemaRef) -> Encoder {
    Encoder::new(&config(Format::SparkplugB), Arc::clone(schema)).unwrap()
}

fn check(schema: &SchemaRef, topic: &str, row: Value, expect: &str) {
    let found = write(&mut encoder(schema), schema, topic, &[row]);
    assert_eq!(found, [expect]);
}

pub(crate) fn columns() -> SchemaRef {
    schema(&[
        ("seq", DataType::Int64),
        ("message_timestamp", NANOS),
        ("name", DataType::Utf8),
        ("alias", DataType::Int64),
        ("timestamp", NANOS),
        ("datatype", DataType::Utf8),
        ("quality", DataType::Utf8),
        ("is_null", DataType::Boolean),
        ("is_historical", DataType::Boolean),
        ("value", DataType::Utf8),
    ])
}

#[test]
fn each_type_of_message_says_what_it_must() {
    let row = json!({"seq": 7, "message_timestamp": 1_000, "name": "t", "alias": 2, "datatype": "Int16", "value": "-3"});
    let tell = |topic: &str, expect: &str| check(&columns(), topic, row.clone(), expect);
    tell(
        "spBv1.0/g/NBIRTH/n",
        "{timestamp:1000,metrics:[{name:t,alias:2,timestamp:1000,datatype:2,intValue:4294967293}],seq:7}",
    );
    tell(
        "spBv1.0/g/DDATA/n/d",
        "{timestamp:1000,metrics:[{alias:2,timestamp:1000,intValue:4294967293}],seq:7}",
    );
    for command in ["spBv1.0/g/NCMD/n", "spBv1.0/g/DCMD/n/d"] {
        tell(
            command,
            "{timestamp:1000,metrics:[{alias:2,datatype:2,intValue:4294967293}]}",
        );
    }
    let row = json!({"message_timestamp": 1_000, "name": "Node Control/Rebirth", "timestamp": 2_000, "datatype": "boolean", "value": "true"});
    check(
        &columns(),
        "spBv1.0/g/NCMD/n",
        row,
        "{timestamp:1000,metrics:[{name:Node Control/Rebirth,timestamp:2000,datatype:11,booleanValue:true}]}",
    );
    let row =
        json!({"message_timestamp": 1_000, "name": "bdSeq", "datatype": "UInt64", "value": "3"});
    check(
        &columns(),
        "spBv1.0/g/NDEATH/n",
        row,
        "{timestamp:1000,metrics:[{name:bdSeq,datatype:8,longValue:3}]}",
    );
    let row = json!({"message_timestamp": 1_000});
    check(
        &columns(),
        "spBv1.0/g/DDEATH/n/d",
        row,
        "{timestamp:1000,seq:0}",
    );
    let row = json!({"message_timestamp": 1_000, "name": "t", "datatype": "Float", "is_historical": true, "quality": "STALE"});
    check(
        &columns(),
        "spBv1.0/g/NDATA/n",
        row,
        "{timestamp:1000,metrics:[{name:t,timestamp:1000,isHistorical:true,isNull:true,properties:{keys:[Quality],values:[{type:3,intValue:500}]}}],seq:0}",
    );
}

#[test]
fn a_message_without_a_time_is_of_now() {
    let schema = schema(&[("name", DataType::Utf8), ("value", DataType::Utf8)]);
    let rows = batch(&schema, &[json!({"name": "a", "value": "b"})]);
    let millis = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_millis()
    };
    let before = millis();
    let written = encode(&mut encoder(&schema), "spBv1.0/g/NDATA/n", &rows);
    let written = message(written[0].as_ref().unwrap());
    let time = |time: &Value| time.as_str().unwrap().parse::<u128>().unwrap();
    assert!((before..=millis()).contains(&time(&written["timestamp"])));
    assert_eq!(written["metrics"][0]["timestamp"], written["timestamp"]);
}

#[test]
fn messages_of_a_node_are_numbered() {
    let schema = columns();
    let mut encoder = encoder(&schema);
    let mut number = |topic: &str, row: Value| {
        let written = encode(&mut encoder, topic, &batch(&schema, &[row]));
        match &written[0] {
            Ok(payload) => message(payload)["seq"].as_str().map(str::to_owned),
            Err(reason) => Some(reason.clone()),
        }
    };
    let row = json!({"name": "a", "datatype": "String", "value": "b"});
    let bad = json!({"value": "b"});
    let mut expect = |topic, row: &Value, seq: &str| {
        assert_eq!(number(topic, row.clone()).as_deref().unwrap_or("none"), seq);
    };
    expect("spBv1.0/g/NBIRTH/n", &row, "0");
    expect("spBv1.0/g/DBIRTH/n/d", &row, "1");
    expect("spBv1.0/g/NCMD/n", &row, "none");
    expect("spBv1.0/g/NDEATH/n", &row, "none");
    expect(
        "spBv1.0/g/NDATA/n",
        &bad,
        "a metric needs a 'name' or an 'alias'",
    );
    expect("spBv1.0/g/DDATA/n/d", &row, "2");
    expect("spBv1.0/g/NDATA/other", &row, "0");
    let given = |seq: u64| json!({"seq": seq, "name": "a", "datatype": "String", "value": "b"});
    expect("spBv1.0/g/NDATA/n", &given(254), "254");
    expect("spBv1.0/g/DDEATH/n/d", &json!({}), "255");
    expect("spBv1.0/g/NDATA/n", &row, "0");
    expect(
        "spBv1.0/g/NDATA/n",
        &given(256),
        "field 'seq': 256 is beyond 255",
    );
    expect("spBv1.0/g/NBIRTH/n", &row, "0");
}

#[test]
fn without_a_datatype_the_column_says_it() {
    let check = |name: &str, data_type: DataType, value: Value, expect: &str| {
        let schema = schema(&[
            ("message_timestamp", NANOS),
            ("name", DataType::Utf8),
            (name, data_type),
        ]);
        let row = json!({"message_timestamp": 0, "name": "m", name: value});
        let expect = format!("{{timestamp:0,metrics:[{{name:m,{expect}}}]}}");
        check(&schema, "spBv1.0/g/NCMD/n", row, &expect);
    };
    check(
        "value_double",
        DataType::Float64,
        json!(0.5),
        "datatype:10,doubleValue:0.5",
    );
    check(
        "value",
        DataType::Float32,
        json!(0.5),
        "datatype:9,floatValue:0.5",
    );
    check(
        "value_bigint",
        DataType::Int64,
        json!(-1),
        "datatype:4,longValue:18446744073709551615",
    );
    check(
        "value",
        DataType::Int8,
        json!(-1),
        "datatype:1,intValue:4294967295",
    );
    check("value", DataType::UInt32, json!(7), "datatype:7,intValue:7");
    check(
        "value",
        DataType::UInt64,
        json!(7),
        "datatype:8,longValue:7",
    );
    check(
        "value_boolean",
        DataType::Boolean,
        json!(false),
        "datatype:11,booleanValue:false",
    );
    check(
        "value_text",
        DataType::Utf8,
        json!("x"),
        "datatype:12,stringValue:x",
    );
    check(
        "value_bytes",
        DataType::Binary,
        json!("AP8="),
        "datatype:17,bytesValue:AP8=",
    );
    check(
        "value",
        NANOS,
        json!("1970-01-01T00:00:00.005Z"),
        "datatype:13,longValue:5",
    );
    check(
        "value_bigint",
        DataType::Int32,
        Value::Null,
        "datatype:3,isNull:true",
    );
}

#[test]
fn a_row_may_be_a_message_of_several_metrics() {
    let metric = schema(&[
        ("name", DataType::Utf8),
        ("value", DataType::Int32),
        ("quality", DataType::Utf8),
    ]);
    let item = Field::new("item", DataType::Struct(metric.fields().clone()), true);
    let schema = schema(&[
        ("node_id", DataType::Utf8),
        ("message_timestamp", NANOS),
        ("metrics", DataType::List(Arc::new(item))),
    ]);
    let tell = |metrics: Value| {
        let row = json!({"node_id": "n", "message_timestamp": 5, "metrics": metrics});
        write(&mut encoder(&schema), &schema, "spBv1.0/g/NBIRTH/n", &[row]).remove(0)
    };
    assert_eq!(
        tell(
            json!([{"name": "a", "value": 1, "quality": "GOOD"}, {"name": "b", "quality": "BAD"}])
        ),
        "{timestamp:5,metrics:[{name:a,timestamp:5,datatype:3,intValue:1},{name:b,timestamp:5,datatype:3,isNull:true,properties:{keys:[Quality],values:[{type:3,intValue:0}]}}],seq:0}"
    );
    assert_eq!(tell(Value::Null), "{timestamp:5,seq:0}");
    assert_eq!(
        tell(json!([{"name": "a"}, {"value": 1}])),
        "! metrics[1]: a metric needs a 'name' or an 'alias'"
    );
    assert_eq!(tell(json!([null])), "! metrics[0]: null is no metric");
}

#[test]
fn properties_are_an_object() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("message_timestamp", NANOS, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Int32, true),
        Field::new("quality", DataType::Utf8, true),
        json_field("properties"),
    ]));
    let tell = |quality: Value, properties: Value| {
        let row = json!({"message_timestamp": 5, "name": "a", "value": 1, "quality": quality, "properties": properties});
        let message = write(&mut encoder(&schema), &schema, "spBv1.0/g/NCMD/n", &[row]).remove(0);
        let start = "{timestamp:5,metrics:[{name:a,datatype:3,properties:";
        let end = ",intValue:1}]}";
        let found = message
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end));
        found.map_or(message.clone(), str::to_owned)
    };
    assert_eq!(
        tell(
            json!("STALE"),
            json!({"Quality": 192, "big": 9_000_000_000_i64, "high": 1.5, "list": [{"a": 1}], "low": -1, "more": {"a": 1}, "none": null, "on": true, "unit": "°C"})
        ),
        "{keys:[Quality,big,high,list,low,more,none,on,unit],values:[{type:3,intValue:500},{type:4,longValue:9000000000},{type:10,doubleValue:1.5},{type:21,propertysetsValue:{propertyset:[{keys:[a],values:[{type:3,intValue:1}]}]}},{type:3,intValue:4294967295},{type:20,propertysetValue:{keys:[a],values:[{type:3,intValue:1}]}},{type:12,isNull:true},{type:11,booleanValue:true},{type:12,stringValue:°C}]}"
    );
    assert_eq!(
        tell(json!("fine"), Value::Null),
        "! 'fine' is no quality; it is BAD, GOOD or STALE"
    );
    assert_eq!(
        tell(Value::Null, json!([1])),
        "! the properties are no JSON object"
    );
    assert_eq!(
        tell(Value::Null, json!({"limits": [1]})),
        "! the property 'limits' is a list of other than objects, which properties cannot be"
    );
}

#[test]
fn what_does_not_fit_is_bad_data_of_its_row() {
    let schema = schema(&[
        ("name", DataType::Utf8),
        ("alias", DataType::Int64),
        ("datatype", DataType::Utf8),
        ("is_null", DataType::Boolean),
        ("timestamp", NANOS),
        ("value", DataType::Utf8),
        ("value_double", DataType::Float64),
        ("value_bigint", DataType::Int64),
    ]);
    let tell =
        |topic: &str, row: Value| write(&mut encoder(&schema), &schema, topic, &[row]).remove(0);
    let mut told = String::new();
    for (topic, row) in [
        (
            "NCMD",
            json!({"name": "m", "datatype": "UInt8", "value_bigint": 256}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Int32", "value_double": 0.5}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Int32", "value": "a"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Float", "value_double": 1e39}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Boolean", "value": "yes"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Boolean", "value_bigint": 1}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "String", "value_bigint": 1}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "DateTime", "value": "noon"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Bytes", "value": "a"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "UInt8Array", "value": "[256]"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "StringArray", "value": "[\"a\\u0000b\"]"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "DataSet", "value": "[]"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Real", "value": "1"}),
        ),
        (
            "NCMD",
            json!({"name": "m", "datatype": "Double", "value_double": 1, "value_bigint": 2}),
        ),
        (
            "NCMD",
            json!({"name": "m", "value_double": 1, "value_bigint": 1}),
        ),
        ("NCMD", json!({"name": "m", "is_null": true, "value": "x"})),
        ("NCMD", json!({"name": "m", "is_null": false})),
        ("NCMD", json!({"name": "m", "alias": -1})),
        ("NCMD", json!({"name": "m", "timestamp": -1})),
        ("NCMD", json!({"datatype": "Double"})),
        ("NBIRTH", json!({"alias": 1, "datatype": "Double"})),
        ("NBIRTH", json!({"name": "m"})),
        ("NCDM", json!({"name": "m"})),
    ] {
        told.push_str(&tell(&format!("spBv1.0/g/{topic}/n"), row));
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r#"
    ! field 'value_bigint': 256 is no UInt8
    ! field 'value_double': 0.5 is no Int32
    ! field 'value': "a" is no Int32
    ! field 'value_double': 1000000000000000000000000000000000000000 is no Float
    ! field 'value': "yes" is no Boolean
    ! field 'value_bigint': 1 is no Boolean
    ! field 'value_bigint': 1 is no String
    ! field 'value': "noon" is no DateTime
    ! field 'value': "a" is no Bytes
    ! field 'value': "[256]" is no UInt8Array
    ! field 'value': a text of an array holds a zero, which would end it
    ! metrics of the datatype DataSet are not written
    ! 'Real' is no datatype of Sparkplug; it has Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float, Double, Boolean, String, DateTime, Text, UUID, Bytes, File, and Int8Array to DateTimeArray
    ! 'value_bigint' and 'value_double' have different values
    ! 'value_bigint' and 'value_double' both have a value: give the 'datatype', or one of them
    ! 'is_null' is true, but 'value' is not
    ! 'is_null' is false, but there is no value
    ! field 'alias': -1 is negative
    ! field 'timestamp': 1969-12-31T23:59:59.999Z is before 1970
    ! a metric needs a 'name' or an 'alias'
    ! a birth tells the name of every metric, and 'name' is null
    ! a birth tells the type of every metric: give its 'datatype'
    ! the topic 'spBv1.0/g/NCDM/n' is not Sparkplug's (spBv1.0/<group>/<type>/<node>[/<device>])
    "#);
    let state = tell("spBv1.0/STATE/host", json!({"name": "m"}));
    assert_eq!(
        state,
        "! the topic 'spBv1.0/STATE/host' is for the state of a host, which is JSON: write it with format 'json'"
    );
    let mut encoder = encoder(&schema);
    let rows = batch(&schema, &[json!({"name": "m"})]);
    let error = encoder.encode(&rows, &mut Payloads::new()).unwrap_err();
    insta::assert_snapshot!(error, @"row 0 of a batch cannot be written: format 'sparkplug_b' needs the topic of a message, which this connector does not have");
}

#[test]
fn columns_that_cannot_be_written_are_refused() {
    let error = |columns: &[(&str, DataType)]| {
        Encoder::new(&config(Format::SparkplugB), schema(columns))
            .unwrap_err()
            .to_string()
    };
    insta::assert_snapshot!(error(&[("temperature", DataType::Float64)]), @"column 'temperature' is no field of the format 'sparkplug_b' in a sink, which has 'group_id', 'node_id', 'device_id', 'message_type', 'seq', 'message_timestamp', 'metrics', 'name', 'alias', 'timestamp', 'datatype', 'quality', 'is_historical', 'is_transient', 'is_null', 'properties', 'value_bytes', 'value_boolean', 'value_text', 'value_bigint', 'value_json', 'value', 'value_double'");
    insta::assert_snapshot!(error(&[("datatype", DataType::Int64)]), @"column 'datatype' has the type Int64; in the format 'sparkplug_b' it is TEXT");
    insta::assert_snapshot!(error(&[("seq", DataType::Utf8)]), @"column 'seq' has the type Utf8; in the format 'sparkplug_b' it is BIGINT");
    insta::assert_snapshot!(error(&[("metrics", DataType::Utf8)]), @"column 'metrics' has the type Utf8; in the format 'sparkplug_b' it is a list of structs, STRUCT<name TEXT, …>[]");
    let metric = DataType::Struct(schema(&[("nme", DataType::Utf8)]).fields().clone());
    let list = DataType::List(Arc::new(Field::new("item", metric, true)));
    insta::assert_snapshot!(error(&[("metrics", list.clone())]), @"column 'nme' is no field of the metrics of 'sparkplug_b' in a sink, which has 'name', 'alias', 'timestamp', 'datatype', 'quality', 'is_historical', 'is_transient', 'is_null', 'properties', 'value_bytes', 'value_boolean', 'value_text', 'value_bigint', 'value_json', 'value', 'value_double'");
    insta::assert_snapshot!(error(&[("metrics", list), ("name", DataType::Utf8)]), @"column 'name' stands beside 'metrics': a row is one metric, or a list of them");
}

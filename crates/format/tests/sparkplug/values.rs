//! Values that hold several: arrays, and templates.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use base64::Engine;
use headwater_format::{Decoder, Format};
use serde_json::{Value, json};

use crate::write::json_field;
use crate::{config, decoder, payload, push, rows, schema};

#[test]
fn arrays_are_json() {
    let schema = schema(&[("value", DataType::Utf8), ("value_bytes", DataType::Binary)]);
    let mut decoder = Decoder::new(&config(Format::SparkplugB), Arc::clone(&schema)).unwrap();
    let mut tell = |datatype: u32, bytes: &[u8]| {
        let value = base64::engine::general_purpose::STANDARD.encode(bytes);
        let message =
            json!({"metrics": [{"name": "m", "datatype": datatype, "bytesValue": value}]});
        let pushed = decoder.push_from(&payload(&message), Some("spBv1.0/g/NDATA/n"));
        match pushed {
            Ok(_) => rows(&mut decoder, &schema).join(" | "),
            Err(rejected) => rejected.bad[0].reason().to_owned(),
        }
    };
    assert_eq!(tell(22, &[1, 255]), "[1,-1] null");
    assert_eq!(tell(23, &[1, 0, 255, 255]), "[1,-1] null");
    assert_eq!(tell(24, &[255; 4]), "[-1] null");
    assert_eq!(tell(25, &[255; 8]), "[-1] null");
    assert_eq!(tell(26, &[1, 255]), "[1,255] null");
    assert_eq!(tell(27, &[255, 255]), "[65535] null");
    assert_eq!(tell(28, &[255; 4]), "[4294967295] null");
    assert_eq!(tell(29, &[255; 8]), "[18446744073709551615] null");
    assert_eq!(
        tell(30, &[0, 0, 0x80, 0x3F, 0, 0, 0x80, 0x7F]),
        "[1.0,null] null"
    );
    assert_eq!(tell(31, &0.1_f64.to_le_bytes()), "[0.1] null");
    // The example of the specification (6.4.17): twelve of them.
    assert_eq!(
        tell(32, &[12, 0, 0, 0, 0b0011_0100, 0b1101_0000]),
        "[false,false,true,true,false,true,false,false,true,true,false,true] null"
    );
    assert_eq!(tell(33, b"ABC\0hello\0"), "[\\ABC\\,\\hello\\] null");
    assert_eq!(tell(33, b"\0"), "[\\\\] null");
    assert_eq!(
        tell(34, &5_i64.to_le_bytes()),
        "[\\1970-01-01T00:00:00.005Z\\] null"
    );
    for datatype in 22..=34 {
        let none = if datatype == 32 { &[0; 4][..] } else { &[] };
        assert_eq!(tell(datatype, none), "[] null", "{datatype}");
    }
    assert_eq!(
        tell(27, &[1]),
        "metric 'm': an array of values of 2 bytes has 1 bytes"
    );
    assert_eq!(
        tell(32, &[9, 0, 0, 0, 1]),
        "metric 'm': an array of 9 booleans has 1 bytes"
    );
    assert_eq!(
        tell(33, b"x"),
        "metric 'm': the last text of an array does not end with a zero"
    );
    assert_eq!(
        tell(33, b"\xFF\0"),
        "metric 'm': an array of texts is not UTF-8"
    );
    assert_eq!(
        tell(22, &vec![0; 1024 * 1024 + 1]),
        "metric 'm': 1048577 values in one metric; at most 1048576 are read"
    );
    assert_eq!(tell(22, &[7]), "[7] null", "bad data leaves nothing behind");
}

fn pump(members: &Value) -> Value {
    json!({"metrics": members, "isDefinition": false})
}

#[test]
fn members_of_templates_are_rows_of_their_own() {
    let mut decoder = decoder();
    let definition = json!({"metrics": [{"name": "speed", "datatype": 10}], "isDefinition": true});
    let motor = json!({"name": "motor", "datatype": 19, "templateValue": pump(&json!([
        {"name": "amps", "alias": 8, "datatype": 10, "doubleValue": 1.5}]))});
    let birth = json!({"metrics": [
        {"name": "_types_/Pump", "datatype": 19, "templateValue": definition},
        {"name": "pump", "alias": 7, "datatype": 19, "templateValue": pump(&json!([
            {"name": "speed", "datatype": 10, "doubleValue": 2.5}, motor]))}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NBIRTH/n", &birth),
        [
            "null _types_/Pump null Template GOOD null",
            "null pump 7 Template GOOD null",
            "null pump/speed null Double GOOD 2.5",
            "null pump/motor null Template GOOD null",
            "null pump/motor/amps 8 Double GOOD 1.5",
        ]
    );
    // Data calls the template by its alias, and leaves types out.
    let data = json!({"metrics": [
        {"alias": 7, "templateValue": pump(&json!([{"name": "speed", "doubleValue": 3.0}, {"alias": 8, "doubleValue": 2.0}]))},
        {"alias": 99, "templateValue": pump(&json!([{"name": "speed", "doubleValue": 3.0}]))}]});
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDATA/n", &data),
        [
            "null pump 7 Template GOOD null",
            "null pump/speed null Double GOOD 3",
            "null pump/motor/amps 8 Double GOOD 2",
            "null null 99 null GOOD null",
        ]
    );
    assert_eq!(
        push(&mut decoder, "spBv1.0/g/NDEATH/n", &json!({})).len(),
        5
    );
}

#[test]
fn parameters_and_properties_are_objects() {
    let json = |name: &str| Field::new(name, DataType::Utf8, true);
    let schema = Arc::new(Schema::new(vec![
        json("name"),
        json("quality"),
        json("template_ref"),
        json_field("template_parameters"),
        json_field("properties"),
    ]));
    let mut decoder = Decoder::new(&config(Format::SparkplugB), Arc::clone(&schema)).unwrap();
    let parameters = json!([
        {"name": "poles", "type": 2, "intValue": 65_535}, {"name": "serial", "type": 12, "stringValue": "A\"7"},
        {"name": "since", "type": 13, "longValue": 5}, {"name": "unset", "type": 10}]);
    let definition = json!({"metrics": [{"name": "speed", "datatype": 10}], "parameters": parameters, "isDefinition": true});
    let inner = json!({"templateRef": "Motor", "parameters": [{"name": "n", "type": 5, "intValue": 1}], "isDefinition": false});
    let instance = json!({"metrics": [{"name": "motor", "templateValue": inner}], "parameters": parameters, "templateRef": "Pump", "isDefinition": false});
    let properties = |quality: u32| {
        json!({"keys": ["Quality", "engUnit", "limits", "sets", "none", "odd"], "values": [
        {"type": 3, "intValue": quality}, {"type": 12, "stringValue": "°C"},
        {"type": 20, "propertysetValue": {"keys": ["low"], "values": [{"type": 3, "intValue": 4_294_967_295u32}]}},
        {"type": 21, "propertysetsValue": {"propertyset": [{"keys": ["a"], "values": [{"type": 11, "booleanValue": true}]}, {}]}},
        {"type": 10, "isNull": true}]})
    };
    let message = json!({"metrics": [
        {"name": "_types_/Pump", "templateValue": definition}, {"name": "pump", "templateValue": instance},
        {"name": "t", "properties": properties(0)}, {"name": "u", "properties": properties(64)}]});
    decoder
        .push_from(&payload(&message), Some("spBv1.0/g/NBIRTH/n"))
        .unwrap();
    let told = rows(&mut decoder, &schema).join("\n");
    insta::assert_snapshot!(told, @r"
    _types_/Pump GOOD null {poles:-1,serial:A\7,since:1970-01-01T00:00:00.005Z,unset:null} null
    pump GOOD Pump {poles:-1,serial:A\7,since:1970-01-01T00:00:00.005Z,unset:null} null
    pump/motor GOOD Motor {n:1} null
    t BAD null null {Quality:0,engUnit:°C,limits:{low:-1},sets:[{a:true},{}],none:null,odd:null}
    u 64 null null {Quality:64,engUnit:°C,limits:{low:-1},sets:[{a:true},{}],none:null,odd:null}
    ");
}

#[test]
fn templates_in_templates_cannot_exhaust_the_memory() {
    let mut inner = json!({"name": "x".repeat(50_000), "intValue": 1});
    for _ in 0..40 {
        inner = json!({"name": "x".repeat(50_000), "templateValue": pump(&json!([inner]))});
    }
    assert_eq!(
        push(
            &mut decoder(),
            "spBv1.0/g/NDATA/n",
            &json!({"metrics": [inner]})
        ),
        ["! the names of templates in templates are too long"]
    );
}

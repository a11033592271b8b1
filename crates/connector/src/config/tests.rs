//! Every kind of mistake in a `WITH` clause, and what the user is told.

#![allow(clippy::unwrap_used, reason = "tests")]

use insta::assert_snapshot;
use serde_json::json;

use super::*;

pub(super) const PROFILE: &str = r##"{
  "type": "object", "additionalProperties": false, "required": ["url"],
  "sensitive": ["password", "tls.key"],
  "properties": {
    "url": {"description": "The broker's address. With a scheme.", "type": "string", "format": "var-str"},
    "username": {"type": "string", "format": "var-str"},
    "password": {"type": "string", "format": "var-str", "minLength": 3},
    "max_packet_size": {"type": "integer", "minimum": 64, "maximum": 1000, "default": 500},
    "protocol_version": {"type": "string", "enum": ["3.1.1", "5"], "default": "5"},
    "backoff": {"type": "number", "exclusiveMinimum": 0},
    "tls": {"type": "object", "additionalProperties": false, "required": ["ca"], "properties": {
      "ca": {"description": "The authority.", "type": "string"},
      "key": {"type": "string"},
      "insecure_skip_verify": {"type": "boolean", "default": false}
    }}
  }
}"##;

const TABLE: &str = r##"{
  "type": "object", "additionalProperties": false, "required": ["topic", "type"],
  "$defs": {"empty": {"type": "object", "additionalProperties": false, "properties": {}}},
  "properties": {
    "topic": {"description": "The topic.", "type": "string", "minLength": 1},
    "also": {"type": "array", "items": {"type": "string"}},
    "qos": {"type": "string", "enum": ["AtMostOnce", "AtLeastOnce"]},
    "type": {"oneOf": [
      {"type": "object", "additionalProperties": false, "required": ["source"], "properties": {
        "source": {"$ref": "#/$defs/empty"}}},
      {"type": "object", "additionalProperties": false, "required": ["sink"], "properties": {
        "sink": {"type": "object", "additionalProperties": false, "properties": {
          "retain": {"type": "boolean", "default": false},
          "in_flight": {"type": "integer", "minimum": 1}
        }}}}
    ]}
  }
}"##;

fn metadata() -> ConnectorMetadata {
    ConnectorMetadata {
        id: "mqtt",
        name: "MQTT",
        description: "",
        source: true,
        sink: true,
        lookup: false,
        testing: true,
        format: true,
        profile_schema: Some(PROFILE),
        table_schema: TABLE,
    }
}

/// One option a line, `key = value`; the line is the location.
fn options(text: &str) -> Options {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let option = |(line, text): (usize, &str)| {
        let (key, value) = text.split_once('=').unwrap();
        SqlOption {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            location: Some(Location {
                line: line as u64,
                column: 1,
            }),
        }
    };
    Options(lines.map(option).collect())
}

fn tell(result: Result<Parsed, ConfigError>) -> String {
    match result {
        Ok(parsed) => format!(
            "{}\n{}\n{:?}",
            parsed.profile, parsed.table, parsed.format.format
        ),
        Err(e) => {
            let line = |e: &ConfigError| match (&e.option, e.location) {
                (Some(option), Some(at)) => format!("[{option} @{}] {}", at.line, e.message),
                (Some(option), None) => format!("[{option}] {}", e.message),
                (None, _) => e.message.clone(),
            };
            let text = e.problems().map(line).collect::<Vec<_>>().join("\n");
            // The options of formats have tests of their own and may grow.
            text.replace(&format_options(), "<format>")
        }
    }
}

fn format_options() -> String {
    let docs = describe(&metadata()).unwrap();
    let names = docs.iter().filter(|doc| doc.part == Part::Format);
    names
        .map(|doc| doc.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn parse(text: &str) -> String {
    tell(parse_table(&metadata(), &options(text), None))
}

/// A complete table with these options in addition.
fn with(text: &str) -> String {
    parse(&format!(
        "connector = mqtt\nurl = mqtt://h\ntopic = t\ntype = sink\nformat = json\n{text}"
    ))
}

#[test]
fn a_table_is_sorted_into_its_parts() {
    assert_snapshot!(parse(
        "connector = mqtt
         url = mqtt://{{ HOST }}
         tls.ca = /ca.pem
         backoff = 0.5
         sink.retain = TRUE
         sink.in_flight = 10
         also = a/b, c
         topic = t
         type = sink
         format = json"
    ), @r#"
    {"url":"mqtt://{{ HOST }}","tls":{"ca":"/ca.pem","insecure_skip_verify":false},"backoff":0.5,"max_packet_size":500,"protocol_version":"5"}
    {"type":{"sink":{"retain":true,"in_flight":10}},"also":["a/b","c"],"topic":"t"}
    Some(Json)
    "#);
    assert_snapshot!(with("also = [\"a,b\", \"c\"]"), @r#"
    {"url":"mqtt://h","max_packet_size":500,"protocol_version":"5"}
    {"type":{"sink":{"retain":false}},"topic":"t","also":["a,b","c"]}
    Some(Json)
    "#);
}

#[test]
fn unknown_options() {
    assert_snapshot!(with("tpoic = x"), @"[tpoic @5] unknown option 'tpoic'; did you mean 'topic'?");
    assert_snapshot!(with("ca = x"), @"[ca @5] unknown option 'ca'; did you mean 'tls.ca'?");
    assert_snapshot!(with("Topic = x"), @"[Topic @5] unknown option 'Topic'; did you mean 'topic'?");
    assert_snapshot!(with("sink.retail = true"), @"[sink.retail @5] unknown option 'sink.retail'; did you mean 'sink.retain'?");
    assert_snapshot!(with("tls = x"), @"[tls @5] option 'tls' is a group and takes no value (its options are tls.ca, tls.key, tls.insecure_skip_verify)");
}

#[test]
fn missing_options() {
    assert_snapshot!(parse(""), @r"
    [url] missing option 'url': The broker's address
    [topic] missing option 'topic': The topic
    [type] missing option 'type'; one of 'source', 'sink'
    [format] missing option 'format'; one of 'json', 'debezium_json', 'raw_string', 'raw_bytes', 'csv', 'msgpack', 'cbor', 'avro', 'protobuf', 'sparkplug_b'
    ");
    assert_snapshot!(with("tls.key = secret"), @"[tls.ca] missing option 'tls.ca': The authority");
    assert_snapshot!(parse("url = u\ntopic = t\nsink.retain = true\nformat = json"), @"[type] missing option 'type'; one of 'source', 'sink'");
}

#[test]
fn ill_typed_values() {
    assert_snapshot!(with("max_packet_size = lots"), @"[max_packet_size @5] option 'max_packet_size': 'lots' is not a whole number");
    assert_snapshot!(with("max_packet_size = 1.5"), @"[max_packet_size @5] option 'max_packet_size': '1.5' is not a whole number");
    assert_snapshot!(with("backoff = fast"), @"[backoff @5] option 'backoff': 'fast' is not a number");
    assert_snapshot!(with("sink.retain = yes"), @"[sink.retain @5] option 'sink.retain': 'yes' is not true or false");
    assert_snapshot!(with("also = [1]"), @"[also @5] option 'also': '[1]' is not a list: values separated by commas, or a JSON array of strings");
}

#[test]
fn values_out_of_range() {
    assert_snapshot!(with("max_packet_size = 1"), @"[max_packet_size @5] option 'max_packet_size': '1' is too small; at least 64");
    assert_snapshot!(with("max_packet_size = 18446744073709551615"), @"[max_packet_size @5] option 'max_packet_size': '18446744073709551615' is too large; at most 1000");
    assert_snapshot!(with("backoff = 0"), @"[backoff @5] option 'backoff': '0' is too small; it must be above 0");
    assert_snapshot!(with("sink.in_flight = 0"), @"[sink.in_flight @5] option 'sink.in_flight': '0' is too small; at least 1");
    assert_snapshot!(parse("url = u\ntopic = \ntype = source\nformat = json"), @"[topic @1] option 'topic': must not be empty");
}

#[test]
fn words_that_are_not_allowed() {
    assert_snapshot!(with("qos = atleastonce"), @"[qos @5] option 'qos': 'atleastonce' is not one of 'AtMostOnce', 'AtLeastOnce'; did you mean 'AtLeastOnce'?");
    assert_snapshot!(with("qos = 1"), @"[qos @5] option 'qos': '1' is not one of 'AtMostOnce', 'AtLeastOnce'");
    assert_snapshot!(parse("url = u\ntopic = t\ntype = sorce\nformat = jsn"), @r"
    [type @2] option 'type': 'sorce' is not one of 'source', 'sink'; did you mean 'source'?
    [format @3] option 'format': 'jsn' is not one of 'json', 'debezium_json', 'raw_string', 'raw_bytes', 'csv', 'msgpack', 'cbor', 'avro', 'protobuf', 'sparkplug_b'; did you mean 'json'?
    ");
}

#[test]
fn options_of_the_other_variant_and_repeated_ones() {
    assert_snapshot!(
        parse("url = u\ntopic = t\ntype = source\nsink.retain = true\nformat = json"), @"[sink.retain @3] option 'sink.retain' is for type = 'sink', but this table has type = 'source'");
    assert_snapshot!(with("topic = again"), @"[topic @5] option 'topic' is given twice");
}

#[test]
fn several_problems_come_together_and_secrets_are_not_quoted() {
    assert_snapshot!(with("password = pw\nqos = 3\nmax_packet_size = x\nnonsense = 1"), @r"
    [nonsense @8] unknown option 'nonsense' (the options are url, username, password, max_packet_size, protocol_version, backoff, tls.ca, tls.key, tls.insecure_skip_verify, topic, also, qos, type, sink.retain, sink.in_flight, <format>)
    [qos @6] option 'qos': '3' is not one of 'AtMostOnce', 'AtLeastOnce'
    [max_packet_size @7] option 'max_packet_size': 'x' is not a whole number
    [password @5] option 'password': the given value is too short; at least 3 characters
    ");
    assert_snapshot!(parse("url = mqtt://a:geheim@b\ntopic = t\ntype = sink\nformat = mqtt://a:geheim@b"), @"[format @3] option 'format': 'mqtt://a:********@b' is not one of 'json', 'debezium_json', 'raw_string', 'raw_bytes', 'csv', 'msgpack', 'cbor', 'avro', 'protobuf', 'sparkplug_b'");
}

#[test]
fn a_connection_profile_takes_the_place_of_its_options() {
    let mut profile = ConnectionProfile {
        name: "plant".to_owned(),
        connector: "mqtt".to_owned(),
        config: json!({"url": "mqtt://h"}),
    };
    let parse = |text: &str, profile: &ConnectionProfile| {
        tell(parse_table(&metadata(), &options(text), Some(profile)))
    };
    let table = "connection_profile = plant\ntopic = t\ntype = source\nformat = json";
    assert_snapshot!(parse(table, &profile), @r#"
    {"url":"mqtt://h"}
    {"type":{"source":{}},"topic":"t"}
    Some(Json)
    "#);
    assert_snapshot!(parse(&format!("{table}\nurl = mqtt://i"), &profile), @"[url @4] option 'url' belongs to the connection profile 'plant'; set it there, or leave out connection_profile");
    profile.config = json!({"host": "h", "max_packet_size": "1"});
    assert_snapshot!(parse(table, &profile), @r#"
    [max_packet_size] connection profile 'plant': option 'max_packet_size': "1" is not a whole number
    [host] connection profile 'plant': unknown option 'host' (the options are url, username, password, max_packet_size, protocol_version, backoff, tls.ca, tls.key, tls.insecure_skip_verify)
    [url] connection profile 'plant': missing option 'url': The broker's address
    "#);
    profile.connector = "kafka".to_owned();
    assert_snapshot!(parse(table, &profile), @"[connection_profile] the connection profile 'plant' is for the connector 'kafka', not for 'mqtt'");
}

#[test]
fn connectors_without_profile_or_format() {
    let metadata = ConnectorMetadata {
        format: false,
        profile_schema: None,
        ..metadata()
    };
    let parse = |text: &str| tell(parse_table(&metadata, &options(text), None));
    assert_snapshot!(parse("topic = t\ntype = source"), @r#"
    null
    {"type":{"source":{}},"topic":"t"}
    None
    "#);
    assert_snapshot!(parse("topic = t\ntype = source\nformat = json"), @"[format @2] option 'format' does not apply: 'mqtt' has no payload format");
}

#[test]
fn json_from_the_api_is_checked_by_the_same_words() {
    let check = |profile: Value, table: Value| match validate(&metadata(), &profile, &table) {
        Ok(()) => "fine".to_owned(),
        Err(e) => e.to_string(),
    };
    let url = json!({"url": "u"});
    let table = json!({"topic": "t", "type": {"source": {}}});
    assert_snapshot!(check(url.clone(), table.clone()), @"fine");
    assert_snapshot!(check(json!({"url": 1, "tls": {"cb": "x"}, "password": "pw"}), table), @r"
    option 'url': 1 is not text
    unknown option 'tls.cb'; did you mean 'tls.ca'?
    missing option 'tls.ca': The authority
    option 'password': the given value is too short; at least 3 characters
    ");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": "source"})), @"option 'type': must be an object with one of the keys 'source', 'sink'");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": {"sinc": {}}})), @"option 'type': must be an object with one of the keys 'source', 'sink'; did you mean 'sink'?");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": {"sink": {"retain": 1, "x": 2}}})), @r"
    option 'sink.retain': 1 is not true or false
    unknown option 'sink.x' (the options are topic, also, qos, type, sink.retain, sink.in_flight)
    ");
    assert_snapshot!(check(url, json!({"topic": "t", "also": ["a", 1], "type": {"sink": {}}})), @"option 'also': 1 is not text");
}

#[test]
fn options_are_documented_from_the_schema() {
    let metadata = ConnectorMetadata {
        format: false,
        ..metadata()
    };
    let docs = describe(&metadata).unwrap();
    assert_snapshot!(markdown(&docs), @r#"
    | option | type | default | description |
    |---|---|---|---|
    | `url` | text | required | The broker's address. With a scheme. |
    | `username` | text |  |  |
    | `password` | text |  |  |
    | `max_packet_size` | integer | `500` |  |
    | `protocol_version` | '3.1.1' \| '5' | `5` |  |
    | `backoff` | number |  |  |
    | `tls.ca` | text | required with `tls.…` | The authority. |
    | `tls.key` | text |  |  |
    | `tls.insecure_skip_verify` | boolean | `false` |  |
    | `topic` | text | required | The topic. |
    | `also` | list of texts |  |  |
    | `qos` | 'AtMostOnce' \| 'AtLeastOnce' |  |  |
    | `type` | 'source' \| 'sink' | required |  |
    | `sink.retain` | boolean | `false` | With `type = 'sink'`:  |
    | `sink.in_flight` | integer |  | With `type = 'sink'`:  |
    "#);
}

#[test]
fn a_secret_that_no_option_has_is_a_mistake_in_the_schema() {
    let schema = r#"{"type": "object", "sensitive": ["pasword"], "properties": {"password": {"type": "string"}}}"#;
    let error = Schema::read(schema).err().unwrap();
    assert_snapshot!(error, @r#"the connector's schema: 'pasword' is listed under "sensitive", but is no option"#);
}

#[test]
fn the_name_of_the_variant_may_be_left_out() {
    assert_snapshot!(with("retain = TRUE\nin_flight = 10"), @r#"
        {"url":"mqtt://h","max_packet_size":500,"protocol_version":"5"}
        {"type":{"sink":{"retain":true,"in_flight":10}},"topic":"t"}
        Some(Json)
    "#);
    assert_snapshot!(with("retain = TRUE\nsink.retain = FALSE"), @"[sink.retain @6] option 'sink.retain' is given twice");
    assert_snapshot!(with("in_flight = 0"), @"[sink.in_flight @5] option 'sink.in_flight': '0' is too small; at least 1");
    assert_snapshot!(with("in_fligt = 0"), @"[in_fligt @5] unknown option 'in_fligt'; did you mean 'sink.in_flight'?");
}

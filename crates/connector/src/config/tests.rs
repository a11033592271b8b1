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
        let (key, value) = text.split_once(" = ").unwrap();
        SqlOption {
            key: key.to_owned(),
            value: value.to_owned(),
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
            e.problems().map(line).collect::<Vec<_>>().join("\n")
        }
    }
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
    ), @"");
    assert_snapshot!(with("also = [\"a,b\", \"c\"]"), @"");
}

#[test]
fn unknown_options() {
    assert_snapshot!(with("tpoic = x"), @"");
    assert_snapshot!(with("ca = x"), @"");
    assert_snapshot!(with("Topic = x"), @"");
    assert_snapshot!(with("sink.retail = true"), @"");
    assert_snapshot!(with("tls = x"), @"");
}

#[test]
fn missing_options() {
    assert_snapshot!(parse(""), @"");
    assert_snapshot!(with("tls.key = secret"), @"");
    assert_snapshot!(parse("url = u\ntopic = t\nsink.retain = true\nformat = json"), @"");
}

#[test]
fn ill_typed_values() {
    assert_snapshot!(with("max_packet_size = lots"), @"");
    assert_snapshot!(with("max_packet_size = 1.5"), @"");
    assert_snapshot!(with("backoff = fast"), @"");
    assert_snapshot!(with("sink.retain = yes"), @"");
    assert_snapshot!(with("also = [1]"), @"");
}

#[test]
fn values_out_of_range() {
    assert_snapshot!(with("max_packet_size = 1"), @"");
    assert_snapshot!(with("max_packet_size = 18446744073709551615"), @"");
    assert_snapshot!(with("backoff = 0"), @"");
    assert_snapshot!(with("sink.in_flight = 0"), @"");
    assert_snapshot!(parse("url = u\ntopic = \ntype = source\nformat = json"), @"");
}

#[test]
fn words_that_are_not_allowed() {
    assert_snapshot!(with("qos = atleastonce"), @"");
    assert_snapshot!(with("qos = 1"), @"");
    assert_snapshot!(parse("url = u\ntopic = t\ntype = sorce\nformat = jsn"), @"");
}

#[test]
fn options_of_the_other_variant_and_repeated_ones() {
    assert_snapshot!(
        parse("url = u\ntopic = t\ntype = source\nsink.retain = true\nformat = json"), @"");
    assert_snapshot!(with("topic = again"), @"");
}

#[test]
fn several_problems_come_together_and_secrets_are_not_quoted() {
    assert_snapshot!(with("password = pw\nqos = 3\nmax_packet_size = x\nnonsense = 1"), @"");
    assert_snapshot!(parse("url = mqtt://a:geheim@b\ntopic = t\ntype = sink\nformat = mqtt://a:geheim@b"), @"");
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
    assert_snapshot!(parse(table, &profile), @"");
    assert_snapshot!(parse(&format!("{table}\nurl = mqtt://i"), &profile), @"");
    profile.config = json!({"host": "h", "max_packet_size": "1"});
    assert_snapshot!(parse(table, &profile), @"");
    profile.connector = "kafka".to_owned();
    assert_snapshot!(parse(table, &profile), @"");
}

#[test]
fn connectors_without_profile_or_format() {
    let metadata = ConnectorMetadata {
        format: false,
        profile_schema: None,
        ..metadata()
    };
    let parse = |text: &str| tell(parse_table(&metadata, &options(text), None));
    assert_snapshot!(parse("topic = t\ntype = source"), @"");
    assert_snapshot!(parse("topic = t\ntype = source\nformat = json"), @"");
}

#[test]
fn json_from_the_api_is_checked_by_the_same_words() {
    let check = |profile: Value, table: Value| match validate(&metadata(), &profile, &table) {
        Ok(()) => "fine".to_owned(),
        Err(e) => e.to_string(),
    };
    let url = json!({"url": "u"});
    let table = json!({"topic": "t", "type": {"source": {}}});
    assert_snapshot!(check(url.clone(), table.clone()), @"");
    assert_snapshot!(check(json!({"url": 1, "tls": {"cb": "x"}, "password": "pw"}), table), @"");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": "source"})), @"");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": {"sinc": {}}})), @"");
    assert_snapshot!(check(url.clone(), json!({"topic": "t", "type": {"sink": {"retain": 1, "x": 2}}})), @"");
    assert_snapshot!(check(url, json!({"topic": "t", "also": ["a", 1], "type": {"sink": {}}})), @"");
}

#[test]
fn options_are_documented_from_the_schema() {
    let docs = describe(&metadata()).unwrap();
    assert_snapshot!(markdown(&docs), @"");
}

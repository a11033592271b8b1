use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use headwater_connector::{Column, ColumnOrigin};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::TableType;
use crate::packet::{Properties, Property};
use crate::sink::text_map;

/// A column of the payload, or `METADATA FROM` the second name.
type Declared<'a> = (&'a str, &'a str, DataType);

fn schema(columns: &[Declared<'_>]) -> TableSchema {
    let column = |(name, metadata, data_type): &Declared<'_>| Column {
        field: Arc::new(Field::new(*name, data_type.clone(), true)),
        origin: match *metadata {
            "" => ColumnOrigin::Payload,
            metadata => ColumnOrigin::Metadata(metadata.to_owned()),
        },
    };
    TableSchema {
        columns: columns.iter().map(column).collect(),
    }
}

fn plan(
    topic: Option<&str>,
    sink: Value,
    columns: &[Declared<'_>],
) -> Result<EnvelopePlan, String> {
    plan_with("5", topic, sink, columns)
}

fn plan_with(
    version: &str,
    topic: Option<&str>,
    sink: Value,
    columns: &[Declared<'_>],
) -> Result<EnvelopePlan, String> {
    let profile = json!({"url": "mqtt://h", "protocol_version": version});
    let mut table = json!({"type": {"sink": sink}, "qos": "AtLeastOnce"});
    if let Some(topic) = topic {
        table["topic"] = json!(topic);
    }
    let table: MqttTable = serde_json::from_value(table).unwrap();
    let TableType::Sink(sink) = &table.type_ else {
        unreachable!()
    };
    let profile = serde_json::from_value(profile).unwrap();
    EnvelopePlan::new(&profile, &table, sink, &schema(columns)).map_err(|e| e.message)
}

fn batch(columns: &[Declared<'_>], values: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema(columns).arrow_schema(), values).unwrap()
}

fn tell(envelope: Result<Envelope, BadRow>) -> String {
    match envelope {
        Ok(envelope) => {
            let topic = String::from_utf8(envelope.topic.to_vec()).unwrap();
            let properties: Vec<_> = Properties::new(&envelope.properties).iter().collect();
            format!(
                "{topic} {:?} {} {properties:?}",
                envelope.qos, envelope.retain
            )
        }
        Err(bad) => format!("{:?}: {}", bad.topic, bad.error),
    }
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

const TEXT: DataType = DataType::Utf8;

#[test]
fn a_table_without_such_columns_has_one_envelope() {
    let plan = plan(Some("a/b"), json!({"retain": true, "message_expiry": "1 minute", "content_type": "text/plain", "response_topic": "r", "user_properties": ["a=1", "b = x=y"]}), &[("v", "", TEXT)]).unwrap();
    let fixed = tell(Ok(plan.fixed().unwrap()));
    insta::assert_snapshot!(fixed, @r#"a/b AtLeastOnce true [MessageExpiryInterval(60), ContentType("text/plain"), ResponseTopic("r"), UserProperty("a", "1"), UserProperty("b", "x=y")]"#);
    let rows = batch(&[("v", "", TEXT)], vec![text(&[None])]);
    assert_eq!(tell(plan.of(&rows).unwrap().get(0)), fixed);
    assert_eq!(plan.payload(&rows).unwrap(), rows);
}

#[test]
fn topics_are_made_of_columns() {
    let columns = [
        ("device", "topic.device", TEXT),
        ("n", "", DataType::Int64),
        ("v", "", TEXT),
    ];
    let plan = plan(Some("out/{device}/{n}"), json!({}), &columns).unwrap();
    assert!(plan.fixed().is_none());
    let rows = batch(
        &columns,
        vec![
            text(&[
                Some("a"),
                Some("a"),
                Some("b/c"),
                Some(""),
                None,
                Some("+"),
                Some("x\ny"),
            ]),
            Arc::new(Int64Array::from_iter_values(1..=7)),
            text(&[None; 7]),
        ],
    );
    let mut envelopes = plan.of(&rows).unwrap();
    let lines: Vec<_> = (0..7).map(|row| tell(envelopes.get(row))).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    out/a/1 AtLeastOnce false []
    out/a/2 AtLeastOnce false []
    out/b/c/3 AtLeastOnce false []
    out//4 AtLeastOnce false []
    None: the topic is made of column 'device', which is NULL
    Some("out/+/6"): the topic has a wildcard, '+' or '#'
    Some("out/x\\ny/7"): the topic has a control character
    "#);
    let payload = plan.payload(&rows).unwrap();
    let names: Vec<_> = payload
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["n", "v"]);
}

#[test]
fn a_topic_that_repeats_is_shared() {
    let columns = [("to", "topic", TEXT)];
    let plan = plan(None, json!({}), &columns).unwrap();
    let rows = batch(&columns, vec![text(&[Some("a/b"), Some("a/b"), Some("c")])]);
    let mut envelopes = plan.of(&rows).unwrap();
    let topics: Vec<_> = (0..3)
        .map(|row| envelopes.get(row).unwrap().topic)
        .collect();
    assert_eq!(topics, ["a/b", "a/b", "c"]);
    assert_eq!(topics[0].as_ptr(), topics[1].as_ptr());
}

#[test]
fn columns_become_the_envelope_and_null_leaves_it_to_the_options() {
    let columns = [
        ("q", "qos", DataType::Int32),
        ("r", "retain", DataType::Boolean),
        ("e", "message_expiry_interval", DataType::Int64),
        ("c", "content_type", TEXT),
        ("t", "response_topic", TEXT),
        ("d", "correlation_data", DataType::Binary),
        ("p", "user_property.site", DataType::Int64),
    ];
    let plan = plan(Some("a"), json!({"content_type": "x", "retain": true, "message_expiry": "9", "user_properties": ["k=v"]}), &columns).unwrap();
    let rows = batch(
        &columns,
        vec![
            Arc::new(arrow::array::Int32Array::from(vec![
                Some(0),
                None,
                Some(7),
                None,
                None,
                None,
            ])),
            Arc::new(BooleanArray::from(vec![
                Some(false),
                None,
                None,
                None,
                None,
                None,
            ])),
            Arc::new(Int64Array::from(vec![
                Some(5),
                None,
                None,
                Some(-1),
                None,
                None,
            ])),
            text(&[Some("json"), None, None, None, Some("a\u{1}"), None]),
            text(&[Some("back/1"), None, None, None, None, Some("a/#")]),
            Arc::new(BinaryArray::from(vec![
                Some(&[255u8][..]),
                None,
                None,
                None,
                None,
                None,
            ])),
            Arc::new(Int64Array::from(vec![
                Some(3),
                None,
                None,
                None,
                None,
                None,
            ])),
        ],
    );
    let mut envelopes = plan.of(&rows).unwrap();
    let lines: Vec<_> = (0..6).map(|row| tell(envelopes.get(row))).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    a AtMostOnce false [MessageExpiryInterval(5), ContentType("json"), ResponseTopic("back/1"), CorrelationData([255]), UserProperty("site", "3"), UserProperty("k", "v")]
    a AtLeastOnce true [MessageExpiryInterval(9), ContentType("x"), UserProperty("k", "v")]
    Some("a"): the QoS 7 is none of 0, 1 and 2
    Some("a"): the message expiry of -1 seconds is not between 0 and 4294967295
    Some("a"): the content type 'a\u{1}' has a control character
    Some("a"): the response topic 'a/#' has a wildcard, '+' or '#'
    "#);
    assert_eq!(plan.payload(&rows).unwrap().num_columns(), 0);
    assert_eq!(plan.payload(&rows).unwrap().num_rows(), 6);
}

#[test]
fn a_map_becomes_user_properties() {
    let columns = [("p", "user_properties", text_map())];
    let plan = plan(Some("a"), json!({}), &columns).unwrap();
    let mut map = crate::metadata::map_builder();
    map.keys().append_value("a");
    map.values().append_value("1");
    map.keys().append_value("b");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    let rows = batch(&columns, vec![Arc::new(map.finish())]);
    let mut envelopes = plan.of(&rows).unwrap();
    let lines: Vec<_> = (0..2).map(|row| tell(envelopes.get(row))).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    a AtLeastOnce false [UserProperty("a", "1"), UserProperty("b", "")]
    a AtLeastOnce false []
    "#);
}

#[test]
fn what_does_not_go_together_is_told() {
    let error = |topic, sink, columns: &[Declared<'_>]| plan(topic, sink, columns).unwrap_err();
    let lines = [
        error(None, json!({}), &[]),
        error(Some("a"), json!({}), &[("t", "topic", TEXT)]),
        error(Some("a/{devise}"), json!({}), &[("device", "", TEXT)]),
        error(Some("a/{device}"), json!({}), &[("device", "", text_map())]),
        error(
            Some("a/{device}"),
            json!({}),
            &[("d", "topic.devise", TEXT), ("device", "", TEXT)],
        ),
        error(Some("a"), json!({}), &[("d", "dup", DataType::Boolean)]),
        error(Some("a"), json!({}), &[("d", "content", TEXT)]),
        error(Some("a"), json!({}), &[("d", "qos", TEXT)]),
        error(
            Some("a"),
            json!({}),
            &[("x", "qos", DataType::Int64), ("y", "qos", DataType::Int64)],
        ),
        error(Some("a"), json!({"message_expiry": "0"}), &[]),
        error(Some("a"), json!({"response_topic": "a/+"}), &[]),
        error(Some("a"), json!({"user_properties": ["a"]}), &[]),
        plan_with("3.1.1", Some("a"), json!({"content_type": "x"}), &[]).unwrap_err(),
        plan_with(
            "3.1.1",
            Some("a"),
            json!({}),
            &[("x", "correlation_data", TEXT)],
        )
        .unwrap_err(),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r#"
    missing option 'topic': the topic to publish to; or declare a column METADATA FROM 'topic'
    option 'topic' and column 't' both say the topic; leave out the option
    option 'topic': the table has no column 'devise' for '{devise}'; did you mean 'device'? (its columns are 'device')
    option 'topic': column 'device' has the type Map("entries": non-null Struct("key": non-null Utf8, "value": Utf8), unsorted), of which no topic can be made
    column 'd': the topic 'a/{device}' has no '{devise}'; did you mean 'device'?
    column 'd': 'dup' can be read but not written; a sink writes 'topic', 'topic.*', 'qos', 'retain', 'payload_format_indicator', 'content_type', 'response_topic', 'correlation_data', 'message_expiry_interval', 'user_properties', 'user_property.*'
    column 'd': unknown metadata 'content' (a sink writes 'topic', 'topic.*', 'qos', 'retain', 'payload_format_indicator', 'content_type', 'response_topic', 'correlation_data', 'message_expiry_interval', 'user_properties', 'user_property.*')
    column 'd': has the type Utf8, but 'qos' is Int64
    columns 'x' and 'y' are both 'qos'
    option 'sink.message_expiry': '0' is not between 1 second and 136 years
    option 'sink.response_topic': 'a/+' has a wildcard, '+' or '#'
    option 'sink.user_properties': 'a' is no property; write name=value
    option 'sink.content_type' needs MQTT 5, and the connection has protocol_version = '3.1.1'
    column 'x': 'correlation_data' needs MQTT 5, and the connection has protocol_version = '3.1.1'
    "#);
    assert!(
        plan(Some("a/{x}"), json!({}), &[]).is_ok(),
        "its columns come with its query"
    );
}

proptest! {
    /// Whatever the values, a row becomes a message that every broker takes, or is told to be bad.
    #[test]
    fn an_envelope_is_legal_or_the_row_is_bad(
        a in prop::option::of("[a/+#$\u{0}\u{7f}é]{0,5}"),
        b in prop::option::of("(\\$share/|.){0,3}"),
        template in prop::sample::select(vec!["{a}", "{a}{b}", "x/{a}/{b}"]),
    ) {
        let columns = [("a", "", TEXT), ("b", "user_property.b", TEXT)];
        let plan = plan(Some(template), json!({}), &columns).unwrap();
        let rows = batch(&columns, vec![text(&[a.as_deref()]), text(&[b.as_deref()])]);
        let made = plan.of(&rows).unwrap().get(0);
        let needs_b = template.contains("{b}");
        match made {
            Ok(envelope) => {
                let topic = std::str::from_utf8(&envelope.topic).unwrap();
                prop_assert!(check_topic(topic).is_ok());
                let expect = template.replace("{a}", &a.clone().unwrap()).replace("{b}", b.as_deref().unwrap_or_default());
                prop_assert_eq!(topic, expect);
                let properties: Vec<_> = Properties::new(&envelope.properties).iter().collect();
                let expect: Vec<_> = b.iter().map(|b| Property::UserProperty("b", b)).collect();
                prop_assert_eq!(properties, expect);
            }
            Err(bad) => prop_assert!(
                a.is_none() || (needs_b && b.is_none()) || bad.error.contains(" has ") || bad.error.contains(" is empty") || bad.error.contains("begins with")
            ),
        }
    }
}

//! `dead_letter.topic`: the sink that publishes a table's dead letters; and which tables would read their own.

use headwater_connector::config::{self, ConfigError};
use headwater_connector::{
    Connection, ErasedConnector, TableSchema, dead_letter::standard_columns,
};
use headwater_format::{Format, FormatConfig};
use serde_json::json;

use crate::config::endpoint::Endpoint;
use crate::config::{MqttProfile, MqttTable, TableType, patterns};
use crate::connector::MqttConnector;
use crate::topic::matches;

/// A sink over the table's own profile, at QoS 1, as JSON objects.
///
/// # Errors
/// A topic to which nobody can publish; one that the table reads itself, so that a dead letter would come back as bad
/// data for ever; one that the table writes itself, so that whatever was refused would be refused again.
pub(crate) fn connection(
    connector: &MqttConnector,
    table: &Connection,
    topic: &str,
) -> Result<Connection, ConfigError> {
    let wrong = |message: String| ConfigError::new(Some("dead_letter.topic"), message);
    let own: MqttTable = config::typed(&table.table, "table")?;
    // A template may make the topic too, but then it is some other row's.
    let (own_topic, verb) = match &own.type_ {
        TableType::Source(source) => {
            let patterns = patterns(&own, source)?
                .into_iter()
                .map(|(pattern, _)| pattern);
            let found = patterns.into_iter().find(|p| matches(p.unshared(), topic));
            (found.map(|pattern| pattern.to_string()), "reads")
        }
        TableType::Sink(_) => (own.topic.filter(|own| own == topic), "writes"),
        // which has none
        TableType::Lookup(_) => (None, "reads"),
    };
    if let Some(own_topic) = own_topic {
        return Err(wrong(format!(
            "option 'dead_letter.topic': '{topic}' is among what '{}' {verb} itself ('{own_topic}'), so its dead letters would \
             go round in a loop; give a topic outside of it",
            table.name
        )));
    }
    let sink = json!({ "topic": topic, "qos": "AtLeastOnce", "type": { "sink": {} } });
    let format = FormatConfig {
        format: Some(Format::Json),
        ..FormatConfig::default()
    };
    let columns = TableSchema::payload_only(&standard_columns());
    let name = format!("{}.dead_letters", table.name);
    let made =
        ErasedConnector::from_config(connector, &name, &table.profile, &sink, columns, format);
    made.map_err(|e| {
        wrong(
            e.message
                .replace("option 'topic'", "option 'dead_letter.topic'"),
        )
    })
}

/// The filter of a source that covers what a sink publishes to the same broker. Of a topic made of the row, each part in
/// braces is taken for some level that only a wildcard covers; of topics that are columns nothing is known.
pub(crate) fn fed(
    sink: (&MqttProfile, &MqttTable),
    source: (&MqttProfile, &MqttTable),
) -> Option<String> {
    let TableType::Source(options) = &source.1.type_ else {
        return None;
    };
    let same_broker = match (broker(sink.0), broker(source.0)) {
        (Some(one), Some(other)) => one == other,
        // Only the environment of the run knows it.
        _ => sink.0.url == source.0.url,
    };
    let topic = some_topic(sink.1.topic.as_deref()?);
    let mut patterns = patterns(source.1, options).ok()?.into_iter();
    let found = patterns.find(|(pattern, _)| matches(pattern.unshared(), &topic));
    found
        .filter(|_| same_broker)
        .map(|(pattern, _)| pattern.to_string())
}

/// Host and port of a profile's broker, if they can be told without its environment.
pub(crate) fn broker(profile: &MqttProfile) -> Option<(String, u16)> {
    let endpoint = Endpoint::parse(&profile.url.resolve().ok()?).ok()?;
    let host = match endpoint.host.to_ascii_lowercase().as_str() {
        "127.0.0.1" | "::1" => "localhost".to_owned(),
        host => host.to_owned(),
    };
    Some((host, endpoint.port))
}

/// A topic that a template could make.
fn some_topic(template: &str) -> String {
    let mut topic = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, braces)) = rest.split_once('{') {
        let Some((_, after)) = braces.split_once('}') else {
            break;
        };
        topic.push_str(before);
        topic.push('\u{fffd}');
        rest = after;
    }
    topic.push_str(rest);
    topic
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_connector::ConnectionType;
    use headwater_connector::{Options, SqlOption};
    use std::sync::Arc;

    fn table(kind: &str, topic: &str) -> Connection {
        let option = |(key, value): (&str, &str)| SqlOption {
            key: key.to_owned(),
            value: value.to_owned(),
            location: None,
        };
        let options = [
            ("url", "mqtt://localhost"),
            ("type", kind),
            ("topic", topic),
            ("format", "raw_string"),
        ];
        let options = Options(options.map(option).to_vec());
        let column = arrow::datatypes::Field::new("v", arrow::datatypes::DataType::Utf8, true);
        let columns = arrow::datatypes::Schema::new(vec![Arc::new(column)]);
        let columns = TableSchema::payload_only(&columns);
        let made = ErasedConnector::from_options(&MqttConnector, "t", &options, columns, None);
        made.unwrap_or_else(|e| unreachable!("{e}"))
    }

    fn check(kind: &str, topic: &str, dead_letters: &str) -> String {
        match connection(&MqttConnector, &table(kind, topic), dead_letters) {
            Ok(made) => made.description,
            Err(error) => error.message,
        }
    }

    #[test]
    fn dead_letters_go_over_the_same_profile_and_lose_nothing() {
        let source = table("source", "in/#");
        let made = connection(&MqttConnector, &source, "dead/in");
        let made = made.unwrap_or_else(|e| unreachable!("{e}"));
        assert_eq!(made.connection_type, ConnectionType::Sink);
        assert_eq!(made.profile, source.profile);
        assert_eq!(made.table["qos"], "AtLeastOnce");
        assert_eq!(made.description, "MqttSink<dead/in>");
    }

    #[test]
    fn loops_and_illegal_topics_are_refused() {
        for (topic, dead_letters) in [
            ("in/#", "in/dead"),
            ("{device}/x", "dead/x"),
            ("$share/g/in/#", "in"),
        ] {
            let error = check("source", topic, dead_letters);
            assert!(error.contains("in a loop; give a topic outside"), "{error}");
        }
        assert_eq!(check("source", "in/+", "in/dead/x"), "MqttSink<in/dead/x>");
        assert!(check("sink", "out", "out").contains("'t' writes itself"));
        assert_eq!(check("sink", "out", "dead"), "MqttSink<dead>");
        let error = check("source", "in", "dead/#");
        assert!(
            error.starts_with("option 'dead_letter.topic'") && error.contains("wildcard"),
            "{error}"
        );
    }

    #[test]
    fn what_a_sink_feeds_is_known() {
        let fed_by = |url: &str, topic: &str, filter: &str| {
            let (mut sink, source) = (table("sink", topic), table("source", filter));
            sink.profile["url"] = url.into();
            let made = ErasedConnector::feeds(&MqttConnector, &sink, &source);
            made.unwrap_or_else(|e| unreachable!("{e}"))
        };
        let check = |url, topic, filter, expected: Option<&str>| {
            assert_eq!(fed_by(url, topic, filter).as_deref(), expected, "{topic}");
        };
        check("mqtt://localhost", "in/dead", "in/#", Some("in/#"));
        check("tcp://127.0.0.1:1883", "in/dead", "in/+", Some("in/+"));
        check("mqtt://localhost:1884", "in/dead", "in/#", None);
        check("mqtt://localhost", "dead/in", "in/#", None);
        check(
            "mqtt://localhost",
            "in/{v}/x",
            "in/{device}/x",
            Some("in/+/x"),
        );
        check("mqtt://localhost", "in/{v}", "in/a", None);
    }
}

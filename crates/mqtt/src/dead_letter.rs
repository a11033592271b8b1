//! `dead_letter.topic`: the sink that publishes a table's dead letters.

use headwater_connector::config::{self, ConfigError};
use headwater_connector::{
    Connection, ErasedConnector, TableSchema, dead_letter::standard_columns,
};
use headwater_format::{Format, FormatConfig};
use serde_json::json;

use crate::config::{MqttTable, TableType, patterns};
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
}

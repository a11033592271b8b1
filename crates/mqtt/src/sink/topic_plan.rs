//! Where the topic of a row comes from: the option `topic`, fixed or with columns in it, or a column.

use bytes::Bytes;
use headwater_connector::TableSchema;
use headwater_connector::config::{ConfigError, did_you_mean, quoted};

use super::column::ColumnPlan;
use crate::config::MqttTable;
use crate::topic::{Part, TopicTemplate};

/// Where the topic comes from.
#[derive(Debug, Clone)]
pub(super) enum TopicPlan {
    Fixed(Bytes),
    /// Text, and columns by their place in [`EnvelopePlan::columns`].
    Made(Vec<Piece>),
}

#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    Column(usize),
}

/// Reads the topic of a table, and adds the columns of which it is made to those of the envelope.
///
/// # Errors
/// No topic or two, a template that is none, columns that do not exist or of which no text can be made.
pub(super) fn topic_plan(
    table: &MqttTable,
    schema: &TableSchema,
    columns: &mut Vec<ColumnPlan>,
) -> Result<TopicPlan, ConfigError> {
    let whole = columns.iter().position(|column| column.metadata == "topic");
    let template = match (&table.topic, whole) {
        (Some(_), Some(column)) => {
            let message = format!(
                "option 'topic' and column '{}' both say the topic; leave out the option",
                columns[column].name
            );
            return Err(ConfigError::new(Some("topic"), message));
        }
        (None, Some(column)) => {
            refuse_levels(columns, None)?;
            return Ok(TopicPlan::Made(vec![Piece::Column(column)]));
        }
        (None, None) => {
            let message = "missing option 'topic': the topic to publish to; or declare a column METADATA FROM 'topic'";
            return Err(ConfigError::new(Some("topic"), message));
        }
        (Some(text), None) => TopicTemplate::parse(text)
            .map_err(|e| ConfigError::new(Some("topic"), format!("option 'topic': {e}")))?,
    };
    refuse_levels(columns, Some(&template))?;
    if let Some(topic) = template.fixed() {
        return Ok(TopicPlan::Fixed(Bytes::copy_from_slice(topic.as_bytes())));
    }
    let mut pieces = Vec::new();
    for part in template.parts() {
        pieces.push(match part {
            Part::Text(text) => Piece::Text(text.clone()),
            // Its columns come with its query, and it is read again then.
            Part::Column(_) if schema.columns.is_empty() => continue,
            Part::Column(name) => Piece::Column(topic_column(name, schema, columns)?),
        });
    }
    Ok(TopicPlan::Made(pieces))
}

/// The place among `columns` of the one that `{name}` means, which is added if it is not there.
fn topic_column(
    name: &str,
    schema: &TableSchema,
    columns: &mut Vec<ColumnPlan>,
) -> Result<usize, ConfigError> {
    let level = |column: &ColumnPlan| column.metadata.strip_prefix("topic.") == Some(name);
    if let Some(known) = columns.iter().position(level) {
        return Ok(known);
    }
    let found = schema
        .columns
        .iter()
        .position(|column| column.field.name() == name);
    let Some(index) = found else {
        let names: Vec<_> = schema
            .columns
            .iter()
            .map(|column| column.field.name())
            .collect();
        let meant = did_you_mean(name, names.iter().map(|name| name.as_str()));
        let message = format!(
            "option 'topic': the table has no column '{name}' for '{{{name}}}'{meant} (its columns are {})",
            quoted(names.iter())
        );
        return Err(ConfigError::new(Some("topic"), message));
    };
    let field = &schema.columns[index].field;
    let column = ColumnPlan::text(index, field).map_err(|e| {
        ConfigError::new(
            Some("topic"),
            format!("option 'topic': column '{name}' {e}"),
        )
    })?;
    columns.push(column);
    Ok(columns.len() - 1)
}

/// A column for a level that the topic does not have would go nowhere.
fn refuse_levels(
    columns: &[ColumnPlan],
    template: Option<&TopicTemplate>,
) -> Result<(), ConfigError> {
    let known: Vec<_> = template
        .into_iter()
        .flat_map(TopicTemplate::columns)
        .collect();
    for column in columns {
        let Some(level) = column.metadata.strip_prefix("topic.") else {
            continue;
        };
        if !known.contains(&level) {
            let place = match template {
                Some(template) => format!("the topic '{template}'"),
                None => "the topic, which a column says,".to_owned(),
            };
            let meant = did_you_mean(level, known.iter().copied());
            let message = format!(
                "column '{}': {place} has no '{{{level}}}'{meant}",
                column.name
            );
            return Err(ConfigError::new(None, message));
        }
    }
    Ok(())
}

//! The options of a connector as reference documentation, from the same schemas that check them.

use super::check::first_sentence;
use super::error::ConfigError;
use super::schema::{Kind, OptionDef, Schema};
use super::{FORMAT_SCHEMA, error::quoted};
use crate::connector::ConnectorMetadata;

/// Which part of a table's configuration an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The connection, which several tables may share.
    Profile,
    /// The table.
    Table,
    /// The payload's format.
    Format,
}

/// What there is to know about one option.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OptionDoc {
    /// Its name in `WITH`.
    pub name: String,
    /// The part it belongs to.
    pub part: Part,
    /// Its type, or the words that are allowed.
    pub kind: String,
    /// Whether it must be given in any case.
    pub required: bool,
    /// The group that it must be given with, if any option of the group is (`will`).
    pub required_with: Option<String>,
    /// What holds when it is not given.
    pub default: Option<String>,
    /// The choice it belongs to (`type = 'sink'`).
    pub only_with: Option<String>,
    /// Whether its value is never shown.
    pub sensitive: bool,
    /// What it does.
    pub description: String,
}

/// All options of a connector's tables, in the order of the schemas.
///
/// # Errors
/// A schema that cannot be read, which is a mistake in the connector.
pub fn describe(metadata: &ConnectorMetadata) -> Result<Vec<OptionDoc>, ConfigError> {
    let mut docs = Vec::new();
    let parts = [
        (Part::Profile, metadata.profile_schema),
        (Part::Table, Some(metadata.table_schema)),
        (Part::Format, metadata.format.then_some(FORMAT_SCHEMA)),
    ];
    for (part, text) in parts {
        let Some(text) = text else { continue };
        let schema = Schema::of(text)?;
        docs.extend(schema.options.iter().map(|option| doc(part, option)));
    }
    Ok(docs)
}

fn doc(part: Part, option: &OptionDef) -> OptionDoc {
    let default = option.default.as_ref().map(|default| match default {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    OptionDoc {
        name: option.name.clone(),
        part,
        kind: match &option.kind {
            Kind::String => "text".to_owned(),
            Kind::Integer => "integer".to_owned(),
            Kind::Number => "number".to_owned(),
            Kind::Boolean => "boolean".to_owned(),
            Kind::StringList(words) if words.is_empty() => "list of texts".to_owned(),
            Kind::StringList(words) => {
                format!("list of {}", quoted(words.iter()).replace(", ", " | "))
            }
            Kind::Enum(words) | Kind::Choice(words) => quoted(words.iter()).replace(", ", " | "),
        },
        required: (option.required && option.within.is_none())
            || (part == Part::Format && option.name == "format"),
        required_with: option.within.clone().filter(|_| option.required),
        default,
        only_with: option
            .variant
            .as_ref()
            .map(|(choice, variant)| format!("{choice} = '{variant}'")),
        sensitive: option.sensitive,
        description: option.description.clone(),
    }
}

/// The options as a Markdown table, which also reads well at a terminal.
pub fn markdown(docs: &[OptionDoc]) -> String {
    let mut text = String::from("| option | type | default | description |\n|---|---|---|---|\n");
    for doc in docs {
        let default = match (&doc.default, doc.required, &doc.required_with) {
            (Some(default), ..) => format!("`{default}`"),
            (None, true, _) => "required".to_owned(),
            (None, false, Some(group)) => format!("required with `{group}.…`"),
            (None, false, None) => String::new(),
        };
        let only = doc
            .only_with
            .as_ref()
            .map_or_else(String::new, |choice| format!("With `{choice}`: "));
        let row = [
            format!("`{}`", doc.name),
            doc.kind.clone(),
            default,
            format!("{only}{}", doc.description),
        ];
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

impl OptionDoc {
    /// The first sentence of the description.
    pub fn summary(&self) -> &str {
        first_sentence(&self.description)
    }
}

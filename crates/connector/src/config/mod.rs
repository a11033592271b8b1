//! Configuration, read from a schema: SQL `WITH` options in, the profile's and the table's JSON out.
//!
//! ```text
//! WITH (topic = 'a/#', 'tls.ca' = …)  ──sort──►  {"tls": {"ca": …}}  ──check──►  typify's Rust types
//!                                                {"topic": "a/#", …}
//! ```
//!
//! A connector describes its options in two JSON schemas and nowhere else. [`parse_table`] turns the dotted options of
//! SQL into values by them, [`validate`] checks values that came as JSON, [`describe`] makes reference documentation,
//! [`files`] and [`variables`] find what a table would take from this machine, and [`redact`] hides what a schema lists under `"sensitive"`. All problems of a table are reported in one
//! [`ConfigError`], each with the option, what was given, what is allowed and the nearest valid name; the value of a
//! sensitive option is never quoted.
//!
//! What a schema may hold beside plain options:
//! - nested objects, which become dotted names (`tls.ca`);
//! - arrays of strings, perhaps of an enum, written in SQL as `'a, b'` or `'["a", "b"]'`;
//! - tagged choices: a property whose schema is `oneOf` over objects with one key. In SQL the property names the
//!   variant (`type = 'sink'`), and the variant's options start with its name (`sink.retain`), which may be left out
//!   where no other option has the name that remains (`retain`);
//! - `"format": "var-str"`, text with `{{ NAME }}` for environment variables ([`VarStr`]);
//! - `"sensitive": ["password", "tls.key"]` at the top, with dotted names;
//! - `"files": ["tls.ca"]` likewise: options that name files of this machine (or hold PEM text instead).

mod check;
mod duration;
mod error;
mod files;
mod redact;
mod reference;
mod schema;
mod sort;
#[cfg(test)]
mod tests;
mod var_str;

use serde::de::DeserializeOwned;
use serde_json::Value;

use headwater_format::FormatConfig;

use crate::connector::{ConnectionProfile, ConnectorMetadata};
use crate::dead_letter;

pub use duration::duration;
pub use error::{ConfigError, did_you_mean, nearest, quoted};
pub use files::{files, variables};
pub use redact::{MASK, redact, without_password};
pub use reference::{OptionDoc, Part, describe, markdown};
pub use var_str::{UnsetVariable, VarStr};

use schema::Schema;
use sort::Section;

/// `schemas/format.json`: the options of the payload's format.
pub const FORMAT_SCHEMA: &str = include_str!("../../../../schemas/format.json");

/// Where something stands in the SQL text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One `key = 'value'` of a `WITH` clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlOption {
    /// The dotted name, as written.
    pub key: String,
    /// The value's text.
    pub value: String,
    /// Where the key stands, if it came from SQL text.
    pub location: Option<Location>,
}

impl SqlOption {
    /// An option that did not come from SQL text.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            location: None,
        }
    }
}

/// The options of one table, in the order in which they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<SqlOption>);

/// The options of a table, sorted out by the schemas.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// By the connector's profile schema; null if it has none.
    pub profile: Value,
    /// By the connector's table schema.
    pub table: Value,
    /// By `schemas/format.json`.
    pub format: FormatConfig,
}

/// Sorts out the options of a table. `connector` and `connection_profile` are the planner's and are passed over.
///
/// # Errors
/// All problems of the table at once: unknown, misspelt, missing, repeated and ill-typed options, options of the other
/// variant, and options of the profile beside a `connection_profile`.
pub fn parse_table(
    metadata: &ConnectorMetadata,
    options: &Options,
    profile: Option<&ConnectionProfile>,
) -> Result<Parsed, ConfigError> {
    let profile_schema = metadata.profile_schema.map(Schema::of).transpose()?;
    let table_schema = Schema::of(metadata.table_schema)?;
    let format_schema = Schema::of(FORMAT_SCHEMA)?;

    let mut sections = Vec::with_capacity(3);
    if let Some(schema) = &profile_schema {
        sections.push(profile_section(metadata, schema, profile)?);
    }
    sections.push(Section::new(&table_schema));
    let mut format = Section::new(&format_schema);
    format.required = &["format"];
    if !metadata.format {
        let reason = format!("does not apply: '{}' has no payload format", metadata.id);
        format.closed = Some(reason);
    }
    sections.push(format);

    let options = &sort::with_full_names(options, &sections);
    let problems = sort::sort(options, &mut sections);
    if let Some(error) = ConfigError::all(problems) {
        return Err(error.located(options));
    }
    let mut values = sections.into_iter().rev().map(|section| section.value);
    let format = typed(&values.next().unwrap_or_default(), "format")?;
    dead_letter::check_options(&format).map_err(|e| e.located(options))?;
    Ok(Parsed {
        format,
        table: values.next().unwrap_or_default(),
        profile: values.next().unwrap_or_default(),
    })
}

/// The profile's part: open to options, or taken whole from a named profile.
fn profile_section<'a>(
    metadata: &ConnectorMetadata,
    schema: &'a Schema,
    profile: Option<&ConnectionProfile>,
) -> Result<Section<'a>, ConfigError> {
    let mut section = Section::new(schema);
    let Some(profile) = profile else {
        return Ok(section);
    };
    let name = &profile.name;
    if profile.connector != metadata.id {
        let message = format!(
            "the connection profile '{name}' is for the connector '{}', not for '{}'",
            profile.connector, metadata.id
        );
        return Err(ConfigError::new(Some("connection_profile"), message));
    }
    let problems = check::check(schema, &profile.config, &Options::default())
        .into_iter()
        .map(|mut e| {
            e.message = format!("connection profile '{name}': {}", e.message);
            e
        });
    if let Some(error) = ConfigError::all(problems.collect()) {
        return Err(error);
    }
    section.closed = Some(format!(
        "belongs to the connection profile '{name}'; set it there, or leave out connection_profile"
    ));
    section.value = profile.config.clone();
    Ok(section)
}

/// Checks JSON values against a connector's schemas. The profile of a connector that has none is null.
///
/// # Errors
/// All problems of both values at once.
pub fn validate(
    metadata: &ConnectorMetadata,
    profile: &Value,
    table: &Value,
) -> Result<(), ConfigError> {
    let mut problems = validate_profile(metadata, profile)?;
    problems.extend(check::check(
        &*Schema::of(metadata.table_schema)?,
        table,
        &Options::default(),
    ));
    ConfigError::all(problems).map_or(Ok(()), Err)
}

/// Checks the profile of a connector against its schema; that of a connector that has none is null.
///
/// # Errors
/// All problems at once.
pub fn check_profile(metadata: &ConnectorMetadata, profile: &Value) -> Result<(), ConfigError> {
    let problems = validate_profile(metadata, profile)?;
    ConfigError::all(problems).map_or(Ok(()), Err)
}

fn validate_profile(
    metadata: &ConnectorMetadata,
    profile: &Value,
) -> Result<Vec<ConfigError>, ConfigError> {
    if let Some(schema) = metadata.profile_schema {
        return Ok(check::check(
            &*Schema::of(schema)?,
            profile,
            &Options::default(),
        ));
    }
    let message = || {
        format!(
            "the connector '{}' has no profile: it must be null",
            metadata.id
        )
    };
    let wrong = !profile.is_null();
    Ok(wrong
        .then(|| ConfigError::new(None, message()))
        .into_iter()
        .collect())
}

/// A JSON value as the Rust type that `typify` made of its schema. Does not fail for values that have been checked.
///
/// # Errors
/// Where the value does not fit the type.
pub fn typed<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, ConfigError> {
    let result = T::deserialize(value);
    result.map_err(|e| ConfigError::new(None, format!("{what}: {e}")))
}

//! What a table would take from this machine: files, by what the schemas list under `"files"`, and environment variables,
//! by where they say `"var-str"`.

use serde_json::Value;

use super::schema::{OptionDef, Schema};
use super::var_str::VarStr;
use super::{ConfigError, FORMAT_SCHEMA};
use crate::connector::ConnectorMetadata;
use headwater_format::FormatConfig;

/// How PEM text begins, which may stand where a file is named.
const PEM: &str = "-----BEGIN";

/// Every file that the values name, with the option that names it. Variables are resolved: a path may come from one.
///
/// # Errors
/// A schema that cannot be read; a variable that is not set.
pub fn files(
    metadata: &ConnectorMetadata,
    profile: &Value,
    table: &Value,
    format: &FormatConfig,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    each(metadata, profile, table, format, |option, text| {
        if !option.file {
            return Ok(());
        }
        let path = match option.variables {
            true => VarStr::new(text).resolve().map_err(|error| {
                let message = format!("option '{}': {error}", option.name);
                ConfigError::new(Some(&option.name), message)
            })?,
            false => text.to_owned(),
        };
        if !path.is_empty() && !path.trim_start().starts_with(PEM) {
            found.push((option.name.clone(), path));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Every environment variable that the values name, set or not, with the option that names it.
///
/// # Errors
/// A schema that cannot be read.
pub fn variables(
    metadata: &ConnectorMetadata,
    profile: &Value,
    table: &Value,
    format: &FormatConfig,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut found = Vec::new();
    each(metadata, profile, table, format, |option, text| {
        if option.variables {
            let names = VarStr::variables(text).map(str::to_owned);
            found.extend(names.map(|name| (option.name.clone(), name)));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Looks at every text of every option.
fn each(
    metadata: &ConnectorMetadata,
    profile: &Value,
    table: &Value,
    format: &FormatConfig,
    mut look: impl FnMut(&OptionDef, &str) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let format = serde_json::to_value(format)
        .map_err(|error| ConfigError::new(None, format!("format: {error}")))?;
    let parts = [
        (metadata.profile_schema, profile),
        (Some(metadata.table_schema), table),
        (metadata.format.then_some(FORMAT_SCHEMA), &format),
    ];
    for (schema, value) in parts {
        let Some(schema) = schema else { continue };
        for option in &Schema::of(schema)?.options {
            for text in texts(value, &option.path) {
                look(option, text)?;
            }
        }
    }
    Ok(())
}

/// The texts at a place of a value: one, those of a list, or none.
fn texts<'a>(value: &'a Value, path: &[String]) -> Vec<&'a str> {
    let place = path.iter().try_fold(value, |value, key| value.get(key));
    match place {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

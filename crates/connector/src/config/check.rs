//! Checks JSON values against a schema, and says what is wrong in the words of SQL options.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Fault};
use serde_json::Value;

use super::Options;
use super::error::{ConfigError, did_you_mean, quoted, shown};
use super::schema::{Kind, OptionDef, Schema};

/// Everything that is wrong with `value`, each problem under the name of its option. What came from `options` is quoted
/// as it was written there: the JSON of '0' may be 0.0.
pub(super) fn check(schema: &Schema, value: &Value, options: &Options) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    for error in schema.validator.iter_errors(value) {
        translate(schema, &error, options, &mut problems);
    }
    problems
}

fn translate(
    schema: &Schema,
    error: &ValidationError<'_>,
    options: &Options,
    problems: &mut Vec<ConfigError>,
) {
    let path = segments(error.instance_path().as_str());
    match error.kind() {
        Fault::Required { property } => {
            let path = joined(&path, property.as_str().unwrap_or_default());
            problems.push(missing(schema, &path));
        }
        Fault::AdditionalProperties { unexpected } => {
            for key in unexpected {
                let name = schema.dotted(&joined(&path, key));
                problems.push(unknown(&name, schema.options.iter()));
            }
        }
        Fault::OneOfNotValid { context } | Fault::OneOfMultipleValid { context } => {
            choice(schema, error, context, options, problems);
        }
        fault => {
            let name = schema.dotted(&path);
            let message = match schema.at(&path) {
                Some(option) => wrong_value(option, fault, error, options),
                None if path.is_empty() => "the options must be an object".to_owned(),
                None => format!("option '{name}': {}", error.masked()),
            };
            problems.push(ConfigError::new(Some(&name), message));
        }
    }
}

/// A tagged choice: either the variant is unknown, or something within the chosen variant is wrong.
fn choice(
    schema: &Schema,
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    options: &Options,
    problems: &mut Vec<ConfigError>,
) {
    let path = &segments(error.instance_path().as_str());
    let given = error.instance();
    let variants = schema.at(path).and_then(OptionDef::words);
    let variants = variants.unwrap_or_default();
    let chosen = given.as_object().and_then(|map| {
        let known = map.keys().find(|key| variants.contains(key));
        if map.len() == 1 { known } else { None }
    });
    if chosen.is_none() {
        let name = schema.dotted(path);
        let given = given.as_object().and_then(|map| map.keys().next());
        let message = format!(
            "option '{name}': must be an object with one of the keys {}{}",
            quoted(variants.iter()),
            given.map_or_else(String::new, |given| did_you_mean(
                given,
                variants.iter().map(String::as_str)
            )),
        );
        problems.push(ConfigError::new(Some(&name), message));
        return;
    }
    // The branches of the other variants complain about the key itself; the chosen one only about what is below it.
    let below =
        |error: &ValidationError<'_>| segments(error.instance_path().as_str()).len() > path.len();
    let branch = context
        .iter()
        .find(|errors| !errors.is_empty() && errors.iter().all(below));
    for error in branch.into_iter().flatten() {
        translate(schema, error, options, problems);
    }
    if branch.is_none() {
        let name = schema.dotted(path);
        let message = format!("option '{name}': does not fit the connector's schema");
        problems.push(ConfigError::new(Some(&name), message));
    }
}

fn wrong_value(
    option: &OptionDef,
    fault: &Fault,
    error: &ValidationError<'_>,
    options: &Options,
) -> String {
    let given = error.instance();
    let name = &option.name;
    let written = options.0.iter().find(|written| written.key == *name);
    let text = match (written, given.as_ref()) {
        (Some(written), _) => written.value.clone(),
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    };
    let value = shown(option, &text);
    match fault {
        Fault::Type { .. } if option.sensitive => format!("option '{name}': {}", error.masked()),
        Fault::Type { kind } => format!("option '{name}': {given} is not {}", type_name(kind)),
        Fault::Enum { .. } => not_one_of(option, &text),
        Fault::Minimum { limit } => {
            format!("option '{name}': {value} is too small; at least {limit}")
        }
        Fault::Maximum { limit } => {
            format!("option '{name}': {value} is too large; at most {limit}")
        }
        Fault::ExclusiveMinimum { limit } => {
            format!("option '{name}': {value} is too small; it must be above {limit}")
        }
        Fault::ExclusiveMaximum { limit } => {
            format!("option '{name}': {value} is too large; it must be below {limit}")
        }
        Fault::MinLength { limit: 1 } => format!("option '{name}': must not be empty"),
        Fault::MinLength { limit } => {
            format!("option '{name}': {value} is too short; at least {limit} characters")
        }
        Fault::MaxLength { limit } => {
            format!("option '{name}': {value} is too long; at most {limit} characters")
        }
        Fault::MinItems { limit } => format!("option '{name}': at least {limit} values are needed"),
        Fault::MaxItems { limit } => format!("option '{name}': at most {limit} values are allowed"),
        Fault::Pattern { pattern } => {
            format!("option '{name}': {value} does not match the pattern {pattern}")
        }
        _ => format!("option '{name}': {}", error.masked()),
    }
}

fn type_name(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(json) => with_article(&json.to_string()),
        TypeKind::Multiple(set) => {
            let names: Vec<_> = set
                .iter()
                .map(|json| with_article(&json.to_string()))
                .collect();
            names.join(" or ")
        }
    }
}

fn with_article(json: &str) -> String {
    match json {
        "string" => "text".to_owned(),
        "integer" => "a whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" | "object" => format!("an {json}"),
        other => format!("a {other}"),
    }
}

/// `option 'qos': 'AtMostOne' is not one of 'AtMostOnce', 'AtLeastOnce'; did you mean 'AtMostOnce'?`
pub(super) fn not_one_of(option: &OptionDef, given: &str) -> String {
    let words = option.words().unwrap_or_default();
    format!(
        "option '{}': {} is not one of {}{}",
        option.name,
        shown(option, given),
        quoted(words.iter()),
        did_you_mean(given, words.iter().map(String::as_str))
    )
}

/// An option that is not there though it must be.
pub(super) fn missing(schema: &Schema, path: &[String]) -> ConfigError {
    let name = schema.dotted(path);
    let explained = match schema.at(path) {
        Some(option) => match option.words() {
            Some(words) => format!("; one of {}", quoted(words.iter())),
            None => format!(": {}", first_sentence(&option.description)),
        },
        None => String::new(),
    };
    ConfigError::new(Some(&name), format!("missing option '{name}'{explained}"))
}

/// An option that no schema knows, with what it may have been meant to be, or else all that there is.
pub(super) fn unknown<'a>(
    name: &str,
    allowed: impl Iterator<Item = &'a OptionDef> + Clone,
) -> ConfigError {
    let names = || allowed.clone().map(|option| option.name.as_str());
    let prefix = format!("{name}.");
    let group: Vec<_> = names().filter(|known| known.starts_with(&prefix)).collect();
    let message = if group.is_empty() {
        match did_you_mean(name, names()) {
            meant if meant.is_empty() => {
                let all = names().collect::<Vec<_>>().join(", ");
                format!("unknown option '{name}' (the options are {all})")
            }
            // A connector may have more options than anyone reads on the way to the one that was meant.
            meant => format!("unknown option '{name}'{meant}"),
        }
    } else {
        let all = group.join(", ");
        format!("option '{name}' is a group and takes no value (its options are {all})")
    };
    ConfigError::new(Some(name), message)
}

pub(super) fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").map_or(text.len(), |at| at);
    text[..end].trim_end_matches('.')
}

/// What the words of a kind are called in an error.
pub(super) fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "text",
        Kind::Integer => "a whole number",
        Kind::Number => "a number",
        Kind::Boolean => "true or false",
        Kind::Enum(_) | Kind::Choice(_) => "one of the words allowed",
        Kind::StringList(_) => "a list: values separated by commas, or a JSON array of strings",
    }
}

fn segments(pointer: &str) -> Vec<String> {
    let unescape = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    pointer.split('/').skip(1).map(unescape).collect()
}

fn joined(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

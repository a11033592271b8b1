//! Sorts the options of one `WITH` clause into the profile, the table and the format, by their schemas.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::check::{check, kind_name, missing, not_one_of, unknown};
use super::error::{ConfigError, shown};
use super::schema::{Kind, OptionDef, Schema};
use super::{Options, SqlOption};

/// Options that are read by the planner, whatever the connector.
const COMMON: [&str; 2] = ["connector", "connection_profile"];

/// One schema, and the value that the options make by it.
pub(super) struct Section<'a> {
    /// The schema.
    pub(super) schema: &'a Schema,
    /// Why none of its options may be given, if so; completes `option 'x' …`.
    pub(super) closed: Option<String>,
    /// Options at the top that must be given here, though the schema does not require them.
    pub(super) required: &'static [&'static str],
    /// The JSON value.
    pub(super) value: Value,
}

impl<'a> Section<'a> {
    /// A section without options yet.
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            closed: None,
            required: &[],
            value: Value::Object(Map::new()),
        }
    }
}

/// Puts its variant's name before every option that was given without (`retain` → `sink.retain`).
pub(super) fn with_full_names(options: &Options, sections: &[Section<'_>]) -> Options {
    let all = || sections.iter().flat_map(|s| &s.schema.options);
    let chosen = |def: &OptionDef| {
        let choice = def.variant.as_ref();
        choice.is_some_and(|(choice, variant)| {
            let given = options.0.iter().find(|option| option.key == *choice);
            given.is_some_and(|given| given.value == *variant)
        })
    };
    let full = |option: &SqlOption| {
        let mut option = option.clone();
        if !COMMON.contains(&option.key.as_str()) && all().all(|def| def.name != option.key) {
            let meant = || all().filter(|def| def.short_name() == option.key);
            // One of the other variant is told as that.
            if let Some(def) = meant().find(|def| chosen(def)).or_else(|| meant().next()) {
                option.key.clone_from(&def.name);
            }
        }
        option
    };
    Options(options.0.iter().map(full).collect())
}

/// Puts every option into the section that knows it. Returns all problems, those of values included.
pub(super) fn sort(options: &Options, sections: &mut [Section<'_>]) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let mut accepted = Vec::new();
    let mut seen = HashMap::new();
    for option in options
        .0
        .iter()
        .filter(|o| !COMMON.contains(&o.key.as_str()))
    {
        if seen.insert(option.key.as_str(), ()).is_some() {
            problems.push(at(
                option,
                format!("option '{}' is given twice", option.key),
            ));
            continue;
        }
        match accept(option, sections) {
            Ok(found) => accepted.push((option, found)),
            Err(e) => problems.push(e),
        }
    }
    // Choices first: they make the objects that hold the options of their variants.
    accepted.sort_by_key(|(_, found)| !matches!(found.def.kind, Kind::Choice(_)));
    let mut chosen: HashMap<&str, &str> = HashMap::new();
    for (option, found) in &accepted {
        if let Err(e) = place(option, found, sections, &mut chosen) {
            problems.push(e);
        }
    }
    for section in sections
        .iter_mut()
        .filter(|section| section.closed.is_none())
    {
        fill_defaults(section);
        let mut found = check(section.schema, &section.value, options);
        let absent = section
            .required
            .iter()
            .filter(|name| section.value.get(**name).is_none());
        found.extend(absent.map(|name| missing(section.schema, &[(*name).to_owned()])));
        // A value that could not be converted is missing from the JSON, and has been reported.
        found.retain(|e| !problems.iter().any(|p| p.option == e.option));
        problems.extend(found);
    }
    problems
}

/// An option that its section accepted.
struct Accepted<'a> {
    section: usize,
    def: &'a OptionDef,
}

fn accept<'a>(option: &SqlOption, sections: &[Section<'a>]) -> Result<Accepted<'a>, ConfigError> {
    for (section, candidate) in sections.iter().enumerate() {
        let Some(def) = candidate.schema.option(&option.key) else {
            continue;
        };
        if let Some(reason) = &candidate.closed {
            return Err(at(option, format!("option '{}' {reason}", option.key)));
        }
        return Ok(Accepted { section, def });
    }
    let open = sections.iter().filter(|section| section.closed.is_none());
    let mut error = unknown(
        &option.key,
        open.flat_map(|section| section.schema.options.iter()),
    );
    error.location = option.location;
    Err(error)
}

fn place<'a>(
    option: &'a SqlOption,
    found: &Accepted<'a>,
    sections: &mut [Section<'_>],
    chosen: &mut HashMap<&'a str, &'a str>,
) -> Result<(), ConfigError> {
    let def = found.def;
    let value = convert(def, &option.value);
    if matches!(def.kind, Kind::Choice(_)) {
        chosen.insert(&def.name, &option.value);
    }
    if let Some((choice, variant)) = &def.variant {
        match chosen.get(choice.as_str()) {
            Some(given) if *given == variant => {}
            Some(given) => {
                let message = format!(
                    "option '{}' is for {choice} = '{variant}', but this table has {choice} = '{given}'",
                    def.name
                );
                return Err(at(option, message));
            }
            // The choice itself is reported as missing.
            None => return Ok(()),
        }
    }
    let value = value.map_err(|message| at(option, message))?;
    set(&mut sections[found.section].value, &def.path, value);
    Ok(())
}

fn at(option: &SqlOption, message: String) -> ConfigError {
    let mut error = ConfigError::new(Some(&option.key), message);
    error.location = option.location;
    error
}

/// The text of an option as the JSON that its schema asks for.
fn convert(def: &OptionDef, text: &str) -> Result<Value, String> {
    let value = match &def.kind {
        Kind::String => Some(Value::from(text)),
        Kind::Integer => integer(text),
        Kind::Number => text.trim().parse::<f64>().ok().and_then(finite),
        Kind::Boolean => boolean(text),
        Kind::StringList(_) => list(text),
        Kind::Enum(words) | Kind::Choice(words) => {
            if !words.iter().any(|word| word == text) {
                return Err(not_one_of(def, text));
            }
            Some(match &def.kind {
                Kind::Choice(_) => Value::Object(Map::from_iter([(
                    text.to_owned(),
                    Value::Object(Map::new()),
                )])),
                _ => Value::from(text),
            })
        }
    };
    value.ok_or_else(|| {
        format!(
            "option '{}': {} is not {}",
            def.name,
            shown(def, text),
            kind_name(&def.kind)
        )
    })
}

fn integer(text: &str) -> Option<Value> {
    let text = text.trim();
    let signed = text.parse::<i64>().map(Value::from);
    signed
        .or_else(|_| text.parse::<u64>().map(Value::from))
        .ok()
}

fn finite(number: f64) -> Option<Value> {
    serde_json::Number::from_f64(number).map(Value::Number)
}

fn boolean(text: &str) -> Option<Value> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn list(text: &str) -> Option<Value> {
    if text.trim_start().starts_with('[') {
        let values: Vec<String> = serde_json::from_str(text).ok()?;
        return Some(Value::from(values));
    }
    Some(
        text.split(',')
            .map(|value| Value::from(value.trim()))
            .collect(),
    )
}

fn set(root: &mut Value, path: &[String], value: Value) {
    let mut here = root;
    for key in path {
        // Every place on the way is an object: the schema says so, and only this function writes here.
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        here = &mut here[key.as_str()];
    }
    *here = value;
}

/// Writes the schema's defaults into the objects that are there; an object of which no option was given stays away.
fn fill_defaults(section: &mut Section<'_>) {
    for def in &section.schema.options {
        let (Some(default), Some((key, parents))) = (&def.default, def.path.split_last()) else {
            continue;
        };
        let parent = parents.iter().try_fold(&mut section.value, |value, key| {
            value.as_object_mut()?.get_mut(key)
        });
        if let Some(Value::Object(parent)) = parent {
            parent.entry(key.clone()).or_insert_with(|| default.clone());
        }
    }
}

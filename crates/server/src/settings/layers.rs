//! Settings from several places, and where each came from.
//!
//! ```text
//! default ◄── file ◄── environment ◄── command line        the later wins, setting by setting
//! ```
//!
//! Names, types and bounds are those of the JSON schema of [`Settings`]; nothing is listed twice.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use headwater_engine::connector::config::{MASK, did_you_mean};
use serde_json::{Map, Value, json};

use super::{Settings, schema};

/// How environment variables begin.
const PREFIX: &str = "HEADWATER_";

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// This file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This option of the command line.
    Flag(String),
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The file cannot be read.
    #[error("the configuration '{path}' cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration '{path}' is no TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// Something is set that does not exist.
    #[error("unknown setting '{key}' from {origin}{near}")]
    Unknown {
        /// Its name.
        key: String,
        /// Where it is set.
        origin: Origin,
        /// What may have been meant.
        near: String,
    },
    /// A value that does not fit.
    #[error("setting '{key}' from {origin}: {message}")]
    Value {
        /// Its name.
        key: String,
        /// Where it is set.
        origin: Origin,
        /// Why.
        message: String,
    },
}

/// Settings in the making.
#[derive(Debug, Default)]
pub struct Layers {
    given: BTreeMap<String, (Value, Origin)>,
}

/// Settings, and where each came from.
#[derive(Debug)]
pub struct Settled {
    /// The settings.
    pub settings: Settings,
    origins: BTreeMap<String, Origin>,
}

/// A setting as the schema knows it.
struct Known {
    key: String,
    kind: Kind,
}

impl Known {
    /// The environment variable that says it.
    fn variable(&self) -> String {
        let key = self.key.to_ascii_uppercase().replace('.', "_");
        format!("{PREFIX}{key}")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    List,
}

impl Layers {
    /// Adds what a file says.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML.
    pub fn file(mut self, path: &Path) -> Result<Self, SettingError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| SettingError::Unreadable {
            path: shown.clone(),
            source,
        })?;
        let parsed: Value = toml::from_str(&text).map_err(|error| SettingError::Syntax {
            path: shown,
            message: error.to_string().trim_end().to_owned(),
        })?;
        let origin = Origin::File(path.to_owned());
        for (key, value) in flat(&parsed) {
            self.given.insert(key, (value, origin.clone()));
        }
        Ok(self)
    }

    /// Adds what the environment says; `variable` looks a variable up.
    ///
    /// # Errors
    /// A value that is not of the setting's type.
    pub fn environment(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingError> {
        for known in known() {
            let name = known.variable();
            if let Some(text) = variable(&name) {
                let origin = Origin::Environment(name);
                self.insert(&known, &[text], origin)?;
            }
        }
        Ok(self)
    }

    /// Adds what the command line says of a setting. Without texts it says nothing.
    ///
    /// # Errors
    /// A value that is not of the setting's type.
    pub fn flag(mut self, key: &str, texts: &[String]) -> Result<Self, SettingError> {
        let origin = Origin::Flag(format!("--{}", key.replace(['.', '_'], "-")));
        if let (Some(known), false) = (known().find(|known| known.key == key), texts.is_empty()) {
            self.insert(&known, texts, origin)?;
        }
        Ok(self)
    }

    fn insert(
        &mut self,
        known: &Known,
        texts: &[String],
        origin: Origin,
    ) -> Result<(), SettingError> {
        let first = || texts.first().map(String::as_str).unwrap_or_default();
        let value = match known.kind {
            Kind::Text => json!(first()),
            Kind::Number => match first().parse::<u64>() {
                Ok(number) => json!(number),
                Err(_no_number) => {
                    return Err(SettingError::Value {
                        key: known.key.clone(),
                        origin,
                        message: format!("'{}' is no whole number", first()),
                    });
                }
            },
            Kind::List => {
                let items = texts.iter().flat_map(|text| text.split(','));
                json!(
                    items
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .collect::<Vec<_>>()
                )
            }
        };
        self.given.insert(known.key.clone(), (value, origin));
        Ok(())
    }

    /// All of it together.
    ///
    /// # Errors
    /// Settings that do not exist, values that do not fit.
    pub fn settle(self) -> Result<Settled, SettingError> {
        let keys: Vec<_> = known().map(|known| known.key).collect();
        let mut nested = json!({});
        let mut origins: BTreeMap<_, _> = keys
            .iter()
            .map(|key| (key.clone(), Origin::Default))
            .collect();
        for (key, (value, origin)) in &self.given {
            if !keys.contains(key) {
                return Err(SettingError::Unknown {
                    near: did_you_mean(key, keys.iter().map(String::as_str)),
                    key: key.clone(),
                    origin: origin.clone(),
                });
            }
            insert(&mut nested, key, value.clone());
            origins.insert(key.clone(), origin.clone());
        }
        let origin_of = |key: &str| origins.get(key).cloned().unwrap_or(Origin::Default);
        check(&nested, origin_of)?;
        let settings = serde_json::from_value(nested).map_err(|error| SettingError::Value {
            // the schema has no word for addresses
            key: "listen".to_owned(),
            origin: origin_of("listen"),
            message: format!("{error}; write an IP address and a port, like 127.0.0.1:5115"),
        })?;
        Ok(Settled { settings, origins })
    }
}

/// What the schema says against the values.
fn check(values: &Value, origin_of: impl Fn(&str) -> Origin) -> Result<(), SettingError> {
    let validator = match jsonschema::validator_for(&schema()) {
        Ok(validator) => validator,
        Err(error) => {
            return Err(SettingError::Value {
                key: String::new(),
                origin: Origin::Default,
                message: error.to_string(),
            });
        }
    };
    match validator.iter_errors(values).next() {
        None => Ok(()),
        Some(error) => {
            let path = error.instance_path().to_string();
            let key = path.trim_start_matches('/').replace('/', ".");
            Err(SettingError::Value {
                origin: origin_of(&key),
                message: error.masked().to_string(),
                key,
            })
        }
    }
}

impl fmt::Display for Settled {
    /// As a file that says the same, with the origins as comments. A token is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = serde_json::to_value(&self.settings).map_err(|_unwritable| fmt::Error)?;
        let values: BTreeMap<_, _> = flat(&values).into_iter().collect();
        for (key, origin) in &self.origins {
            match values.get(key) {
                None | Some(Value::Null) => writeln!(f, "# {key} is not set")?,
                Some(_) if key == "token" => writeln!(f, "{key} = \"{MASK}\"  # {origin}")?,
                // JSON's texts, numbers and lists are TOML's
                Some(value) => writeln!(f, "{key} = {value}  # {origin}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file '{}'", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The environment variables of all settings.
pub fn variables() -> impl Iterator<Item = String> {
    known().map(|known| known.variable())
}

/// All settings.
fn known() -> impl Iterator<Item = Known> {
    let schema = schema();
    let mut found = Vec::new();
    walk(&schema, &schema, "", &mut found);
    found.into_iter()
}

fn walk(root: &Value, object: &Value, prefix: &str, found: &mut Vec<Known>) {
    for (name, property) in object["properties"].as_object().into_iter().flatten() {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let pointer = property["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix('#'));
        let referred = pointer.and_then(|pointer| root.pointer(pointer));
        match referred {
            Some(group) => walk(root, group, &key, found),
            None => found.push(Known {
                kind: kind(&property["type"]),
                key,
            }),
        }
    }
}

fn kind(json_type: &Value) -> Kind {
    match json_type.as_str() {
        Some("integer") => Kind::Number,
        Some("array") => Kind::List,
        _ => Kind::Text,
    }
}

/// `{"tls": {"cert": "a"}}` → `tls.cert = "a"`.
fn flat(value: &Value) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((prefix, value)) = open.pop() {
        for (name, value) in value.as_object().into_iter().flatten() {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                Value::Object(_) => open.push((key, value)),
                value => flat.push((key, value.clone())),
            }
        }
    }
    flat
}

/// The other way round. Keys have at most two parts.
fn insert(nested: &mut Value, key: &str, value: Value) {
    let (group, name) = match key.split_once('.') {
        Some((group, name)) => (Some(group), name),
        None => (None, key),
    };
    let place = match group {
        Some(group) => &mut nested[group],
        None => nested,
    };
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    place[name] = value;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headwater.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_later_wins_and_origins_are_told() {
        let (_dir, path) = file(
            "listen = '127.0.0.1:1'\ntoken = 'geheim'\n[limits]\npipelines = 7\nbody_bytes = 4096\n",
        );
        let variable = |name: &str| match name {
            "HEADWATER_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "HEADWATER_LIMITS_PIPELINES" => Some("8".to_owned()),
            _ => None,
        };
        let layers = Layers::default()
            .file(&path)
            .unwrap()
            .environment(variable)
            .unwrap();
        let layers = layers.flag("listen", &["127.0.0.1:3".to_owned()]).unwrap();
        let layers = layers
            .flag("allow_path", &["/a".to_owned(), "/b".to_owned()])
            .unwrap();
        let settled = layers.settle().unwrap();
        assert_eq!(settled.settings.listen.port(), 3);
        assert_eq!(settled.settings.limits.pipelines, 8);
        assert_eq!(
            settled.settings.allow_path,
            [PathBuf::from("/a"), PathBuf::from("/b")]
        );
        let shown = settled.to_string().replace(path.to_str().unwrap(), "FILE");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn what_is_shown_says_the_same_as_a_file() {
        let settled = Layers::default().settle().unwrap();
        let (_dir, path) = file(&settled.to_string());
        let again = Layers::default().file(&path).unwrap().settle().unwrap();
        assert_eq!(again.settings, settled.settings);
    }

    #[test]
    fn mistakes_name_the_setting_and_the_place() {
        let check = |text: &str| {
            let (_dir, path) = file(text);
            let settled = Layers::default().file(&path).and_then(Layers::settle);
            settled
                .unwrap_err()
                .to_string()
                .replace(path.to_str().unwrap(), "FILE")
        };
        insta::assert_snapshot!(check("listn = ''"), @"unknown setting 'listn' from file 'FILE'; did you mean 'listen'?");
        insta::assert_snapshot!(check("limits.pipelines = 0"), @"setting 'limits.pipelines' from file 'FILE': value is less than the minimum of 1");
        insta::assert_snapshot!(check("limits.pipelines = 'many'"), @r#"setting 'limits.pipelines' from file 'FILE': value is not of type "integer""#);
        insta::assert_snapshot!(check("listen = 'here'"), @"setting 'listen' from file 'FILE': invalid socket address syntax; write an IP address and a port, like 127.0.0.1:5115");
        insta::assert_snapshot!(check("listen = "), @"the configuration 'FILE' is no TOML: TOML parse error at line 1, column 10
  |
1 | listen = 
  |          ^
string values must be quoted, expected literal string");
    }
}

//! A connector's JSON schema, flattened into the options that SQL can name.
//!
//! ```text
//! {"tls": {"properties": {"ca": …}}}                      →  tls.ca
//! {"type": {"oneOf": [{"properties": {"sink": {…}}}, …]}}  →  type = 'sink', and sink.retain if it was chosen
//! ```
//!
//! Only what connectors need of JSON Schema is understood here (objects, scalars, enums, arrays of strings, local
//! `$ref`, and `oneOf` over objects with a single key); constraints on values are left to the `jsonschema` crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value, json};

use super::ConfigError;

/// What the text of an option is turned into.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Enum(Vec<String>),
    /// Several texts: of these words, if there are any.
    StringList(Vec<String>),
    /// One of these variants, each with options of its own.
    Choice(Vec<String>),
}

/// One option that SQL can name.
#[derive(Debug, Clone)]
pub(super) struct OptionDef {
    /// Its dotted name in SQL.
    pub(super) name: String,
    /// Its place in the JSON value.
    pub(super) path: Vec<String>,
    /// Its type.
    pub(super) kind: Kind,
    /// What the schema says of it.
    pub(super) description: String,
    /// What holds when it is not given.
    pub(super) default: Option<Value>,
    /// Whether it must be given, if the object around it is there.
    pub(super) required: bool,
    /// The nearest object around it that may be left out.
    pub(super) within: Option<String>,
    /// Whether its value must never be shown.
    pub(super) sensitive: bool,
    /// Whether it names a file of this machine, or several.
    pub(super) file: bool,
    /// Whether `{{ NAME }}` in it stands for an environment variable.
    pub(super) variables: bool,
    /// The choice that must have been made for it to apply: the choice's option, and the variant.
    pub(super) variant: Option<(String, String)>,
}

impl OptionDef {
    /// The values that are allowed, if they can be listed.
    pub(super) fn words(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Enum(words) | Kind::Choice(words) => Some(words),
            Kind::StringList(words) if !words.is_empty() => Some(words),
            _ => None,
        }
    }

    /// The name without that of the variant, by which it may be given too.
    pub(super) fn short_name(&self) -> &str {
        let prefix = self.variant.as_ref().map(|(_, variant)| variant.as_str());
        let short = prefix.and_then(|prefix| self.name.strip_prefix(prefix)?.strip_prefix('.'));
        short.unwrap_or(&self.name)
    }
}

/// A schema, ready to sort out options and to check values.
pub(super) struct Schema {
    /// All options, in the order of the schema.
    pub(super) options: Vec<OptionDef>,
    /// Checks a whole value.
    pub(super) validator: jsonschema::Validator,
    /// Objects that are no options themselves: path in the JSON value → dotted prefix in SQL.
    objects: HashMap<Vec<String>, String>,
}

impl Schema {
    /// The schema of this text. Every text is read once in the life of the process.
    pub(super) fn of(text: &'static str) -> Result<Arc<Self>, ConfigError> {
        static CACHE: OnceLock<Mutex<HashMap<&'static str, Arc<Schema>>>> = OnceLock::new();
        let cache = CACHE.get_or_init(Mutex::default);
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(text) {
            return Ok(Arc::clone(known));
        }
        let schema = Arc::new(Self::read(text)?);
        cache.insert(text, Arc::clone(&schema));
        Ok(schema)
    }

    /// Reads a schema.
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        let broken = |e: String| ConfigError::new(None, format!("the connector's schema: {e}"));
        let root: Value = serde_json::from_str(text).map_err(|e| broken(e.to_string()))?;
        let validator = jsonschema::validator_for(&root).map_err(|e| broken(e.to_string()))?;
        let mut walk = Walk {
            root: &root,
            sensitive: strings(&root["sensitive"]),
            files: strings(&root["files"]),
            options: Vec::new(),
            objects: HashMap::new(),
        };
        walk.object(&root, &Place::default()).map_err(broken)?;
        walk.check_listed("sensitive", &walk.sensitive)
            .map_err(broken)?;
        walk.check_listed("files", &walk.files).map_err(broken)?;
        Ok(Self {
            options: walk.options,
            objects: walk.objects,
            validator,
        })
    }

    /// The option of this dotted name.
    pub(super) fn option(&self, name: &str) -> Option<&OptionDef> {
        self.options.iter().find(|option| option.name == name)
    }

    /// The option that a place in the JSON value belongs to; places within a list belong to the list.
    pub(super) fn at(&self, path: &[String]) -> Option<&OptionDef> {
        let exact = self.options.iter().find(|option| option.path == path);
        exact.or_else(|| {
            let holds = |o: &&OptionDef| {
                matches!(o.kind, Kind::StringList(_)) && path.starts_with(o.path.as_slice())
            };
            self.options.iter().find(holds)
        })
    }

    /// The name that SQL gives to a place in the JSON value.
    pub(super) fn dotted(&self, path: &[String]) -> String {
        if let Some(option) = self.at(path) {
            return option.name.clone();
        }
        match path.split_last() {
            None => String::new(),
            Some((last, before)) => match self.objects.get(path) {
                Some(prefix) => prefix.clone(),
                None => join(&self.dotted(before), last),
            },
        }
    }
}

/// Where the walk stands.
#[derive(Debug, Clone, Default)]
struct Place {
    dotted: String,
    path: Vec<String>,
    /// The nearest object around it that may be left out.
    within: Option<String>,
    variant: Option<(String, String)>,
}

impl Place {
    fn child(&self, key: &str) -> Self {
        let mut child = self.clone();
        child.dotted = join(&self.dotted, key);
        child.path.push(key.to_owned());
        child
    }
}

struct Walk<'a> {
    root: &'a Value,
    sensitive: Vec<String>,
    files: Vec<String>,
    options: Vec<OptionDef>,
    objects: HashMap<Vec<String>, String>,
}

impl<'a> Walk<'a> {
    fn object(&mut self, schema: &'a Value, place: &Place) -> Result<(), String> {
        self.objects
            .insert(place.path.clone(), place.dotted.clone());
        let required = strings(&schema["required"]);
        let Some(properties) = schema["properties"].as_object() else {
            return Ok(());
        };
        for (key, property) in properties {
            let property = self.resolve(property)?;
            let child = place.child(key);
            if let Some(branches) = property["oneOf"].as_array() {
                self.choice(property, branches, place, &child, required.contains(key))?;
            } else if property["type"] == "object" {
                let mut child = child;
                if !required.contains(key) {
                    child.within = Some(child.dotted.clone());
                }
                self.object(property, &child)?;
            } else {
                let kind = kind(property).map_err(|e| format!("'{}': {e}", child.dotted))?;
                self.option(property, kind, &child, required.contains(key));
            }
        }
        Ok(())
    }

    /// `type = 'sink'` stands for `{"type": {"sink": {…}}}`; the variant's own options start with its name.
    fn choice(
        &mut self,
        schema: &'a Value,
        branches: &'a [Value],
        parent: &Place,
        place: &Place,
        required: bool,
    ) -> Result<(), String> {
        let mut variants = Vec::new();
        for branch in branches {
            let properties = self.resolve(branch)?["properties"].as_object();
            let Some((variant, inner)) = properties.and_then(single) else {
                return Err(format!(
                    "'{}': every branch of oneOf must be an object with one key",
                    place.dotted
                ));
            };
            variants.push((variant, self.resolve(inner)?));
        }
        let names = variants.iter().map(|(name, _)| (*name).clone()).collect();
        self.option(schema, Kind::Choice(names), place, required);
        for (variant, inner) in variants {
            let mut path = place.path.clone();
            path.push(variant.clone());
            let inner_place = Place {
                dotted: join(&parent.dotted, variant),
                path,
                within: place.within.clone(),
                variant: Some((place.dotted.clone(), variant.clone())),
            };
            self.object(inner, &inner_place)?;
        }
        Ok(())
    }

    fn option(&mut self, schema: &Value, kind: Kind, place: &Place, required: bool) {
        let text = |key: &str| schema[key].as_str().map(str::to_owned);
        self.options.push(OptionDef {
            name: place.dotted.clone(),
            path: place.path.clone(),
            kind,
            description: text("description")
                .or_else(|| text("title"))
                .unwrap_or_default(),
            default: schema.get("default").cloned(),
            required,
            within: place.within.clone(),
            sensitive: self.sensitive.contains(&place.dotted),
            file: self.files.contains(&place.dotted),
            variables: [&schema["format"], &schema["items"]["format"]].contains(&&json!("var-str")),
            variant: place.variant.clone(),
        });
    }

    /// A misspelt name would leave a secret in the open, or a file within reach.
    fn check_listed(&self, list: &str, names: &[String]) -> Result<(), String> {
        let known = |name: &&String| self.options.iter().any(|option| option.name == **name);
        match names.iter().find(|name| !known(name)) {
            Some(name) => Err(format!(
                "'{name}' is listed under \"{list}\", but is no option"
            )),
            None => Ok(()),
        }
    }

    fn resolve(&self, schema: &'a Value) -> Result<&'a Value, String> {
        let Some(reference) = schema["$ref"].as_str() else {
            return Ok(schema);
        };
        reference
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("'{reference}' leads nowhere within this schema"))
    }
}

fn kind(schema: &Value) -> Result<Kind, String> {
    if schema.get("enum").is_some() {
        return Ok(Kind::Enum(strings(&schema["enum"])));
    }
    match schema["type"].as_str() {
        Some("string") => Ok(Kind::String),
        Some("integer") => Ok(Kind::Integer),
        Some("number") => Ok(Kind::Number),
        Some("boolean") => Ok(Kind::Boolean),
        Some("array") if schema["items"]["type"] == "string" => {
            Ok(Kind::StringList(strings(&schema["items"]["enum"])))
        }
        other => Err(format!("no option can have the type {other:?}")),
    }
}

fn single(properties: &Map<String, Value>) -> Option<(&String, &Value)> {
    let mut all = properties.iter();
    let first = all.next();
    if all.next().is_some() { None } else { first }
}

pub(super) fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

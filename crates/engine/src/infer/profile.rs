//! The connection of a table that is inferred, and how it is written into the table without its secrets.

use headwater_connector::config::{MASK, check_profile, redact};
use headwater_connector::{ConfigError, ConnectionProfile, Registry, SqlOption};
use serde_json::{Map, Value};

/// How to connect.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The connector's name.
    pub(super) connector: String,
    /// By the connector's schema. May hold secrets.
    pub(super) config: Value,
    /// The profile that the table will name, if it has a name.
    pub(super) named: Option<ConnectionProfile>,
}

/// A profile as the table's options.
pub(super) struct Shown {
    pub(super) options: Vec<SqlOption>,
    pub(super) notes: Vec<String>,
}

impl Profile {
    /// A profile that tables name, `{"name": …, "connector": …, "config": …}`, or the bare options of a `connector`'s.
    ///
    /// # Errors
    /// What does not fit the connector's schema.
    pub fn from_json(
        registry: &Registry,
        connector: &str,
        json: Value,
    ) -> Result<Self, ConfigError> {
        let named = json.get("config").is_some() && json.get("connector").is_some();
        let profile = if named {
            let named: ConnectionProfile = serde_json::from_value(json)
                .map_err(|e| ConfigError::new(None, format!("the profile: {e}")))?;
            Self {
                connector: named.connector.clone(),
                config: named.config.clone(),
                named: Some(named),
            }
        } else {
            Self {
                connector: connector.to_owned(),
                config: json,
                named: None,
            }
        };
        let connector = registry.get(&profile.connector)?;
        check_profile(&connector.metadata(), &profile.config)?;
        Ok(profile)
    }

    /// The profile that an address stands for. A password that the address lacks is taken from `<CONNECTOR>_PASSWORD`, if
    /// that is set.
    ///
    /// # Errors
    /// An address that is none, or that names a topic, too.
    pub fn from_url(registry: &Registry, connector: &str, url: &str) -> Result<Self, ConfigError> {
        let known = registry.get(connector)?;
        let mut config = Map::new();
        for option in known.locate(url)?.0 {
            if option.key == "topic" {
                let message = "the URL of the profile goes on behind host and port; the topic is given by --topic";
                return Err(ConfigError::new(Some("url"), message));
            }
            config.insert(option.key, Value::from(option.value));
        }
        let variable = variable(connector, "password");
        if has_user_alone(url) && std::env::var_os(&variable).is_some() {
            let password = format!("{{{{ {variable} }}}}");
            config.insert("password".to_owned(), Value::from(password));
        }
        Self::from_json(registry, connector, Value::Object(config))
    }

    /// The options that connect a table likewise. Secrets become variables of the environment, which the notes name.
    pub(super) fn options(&self, schema: Option<&str>) -> Shown {
        let mut shown = Shown {
            options: Vec::new(),
            notes: Vec::new(),
        };
        if let Some(named) = &self.named {
            let name = named.name.as_str();
            shown
                .options
                .push(SqlOption::new("connection_profile", name));
            return shown;
        }
        let harmless = schema.map_or(Value::Null, |schema| redact(schema, &self.config));
        flatten("", &harmless, &mut shown.options);
        for option in &mut shown.options {
            if option.value.contains(MASK) {
                let secret = if option.key == "url" {
                    "password"
                } else {
                    option.key.as_str()
                };
                let variable = variable(&self.connector, secret);
                option.value = option.value.replace(MASK, &format!("{{{{ {variable} }}}}"));
                shown.notes.push(format!(
                    "'{}' holds a secret: put it into the environment variable {variable}",
                    option.key
                ));
            }
        }
        shown
    }
}

/// Whether a URL names a user, but no password.
fn has_user_alone(url: &str) -> bool {
    let login = url
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'));
    login.is_some_and(|(login, _)| !login.contains(':'))
}

/// `MQTT_PASSWORD`.
fn variable(connector: &str, option: &str) -> String {
    format!("{connector}_{option}")
        .to_uppercase()
        .replace('.', "_")
}

fn flatten(prefix: &str, value: &Value, options: &mut Vec<SqlOption>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dotted = match prefix {
                    "" => key.clone(),
                    prefix => format!("{prefix}.{key}"),
                };
                flatten(&dotted, value, options);
            }
        }
        Value::Null => {}
        Value::String(text) => options.push(SqlOption::new(prefix, text.as_str())),
        other => options.push(SqlOption::new(prefix, other.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(profile: &Profile) -> Vec<String> {
        let registry = crate::connectors();
        let metadata = registry.get(&profile.connector).unwrap().metadata();
        let options = profile.options(metadata.profile_schema).options;
        options
            .iter()
            .map(|option| format!("{} = {}", option.key, option.value))
            .collect()
    }

    #[test]
    fn secrets_become_variables() {
        let registry = crate::connectors();
        let url = Profile::from_url(&registry, "mqtt", "mqtt://u:secret@h:1883").unwrap();
        assert_eq!(shown(&url), ["url = mqtt://u:{{ MQTT_PASSWORD }}@h:1883"]);
        let json = json!({"url": "mqtts://h", "username": "u", "password": "x", "tls": {"ca": "/ca.pem", "alpn": ["a"]}});
        let bare = Profile::from_json(&registry, "mqtt", json).unwrap();
        assert_eq!(
            shown(&bare),
            [
                "url = mqtts://h",
                "username = u",
                "password = {{ MQTT_PASSWORD }}",
                "tls.ca = /ca.pem",
                "tls.alpn = [\"a\"]"
            ]
        );
        let json = json!({"name": "plant", "connector": "mqtt", "config": {"url": "mqtt://h", "password": "x"}});
        let named = Profile::from_json(&registry, "mqtt", json).unwrap();
        assert_eq!(shown(&named), ["connection_profile = plant"]);
    }

    #[test]
    fn mistakes_are_told() {
        let registry = crate::connectors();
        let topic = Profile::from_url(&registry, "mqtt", "mqtt://h/a/#").unwrap_err();
        assert!(topic.to_string().contains("--topic"), "{topic}");
        let misspelt =
            Profile::from_json(&registry, "mqtt", json!({"url": "mqtt://h", "user": "u"}));
        let misspelt = misspelt.unwrap_err().to_string();
        assert!(misspelt.contains("user"), "{misspelt}");
    }
}

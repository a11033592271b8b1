//! Configuration that may be shown: secrets masked.

use std::borrow::Cow;

use serde_json::Value;

use super::schema::Schema;
use super::var_str::VarStr;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// A copy of `value` in which everything that `schema` calls sensitive, and every password within a URL, is masked.
/// Text that comes from the environment entirely (`{{ PASSWORD }}`) is no secret and stays.
///
/// With a schema that cannot be read everything is masked.
pub fn redact(schema: &str, value: &Value) -> Value {
    let mut value = value.clone();
    let Ok(schema) = Schema::read(schema) else {
        return Value::String(MASK.to_owned());
    };
    for option in schema.options.iter().filter(|option| option.sensitive) {
        if let Some(secret) = find(&mut value, &option.path) {
            mask(secret);
        }
    }
    mask_urls(&mut value);
    value
}

fn find<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(value, |value, key| value.as_object_mut()?.get_mut(key))
}

fn mask(secret: &mut Value) {
    let harmless = match &*secret {
        Value::Null => true,
        Value::String(text) => VarStr::only_variables(text),
        _ => false,
    };
    if !harmless {
        *secret = Value::String(MASK.to_owned());
    }
}

fn mask_urls(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = without_password(text) {
                *text = masked;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask_urls),
        Value::Object(map) => map.values_mut().for_each(mask_urls),
        _ => {}
    }
}

/// `mqtt://user:secret@host` → `mqtt://user:********@host`; any other text as it is.
pub fn without_password(text: &str) -> Cow<'_, str> {
    let masked = || {
        let start = text.find("://")? + 3;
        // To the last '@', even behind a '/': a password that should have been percent-encoded is still one.
        let at = start + text[start..].rfind('@')?;
        let colon = start + text[start..at].find(':')?;
        let secret = &text[colon + 1..at];
        let harmless = secret.is_empty() || VarStr::only_variables(secret);
        (!harmless).then(|| format!("{}:{MASK}{}", &text[..colon], &text[at..]))
    };
    masked().map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MASK, redact, without_password};

    #[test]
    fn passwords_in_urls_are_masked() {
        for (text, expect) in [
            ("mqtt://host", "mqtt://host"),
            ("mqtt://user@host:1883", "mqtt://user@host:1883"),
            (
                "mqtt://user:p@ss@host:1883",
                "mqtt://user:********@host:1883",
            ),
            ("mqtt://u:{{ PASS }}@host", "mqtt://u:{{ PASS }}@host"),
            ("mqtt://user:a/b@host", "mqtt://user:********@host"),
        ] {
            assert_eq!(without_password(text), expect);
        }
    }

    #[test]
    fn sensitive_values_are_masked_wherever_they_stand() {
        let schema = super::super::tests::PROFILE;
        let value = json!({
            "url": "mqtt://a:b@c", "password": "x", "tls": {"key": ["y"], "ca": "z"}
        });
        let expect = json!({
            "url": "mqtt://a:********@c", "password": MASK, "tls": {"key": MASK, "ca": "z"}
        });
        assert_eq!(redact(schema, &value), expect);
        let from_environment = json!({"password": "{{ P }}"});
        assert_eq!(redact(schema, &from_environment), from_environment);
    }
}

//! Text that may take parts of itself from the environment: `{{ MQTT_PASSWORD }}`.
//!
//! The text is kept as written, in JSON and in memory, and the values are put in only when an operator is made, so
//! that neither a stored connection nor a printed one holds a secret that the environment was meant to keep.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text with `{{ NAME }}` for environment variables. The Rust type of schema strings with `"format": "var-str"`.
///
/// `Debug` shows the names of the variables and nothing else, since literal text may be a password.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VarStr(String);

/// An environment variable that a configuration refers to is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable '{name}' is not set; set it before starting headwater")]
pub struct UnsetVariable {
    /// The variable's name.
    pub name: String,
}

enum Part<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

impl VarStr {
    /// Text as the user wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as the user wrote it, with the names of variables in it.
    pub fn template(&self) -> &str {
        &self.0
    }

    /// The text with the variables' values put in. Keep the answer out of logs and errors.
    ///
    /// # Errors
    /// Names the first variable that is not set, or not UTF-8.
    pub fn resolve(&self) -> Result<String, UnsetVariable> {
        self.resolve_with(|name| std::env::var(name).ok())
    }

    /// [`resolve`](Self::resolve) with another environment.
    ///
    /// # Errors
    /// Names the first variable for which `lookup` has no value.
    pub fn resolve_with(
        &self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<String, UnsetVariable> {
        let mut resolved = String::with_capacity(self.0.len());
        for part in parts(&self.0) {
            match part {
                Part::Literal(text) => resolved.push_str(text),
                Part::Variable(name) => {
                    let unset = || UnsetVariable { name: name.into() };
                    resolved.push_str(&lookup(name).ok_or_else(unset)?);
                }
            }
        }
        Ok(resolved)
    }

    /// The names of the variables in a text.
    pub(super) fn variables(text: &str) -> impl Iterator<Item = &str> {
        parts(text).filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Literal(_) => None,
        })
    }

    /// Whether all of the text comes from the environment, so that showing it gives nothing away.
    pub(super) fn only_variables(text: &str) -> bool {
        !text.is_empty() && parts(text).all(|part| matches!(part, Part::Variable(_)))
    }
}

impl fmt::Debug for VarStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VarStr(")?;
        for part in parts(&self.0) {
            match part {
                Part::Literal(_) => f.write_str("***")?,
                Part::Variable(name) => write!(f, "{{{{ {name} }}}}")?,
            }
        }
        f.write_str(")")
    }
}

impl From<String> for VarStr {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for VarStr {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Splits at `{{ NAME }}`; braces around anything but a name are literal text.
fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (start, end, name) = match next_variable(rest) {
            Some(found) => found,
            None => return Some(Part::Literal(std::mem::take(&mut rest))),
        };
        if start > 0 {
            let literal = &rest[..start];
            rest = &rest[start..];
            return Some(Part::Literal(literal));
        }
        rest = &rest[end..];
        Some(Part::Variable(name))
    })
}

fn next_variable(text: &str) -> Option<(usize, usize, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find("{{") {
        let start = from + open;
        let close = text[start..].find("}}")?;
        let end = start + close + 2;
        let name = text[start + 2..end - 2].trim();
        if is_name(name) {
            return Some((start, end, name));
        }
        from = start + 1;
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::VarStr;

    fn resolved(text: &str) -> String {
        let lookup = |name: &str| (name != "MISSING").then(|| format!("<{name}>"));
        match VarStr::from(text).resolve_with(lookup) {
            Ok(text) => text,
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn variables_are_put_in() {
        for (text, expect) in [
            ("plain", "plain"),
            ("", ""),
            ("{{ USER }}", "<USER>"),
            ("{{USER}}:{{ PASS_1 }}", "<USER>:<PASS_1>"),
            ("mqtt://{{ HOST }}:1883", "mqtt://<HOST>:1883"),
            ("{{ not a name }}", "{{ not a name }}"),
            ("{{ open", "{{ open"),
            ("{{{ X }}}", "{<X>}"),
            (
                "a{{ MISSING }}",
                "the environment variable 'MISSING' is not set; set it before starting headwater",
            ),
        ] {
            assert_eq!(resolved(text), expect, "{text}");
        }
    }

    #[test]
    fn debug_hides_literal_text() {
        let shown = format!("{:?}", VarStr::from("secret{{ NAME }}"));
        assert_eq!(shown, "VarStr(***{{ NAME }})");
    }

    #[test]
    fn json_keeps_the_text_as_written() {
        let json = serde_json::to_string(&VarStr::from("{{ PASSWORD }}")).unwrap();
        assert_eq!(json, r#""{{ PASSWORD }}""#);
    }
}

//! The environment variables of the server that `{{ NAME }}` may stand for over the API: those that the configuration
//! allows.
//!
//! A profile is sent to a host that its author names. Whoever may use the API may not therefore read the server's
//! environment, in which there are secrets of the machine and of other programs, by having it sent to a host of theirs.

use std::sync::Arc;

use headwater_engine::connector::config::ConfigError;

/// The variables that may be named: `NAME`, or `PREFIX*` for all that begin so.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedVariables(Arc<[String]>);

impl AllowedVariables {
    /// These names and beginnings of names.
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.into())
    }

    /// Refuses a variable that is none of them, whether or not it is set.
    pub(crate) fn check(&self, option: &str, name: &str) -> Result<(), ConfigError> {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        if self.0.iter().any(fits) {
            return Ok(());
        }
        let allowed = match self.0.as_ref() {
            [] => "none is allowed".to_owned(),
            patterns => format!("allowed are {}", patterns.join(", ")),
        };
        let message = format!(
            "option '{option}': the server may not use the environment variable '{name}' ({allowed}); whoever runs it \
             can allow more with --allow-env"
        );
        Err(ConfigError::new(Some(option), message))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_the_variables_that_are_listed_are_allowed() {
        let check = |patterns: &[&str], name: &str, expect: bool| {
            let patterns: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
            let outcome = AllowedVariables::new(&patterns).check("password", name);
            assert_eq!(outcome.is_ok(), expect, "{patterns:?} {name}");
        };
        check(&[], "HOME", false);
        check(&["HOME"], "HOME", true);
        check(&["HOME"], "HOMER", false);
        check(&["HOME"], "home", false);
        check(&["A_*", "B"], "A_1", true);
        check(&["A_*", "B"], "A_", true);
        check(&["A_*", "B"], "A", false);
        check(&["A_*", "B"], "B", true);
        check(&["*"], "ANYTHING", true);
        let refused = AllowedVariables::new(&["A_*".to_owned(), "B".to_owned()]);
        let refused = refused.check("password", "HOME").unwrap_err();
        insta::assert_snapshot!(refused, @"option 'password': the server may not use the environment variable 'HOME' (allowed are A_*, B); whoever runs it can allow more with --allow-env");
    }
}

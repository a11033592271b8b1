//! Why a SQL text cannot be planned, and where in it the reason stands.

use std::fmt::Write as _;

use datafusion::common::DataFusionError;
use headwater_connector::config::nearest;
use headwater_connector::{ConfigError, Location};

use crate::names::quoted;

/// How much of a line is shown.
const LINE_CHARS_MAX: usize = 160;

/// Why a SQL text cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    /// What is wrong; names what the user named.
    pub message: String,
    /// Where it stands in the text that was planned, if it can be known.
    pub location: Option<Location>,
    /// What to do about it.
    pub hint: Option<String>,
    /// A name whose first use in the text is the place, for errors that know no place.
    pub(crate) about: Option<String>,
    /// Further problems of the same statement, so that all of a `WITH` clause can be mended at once.
    pub more: Vec<PlanError>,
}

impl PlanError {
    /// An error that has no place yet; see [`PlanError::at`] and [`PlanError::or_at`].
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            location: None,
            hint: None,
            about: None,
            more: Vec::new(),
        }
    }

    /// The same error about a name, whose first use in the text is the place.
    #[must_use]
    pub(crate) fn about(mut self, name: impl Into<String>) -> Self {
        self.about = Some(name.into());
        self
    }

    /// The same error with a place.
    #[must_use]
    pub fn at(mut self, location: impl Into<Option<Location>>) -> Self {
        self.location = location.into();
        self
    }

    /// The same error with a place, unless it has a better one already.
    #[must_use]
    pub fn or_at(mut self, location: Option<Location>) -> Self {
        self.location = self.location.or(location);
        for problem in &mut self.more {
            problem.location = problem.location.or(location);
        }
        self
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, whose hint is the known name that was most likely meant by `name`, if one is near enough.
    #[must_use]
    pub(crate) fn near<'a>(self, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        match nearest(name, known) {
            Some(near) => self.hint(format!("did you mean '{}'?", quoted(near))),
            None => self,
        }
    }

    /// The error as people read it: the place (`file:line:column`), the offending line with a caret, the hint.
    ///
    /// `sql` must be the text that was planned.
    ///
    /// ```text
    /// error: column 'temprature' not found
    ///  --> job.sql:3:8
    ///   |
    /// 3 | SELECT temprature FROM readings
    ///   |        ^
    ///   = hint: did you mean 'temperature'?
    /// ```
    pub fn render(&self, file: &str, sql: &str) -> String {
        let mut text = format!("error: {}\n", self.message);
        if let Some(location) = self.location {
            render_place(&mut text, file, sql, location);
        } else {
            // Writing to a string cannot fail.
            writeln!(text, " --> {file}").ok();
        }
        if let Some(hint) = &self.hint {
            writeln!(text, "  = hint: {hint}").ok();
        }
        for problem in &self.more {
            text.push('\n');
            text.push_str(&problem.render(file, sql));
        }
        text
    }
}

/// SQL with a star for each character of what looks like a secret, since errors end up in logs: the quoted value
/// after a key that names one, and the password of a URL.
pub fn without_secrets(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut hidden = vec![false; line.len()];
    for key in ["password", "secret", "token", "tls.key"] {
        for (start, _) in lower.match_indices(key) {
            let value = line[start..].find('=').map(|at| start + at);
            let opening = value.and_then(|at| line[at..].find('\'').map(|quote| at + quote + 1));
            if let Some(from) = opening {
                let upto = line[from..]
                    .find('\'')
                    .map_or(line.len(), |quote| from + quote);
                hidden[from..upto].fill(true);
            }
        }
    }
    for (start, _) in line.match_indices("://") {
        let from = start + 3;
        let url = line[from..].split(['\'', ' ']).next().unwrap_or_default();
        if let (Some(colon), Some(at)) = (url.find(':'), url.rfind('@'))
            && colon < at
        {
            hidden[from + colon + 1..from + at].fill(true);
        }
    }
    let shown = |(at, c)| if hidden[at] { '*' } else { c };
    line.char_indices().map(shown).collect()
}

/// Appends the place and the line it stands on, with a caret under the column.
fn render_place(text: &mut String, file: &str, sql: &str, location: Location) {
    let Location { line, column } = location;
    writeln!(text, " --> {file}:{line}:{column}").ok();
    let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(source) = sql.lines().nth(index).map(without_secrets) else {
        return;
    };
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    // Of a very long line, what stands around the place.
    let skip = if source.chars().count() > LINE_CHARS_MAX {
        before.saturating_sub(LINE_CHARS_MAX / 2)
    } else {
        0
    };
    let source: String = source.chars().skip(skip).take(LINE_CHARS_MAX).collect();
    // Tabs stay tabs, so that the caret stands under its character whatever their width.
    let indent: String = source
        .chars()
        .take(before - skip)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    writeln!(
        text,
        "{gutter} |\n{number} | {source}\n{gutter} | {indent}^"
    )
    .ok();
}

impl From<PlanError> for DataFusionError {
    /// On its way through DataFusion; `bind_error` takes it out again.
    fn from(error: PlanError) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<ConfigError> for PlanError {
    fn from(error: ConfigError) -> Self {
        let mut plan_error = Self::new(error.message).at(error.location);
        plan_error.more = error.more.into_iter().map(Self::from).collect();
        plan_error
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn excerpts_hold_no_secrets() {
        let check = |line, expected| assert_eq!(without_secrets(line), expected);
        check(
            "url = 'mqtt://h:1883', topic = 'a'",
            "url = 'mqtt://h:1883', topic = 'a'",
        );
        check(
            "url = 'mqtt://u:päss@h:1883'",
            "url = 'mqtt://u:****@h:1883'",
        );
        check(
            "PASSWORD = 'hunter2', qos = 'x'",
            "PASSWORD = '*******', qos = 'x'",
        );
        check("'password' = 'open", "'password' = '****");
        check("SELECT password FROM t", "SELECT password FROM t");
    }
}

//! What is wrong with a configuration, and the wording that all such errors share.

use std::fmt;

use super::Location;
use super::schema::OptionDef;

/// What is wrong with a table's configuration. One value may hold several problems, so that a user can mend a whole
/// `WITH` clause at once; [`problems`](Self::problems) gives them one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// What is wrong, what was given, what is allowed, the nearest valid name.
    pub message: String,
    /// The option it is about.
    pub option: Option<String>,
    /// Where that option stands.
    pub location: Option<Location>,
    /// Further problems of the same table.
    pub more: Vec<ConfigError>,
}

impl ConfigError {
    /// An error about one option, or about none in particular.
    pub fn new(option: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            option: option.map(str::to_owned),
            location: None,
            more: Vec::new(),
        }
    }

    /// An unknown connector name.
    pub fn unknown_connector(name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let known: Vec<_> = known.collect();
        let remedy = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("there are {}", quoted(known.iter())),
        };
        let message = format!("unknown connector '{name}'; {remedy}");
        Self::new(Some("connector"), message)
    }

    /// All of these problems as one error; `None` if there are none.
    pub fn all(problems: Vec<ConfigError>) -> Option<Self> {
        let mut problems = problems.into_iter();
        let mut first = problems.next()?;
        first.more.extend(problems);
        Some(first)
    }

    /// Every problem, in the order of the text.
    pub fn problems(&self) -> impl Iterator<Item = &ConfigError> {
        std::iter::once(self).chain(&self.more)
    }

    /// Adds where the options stand, where that is not known yet.
    #[must_use]
    pub fn located(mut self, options: &super::Options) -> Self {
        let find = |option: &Option<String>| {
            let name = option.as_deref()?;
            let exact = options.0.iter().find(|given| given.key == name);
            // `sink.retain` may have been given as `retain`
            let short = |key: &str| {
                name.strip_suffix(key)
                    .is_some_and(|rest| rest.ends_with('.'))
            };
            let given = exact.or_else(|| options.0.iter().find(|given| short(&given.key)));
            given?.location
        };
        self.location = self.location.or_else(|| find(&self.option));
        for problem in &mut self.more {
            problem.location = problem.location.or_else(|| find(&problem.option));
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.more
            .iter()
            .try_for_each(|problem| write!(f, "\n{}", problem.message))
    }
}

impl std::error::Error for ConfigError {}

/// `'a', 'b', 'c'`.
pub fn quoted<T: AsRef<str>>(names: impl Iterator<Item = T>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("'{}'", name.as_ref())).collect();
    quoted.join(", ")
}

/// `; did you mean 'x'?`, if one of the known names is near enough to be meant.
pub fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(given, known) {
        Some(name) => format!("; did you mean '{name}'?"),
        None => String::new(),
    }
}

/// The known name that was most likely meant. Case does not count, and the last part of a dotted name is enough
/// (`ca` for `tls.ca`).
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let score = |name: &str| {
        let name = name.to_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        let tail = if name.contains('.') {
            strsim::normalized_damerau_levenshtein(&lower, last) * 0.95
        } else {
            0.0
        };
        strsim::normalized_damerau_levenshtein(&lower, &name).max(tail)
    };
    known
        .map(|name| (name, score(name)))
        .filter(|(_, score)| *score >= 0.6)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

/// The given text as an error may show it: never that of a secret, nor a password within a URL, nor without end.
pub(super) fn shown(option: &OptionDef, text: &str) -> String {
    if option.sensitive {
        return "the given value".to_owned();
    }
    let text = super::redact::without_password(text);
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("'{}…'", &text[..cut]),
        None => format!("'{text}'"),
    }
}

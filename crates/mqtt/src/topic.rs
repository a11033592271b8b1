//! Topic names and topic filters (MQTT 5, section 4.7), and the patterns that tables are declared with.
//!
//! A pattern is a filter in which `{name}` may stand for one level: it subscribes like `+` and gives the level a name.
//! A [template](TopicTemplate) is the topic of a sink in which `{column}` stands for a value. All errors name the level
//! and say what to write instead.

mod relation;
mod template;

use std::fmt;

pub use relation::{covers, overlap};
pub use template::{Part, TopicTemplate, check_text, check_topic};

/// The longest topic, in bytes (section 1.5.4).
const MAX_LEN: usize = 65_535;

/// What is wrong with a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{topic}' {reason}")]
pub struct TopicError {
    topic: String,
    reason: String,
}

/// A topic filter, perhaps with names for some of its levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    filter: String,
    names: Vec<(String, usize)>,
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Names the level that is wrong and says what to write instead.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_characters(text)?;
        let (share, pattern) = split_share(text)?;
        let mut names: Vec<(String, usize)> = Vec::new();
        let mut levels = Vec::new();
        for (index, level) in pattern.split('/').enumerate() {
            let name = level
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            let Some(name) = name else {
                levels.push(level);
                continue;
            };
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                let reason = format!(
                    "has '{{{name}}}' as level {}; a name is made of letters, digits and '_'",
                    index + 1
                );
                return Err(wrong(text, reason));
            }
            if names.iter().any(|(known, _)| known == name) {
                return Err(wrong(
                    text,
                    format!("has two levels with the name '{name}'"),
                ));
            }
            names.push((name.to_owned(), index));
            levels.push("+");
        }
        check_levels(text, &levels)?;
        let filter = format!("{share}{}", levels.join("/"));
        Ok(Self { filter, names })
    }

    /// The filter to subscribe to.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The filter without `$share/group/`: what the topics of its messages match.
    pub fn unshared(&self) -> &str {
        unshared(&self.filter)
    }

    /// Which level of a topic has this name, from 0.
    pub fn level(&self, name: &str) -> Option<usize> {
        let found = self.names.iter().find(|(known, _)| known == name);
        found.map(|(_, level)| *level)
    }

    /// Whether it shares its messages with others, by `$share/group/`.
    pub fn is_shared(&self) -> bool {
        self.filter.len() != self.unshared().len()
    }

    /// The group with which it is shared.
    pub fn group(&self) -> Option<&str> {
        let rest = self.filter.strip_prefix("$share/")?;
        rest.split_once('/').map(|(group, _)| group)
    }

    /// The same pattern, shared with others in this group.
    ///
    /// # Errors
    /// A pattern that is shared already, and a group that is no plain name.
    pub fn share(self, group: &str) -> Result<Self, TopicError> {
        if self.is_shared() {
            return Err(wrong(&self.filter, "is shared in a group already"));
        }
        let filter = format!("$share/{group}/{}", self.filter);
        if group.is_empty() || group.contains(['/', '+', '#', '{', '}']) {
            return Err(wrong(group, "is no plain name for a group"));
        }
        check_characters(&filter)?;
        Ok(Self { filter, ..self })
    }

    /// How many levels each topic has that matches, at the least.
    pub fn min_levels(&self) -> usize {
        let levels = self.unshared().split('/');
        levels.filter(|level| *level != "#").count()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.filter)
    }
}

/// Checks a topic to publish to.
///
/// # Errors
/// Wildcards, and what no topic may hold.
pub fn check_name(topic: &str) -> Result<(), TopicError> {
    check_characters(topic)?;
    if let Some(wildcard) = topic.chars().find(|c| matches!(c, '+' | '#')) {
        let reason = format!(
            "has the wildcard '{wildcard}'; a sink publishes to one topic, wildcards are for sources"
        );
        return Err(wrong(topic, reason));
    }
    if topic.starts_with("$share/") {
        return Err(wrong(
            topic,
            "is a shared subscription, which only a source can have",
        ));
    }
    Ok(())
}

/// Whether a topic matches a filter (without `$share/group/`), both valid (section 4.7).
pub fn matches(filter: &str, topic: &str) -> bool {
    // Wildcards do not reach the broker's own topics (4.7.2).
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The filter without `$share/group/`.
pub fn unshared(filter: &str) -> &str {
    match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map_or(rest, |(_group, filter)| filter),
        None => filter,
    }
}

fn check_characters(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(wrong(topic, "is empty; a topic has at least one character"));
    }
    if topic.len() > MAX_LEN {
        let start: String = topic.chars().take(40).collect();
        let reason = format!("… has {} bytes; at most {MAX_LEN} are allowed", topic.len());
        return Err(wrong(&start, reason));
    }
    if let Some(at) = topic.find(char::is_control) {
        let reason = format!("has a control character at byte {at}, which topics must not hold");
        return Err(wrong(&topic.escape_debug().to_string(), reason));
    }
    Ok(())
}

fn check_levels(text: &str, levels: &[&str]) -> Result<(), TopicError> {
    for (index, level) in levels.iter().enumerate() {
        let place = index + 1;
        let reason = match *level {
            "#" if place < levels.len() => {
                format!(
                    "has '#' as level {place} of {}; it must be the last",
                    levels.len()
                )
            }
            "#" | "+" => continue,
            level if level.contains('#') => {
                format!(
                    "has '#' within level {place} ('{level}'); it must be a level of its own, the last: '…/#'"
                )
            }
            level if level.contains('+') => {
                format!(
                    "has '+' within level {place} ('{level}'); it must be a level of its own: '…/+/…'"
                )
            }
            level if level.contains(['{', '}']) => {
                format!(
                    "has a brace within level {place} ('{level}'); '{{name}}' must be a level of its own"
                )
            }
            _ => continue,
        };
        return Err(wrong(text, reason));
    }
    Ok(())
}

/// `$share/group/filter` → (`$share/group/`, `filter`).
fn split_share(text: &str) -> Result<(&str, &str), TopicError> {
    let Some(rest) = text.strip_prefix("$share/") else {
        return Ok(("", text));
    };
    match rest.split_once('/') {
        Some((group, filter)) if !group.is_empty() && !filter.is_empty() => {
            if group.contains(['+', '#', '{', '}']) {
                let reason =
                    format!("has a wildcard in the group '{group}'; a group is a plain name");
                return Err(wrong(text, reason));
            }
            Ok(text.split_at("$share/".len() + group.len() + 1))
        }
        _ => Err(wrong(
            text,
            "is an incomplete shared subscription; write '$share/group/filter'",
        )),
    }
}

fn wrong(topic: &str, reason: impl Into<String>) -> TopicError {
    TopicError {
        topic: topic.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        let tell = |text: &str| match TopicPattern::parse(text) {
            Ok(pattern) => format!("{text} → {pattern} {:?}", pattern.names),
            Err(e) => e.to_string(),
        };
        let all = [
            "a",
            "/",
            "a//b",
            "+",
            "#",
            "+/#",
            "a/{x}/{y_1}/#",
            "$SYS/#",
            "$share/g/a/{x}",
            "",
            "a/#/b",
            "a/b#",
            "a+/b",
            "a/{}/b",
            "a/x{y}",
            "{a}/{a}",
            "a/{b c}",
            "a\0b",
            "$share/g",
            "$share//a",
            "$share/+/a",
        ];
        let lines: Vec<_> = all.iter().map(|text| tell(text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a → a []
        / → / []
        a//b → a//b []
        + → + []
        # → # []
        +/# → +/# []
        a/{x}/{y_1}/# → a/+/+/# [("x", 1), ("y_1", 2)]
        $SYS/# → $SYS/# []
        $share/g/a/{x} → $share/g/a/+ [("x", 1)]
        '' is empty; a topic has at least one character
        'a/#/b' has '#' as level 2 of 3; it must be the last
        'a/b#' has '#' within level 2 ('b#'); it must be a level of its own, the last: '…/#'
        'a+/b' has '+' within level 1 ('a+'); it must be a level of its own: '…/+/…'
        'a/{}/b' has '{}' as level 2; a name is made of letters, digits and '_'
        'a/x{y}' has a brace within level 2 ('x{y}'); '{name}' must be a level of its own
        '{a}/{a}' has two levels with the name 'a'
        'a/{b c}' has '{b c}' as level 2; a name is made of letters, digits and '_'
        'a\0b' has a control character at byte 1, which topics must not hold
        '$share/g' is an incomplete shared subscription; write '$share/group/filter'
        '$share//a' is an incomplete shared subscription; write '$share/group/filter'
        '$share/+/a' has a wildcard in the group '+'; a group is a plain name
        "#);
        let long = TopicPattern::parse(&"x".repeat(70_000)).unwrap_err();
        insta::assert_snapshot!(long, @"'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' … has 70000 bytes; at most 65535 are allowed");
    }

    #[test]
    fn names() {
        let tell =
            |text: &str| check_name(text).map_or_else(|e| e.to_string(), |()| "fine".to_owned());
        let all = ["a/b", "", "a/+", "#", "a/{b}", "$share/g/a"];
        let lines: Vec<_> = all.iter().map(|text| tell(text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        fine
        '' is empty; a topic has at least one character
        'a/+' has the wildcard '+'; a sink publishes to one topic, wildcards are for sources
        '#' has the wildcard '#'; a sink publishes to one topic, wildcards are for sources
        fine
        '$share/g/a' is a shared subscription, which only a source can have
        ");
    }

    #[test]
    fn shared_patterns_count_levels_of_the_topic() {
        let pattern = TopicPattern::parse("$share/g/a/{x}/b").unwrap();
        assert_eq!(pattern.filter(), "$share/g/a/+/b");
        assert_eq!(pattern.unshared(), "a/+/b");
        assert_eq!((pattern.level("x"), pattern.level("y")), (Some(1), None));
    }

    /// The specification's rules, one after the other, by recursion.
    fn oracle(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => oracle(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && oracle(filter, topic),
            _ => false,
        }
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(levels), 1..5)
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_oracle(
            filter in text(&["a", "b", "", "$x", "+", "+", "#"]),
            topic in text(&["a", "b", "", "$x"]),
        ) {
            let valid = filter.iter().rposition(|l| *l == "#").is_none_or(|at| at + 1 == filter.len())
                && filter.iter().filter(|l| **l == "#").count() <= 1;
            prop_assume!(valid && filter != [""] && topic != [""]);
            let hidden = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
            let expect = !hidden && oracle(&filter, &topic);
            prop_assert_eq!(matches(&filter.join("/"), &topic.join("/")), expect);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(pattern) = TopicPattern::parse(&text) {
                prop_assert!(TopicPattern::parse(pattern.filter()).is_ok());
            }
            let _checked = check_name(&text);
        }
    }
}

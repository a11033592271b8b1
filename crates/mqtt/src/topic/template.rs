//! The topic of a sink: fixed, or made of columns row by row.
//!
//! `alerts/{device}/{level}` puts the text of two columns into every topic; `{target}` alone takes the whole topic from
//! one. A column's value may hold `/`, and may be empty where that leaves a legal topic. What it must not do is change
//! the kind of thing that is sent: [`check_topic`] refuses wildcards and whatever else makes a broker close the
//! connection, so that such a row is bad data and nothing more.

use std::fmt;

use super::{MAX_LEN, TopicError, check_name, wrong};

/// The topic of a sink, perhaps with columns in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// The value of the column of this name.
    Column(String),
}

impl TopicTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Braces that do not pair, and fixed text that no topic may hold.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            let name = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
            let Some((name, after)) = name else {
                return Err(wrong(text, "has a brace without its partner"));
            };
            if name.is_empty() || name.contains('{') {
                let reason = "has braces without the name of a column; write '{column}'";
                return Err(wrong(text, reason));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Column(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self {
            text: text.to_owned(),
            parts,
        };
        template.check()?;
        Ok(template)
    }

    /// What stands between the columns must be legal by itself.
    fn check(&self) -> Result<(), TopicError> {
        let fixed: String = self.parts.iter().filter_map(Part::text).collect();
        match (fixed.is_empty(), self.fixed()) {
            (true, None) => Ok(()),
            _ => check_name(&fixed).map_err(|e| TopicError {
                topic: self.text.escape_debug().to_string(),
                reason: e.reason,
            }),
        }
    }

    /// The pieces, in order; at least one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The names of the columns in it, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The topic, if it is the same for all rows.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl Part {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Column(_) => None,
        }
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a message can be published to a topic that was made of data (sections 1.5.4 and 4.7).
///
/// # Errors
/// Why not, to be put behind the topic.
#[inline]
pub fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("is empty");
    }
    check_text(topic)?;
    if topic.bytes().any(|b| matches!(b, b'+' | b'#')) {
        return Err("has a wildcard, '+' or '#'");
    }
    if topic.starts_with("$share/") {
        return Err("begins with '$share/', which only a subscription can");
    }
    Ok(())
}

/// Whether a text can be put into a packet: a broker may close the connection of a client that sends what this refuses
/// (section 1.5.4), and would do so again for ever.
///
/// # Errors
/// Why not, to be put behind the text.
#[inline]
pub fn check_text(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_LEN {
        return Err("has more than 65535 bytes");
    }
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(());
    }
    check_chars(text)
}

fn check_chars(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_control) {
        return Err("has a control character");
    }
    // U+FDD0 to U+FDEF, and the last two of each plane.
    let nonsense =
        |c: char| matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE;
    if text.contains(nonsense) {
        return Err("has a code point that is no character");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates() {
        let tell = |text: &str| match TopicTemplate::parse(text) {
            Ok(template) => format!("{text} → {:?}", template.parts()),
            Err(e) => e.to_string(),
        };
        let all = [
            "a/b",
            "alerts/{device}",
            "{topic}",
            "a/x-{b}{c d}/e",
            "",
            "a/{",
            "a/}",
            "a/{}/b",
            "a/{{b}}",
            "a/+/{b}",
            "{a}#",
            "$share/g/{a}",
            "a\0{b}",
        ];
        let lines: Vec<_> = all.iter().map(|text| tell(text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a/b → [Text("a/b")]
        alerts/{device} → [Text("alerts/"), Column("device")]
        {topic} → [Column("topic")]
        a/x-{b}{c d}/e → [Text("a/x-"), Column("b"), Column("c d"), Text("/e")]
        '' is empty; a topic has at least one character
        'a/{' has a brace without its partner
        'a/}' has a brace without its partner
        'a/{}/b' has braces without the name of a column; write '{column}'
        'a/{{b}}' has braces without the name of a column; write '{column}'
        'a/+/{b}' has the wildcard '+'; a sink publishes to one topic, wildcards are for sources
        '{a}#' has the wildcard '#'; a sink publishes to one topic, wildcards are for sources
        '$share/g/{a}' is a shared subscription, which only a source can have
        'a\0{b}' has a control character at byte 1, which topics must not hold
        "#);
    }

    #[test]
    fn rows_that_cannot_be_sent() {
        let long = "x".repeat(65_536);
        let all = [
            "a",
            "/",
            "a//b",
            " ",
            "$SYS/a",
            "ä/€",
            "",
            "a/+",
            "#",
            "a\0",
            "a\n",
            "a\u{85}",
            "\u{FFFF}",
            "\u{1FFFE}",
            "$share/g/a",
            &long,
        ];
        let tell = |text: &str| check_topic(text).err().unwrap_or("fine");
        let lines: Vec<_> = all.iter().map(|text| tell(text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        fine
        fine
        fine
        fine
        fine
        fine
        is empty
        has a wildcard, '+' or '#'
        has a wildcard, '+' or '#'
        has a control character
        has a control character
        has a control character
        has a code point that is no character
        has a code point that is no character
        begins with '$share/', which only a subscription can
        has more than 65535 bytes
        ");
    }

    proptest! {
        /// Whatever the columns hold, the topic is refused, or a publish to it is what the specification allows.
        #[test]
        fn a_topic_that_is_made_is_legal_or_refused(
            template in "(a|/|\\{x\\}|\\$|\\{y\\}){1,5}",
            x in "[ab/+#$\u{0}\n\u{FFFE}é]{0,4}",
            y in "(share/g/|a|.){0,3}",
        ) {
            let Ok(template) = TopicTemplate::parse(&template) else { return Ok(()); };
            let mut topic = String::new();
            for part in template.parts() {
                match part {
                    Part::Text(text) => topic.push_str(text),
                    Part::Column(name) => topic.push_str(if name == "x" { &x } else { &y }),
                }
            }
            let legal = !topic.is_empty()
                && !topic.starts_with("$share/")
                && topic.chars().all(|c| {
                    !matches!(c, '+' | '#') && !c.is_control() && u32::from(c) & 0xFFFE != 0xFFFE
                        && !(0xFDD0..=0xFDEF).contains(&u32::from(c))
                });
            prop_assert_eq!(check_topic(&topic).is_ok(), legal);
        }
    }
}

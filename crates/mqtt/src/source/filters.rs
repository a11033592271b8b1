//! What a source subscribes to, so that each message becomes one row.
//!
//! A broker may deliver a message once for every subscription of a client that it matches (section 3.3.4). So:
//!
//! 1. A filter that another one [covers], at the same or a higher QoS, is not subscribed to at all.
//! 2. What remains may still overlap in part, as `a/+` and `+/b` do. On MQTT 5 each subscription then has an identifier,
//!    which comes with its messages, and a message is taken only from the first subscription that its topic matches
//!    (that of the highest QoS): a broker that sends two copies sends one of them under that identifier, and one that
//!    sends a single copy gives it all identifiers. Before MQTT 5 nothing tells the copies apart, and [`Filters::warn`] says so.
//!
//! The same holds for members of a shared group, each of which applies it to what it gets.

use headwater_connector::TableSchema;
use headwater_connector::config::ConfigError;

use crate::config::{self, MqttProfile, MqttTable, ProtocolVersion, Retained, SourceOptions};
use crate::metadata::SUBSCRIPTION_IDENTIFIER;
use crate::options::{QoS, RetainHandling, Subscription};
use crate::packet::{Message, Property};
use crate::topic::{TopicPattern, covers, matches, overlap};

/// The subscriptions of a source.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    /// All patterns of the table.
    pub(crate) patterns: Vec<TopicPattern>,
    /// What to subscribe to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// What to take of what comes.
    pub(crate) gate: Gate,
    /// Two patterns of which a message may come twice.
    ambiguous: Option<(String, String)>,
}

/// Which messages become rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    /// Whether all do.
    open: bool,
    /// Whether messages that the broker had kept are left out.
    drop_retained: bool,
    /// Filters and their identifiers, if some overlap: a message belongs to the first that it matches.
    owners: Vec<(String, u32)>,
}

impl Filters {
    /// The subscriptions of a table. They have identifiers if some overlap, or if the table has a column for them.
    ///
    /// # Errors
    /// Topics and options that are wrong or do not go together.
    pub(crate) fn new(
        profile: &MqttProfile,
        table: &MqttTable,
        source: &SourceOptions,
        schema: &TableSchema,
    ) -> Result<Self, ConfigError> {
        let patterns = config::patterns(table, source)?;
        check_options(profile, source, &patterns)?;
        // Looked at here, so that a table that cannot run is not declared.
        config::session_expiry(source, QoS::AtMostOnce)?;
        let mut metadata = schema.metadata();
        let named = metadata.any(|(_, name, _)| name == SUBSCRIPTION_IDENTIFIER);
        Ok(Self::of(profile, source, patterns, named))
    }

    fn of(
        profile: &MqttProfile,
        source: &SourceOptions,
        patterns: Vec<(TopicPattern, QoS)>,
        named: bool,
    ) -> Self {
        let v5 = profile.protocol_version == ProtocolVersion::X5;
        let kept = without_covered(&patterns);
        let shared_filter = |at: usize| patterns[at].0.unshared();
        let overlapping = kept.iter().enumerate().find_map(|(n, &one)| {
            let mut later = kept[n + 1..].iter();
            let other = later.find(|&&other| overlap(shared_filter(one), shared_filter(other)))?;
            Some((one, *other))
        });
        let ambiguous = overlapping.filter(|_| !v5);
        let text = |at: usize| patterns[at].0.to_string();
        let ambiguous = ambiguous.map(|(one, other)| (text(one), text(other)));
        let identified = v5 && (named || overlapping.is_some());
        let subscriptions = kept.iter().map(|&at| {
            let (pattern, qos) = &patterns[at];
            Subscription {
                no_local: source.no_local,
                retain_as_published: source.retain_as_published,
                retained: match source.retained {
                    Retained::All => RetainHandling::Always,
                    Retained::New => RetainHandling::IfNew,
                    Retained::None => RetainHandling::Never,
                },
                identifier: identified.then(|| identifier(at)),
                ..Subscription::new(pattern.filter(), *qos)
            }
        });
        let subscriptions = subscriptions.collect();
        let mut owners = Vec::new();
        if v5 && overlapping.is_some() {
            let mut order = kept;
            order.sort_by_key(|&at| std::cmp::Reverse(patterns[at].1));
            let owner = |at: usize| (shared_filter(at).to_owned(), identifier(at));
            owners.extend(order.into_iter().map(owner));
        }
        // As published, the flag tells something else; and then it is MQTT 5, where the broker was told not to send them.
        let drop_retained = source.retained == Retained::None && !source.retain_as_published;
        Self {
            subscriptions,
            gate: Gate {
                open: owners.is_empty() && !drop_retained,
                drop_retained,
                owners,
            },
            ambiguous,
            patterns: patterns.into_iter().map(|(pattern, _)| pattern).collect(),
        }
    }

    /// Tells what cannot be helped.
    pub(crate) fn warn(&self) {
        if let Some((one, other)) = &self.ambiguous {
            tracing::warn!(
                "'{one}' and '{other}' overlap, and before MQTT 5 a broker may deliver a message that matches both \
                 twice; use MQTT 5, or filters that do not overlap"
            );
        }
    }

    /// All patterns, for people.
    pub(crate) fn text(&self) -> String {
        let texts: Vec<_> = self.patterns.iter().map(ToString::to_string).collect();
        texts.join(", ")
    }
}

/// What the version of MQTT and shared subscriptions do not allow.
fn check_options(
    profile: &MqttProfile,
    source: &SourceOptions,
    patterns: &[(TopicPattern, QoS)],
) -> Result<(), ConfigError> {
    let wrong = |option: &str, why: &str| {
        let message = format!("option '{option}' {why}");
        Err(ConfigError::new(Some(&format!("source.{option}")), message))
    };
    if source.no_local && patterns.iter().any(|(pattern, _)| pattern.is_shared()) {
        return wrong("no_local", "is not possible for a shared subscription");
    }
    if profile.protocol_version == ProtocolVersion::X5 {
        return Ok(());
    }
    let version = profile.protocol_version;
    let needs = format!("needs MQTT 5, and the connection has protocol_version = '{version}'");
    let options = [
        ("no_local", source.no_local),
        ("retain_as_published", source.retain_as_published),
        ("retained", source.retained == Retained::New),
    ];
    match options.iter().find(|(_, given)| *given) {
        Some(("retained", _)) => wrong(
            "retained",
            "= 'new' needs MQTT 5; before it there are 'all' and 'none'",
        ),
        Some((option, _)) => wrong(option, &needs),
        None => Ok(()),
    }
}

impl Gate {
    /// Whether a message becomes a row.
    #[inline]
    pub(crate) fn takes(&self, message: &Message<'_>) -> bool {
        self.open || self.checks(message)
    }

    fn checks(&self, message: &Message<'_>) -> bool {
        if self.drop_retained && message.retain() {
            return false;
        }
        let topic = message.topic();
        let owner = self
            .owners
            .iter()
            .find(|(filter, _)| matches(filter, topic));
        let Some((_, owner)) = owner else {
            return true;
        };
        let mut identified = false;
        for property in message.properties.iter() {
            if let Property::SubscriptionIdentifier(id) = property {
                if id == *owner {
                    return true;
                }
                identified = true;
            }
        }
        // A broker that gives no identifiers is taken at its word.
        !identified
    }
}

/// The identifier of the subscription to the pattern at this place: its number among the topics, from 1.
fn identifier(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(1)
}

/// The places of the patterns that no other one covers.
fn without_covered(patterns: &[(TopicPattern, QoS)]) -> Vec<usize> {
    let covered_by = |one: usize, other: usize| {
        let ((inner, inner_qos), (outer, outer_qos)) = (&patterns[one], &patterns[other]);
        // Each group gets a message of its own.
        let same_group = inner.group() == outer.group();
        let covers_it =
            same_group && outer_qos >= inner_qos && covers(outer.unshared(), inner.unshared());
        // Of two that cover each other the first stays.
        let equal =
            covers_it && inner_qos == outer_qos && covers(inner.unshared(), outer.unshared());
        covers_it && (!equal || other < one)
    };
    let places = 0..patterns.len();
    let uncovered = |one: &usize| {
        !places
            .clone()
            .any(|other| other != *one && covered_by(*one, other))
    };
    places.clone().filter(uncovered).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filters(version: &str, given: &[(&str, QoS)]) -> Filters {
        filters_of(version, given, false)
    }

    fn filters_of(version: &str, given: &[(&str, QoS)], named: bool) -> Filters {
        let profile = json!({"url": "mqtt://h", "protocol_version": version});
        let source = json!({});
        let patterns = given
            .iter()
            .map(|(text, qos)| (TopicPattern::parse(text).unwrap(), *qos));
        Filters::of(
            &serde_json::from_value(profile).unwrap(),
            &serde_json::from_value(source).unwrap(),
            patterns.collect(),
            named,
        )
    }

    #[test]
    fn identifiers_that_a_column_asks_for_filter_nothing() {
        let given = [("a", QoS::AtMostOnce), ("b/+", QoS::AtMostOnce)];
        let identifiers = |version| {
            let filters = filters_of(version, &given, true);
            assert!(filters.gate.open);
            let identifiers = filters.subscriptions.iter().map(|s| s.identifier);
            identifiers.collect::<Vec<_>>()
        };
        assert_eq!(identifiers("5"), [Some(1), Some(2)]);
        assert_eq!(identifiers("3.1.1"), [None, None]);
    }

    #[test]
    fn what_is_subscribed_to() {
        let (q0, q1) = (QoS::AtMostOnce, QoS::AtLeastOnce);
        let tell = |given: &[(&str, QoS)]| {
            let filters = filters("5", given);
            let line = |s: &Subscription| match s.identifier {
                Some(id) => format!("{}@{} #{id}", s.filter, s.qos.level()),
                None => format!("{}@{}", s.filter, s.qos.level()),
            };
            let lines: Vec<_> = filters.subscriptions.iter().map(line).collect();
            lines.join(", ")
        };
        assert_eq!(tell(&[("a", q1)]), "a@1");
        assert_eq!(tell(&[("a/b", q0), ("a/#", q0), ("a/+", q0)]), "a/#@0");
        assert_eq!(tell(&[("a/{x}", q0), ("a/{y}", q0)]), "a/+@0");
        assert_eq!(tell(&[("a/b", q0), ("a/+", q1)]), "a/+@1");
        assert_eq!(tell(&[("a/b", q1), ("a/+", q0)]), "a/b@1 #1, a/+@0 #2");
        assert_eq!(tell(&[("a", q1), ("b", q0)]), "a@1, b@0");
        assert_eq!(
            tell(&[("a/+", q0), ("+/b", q1), ("c", q1)]),
            "a/+@0 #1, +/b@1 #2, c@1 #3"
        );
        assert_eq!(
            tell(&[("$share/g/a/b", q0), ("$share/g/a/+", q0)]),
            "$share/g/a/+@0"
        );
        assert_eq!(
            tell(&[("$share/g/a", q0), ("a", q0)]),
            "$share/g/a@0 #1, a@0 #2"
        );
        assert!(filters("5", &[("a/+", q0), ("b/+", q0)]).gate.open);
        assert!(filters("3.1.1", &[("a/+", q0), ("+/b", q0)]).gate.open);
    }

    proptest! {
        /// Whatever the filters, a message that matches one of them is delivered, and all but one of its copies are not
        /// taken, whether the broker sends one or one for each subscription.
        #[test]
        fn each_message_is_taken_once(
            given in prop::collection::vec((prop::sample::select(vec!["a/+", "+/b", "a/#", "#", "a/b", "+/+", "b"]), 0u8..2), 1..5),
            topic in prop::sample::select(vec!["a/b", "a", "b", "a/c", "c/b", "a/b/c"]),
        ) {
            let qos = |level| if level == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            let given: Vec<_> = given.into_iter().map(|(f, l)| (f, qos(l))).collect();
            let filters = filters("5", &given);
            let subscribed: Vec<_> = filters.subscriptions.iter().filter(|s| matches(&s.filter, topic)).collect();
            prop_assert_eq!(subscribed.is_empty(), !given.iter().any(|(f, _)| matches(f, topic)));
            let properties = |ids: &[Option<u32>]| {
                let ids = ids.iter().flatten();
                ids.flat_map(|id| [0x0B, u8::try_from(*id).unwrap()]).collect::<Vec<u8>>()
            };
            let takes = |bytes: &[u8]| usize::from(filters.gate.takes(&Message::of(topic, bytes)));
            let copies: usize = subscribed.iter().map(|s| takes(&properties(&[s.identifier]))).sum();
            prop_assert_eq!(copies, usize::from(!subscribed.is_empty()));
            let all: Vec<_> = subscribed.iter().map(|s| s.identifier).collect();
            if !all.is_empty() {
                prop_assert_eq!(takes(&properties(&all)), 1);
                // No lower QoS than the highest that was asked for.
                let best = given.iter().filter(|(f, _)| matches(f, topic)).map(|(_, q)| *q).max();
                let taken = subscribed.iter().find(|s| takes(&properties(&[s.identifier])) == 1);
                prop_assert_eq!(taken.map(|s| s.qos), best);
            }
        }
    }
}

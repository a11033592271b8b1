//! Instances of templates, unfolded: each member becomes a metric of its own behind the template's, named
//! `<template>/<member>`. So a member is found by name and alias, remembered from births and made stale like all others.
//!
//! Definitions (`_types_/…`) describe and say nothing of now; they are left as they are. Parameters are no members: they
//! stay with the template's own row.

use super::payload::{Metric, Payload, Template, Value};

/// The names of members repeat those of what they are in: how many bytes they may take together, for each byte of the
/// payload and beyond that.
const NAME_BYTES_FACTOR: usize = 16;
const NAME_BYTES_MIN: usize = 64 * 1024;

/// Unfolds all instances of a message of so many bytes. `known` tells the name of a metric that the message calls by its
/// alias; an instance whose name is not known stays as it is.
///
/// # Errors
/// Names that take many times the message's bytes.
pub(super) fn unfold(
    message: &mut Payload,
    payload_len: usize,
    known: impl Fn(&Metric) -> Option<String>,
) -> Result<(), String> {
    if !message.metrics.iter().any(is_instance) {
        return Ok(());
    }
    let folded = std::mem::take(&mut message.metrics);
    let mut unfolding = Unfolding {
        metrics: Vec::with_capacity(folded.len()),
        name_bytes: NAME_BYTES_MIN + NAME_BYTES_FACTOR * payload_len,
    };
    for metric in folded {
        let name = metric.name.clone().or_else(|| known(&metric));
        unfolding.add(metric, name)?;
    }
    message.metrics = unfolding.metrics;
    Ok(())
}

fn is_instance(metric: &Metric) -> bool {
    matches!(&metric.value, Some(Value::Template(template)) if !template.is_definition())
}

struct Unfolding {
    metrics: Vec<Metric>,
    /// How many more the names may take.
    name_bytes: usize,
}

impl Unfolding {
    /// Adds a metric of this name, and its members.
    fn add(&mut self, mut metric: Metric, name: Option<String>) -> Result<(), String> {
        let members = match (&mut metric.value, &name) {
            (
                Some(Value::Template(Template {
                    metrics,
                    is_definition,
                    ..
                })),
                Some(_),
            ) if *is_definition != Some(true) => std::mem::take(metrics),
            _ => Vec::new(),
        };
        let (timestamp, is_historical) = (metric.timestamp, metric.is_historical);
        let is_transient = metric.is_transient;
        self.metrics.push(metric);
        for mut member in members {
            let name = match (&name, &member.name) {
                (Some(outer), Some(inner)) => Some(format!("{outer}/{inner}")),
                // its alias will tell
                _ => None,
            };
            let len = name.as_ref().map_or(0, String::len);
            let left = self.name_bytes.checked_sub(len);
            self.name_bytes = left.ok_or("the names of templates in templates are too long")?;
            member.name.clone_from(&name);
            member.timestamp = member.timestamp.or(timestamp);
            member.is_historical = member.is_historical.or(is_historical);
            member.is_transient = member.is_transient.or(is_transient);
            self.add(member, name)?;
        }
        Ok(())
    }
}

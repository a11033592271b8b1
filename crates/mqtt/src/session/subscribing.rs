//! What a session wants to hear, asked for: SUBSCRIBE and UNSUBSCRIBE, divided into packets, and their answers.
//!
//! A broker takes packets up to a size, and some only a few filters in each (AWS IoT: 8). All packets go out at once;
//! the subscription is complete when each has been answered.

use bytes::BytesMut;

use crate::error::{MqttError, ReasonCode};
use crate::options::{ProtocolVersion, Subscription, Subscriptions};
use crate::packet::{self, Limits};
use crate::topic;

/// How many filters go into one packet.
const FILTERS_MAX: usize = 8;
/// What a packet has besides its filters, at most: fixed header, packet id, properties.
const HEADER_MAX: usize = 8;
/// What a filter has besides its text: its length and its options.
const FILTER_EXTRA: usize = 3;

/// What an identifier takes, at most.
const IDENTIFIER_MAX: usize = 5;

#[derive(Debug)]
pub(super) struct Subscribing {
    filters: Vec<Subscription>,
    /// Filters that the session of an earlier process may have and that are not asked for any more.
    stale: Vec<String>,
    /// What was asked and not answered, by packet id.
    asked: Vec<(u16, Asked)>,
    next_id: u16,
    lowered_qos_told: bool,
}

#[derive(Debug)]
enum Asked {
    /// SUBSCRIBE to so many filters, beginning with this one.
    Subscribe(usize, usize),
    Unsubscribe,
}

impl Subscribing {
    pub(super) fn new(subscriptions: Subscriptions) -> Self {
        let Subscriptions { filters, former } = subscriptions;
        let mut stale = former.filters;
        stale.retain(|former| !filters.iter().any(|s| s.filter == *former));
        Self {
            filters,
            stale,
            asked: Vec::new(),
            next_id: 1,
            lowered_qos_told: false,
        }
    }

    /// Whether a message on this topic was asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        let filters = self.filters.iter();
        let mut filters = filters.map(|s| topic::unshared(&s.filter));
        filters.any(|filter| topic::matches(filter, name))
    }

    /// Whether filters are known that are not asked for any more.
    pub(super) fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Whether an answer is awaited.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The connection is gone, and with it the answers.
    pub(super) fn end(&mut self) {
        self.asked.clear();
        self.next_id = 1;
    }

    /// Does without identifiers, since the broker does not know them.
    pub(super) fn drop_identifiers(&mut self) {
        if self.filters.iter().all(|s| s.identifier.is_none()) {
            return;
        }
        tracing::warn!(
            "the broker does not offer subscription identifiers; a message that matches several filters may come twice"
        );
        for subscription in &mut self.filters {
            subscription.identifier = None;
        }
    }

    /// Writes UNSUBSCRIBE for what is not asked for any more.
    pub(super) fn unsubscribe(
        &mut self,
        protocol: ProtocolVersion,
        max: usize,
        out: &mut BytesMut,
    ) {
        let lens: Vec<_> = self.stale.iter().map(String::len).collect();
        for (from, count) in packets(&lens, max) {
            let id = self.ask(Asked::Unsubscribe);
            packet::unsubscribe(protocol, id, &self.stale[from..from + count], out);
        }
    }

    /// Whether the broker has said in its CONNACK that it offers what the filters need. To ask for it all the same would
    /// end the connection (sections 3.2.2.3.11 and 3.2.2.3.13), and so would every other attempt.
    ///
    /// # Errors
    /// [`MqttError::SubscriptionRefused`] names the first filter that it does not offer.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), MqttError> {
        for Subscription { filter, .. } in &self.filters {
            let plain = topic::unshared(filter);
            let reason = if plain.len() < filter.len() && !limits.shared_available {
                ReasonCode::SHARED_NOT_SUPPORTED
            } else if plain.contains(['+', '#']) && !limits.wildcards_available {
                ReasonCode::WILDCARDS_NOT_SUPPORTED
            } else {
                continue;
            };
            return Err(MqttError::SubscriptionRefused {
                filter: filter.clone(),
                reason,
                message: Some("the broker has said so when it accepted the login".to_owned()),
            });
        }
        Ok(())
    }

    /// Writes SUBSCRIBE for all filters.
    pub(super) fn subscribe(
        &mut self,
        protocol: ProtocolVersion,
        max: usize,
        out: &mut BytesMut,
    ) -> Result<(), MqttError> {
        let mut from = 0;
        while from < self.filters.len() {
            let first = &self.filters[from];
            // An identifier stands once in a packet and holds for all its filters.
            let alike = self.filters[from..].iter();
            let alike = alike.take_while(|s| s.identifier == first.identifier);
            let lens: Vec<_> = alike.map(|s| s.filter.len()).collect();
            let room = match first.identifier {
                Some(_) => max.saturating_sub(IDENTIFIER_MAX),
                None => max,
            };
            let Some(&(_, count)) = packets(&lens, room).first() else {
                break;
            };
            if count == 1 && packet_len(lens[0]) > room {
                return Err(MqttError::SubscriptionRefused {
                    filter: first.filter.clone(),
                    reason: ReasonCode::PACKET_TOO_LARGE,
                    message: Some(format!("the broker takes packets of {max} bytes")),
                });
            }
            let filters = from..from + count;
            let id = self.ask(Asked::Subscribe(from, count));
            packet::subscribe(protocol, id, &self.filters[filters], out)?;
            from += count;
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.push((id, asked));
        id
    }

    fn answered(&mut self, id: u16) -> Option<Asked> {
        let at = self.asked.iter().position(|(asked, _)| *asked == id)?;
        Some(self.asked.swap_remove(at).1)
    }

    /// SUBACK has come.
    ///
    /// # Errors
    /// [`MqttError::SubscriptionRefused`] names the first filter that was refused; [`MqttError::Protocol`].
    pub(super) fn suback(
        &mut self,
        id: u16,
        codes: &[ReasonCode],
        message: Option<String>,
    ) -> Result<(), MqttError> {
        let answered = match self.answered(id) {
            Some(Asked::Subscribe(from, count)) if codes.len() == count => {
                &self.filters[from..from + count]
            }
            _ => {
                let what = "a SUBACK that answers no SUBSCRIBE";
                return Err(MqttError::protocol(what));
            }
        };
        for (subscription, code) in answered.iter().zip(codes) {
            if code.is_error() {
                return Err(MqttError::SubscriptionRefused {
                    filter: subscription.filter.clone(),
                    reason: *code,
                    message,
                });
            }
            if code.0 < subscription.qos.level() && !self.lowered_qos_told {
                self.lowered_qos_told = true;
                tracing::warn!(
                    filter = subscription.filter,
                    asked = subscription.qos.level(),
                    granted = code.0,
                    "the broker grants a lower QoS than was asked for; messages may be lost or come twice"
                );
            }
        }
        Ok(())
    }

    /// UNSUBACK has come, with a code for each filter on MQTT 5.
    ///
    /// # Errors
    /// [`MqttError::Protocol`].
    pub(super) fn unsuback(&mut self, id: u16, codes: &[ReasonCode]) -> Result<(), MqttError> {
        if !matches!(self.answered(id), Some(Asked::Unsubscribe)) {
            let what = "an UNSUBACK that answers no UNSUBSCRIBE";
            return Err(MqttError::protocol(what));
        }
        if let Some(code) = codes.iter().find(|code| code.is_error()) {
            // What it goes on sending is dropped.
            tracing::warn!(reason = %code, "the broker does not end a subscription of an earlier run");
        }
        Ok(())
    }
}

fn packet_len(filter_len: usize) -> usize {
    HEADER_MAX + FILTER_EXTRA + filter_len
}

/// Divides filters of these lengths into packets up to a size: the first filter of each, and how many. A filter that is
/// too long for any is alone.
fn packets(lens: &[usize], max: usize) -> Vec<(usize, usize)> {
    let mut packets: Vec<(usize, usize)> = Vec::new();
    let mut size = 0;
    for (at, len) in lens.iter().enumerate() {
        size += FILTER_EXTRA + len;
        match packets.last_mut() {
            Some((_, count)) if *count < FILTERS_MAX && size <= max => *count += 1,
            _ => {
                packets.push((at, 1));
                size = packet_len(*len);
            }
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_divided_by_count_and_size() {
        assert!(packets(&[], 100).is_empty());
        assert_eq!(packets(&[1; 20], 1000), [(0, 8), (8, 8), (16, 4)]);
        // 8 + 3 + 10 = 21, and 13 for each further one.
        assert_eq!(packets(&[10; 4], 34), [(0, 2), (2, 2)]);
        assert_eq!(packets(&[10; 4], 33), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(packets(&[10, 500, 10], 34), [(0, 1), (1, 1), (2, 1)]);
    }

    #[test]
    fn what_is_still_asked_for_is_not_stale() {
        let mut subscriptions = Subscriptions::from(vec![
            Subscription::new("a/+", crate::QoS::AtMostOnce),
            Subscription::new("$share/g/b/#", crate::QoS::AtMostOnce),
        ]);
        subscriptions.former.filters = vec!["a/+".to_owned(), "c".to_owned()];
        let subscribing = Subscribing::new(subscriptions);
        assert_eq!(subscribing.stale, ["c"]);
        assert!(subscribing.wants("a/x") && subscribing.wants("b/x/y"));
        assert!(!subscribing.wants("c") && !subscribing.wants("a/x/y"));
    }

    #[test]
    fn what_the_broker_does_not_offer_is_not_asked_for() {
        let refusal = |filter: &str, limits: &Limits| {
            let filters = vec![Subscription::new(filter, crate::QoS::AtMostOnce)];
            let checked = Subscribing::new(filters.into()).check(limits);
            checked
                .err()
                .map(|error| (error.is_fatal(), error.to_string()))
        };
        let all = Limits::default();
        let without_shared = Limits {
            shared_available: false,
            ..Limits::default()
        };
        let without_wildcards = Limits {
            wildcards_available: false,
            ..Limits::default()
        };
        assert_eq!(refusal("$share/g/a/#", &all), None);
        assert_eq!(refusal("a/#", &without_shared), None);
        assert_eq!(refusal("$share/g/a", &without_wildcards), None);
        let (fatal, text) = refusal("$share/g/a", &without_shared).unwrap_or_default();
        assert!(
            fatal && text.contains("'$share/g/a': shared subscriptions not supported"),
            "{text}"
        );
        let (fatal, text) = refusal("$share/g/+", &without_wildcards).unwrap_or_default();
        assert!(
            fatal && text.contains("wildcard subscriptions not supported"),
            "{text}"
        );
    }
}

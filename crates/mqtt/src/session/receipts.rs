//! The messages that were received and are not acknowledged, and the packet ids that QoS 2 must remember.
//!
//! ```text
//! QoS 1   PUBLISH ─► owner ─► durable ─► PUBACK
//! QoS 2   PUBLISH ─► owner ─► durable ─► PUBREC    PUBREL ─► PUBCOMP
//!            └──────── the id is known ────────────────┘
//! ```
//!
//! One queue holds what this connection brought, in the order of receipt, and is acknowledged from its front as the
//! owner's messages become durable (MQTT-4.6.0-2, MQTT-4.6.0-3).
//!
//! At QoS 2 (section 4.3.3) an id is known from its PUBLISH to its PUBREL, over all connections of the session. A
//! PUBLISH of a known id is the message that was handed over before: it is not handed over again, but queued for
//! another PUBREC, which leaves when the message is durable; at once if it is so already.
//!
//! A broker of 3.1.1 may send an unacknowledged message of QoS 1 again on the same connection. The owner gets it again,
//! but there is one PUBACK for both: by the time of a second one the id may mean another message.

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;

use crate::options::QoS;
use crate::packet::{self, AckKind, Batch, Message};

#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Every message up to this number is durable.
    durable: u64,
    /// The messages of this connection that want an acknowledgement, in the order of receipt. What an earlier connection
    /// brought is not among them, so it cannot be acknowledged on this one.
    queue: VecDeque<Receipt>,
    /// Which entry of the queue answers for an id of QoS 1. Only kept from a repeated message until the queue is empty,
    /// because only after a repetition can there be two.
    repeated: Option<HashMap<u16, u64>>,
    /// The ids of QoS 2 that are known.
    known: HashMap<u16, Known>,
    /// How many of these are not in the queue: their PUBREC is on its way, or their PUBREL.
    unreleased: usize,
}

#[derive(Debug, Clone, Copy)]
struct Receipt {
    /// The message's number.
    seq: u64,
    packet_id: u16,
    qos: QoS,
}

/// An id of QoS 2 between PUBLISH and PUBREL.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The number of the message that was handed over.
    seq: u64,
    /// Whether a PUBREC for it waits in the queue.
    queued: bool,
}

impl Receipts {
    /// How many messages the broker waits for an acknowledgement of.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many messages the broker counts as under way: those, and at QoS 2 those of which it has not said PUBREL.
    pub(super) fn in_flight(&self) -> usize {
        self.queue.len() + self.unreleased
    }

    /// Whether a PUBREL is due.
    pub(super) fn awaits_release(&self) -> bool {
        self.unreleased > 0
    }

    /// Takes note of messages of which the first will have this number, and drops those that were handed over before
    /// and those that are not wanted. Answers how many were not wanted; they are acknowledged in their turn all the
    /// same.
    ///
    /// Whether they are wanted is asked of retained messages, and of all if there are `strangers`: subscriptions that
    /// nobody asks for.
    pub(super) fn take(
        &mut self,
        batch: &mut Batch,
        first_seq: u64,
        strangers: bool,
        wanted: impl Fn(&str) -> bool,
    ) -> u64 {
        if batch.is_plain() && self.repeated.is_none() && !strangers {
            let ids = batch.packet_ids();
            self.queue.extend(ids.map(|(i, packet_id)| Receipt {
                seq: first_seq + i as u64,
                packet_id,
                qos: QoS::AtLeastOnce,
            }));
            return 0;
        }
        let mut seq = first_seq;
        let mut unwanted = 0;
        batch.retain(|message| {
            if (strangers || message.retain()) && !wanted(message.topic()) {
                unwanted += 1;
                // Durable as soon as the message before it is.
                self.take_one(message, seq - 1);
                return false;
            }
            let keep = self.take_one(message, seq);
            seq += u64::from(keep);
            keep
        });
        unwanted
    }

    /// Takes note of a message that will have this number; whether it is to be handed over.
    fn take_one(&mut self, message: &Message<'_>, seq: u64) -> bool {
        match message.qos() {
            QoS::AtMostOnce => true,
            QoS::AtLeastOnce => {
                self.at_least_once(message, seq);
                true
            }
            QoS::ExactlyOnce => self.exactly_once(message, seq),
        }
    }

    fn at_least_once(&mut self, message: &Message<'_>, seq: u64) {
        let packet_id = message.packet_id;
        if message.dup() && self.repeated.is_none() {
            let at_least_once = |receipt: &&Receipt| receipt.qos == QoS::AtLeastOnce;
            let waiting = self.queue.iter().filter(at_least_once);
            self.repeated = Some(waiting.map(|r| (r.packet_id, r.seq)).collect());
        }
        if let Some(answering) = &mut self.repeated {
            if message.dup() && answering.contains_key(&packet_id) {
                return;
            }
            // The broker gives an id to another message only when the last one is acknowledged, as it believes: an
            // older entry has nothing to say any more.
            answering.insert(packet_id, seq);
        }
        self.push(seq, packet_id, QoS::AtLeastOnce);
    }

    fn exactly_once(&mut self, message: &Message<'_>, seq: u64) -> bool {
        let packet_id = message.packet_id;
        let Some(known) = self.known.get_mut(&packet_id) else {
            let known = Known { seq, queued: true };
            self.known.insert(packet_id, known);
            self.push(seq, packet_id, QoS::ExactlyOnce);
            return true;
        };
        if !known.queued {
            known.queued = true;
            self.unreleased -= 1;
            let seq = known.seq;
            self.push(seq, packet_id, QoS::ExactlyOnce);
        }
        false
    }

    fn push(&mut self, seq: u64, packet_id: u16, qos: QoS) {
        self.queue.push_back(Receipt {
            seq,
            packet_id,
            qos,
        });
    }

    /// Every message up to this number is durable: writes the acknowledgements that this allows.
    pub(super) fn durable(&mut self, upto: u64, out: &mut BytesMut) {
        self.durable = self.durable.max(upto);
        while let Some(&receipt) = self.queue.front()
            && receipt.seq <= self.durable
        {
            self.queue.pop_front();
            if receipt.qos == QoS::AtLeastOnce {
                self.acknowledge(receipt, out);
            } else {
                self.record(receipt, out);
            }
        }
        if self.queue.is_empty() {
            self.repeated = None;
        }
    }

    #[inline]
    fn acknowledge(&mut self, receipt: Receipt, out: &mut BytesMut) {
        if let Some(answering) = &mut self.repeated {
            if answering.get(&receipt.packet_id) != Some(&receipt.seq) {
                return;
            }
            answering.remove(&receipt.packet_id);
        }
        packet::puback(receipt.packet_id, out);
    }

    fn record(&mut self, receipt: Receipt, out: &mut BytesMut) {
        // Nothing is known of an id that the broker released without waiting for this.
        if let Some(known) = self.known.get_mut(&receipt.packet_id)
            && known.seq == receipt.seq
            && known.queued
        {
            known.queued = false;
            self.unreleased += 1;
            packet::acknowledge(AckKind::PubRec, receipt.packet_id, out);
        }
    }

    /// PUBREL has come: forgets the id. Whether it was known.
    pub(super) fn release(&mut self, packet_id: u16) -> bool {
        let known = self.known.remove(&packet_id);
        self.unreleased -= usize::from(known.is_some_and(|known| !known.queued));
        known.is_some()
    }

    /// The connection is gone. What it brought and was not acknowledged comes again.
    pub(super) fn connection_ended(&mut self) {
        self.queue.clear();
        self.repeated = None;
        for known in self.known.values_mut() {
            known.queued = false;
        }
        self.unreleased = self.known.len();
    }

    /// Whether the broker, if it has the session of before, must send something again: a PUBLISH or a PUBREL for every
    /// id that is known.
    pub(super) fn knows_any(&self) -> bool {
        !self.known.is_empty()
    }

    /// The broker has forgotten the session, and what it sends from now on is new.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.unreleased = 0;
    }

    /// Nothing more will be acknowledged.
    pub(super) fn close(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test panics when it fails")]
mod tests {
    use super::*;
    use crate::options::{MAX_PACKET_SIZE, ProtocolVersion};
    use crate::packet::{Decoder, Publish, ReadBuffer};

    /// Messages as they come in one read: QoS, packet id, whether again.
    fn batch(messages: &[(QoS, u16, bool)]) -> Batch {
        let publish = |&(qos, packet_id, dup): &_| (Publish::new("t", "", qos), packet_id, dup);
        batch_of(messages.iter().map(publish))
    }

    fn batch_of(messages: impl Iterator<Item = (Publish, u16, bool)>) -> Batch {
        let protocol = ProtocolVersion::V311;
        let mut input = ReadBuffer::default();
        for (publish, packet_id, dup) in messages {
            publish.encode(protocol, packet_id, dup, input.for_read(0));
        }
        let decoded = Decoder::new(protocol, MAX_PACKET_SIZE).decode(&mut input);
        decoded.unwrap().batch.unwrap()
    }

    /// Takes them; answers how many are handed over.
    fn take(receipts: &mut Receipts, first_seq: u64, messages: &[(QoS, u16, bool)]) -> usize {
        let mut batch = batch(messages);
        let unwanted = receipts.take(&mut batch, first_seq, false, |_| false);
        assert_eq!(unwanted, 0);
        batch.len()
    }

    /// The packet ids that are acknowledged.
    fn durable(receipts: &mut Receipts, upto: u64) -> Vec<u8> {
        let mut out = BytesMut::new();
        receipts.durable(upto, &mut out);
        out.chunks(4).map(|ack| ack[3]).collect()
    }

    const ONE: QoS = QoS::AtLeastOnce;
    const TWO: QoS = QoS::ExactlyOnce;

    #[test]
    fn a_repetition_shares_the_acknowledgement() {
        let mut receipts = Receipts::default();
        let messages = [(ONE, 5, false), (ONE, 6, false), (ONE, 5, true)];
        assert_eq!(take(&mut receipts, 1, &messages), 3);
        assert_eq!(durable(&mut receipts, 3), [5, 6]);
        assert!(receipts.repeated.is_none(), "it costs nothing any more");
    }

    #[test]
    fn an_id_that_was_given_to_another_message_answers_for_that_alone() {
        let mut receipts = Receipts::default();
        assert_eq!(take(&mut receipts, 1, &[(ONE, 5, false)]), 1);
        assert_eq!(durable(&mut receipts, 1), [5]);
        // Sent before our acknowledgement arrived; then the broker gave the id away.
        assert_eq!(
            take(&mut receipts, 2, &[(ONE, 5, true), (ONE, 5, false)]),
            2
        );
        assert!(durable(&mut receipts, 2).is_empty());
        assert_eq!(durable(&mut receipts, 3), [5]);
    }

    #[test]
    fn a_known_id_is_not_handed_over_until_it_is_released() {
        let mut receipts = Receipts::default();
        assert_eq!(
            take(&mut receipts, 1, &[(TWO, 5, false), (TWO, 6, false)]),
            2
        );
        assert_eq!(durable(&mut receipts, 1), [5]);
        receipts.connection_ended();
        assert_eq!(take(&mut receipts, 3, &[(TWO, 5, true), (TWO, 6, true)]), 0);
        assert_eq!(durable(&mut receipts, 0), [5], "durable since long");
        assert_eq!(durable(&mut receipts, 2), [6]);
        assert!(receipts.release(5) && receipts.release(6));
        assert!(!receipts.release(6));
        assert_eq!(take(&mut receipts, 3, &[(TWO, 5, false)]), 1);
        receipts.forget();
        assert_eq!(
            take(&mut receipts, 4, &[(TWO, 5, false)]),
            1,
            "a new session"
        );
    }

    #[test]
    fn what_is_not_wanted_is_acknowledged_in_its_turn() {
        let mut receipts = Receipts::default();
        let mut batch = batch(&[(ONE, 5, false), (ONE, 6, false), (TWO, 7, false)]);
        let mut all = [true, false, false].into_iter().cycle();
        let wanted = std::cell::RefCell::new(&mut all);
        let wanted = |_: &str| wanted.borrow_mut().next().unwrap();
        assert_eq!(receipts.take(&mut batch, 1, true, wanted), 2);
        assert_eq!(batch.len(), 1);
        assert!(durable(&mut receipts, 0).is_empty(), "not before its elder");
        assert_eq!(durable(&mut receipts, 1), [5, 6, 7]);
        assert!(receipts.release(7));
    }

    #[test]
    fn only_retained_messages_are_doubted_where_no_subscription_is_strange() {
        let message = |topic: &'static str, retain| {
            let mut publish = Publish::new(topic, "", ONE);
            publish.retain = retain;
            publish
        };
        let messages = [("t", true), ("x", true), ("x", false)];
        let messages = messages.map(|(topic, retain)| message(topic, retain));
        let mut receipts = Receipts::default();
        let mut batch = batch_of(messages.into_iter().zip(5..).map(|(m, id)| (m, id, false)));
        let unwanted = receipts.take(&mut batch, 1, false, |topic| topic == "t");
        assert_eq!((unwanted, batch.len()), (1, 2));
        assert_eq!(durable(&mut receipts, 2), [5, 6, 7], "all are acknowledged");
    }
}

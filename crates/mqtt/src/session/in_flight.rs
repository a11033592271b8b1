//! The publishes that wait for the broker's acknowledgement, and their packet ids.
//!
//! Ids are given out in turn, 1 … 65,534 and again, and the publishes lie in a queue in the same order: so an id says
//! where in the queue its publish lies, and no table is needed. A publish that is acknowledged out of turn leaves a
//! hole until those before it are. The span of the queue is at most 65,534, so an id is never in use twice.
//!
//! A publish of QoS 2 stays whole until PUBCOMP, though the broker is its owner since PUBREC: many brokers hand a message
//! on only when it is released, and one that lost its session in between would have lost the message with it.

use std::collections::VecDeque;

use super::link::BIRTH_ID;
use crate::options::QoS;
use crate::packet::{Parcel, PublishRef};

/// How many packet ids there are; 0 is none, and the last is that of the birth message.
const IDS: u64 = BIRTH_ID as u64 - 1;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// In the order of publishing. The front is never a hole.
    slots: VecDeque<Slot>,
    /// How many slots have left the front, ever.
    first: u64,
    /// The first `sent` slots have been sent on this connection.
    sent: usize,
    /// How many of these are not acknowledged.
    unanswered: usize,
    /// How many of these are of QoS 2.
    unreleased: usize,
    /// How many slots are not acknowledged, sent or not.
    live: usize,
    /// The bytes of these.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    /// The publish's number in the life of its publisher.
    number: u64,
    /// `None` once it is done.
    publish: Option<Parcel>,
    stage: Stage,
}

/// How far a publish has come, on any connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Never sent.
    New,
    /// Sent, not answered.
    Sent,
    /// QoS 2: answered by PUBREC, which PUBREL answers.
    Recorded,
}

/// What a PUBREC meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// The broker has the message: release it.
    Now,
    /// It will be released in its turn, or has been.
    Already,
    /// No publish waits for it.
    Unknown,
}

/// A publish whose turn it is.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) packet_id: u16,
    pub(super) publish: PublishRef<'a>,
    /// How far it came on earlier connections.
    pub(super) stage: Stage,
}

impl InFlight {
    /// How many are sent on this connection and not acknowledged.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// How many of these are of QoS 2.
    pub(super) fn unreleased(&self) -> usize {
        self.unreleased
    }

    /// How many are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The bytes of those that are not acknowledged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is an id left.
    pub(super) fn has_room(&self) -> bool {
        (self.slots.len() as u64) < IDS
    }

    /// The number of the oldest that was sent on this connection and is not done, if it is the oldest of all.
    pub(super) fn oldest_sent(&self) -> Option<u64> {
        self.oldest().filter(|_| self.sent > 0)
    }

    /// The number of the oldest that is not done.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.number)
    }

    /// Adds a publish, to be sent after all the others. There must be [room](Self::has_room).
    pub(super) fn push(&mut self, number: u64, publish: Parcel) {
        debug_assert!(self.has_room(), "a packet id would be in use twice");
        self.live += 1;
        self.bytes += publish.get().len();
        self.slots.push_back(Slot {
            number,
            publish: Some(publish),
            stage: Stage::New,
        });
    }

    /// The connection has changed: everything that is not acknowledged is to be sent again.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
        self.unanswered = 0;
        self.unreleased = 0;
    }

    /// The broker has begun a new session, or may have without our knowledge: what it had recorded is published again
    /// rather than released, because to release it would lose it.
    pub(super) fn session_lost(&mut self) {
        let recorded = |slot: &&mut Slot| slot.stage == Stage::Recorded;
        for slot in self.slots.iter_mut().filter(recorded) {
            slot.stage = Stage::Sent;
        }
    }

    /// The next publish that this connection has not sent.
    pub(super) fn peek(&mut self) -> Option<Turn<'_>> {
        self.skip_done();
        self.next()
    }

    /// Passes by what was done before its turn came.
    pub(super) fn skip_done(&mut self) {
        let done = |slot: &Slot| slot.publish.is_none();
        while self.slots.get(self.sent).is_some_and(done) {
            self.sent += 1;
        }
    }

    /// The next publish that this connection has not sent, if it is not [done](Self::skip_done). Always inlined: it would
    /// come back through memory.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<Turn<'_>> {
        let slot = self.slots.get(self.sent)?;
        Some(Turn {
            packet_id: self.id_at(self.sent),
            publish: slot.publish.as_ref()?.get(),
            stage: slot.stage,
        })
    }

    /// The publish that was peeked at, or its PUBREL, has been sent.
    pub(super) fn advance(&mut self, stage: Stage) {
        if let Some(slot) = self.slots.get_mut(self.sent) {
            slot.stage = stage;
            self.sent += 1;
            self.unanswered += 1;
            let exactly_once = |publish: &Parcel| publish.get().qos == QoS::ExactlyOnce;
            self.unreleased += usize::from(slot.publish.as_ref().is_some_and(exactly_once));
        }
    }

    /// Takes out the publish that was peeked at, because it cannot be sent.
    pub(super) fn remove_next(&mut self) -> Option<(u64, Parcel)> {
        self.finish(self.sent)
    }

    /// Takes out the publish that the broker has answered for good. `None` if none of this connection has this id and
    /// has come this far.
    pub(super) fn answered(&mut self, packet_id: u16, stage: Stage) -> Option<(u64, Parcel)> {
        let at = self.position(packet_id).filter(|at| *at < self.sent)?;
        if self.slots.get(at)?.stage != stage {
            return None;
        }
        let done = self.finish(at)?;
        self.unanswered -= 1;
        self.unreleased -= usize::from(done.1.get().qos == QoS::ExactlyOnce);
        Some(done)
    }

    /// The broker has the message of this id, of QoS 2.
    pub(super) fn recorded(&mut self, packet_id: u16) -> Recorded {
        let at = self.position(packet_id);
        let Some((at, slot)) = at.and_then(|at| Some((at, self.slots.get_mut(at)?))) else {
            return Recorded::Unknown;
        };
        let exactly_once = |publish: &Parcel| publish.get().qos == QoS::ExactlyOnce;
        if !slot.publish.as_ref().is_some_and(exactly_once) {
            return Recorded::Unknown;
        }
        match slot.stage {
            Stage::New => Recorded::Unknown,
            Stage::Recorded => Recorded::Already,
            Stage::Sent => {
                slot.stage = Stage::Recorded;
                match at < self.sent {
                    true => Recorded::Now,
                    false => Recorded::Already,
                }
            }
        }
    }

    /// Where in the queue the publish of this id would lie.
    #[inline]
    fn position(&self, packet_id: u16) -> Option<usize> {
        if packet_id == 0 || packet_id == BIRTH_ID {
            return None;
        }
        let front = u64::from(self.id_at(0));
        usize::try_from((u64::from(packet_id) + IDS - front) % IDS).ok()
    }

    fn finish(&mut self, at: usize) -> Option<(u64, Parcel)> {
        let slot = self.slots.get_mut(at)?;
        let publish = slot.publish.take()?;
        let number = slot.number;
        self.live -= 1;
        self.bytes -= publish.get().len();
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.publish.is_none())
        {
            self.slots.pop_front();
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        Some((number, publish))
    }

    fn id_at(&self, at: usize) -> u16 {
        // At most 65,534 by the remainder.
        ((self.first + at as u64) % IDS + 1) as u16
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test panics when it fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Piece, Publish};

    fn publish(number: u64) -> Parcel {
        let publish = Publish::new("t", number.to_string(), QoS::AtLeastOnce);
        Piece::from(vec![publish]).first().unwrap()
    }

    fn send(in_flight: &mut InFlight) -> Option<(u16, bool)> {
        let turn = in_flight.peek()?;
        let sent = (turn.packet_id, turn.stage != Stage::New);
        in_flight.advance(Stage::Sent);
        Some(sent)
    }

    #[test]
    fn an_id_is_free_again_only_after_its_turn() {
        let mut in_flight = InFlight::default();
        for number in 1..=IDS {
            in_flight.push(number, publish(number));
            assert_eq!(send(&mut in_flight), Some((number as u16, false)));
        }
        assert!(!in_flight.has_room());
        assert_eq!(in_flight.answered(2, Stage::Sent).unwrap().0, 2);
        assert!(!in_flight.has_room(), "the first is still unanswered");
        assert_eq!(in_flight.answered(1, Stage::Sent).unwrap().0, 1);
        in_flight.push(IDS + 1, publish(IDS + 1));
        in_flight.push(IDS + 2, publish(IDS + 2));
        assert_eq!(send(&mut in_flight), Some((1, false)));
        assert_eq!(send(&mut in_flight), Some((2, false)));
        assert!(!in_flight.has_room());
        assert_eq!(in_flight.answered(1, Stage::Sent).unwrap().0, IDS + 1);
    }

    #[test]
    fn unknown_and_repeated_answers_change_nothing() {
        let mut in_flight = InFlight::default();
        in_flight.push(1, publish(1));
        in_flight.push(2, publish(2));
        assert!(in_flight.answered(1, Stage::Sent).is_none(), "not sent yet");
        send(&mut in_flight);
        send(&mut in_flight);
        for unknown in [0, 3, u16::MAX] {
            assert!(in_flight.answered(unknown, Stage::Sent).is_none());
        }
        assert!(in_flight.answered(2, Stage::Sent).is_some());
        assert!(in_flight.answered(2, Stage::Sent).is_none());
        assert_eq!(
            (in_flight.unanswered(), in_flight.len(), in_flight.oldest()),
            (1, 1, Some(1))
        );
    }

    proptest! {
        /// Against a plain list of (id, number).
        #[test]
        fn agrees_with_a_list(steps in proptest::collection::vec((0_u8..10, 0_usize..50), 1..400)) {
            let mut in_flight = InFlight::default();
            let mut model: Vec<(u16, u64, bool)> = Vec::new();
            let mut number = 0;
            for (step, pick) in steps {
                match step {
                    0..4 => {
                        number += 1;
                        in_flight.push(number, publish(number));
                        model.push((((number - 1) % IDS + 1) as u16, number, false));
                    }
                    4..7 => {
                        let sent = send(&mut in_flight).map(|(id, _)| id);
                        let expected = model.iter_mut().find(|(_, _, sent)| !sent);
                        prop_assert_eq!(sent, expected.map(|entry| { entry.2 = true; entry.0 }));
                    }
                    7..9 => {
                        if let Some(&(id, number, sent)) = model.get(pick) {
                            let answered = in_flight.answered(id, Stage::Sent);
                            prop_assert_eq!(answered.map(|(n, _)| n), sent.then_some(number));
                            if sent { model.remove(pick); }
                        }
                    }
                    _ => {
                        in_flight.restart();
                        model.iter_mut().for_each(|entry| entry.2 = false);
                    }
                }
                prop_assert_eq!(in_flight.len(), model.len());
                prop_assert_eq!(in_flight.oldest(), model.first().map(|entry| entry.1));
                prop_assert_eq!(in_flight.unanswered(), model.iter().filter(|entry| entry.2).count());
            }
        }
    }
}

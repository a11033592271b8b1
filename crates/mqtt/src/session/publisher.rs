//! What is to be sent, and what of it the broker has not answered.

use std::collections::VecDeque;
use std::time::Instant;

use super::Link;
use super::in_flight::{InFlight, Recorded, Stage};
use super::queue::Queue;
use super::refused::Refused;
use crate::error::{MqttError, ReasonCode};
use crate::options::{ConnectOptions, ProtocolVersion, QoS};
use crate::packet::{self, Ack, AckKind, Parcel, Piece, PublishRef, ReadBuffer};

/// Output beyond which nothing more is framed until some of it was written, in bytes.
const OUTPUT_HIGH: usize = 256 * 1024;
/// Unanswered publishes beyond which none is sent, in bytes of topic and payload.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many publishes of QoS 2 may be on their way to a broker of 3.1.1, which has no receive maximum to announce.
/// Mosquitto closes the connection over a 21st, EMQX over a 101st.
const UNRELEASED_MAX_V311: usize = 20;
/// Unsent publishes beyond which no more are asked for.
const QUEUE_MESSAGES_HIGH: usize = 3 * 1024;
/// The same in bytes of topic and payload.
const QUEUE_BYTES_HIGH: usize = 2 * 1024 * 1024;

/// The session of one publisher, over all its connections.
///
/// A publish goes from the queue to the wire; one of QoS 1 is kept in flight until PUBACK, one of QoS 2 until PUBCOMP,
/// one of QoS 0 until its last byte was written. Publishes are numbered 1, 2, 3 … in the order in which they were given.
#[derive(Debug)]
pub struct PublisherSession {
    link: Link,
    accepted: u64,
    queue: Queue,
    in_flight: InFlight,
    unwritten: VecDeque<Unwritten>,
    resumed: bool,
    refused: Vec<Refused>,
    watched: Option<Watched>,
    uncalled_told: bool,
}

/// The publish that has waited longest for its answer.
#[derive(Debug, Clone, Copy)]
struct Watched {
    number: u64,
    /// An offset within the connection before which it lies.
    end: u64,
    /// Since when it is written and the oldest.
    since: Option<Instant>,
}

/// A QoS 0 publish in the output buffer.
#[derive(Debug)]
struct Unwritten {
    number: u64,
    /// Where its last byte lies within the connection.
    end: u64,
    publish: Parcel,
}

impl PublisherSession {
    /// A session that has nothing to send.
    ///
    /// Its packet ids begin at 1, and a broker that remembers some of them from an earlier process would take new
    /// messages of QoS 2 for old ones. So whatever the options say, the session of before is not taken up: on MQTT 5 the
    /// first login says so; on 3.1.1, where a clean session cannot outlive its connection, see
    /// [`drops_session`](Self::drops_session).
    pub fn new(mut options: ConnectOptions) -> Self {
        options.clean_start =
            options.protocol == ProtocolVersion::V5 || options.session_expiry.is_zero();
        Self {
            link: Link::new(options),
            accepted: 0,
            queue: Queue::default(),
            in_flight: InFlight::default(),
            unwritten: VecDeque::new(),
            resumed: false,
            refused: Vec::new(),
            watched: None,
            uncalled_told: false,
        }
    }

    /// Whether a login with a clean session, and nothing more, must come before the first connection.
    pub fn drops_session(&self) -> bool {
        !self.link.options().clean_start
    }

    /// The connection.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The connection.
    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether more publishes should be given. Giving them anyway is safe but unbounded.
    pub fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MESSAGES_HIGH && self.queue.bytes() < QUEUE_BYTES_HIGH
    }

    /// How many publishes are not done.
    pub fn unfinished(&self) -> usize {
        self.queue.len() + self.in_flight.len() + self.unwritten.len()
    }

    /// How many QoS 1 publishes are sent on this connection and not answered.
    pub fn unanswered(&self) -> usize {
        self.in_flight.unanswered()
    }

    /// All publishes up to this number are done: acknowledged, refused or (QoS 0) written.
    pub fn completed(&self) -> u64 {
        let queued = self.queue.front();
        let unwritten = self.unwritten.front().map(|unwritten| unwritten.number);
        [queued, unwritten, self.in_flight.oldest()]
            .into_iter()
            .flatten()
            .min()
            .map_or(self.accepted, |oldest| oldest - 1)
    }

    /// The publishes that were refused since the last call.
    pub fn take_refused(&mut self) -> impl Iterator<Item = Refused> {
        self.refused.drain(..)
    }

    /// Takes publishes, in their order.
    pub fn publish(&mut self, piece: impl Into<Piece>) {
        let piece = piece.into();
        let first = self.accepted + 1;
        self.accepted += piece.len() as u64;
        self.queue.push_back(first, piece);
        self.pump();
    }

    /// A transport is up.
    ///
    /// # Errors
    /// [`MqttError::Options`] if the login cannot be put into a packet.
    pub fn begin(&mut self, now: Instant) -> Result<(), MqttError> {
        self.end();
        self.link.begin(now)
    }

    /// The transport is gone.
    ///
    /// A QoS 0 publish of which the last byte was not written cannot have been understood by the broker, so it may be
    /// sent again without being sent twice.
    pub fn end(&mut self) {
        for Unwritten {
            number, publish, ..
        } in self.unwritten.drain(..).rev()
        {
            self.queue.push_front(number, publish.into());
        }
        self.watched = None;
        self.in_flight.restart();
        if self.link.awaits_login() {
            self.in_flight.session_lost();
        }
        self.link.end();
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// What ends this connection; if [`MqttError::is_fatal`], every other one too.
    pub fn receive(&mut self, input: &mut ReadBuffer, now: Instant) -> Result<(), MqttError> {
        let received = self.link.receive(input, now)?;
        if let Some(session_present) = received.connected {
            self.resumed = session_present;
            if !session_present {
                self.in_flight.session_lost();
            }
        }
        if received.batch.is_some() && !self.uncalled_told {
            self.uncalled_told = true;
            // aMQTT sends such to whoever logs in. Without an acknowledgement they stay with the broker.
            tracing::warn!(
                client_id = self.link.options().client_id,
                "the broker sends messages to a connection that has subscribed to nothing; they are dropped"
            );
        }
        for ack in received.acks {
            self.answered(ack)?;
        }
        self.pump();
        self.watch(now);
        Ok(())
    }

    fn answered(&mut self, ack: Ack) -> Result<(), MqttError> {
        let Ack {
            packet_id, kind, ..
        } = ack;
        // What a PUBCOMP that fails says is that the broker has nothing of this id any more: it was released before.
        let done = match kind {
            AckKind::PubComp => self.in_flight.answered(packet_id, Stage::Recorded),
            AckKind::PubRec if !ack.reason.is_error() => return self.recorded(packet_id),
            AckKind::PubAck | AckKind::PubRec => self.in_flight.answered(packet_id, Stage::Sent),
            AckKind::PubRel => {
                return Err(MqttError::protocol("a PUBREL of nothing that it has sent"));
            }
        };
        match done {
            Some((number, publish)) if ack.reason.is_error() && kind != AckKind::PubComp => {
                self.refuse(number, publish.get(), ack.reason, ack.message);
            }
            Some(_) => {}
            None => tracing::debug!(packet_id, ?kind, "an acknowledgement that answers nothing"),
        }
        Ok(())
    }

    /// PUBREC: the broker has the message, and is told that it may hand it on (MQTT-4.3.3-4).
    fn recorded(&mut self, packet_id: u16) -> Result<(), MqttError> {
        let protocol = self.link.options().protocol;
        let out = self.link.output_mut();
        match self.in_flight.recorded(packet_id) {
            Recorded::Now => packet::acknowledge(AckKind::PubRel, packet_id, out),
            // On one connection nothing gets lost, so nothing needs to be said twice.
            Recorded::Already => {}
            Recorded::Unknown => {
                packet::acknowledge_unknown(protocol, AckKind::PubRel, packet_id, out);
            }
        }
        Ok(())
    }

    /// The first `len` bytes of the output were written.
    pub fn wrote(&mut self, len: usize, now: Instant) {
        self.link.wrote(len, now);
        while let Some(first) = self.unwritten.front()
            && first.end <= self.link.written()
        {
            self.unwritten.pop_front();
        }
        self.pump();
        self.watch(now);
    }

    /// Looks after the oldest publish: its answer is late only when it was written, and nothing older waited.
    fn watch(&mut self, now: Instant) {
        let Some(number) = self.in_flight.oldest_sent() else {
            self.watched = None;
            return;
        };
        let end = self.link.queued();
        let fresh = Watched {
            number,
            end,
            since: None,
        };
        let watched = self.watched.get_or_insert(fresh);
        if watched.number != number {
            *watched = fresh;
        }
        if watched.since.is_none() && watched.end <= self.link.written() {
            watched.since = Some(now);
        }
    }

    /// When the answer to the oldest publish is late.
    fn answer_by(&self) -> Option<Instant> {
        let timeout = self.link.options().operation_timeout;
        let since = self.watched?.since?;
        (!timeout.is_zero()).then(|| since + timeout)
    }

    /// Frames what may be sent now.
    fn pump(&mut self) {
        while self.link.is_up() && self.link.output().len() < OUTPUT_HIGH {
            let progress = self.send_in_flight() || self.send_queued();
            if !progress {
                break;
            }
        }
    }

    /// Sends what waits in flight: new publishes, and those of an earlier connection.
    fn send_in_flight(&mut self) -> bool {
        self.in_flight.skip_done();
        let Some(turn) = self.in_flight.next() else {
            return false;
        };
        if turn.stage == Stage::Recorded {
            // Never held back by the window (MQTT-3.3.4-9).
            packet::acknowledge(AckKind::PubRel, turn.packet_id, self.link.output_mut());
            self.in_flight.advance(Stage::Recorded);
            return true;
        }
        if self.window_is_full(turn.publish.qos == QoS::ExactlyOnce) {
            return false;
        }
        if let Some((reason, message)) = refusal(&self.link, turn.publish) {
            if let Some((number, publish)) = self.in_flight.remove_next() {
                self.refuse(number, publish.get(), reason, message);
            }
            return true;
        }
        let protocol = self.link.options().protocol;
        let dup = turn.stage != Stage::New && self.resumed;
        turn.publish
            .encode(protocol, turn.packet_id, dup, self.link.output_mut());
        self.in_flight.advance(Stage::Sent);
        true
    }

    /// Sends the front of the queue, or puts it into flight, once nothing older waits there to be sent again.
    fn send_queued(&mut self) -> bool {
        if self.in_flight.peek().is_some() {
            return false;
        }
        let Some((number, parcel)) = self.queue.first() else {
            return false;
        };
        let publish = parcel.get();
        let answered = publish.qos != QoS::AtMostOnce;
        if answered && !self.may_fly(publish.qos == QoS::ExactlyOnce) {
            return false;
        }
        self.queue.skip_first(publish.len());
        if let Some((reason, message)) = refusal(&self.link, publish) {
            self.refuse(number, publish, reason, message);
        } else if answered {
            self.in_flight.push(number, parcel);
            self.send_in_flight();
        } else {
            let protocol = self.link.options().protocol;
            publish.encode(protocol, 0, false, self.link.output_mut());
            self.unwritten.push_back(Unwritten {
                number,
                end: self.link.queued(),
                publish: parcel,
            });
        }
        true
    }

    /// Whether one more publish may wait for an answer: by the broker's receive maximum, the ids, and our memory.
    fn may_fly(&self, exactly_once: bool) -> bool {
        !self.window_is_full(exactly_once)
            && self.in_flight.has_room()
            && self.in_flight.bytes() < IN_FLIGHT_BYTES_MAX
    }

    /// Whether the broker would take one more publish of this kind amiss.
    fn window_is_full(&self, exactly_once: bool) -> bool {
        let limits = self.link.limits();
        let unreleased_max = match self.link.options().protocol {
            ProtocolVersion::V31 | ProtocolVersion::V311 => UNRELEASED_MAX_V311,
            ProtocolVersion::V5 => usize::MAX,
        };
        let unanswered = self.in_flight.unanswered() + usize::from(self.link.is_unborn());
        unanswered >= usize::from(limits.receive_maximum)
            || (exactly_once && self.in_flight.unreleased() >= unreleased_max)
    }

    fn refuse(
        &mut self,
        number: u64,
        publish: PublishRef<'_>,
        reason: ReasonCode,
        message: Option<String>,
    ) {
        let refused = Refused::new(number, publish, reason, message);
        self.refused.push(refused);
    }

    /// When [`tick`](Self::tick) wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.link
            .deadline()
            .into_iter()
            .chain(self.answer_by())
            .min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`MqttError::Timeout`] if the broker did not answer.
    pub fn tick(&mut self, now: Instant) -> Result<(), MqttError> {
        if self.link.is_up() && self.answer_by().is_some_and(|by| now >= by) {
            return Err(MqttError::Timeout {
                what: "PUBACK or PUBCOMP",
                after: self.link.options().operation_timeout,
            });
        }
        self.link.tick(now)
    }

    /// Says goodbye after what was framed.
    pub fn finish(&mut self) {
        self.link.finish();
    }
}

/// Why a publish must not be sent to this broker at all.
fn refusal(link: &Link, publish: PublishRef<'_>) -> Option<(ReasonCode, Option<String>)> {
    let limits = link.limits();
    if publish.topic.is_empty() || publish.topic.len() > usize::from(u16::MAX) {
        let message = "a topic has 1 to 65535 bytes".to_owned();
        return Some((ReasonCode::TOPIC_NAME_INVALID, Some(message)));
    }
    let len = publish.packet_len(link.options().protocol);
    if len > limits.max_packet_size as usize {
        let message = format!(
            "the packet would have {len} bytes, the broker takes {}",
            limits.max_packet_size
        );
        return Some((ReasonCode::PACKET_TOO_LARGE, Some(message)));
    }
    if publish.qos > limits.max_qos {
        let message = format!("the broker takes QoS {} at most", limits.max_qos.level());
        return Some((ReasonCode::QOS_NOT_SUPPORTED, Some(message)));
    }
    if publish.retain && !limits.retain_available {
        let message = "the broker keeps no retained messages".to_owned();
        return Some((ReasonCode::RETAIN_NOT_SUPPORTED, Some(message)));
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test panics when it fails")]
mod tests;

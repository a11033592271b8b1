//! What every connection has, whatever is sent over it.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::heartbeat::Heartbeat;
use crate::dial;
use crate::error::{MqttError, ReasonCode};
use crate::options::{ConnectOptions, ProtocolVersion, QoS};
use crate::packet::{self, Ack, Batch, ConnAck, Control, Decoder, Limits, PINGREQ, ReadBuffer};

/// The id of the birth message. Publishers use only smaller ones.
pub(super) const BIRTH_ID: u16 = u16::MAX;

/// Login, keep-alive, limits, and the bytes to write.
#[derive(Debug)]
pub struct Link {
    options: ConnectOptions,
    decoder: Decoder,
    phase: Phase,
    epoch: u64,
    limits: Limits,
    heartbeat: Heartbeat,
    output: BytesMut,
    /// How many bytes of this connection have left the output buffer at its front.
    written: u64,
    missing: usize,
    /// Whether the birth message was sent and not answered.
    unborn: bool,
    goodbye: Option<MqttError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no transport.
    Down,
    /// CONNECT is on its way; the answer must come before this.
    Login(Instant),
    /// The broker has accepted the login.
    Up,
    /// DISCONNECT is on its way; nothing follows it.
    Closing,
}

/// What the sessions make of a read.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The broker has just accepted the login; whether it had a session.
    pub(super) connected: Option<bool>,
    pub(super) batch: Option<Batch>,
    pub(super) acks: Vec<Ack>,
    /// Whether the broker has answered a PINGREQ.
    pub(super) pong: bool,
    pub(super) subacks: Vec<(u16, Vec<ReasonCode>, Option<String>)>,
    pub(super) unsubacks: Vec<(u16, Vec<ReasonCode>)>,
}

impl Link {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self {
            decoder: Decoder::new(options.protocol, options.max_packet_size)
                .with_aliases(options.topic_alias_maximum),
            phase: Phase::Down,
            epoch: 0,
            limits: Limits::default(),
            heartbeat: Heartbeat::new(Duration::ZERO, Instant::now()),
            output: BytesMut::new(),
            written: 0,
            missing: 0,
            unborn: false,
            goodbye: None,
            options,
        }
    }

    /// The options, with the client id that the broker assigned if it did.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Which connection this is: how many logins have succeeded.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the broker has accepted the login and the connection has not ended.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether the broker may know of a login that it has not answered yet. It may then have begun a new session of
    /// which we do not know: the next CONNACK will say that there is a session, but not that it is another one.
    pub(super) fn awaits_login(&self) -> bool {
        matches!(self.phase, Phase::Login(_)) && self.output.is_empty()
    }

    /// What the broker of this connection grants.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The bytes to write next. Tell [`wrote`](Self::wrote) how many were.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// How many bytes the packet lacks whose beginning lies in the read buffer.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The first `len` bytes of the output were written.
    pub(super) fn wrote(&mut self, len: usize, now: Instant) {
        self.output.advance(len);
        self.written += len as u64;
        self.heartbeat.wrote(self.written, now);
    }

    /// The offset within this connection up to which bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The offset within this connection up to which there is output.
    pub(super) fn queued(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    pub(super) fn output_mut(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Whether the socket is read. While it is not, the broker cannot be late.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        self.heartbeat.set_reading(reading, now);
    }

    /// A transport is up: log in.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), MqttError> {
        self.end();
        packet::connect(&self.options, self.clean_start(), &mut self.output);
        self.phase = Phase::Login(now + self.options.connect_timeout);
        self.heartbeat = Heartbeat::new(Duration::ZERO, now);
        Ok(())
    }

    /// Only the first connection begins anew; later ones want the session back that the first one had. On 3.1.1 the
    /// flag also decides whether there will be a session at all, so it cannot change.
    fn clean_start(&self) -> bool {
        let keeps_session =
            self.options.protocol == ProtocolVersion::V5 && !self.options.session_expiry.is_zero();
        self.options.clean_start && !(keeps_session && self.epoch > 0)
    }

    /// The transport is gone, and with it what was not written.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Down;
        self.decoder.restart();
        self.output.clear();
        self.written = 0;
        self.missing = 0;
        self.unborn = false;
        self.goodbye = None;
    }

    pub(super) fn receive(
        &mut self,
        input: &mut ReadBuffer,
        now: Instant,
    ) -> Result<Received, MqttError> {
        self.heartbeat.received(now);
        let decoded = self.decoder.decode(input)?;
        self.missing = decoded.missing;
        let mut received = Received {
            batch: decoded.batch,
            acks: decoded.acks,
            ..Received::default()
        };
        for control in decoded.control {
            match control {
                Control::ConnAck(ack) => received.connected = Some(self.connack(ack, now)?),
                Control::SubAck(id, codes, message) => received.subacks.push((id, codes, message)),
                Control::UnsubAck(id, codes) => received.unsubacks.push((id, codes)),
                Control::PingResp => received.pong = true,
                Control::Disconnect(reason, message) => {
                    self.goodbye = Some(self.disconnected(reason, message));
                }
            }
        }
        let anything =
            received.batch.is_some() || !received.acks.is_empty() || !received.subacks.is_empty();
        if self.unborn {
            received.acks.retain(|ack| !self.is_of_birth(ack));
        }
        if anything && matches!(self.phase, Phase::Login(_) | Phase::Down) {
            return Err(MqttError::protocol("another packet before CONNACK"));
        }
        Ok(received)
    }

    fn connack(&mut self, ack: ConnAck, now: Instant) -> Result<bool, MqttError> {
        if !matches!(self.phase, Phase::Login(_)) {
            return Err(MqttError::protocol("a second CONNACK"));
        }
        let ack = dial::accepted(&self.options, ack)?;
        self.phase = Phase::Up;
        self.epoch += 1;
        if let Some(id) = ack.assigned_client_id {
            self.options.client_id = id;
        }
        let keep_alive = ack
            .limits
            .server_keep_alive
            .unwrap_or(self.options.keep_alive);
        self.heartbeat = Heartbeat::new(keep_alive, now);
        self.limits = ack.limits;
        self.give_birth();
        Ok(ack.session_present)
    }

    /// Publishes the birth message, before anything else.
    fn give_birth(&mut self) {
        let Some(birth) = &self.options.birth else {
            return;
        };
        let mut birth = birth.clone();
        birth.qos = birth.qos.min(QoS::AtLeastOnce).min(self.limits.max_qos);
        birth.retain &= self.limits.retain_available;
        let protocol = self.options.protocol;
        if birth.by_ref().packet_len(protocol) > self.limits.max_packet_size as usize {
            tracing::warn!("the broker does not take packets as large as the birth message");
            return;
        }
        birth.encode(protocol, BIRTH_ID, false, &mut self.output);
        self.unborn = birth.qos != QoS::AtMostOnce;
    }

    /// Whether this answers the birth message.
    fn is_of_birth(&mut self, ack: &Ack) -> bool {
        if ack.packet_id != BIRTH_ID {
            return false;
        }
        self.unborn = false;
        if ack.reason.is_error() {
            tracing::warn!(reason = %ack.reason, message = ack.message, "the broker refused the birth message");
        }
        true
    }

    /// Whether the birth message counts against the broker's receive maximum.
    pub(super) fn is_unborn(&self) -> bool {
        self.unborn
    }

    fn disconnected(&self, reason: ReasonCode, message: Option<String>) -> MqttError {
        if reason == ReasonCode::TAKEN_OVER {
            return MqttError::TakenOver {
                client_id: self.options.client_id.clone(),
            };
        }
        MqttError::Disconnected { reason, message }
    }

    /// Whether the broker has said goodbye. Ask after what it sent before has been dealt with.
    ///
    /// # Errors
    /// [`MqttError::Disconnected`] or [`MqttError::TakenOver`].
    pub fn goodbye(&mut self) -> Result<(), MqttError> {
        self.goodbye.take().map_or(Ok(()), Err)
    }

    /// What it means that the broker closed the transport now.
    pub fn closed(&self) -> MqttError {
        MqttError::ClosedByBroker {
            address: self.options.address(),
        }
    }

    /// When `tick` wants to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Down | Phase::Closing => None,
            Phase::Login(deadline) => Some(deadline),
            Phase::Up => self.heartbeat.deadline(),
        }
    }

    pub(super) fn tick(&mut self, now: Instant) -> Result<(), MqttError> {
        match self.phase {
            Phase::Login(deadline) if now >= deadline => Err(MqttError::Timeout {
                what: "CONNACK",
                after: self.options.connect_timeout,
            }),
            Phase::Up if self.heartbeat.is_overdue(now) => Err(MqttError::Timeout {
                what: "PINGRESP",
                after: self.heartbeat.patience(),
            }),
            Phase::Up if self.heartbeat.ping_is_due(now) => {
                self.ping(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Asks the broker for a sign of life.
    pub(super) fn ping(&mut self, now: Instant) {
        self.output.extend_from_slice(&PINGREQ);
        self.heartbeat.asked(self.queued(), now);
    }

    /// Says goodbye; nothing is sent after it.
    pub(super) fn finish(&mut self) {
        if self.phase == Phase::Up {
            packet::disconnect(&mut self.output);
            self.phase = Phase::Closing;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test panics when it fails")]
mod tests {
    use super::*;

    fn logged_in(connack: &[u8]) -> (Link, ReadBuffer) {
        let mut link = Link::new(ConnectOptions::new("broker", 1883, ""));
        let mut input = ReadBuffer::default();
        let now = Instant::now();
        link.begin(now).unwrap();
        link.wrote(link.output().len(), now);
        input.for_read(0).extend_from_slice(connack);
        assert_eq!(
            link.receive(&mut input, now).unwrap().connected,
            Some(false)
        );
        (link, input)
    }

    #[test]
    fn a_takeover_names_the_id_that_the_broker_assigned() {
        let (mut link, mut input) = logged_in(b"\x20\x0A\0\0\x07\x12\0\x04auto");
        assert!(link.goodbye().is_ok());
        input.for_read(0).extend_from_slice(&[0xE0, 1, 0x8E]);
        link.receive(&mut input, Instant::now()).unwrap();
        let error = link.goodbye().unwrap_err();
        assert!(matches!(error, MqttError::TakenOver { .. }));
        let text = error.to_string();
        assert!(
            text.contains("'auto'") && text.contains("client_prefix"),
            "{text}"
        );
    }

    #[test]
    fn a_server_that_points_elsewhere_is_quoted() {
        let (mut link, mut input) = logged_in(&[0x20, 3, 0, 0, 0]);
        let goodbye = b"\xE0\x0E\x9D\x0C\x1F\0\x03bye\x1C\0\x03b:1";
        input.for_read(0).extend_from_slice(goodbye);
        link.receive(&mut input, Instant::now()).unwrap();
        let text = link.goodbye().unwrap_err().to_string();
        assert!(
            text.contains("server moved") && text.contains("bye; the server is b:1"),
            "{text}"
        );
    }

    #[test]
    fn a_broker_that_demands_its_own_keep_alive_gets_it() {
        let (mut link, _input) = logged_in(&[0x20, 6, 0, 0, 3, 0x13, 0, 4]);
        let deadline = link.deadline().unwrap();
        assert!(deadline <= Instant::now() + Duration::from_secs(3));
        link.tick(deadline).unwrap();
        assert_eq!(link.output(), PINGREQ);
    }
}

//! What was received, and what of it may be acknowledged.

use std::collections::VecDeque;
use std::time::Instant;

use super::Link;
use super::link::Received;
use crate::error::{MqttError, ReasonCode};
use crate::options::{ConnectOptions, Subscription};
use crate::packet::{self, Inbound, ReadBuffer};

/// The id of the only SUBSCRIBE that is under way at a time.
const SUBSCRIBE_ID: u16 = 1;

/// The session of one subscriber, over all its connections.
///
/// Its memory is two numbers for every QoS 1 message that is not acknowledged: at most 65,535 of them.
#[derive(Debug)]
pub struct SubscriberSession {
    link: Link,
    subscriptions: Vec<Subscription>,
    /// Until when SUBACK must come, if one is awaited.
    suback_by: Option<Instant>,
    reading: bool,
    /// Whether this process has been granted its filters, so that a broker with the session still has them.
    subscribed: bool,
    lowered_qos_told: bool,
    next_seq: u64,
    /// The messages of this connection that want an acknowledgement, in the order of receipt: number, packet id. What
    /// an earlier connection brought is not among them, so it cannot be acknowledged on this one.
    unacknowledged: VecDeque<(u64, u16)>,
}

impl SubscriberSession {
    /// A session that will subscribe to these filters.
    pub fn new(options: ConnectOptions, subscriptions: Vec<Subscription>) -> Self {
        Self {
            link: Link::new(options),
            subscriptions,
            suback_by: None,
            reading: true,
            subscribed: false,
            lowered_qos_told: false,
            next_seq: 1,
            unacknowledged: VecDeque::new(),
        }
    }

    /// The connection.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The connection.
    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether all filters have been granted.
    pub fn is_subscribed(&self) -> bool {
        self.subscribed && self.link.is_up()
    }

    /// How many messages the broker waits for an acknowledgement of.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// A transport is up.
    ///
    /// # Errors
    /// [`MqttError::Options`] if the login cannot be put into a packet.
    pub fn begin(&mut self, now: Instant) -> Result<(), MqttError> {
        self.end();
        self.link.begin(now)
    }

    /// The transport is gone. What is unacknowledged comes again, under new numbers.
    pub fn end(&mut self) {
        if self.link.awaits_login() {
            // The broker may have begun a new session for this login, and we have not heard of it: the next CONNACK
            // will say that there is a session, but it is one without subscriptions.
            self.subscribed = false;
        }
        self.link.end();
        self.suback_by = None;
        self.unacknowledged.clear();
    }

    /// Takes what was read and answers with the messages in it.
    ///
    /// # Errors
    /// What ends this connection; if [`MqttError::is_fatal`], every other one too.
    pub fn receive(
        &mut self,
        input: &mut ReadBuffer,
        now: Instant,
    ) -> Result<Option<Inbound>, MqttError> {
        let Received {
            connected,
            batch,
            acks: _,
            subacks,
        } = self.link.receive(input, now)?;
        if let Some(session_present) = connected {
            self.connected(session_present, now)?;
        }
        for (id, codes, message) in subacks {
            self.granted(id, &codes, message)?;
        }
        let Some(batch) = batch else {
            return Ok(None);
        };
        let first_seq = self.next_seq;
        self.next_seq += batch.len() as u64;
        let ids = batch.packet_ids();
        self.unacknowledged
            .extend(ids.map(|(i, id)| (first_seq + i as u64, id)));
        if self.unacknowledged.len() > usize::from(u16::MAX) {
            return Err(MqttError::protocol(
                "more unacknowledged messages than there are packet ids",
            ));
        }
        Ok(Some(Inbound::new(self.link.epoch(), first_seq, batch)))
    }

    fn connected(&mut self, session_present: bool, now: Instant) -> Result<(), MqttError> {
        if session_present && self.subscribed {
            return Ok(());
        }
        self.subscribed = false;
        let (protocol, timeout) = {
            let options = self.link.options();
            (options.protocol, options.connect_timeout)
        };
        packet::subscribe(
            protocol,
            SUBSCRIBE_ID,
            &self.subscriptions,
            self.link.output_mut(),
        )?;
        self.suback_by = Some(now + timeout);
        Ok(())
    }

    fn granted(
        &mut self,
        id: u16,
        codes: &[ReasonCode],
        message: Option<String>,
    ) -> Result<(), MqttError> {
        if self.suback_by.is_none() || id != SUBSCRIBE_ID || codes.len() != self.subscriptions.len()
        {
            return Err(MqttError::protocol("a SUBACK that answers no SUBSCRIBE"));
        }
        for (subscription, code) in self.subscriptions.iter().zip(codes) {
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
                    "the broker grants a lower QoS than was asked for; messages may be lost"
                );
            }
        }
        self.suback_by = None;
        self.subscribed = true;
        Ok(())
    }

    /// Every message up to this number is durable: acknowledges those that this connection brought.
    pub fn ack(&mut self, upto: u64) {
        while let Some(&(seq, id)) = self.unacknowledged.front()
            && seq <= upto
        {
            packet::puback(id, self.link.output_mut());
            self.unacknowledged.pop_front();
        }
    }

    /// The first `len` bytes of the output were written.
    pub fn wrote(&mut self, len: usize, now: Instant) {
        self.link.wrote(len, now);
    }

    /// When [`tick`](Self::tick) wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let suback_by = self.suback_by.filter(|_| self.reading);
        self.link.deadline().into_iter().chain(suback_by).min()
    }

    /// Whether the transport is read, or left alone for back-pressure. An answer that is not read is not late.
    pub fn set_reading(&mut self, reading: bool, now: Instant) {
        if reading && !self.reading && self.suback_by.is_some() {
            self.suback_by = Some(now + self.link.options().connect_timeout);
        }
        self.reading = reading;
        self.link.set_reading(reading, now);
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`MqttError::Timeout`] if the broker did not answer.
    pub fn tick(&mut self, now: Instant) -> Result<(), MqttError> {
        if self.reading && self.suback_by.is_some_and(|deadline| now >= deadline) {
            return Err(MqttError::Timeout {
                what: "SUBACK",
                after: self.link.options().connect_timeout,
            });
        }
        self.link.tick(now)
    }

    /// Says goodbye after the acknowledgements that were given.
    pub fn finish(&mut self) {
        self.link.finish();
        // Nothing may follow a DISCONNECT, not even an acknowledgement.
        self.unacknowledged.clear();
    }
}

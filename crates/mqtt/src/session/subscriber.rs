//! What was received, and what of it may be acknowledged.

use std::time::Instant;

use super::Link;
use super::link::Received;
use super::receipts::Receipts;
use super::subscribing::Subscribing;
use crate::error::MqttError;
use crate::options::{ConnectOptions, Subscriptions};
use crate::packet::{self, Ack, AckKind, Batch, Inbound, ReadBuffer};

/// The session of one subscriber, over all its connections.
///
/// Its memory is a few numbers for every message that is not acknowledged, and for every packet id that QoS 2 must
/// remember: at most 65,535 of each.
#[derive(Debug)]
pub struct SubscriberSession {
    link: Link,
    subscribing: Subscribing,
    /// Whether the session may have subscriptions that are not asked for.
    strangers: bool,
    former_known: bool,
    began_anew: bool,
    /// How many messages have come of such.
    unwanted: u64,
    /// Until when SUBACK must come, if one is awaited.
    suback_by: Option<Instant>,
    reading: bool,
    /// Whether this process has been granted its filters, so that a broker with the session still has them.
    subscribed: bool,
    /// Whether the broker may have begun a session of which we do not know.
    doubtful: bool,
    /// Whether it is being found out: nothing was subscribed to yet, and PINGRESP is awaited.
    verifying: bool,
    next_seq: u64,
    receipts: Receipts,
}

impl SubscriberSession {
    /// A session that will subscribe to these filters.
    pub fn new(options: ConnectOptions, subscriptions: impl Into<Subscriptions>) -> Self {
        let subscriptions = subscriptions.into();
        Self {
            link: Link::new(options),
            strangers: false,
            former_known: subscriptions.former.complete,
            began_anew: false,
            unwanted: 0,
            subscribing: Subscribing::new(subscriptions),
            suback_by: None,
            reading: true,
            subscribed: false,
            doubtful: false,
            verifying: false,
            next_seq: 1,
            receipts: Receipts::default(),
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

    /// How many messages were dropped because no filter asks for them: they came of subscriptions that an earlier process
    /// made, or the broker has sent retained ones unasked, as aMQTT does. They are acknowledged.
    pub fn unwanted(&self) -> u64 {
        self.unwanted
    }

    /// Whether the broker had no session of an earlier process at the first login, so that what is subscribed to is all
    /// that this one has.
    pub fn began_anew(&self) -> bool {
        self.began_anew
    }

    /// How many messages the broker counts as under way: at QoS 2 a message is until PUBREL.
    pub fn in_flight(&self) -> usize {
        self.receipts.in_flight()
    }

    /// A transport is up.
    ///
    /// # Errors
    /// [`MqttError::Options`] if the login cannot be put into a packet.
    pub fn begin(&mut self, now: Instant) -> Result<(), MqttError> {
        self.end();
        self.link.begin(now)
    }

    /// The transport is gone. What is unacknowledged comes again: at QoS 1 under new numbers, at QoS 2 it is known.
    pub fn end(&mut self) {
        if self.link.awaits_login() {
            // A new session would be one without subscriptions.
            self.subscribed = false;
            self.doubtful = true;
        }
        self.link.end();
        self.suback_by = None;
        self.subscribing.end();
        self.verifying = false;
        self.receipts.connection_ended();
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
        let mut received = self.link.receive(input, now)?;
        if let Some(session_present) = received.connected {
            self.connected(session_present, now)?;
        }
        self.granted(&mut received)?;
        let Received {
            batch, acks, pong, ..
        } = received;
        if self.verifying && (pong || batch.is_some() || !acks.is_empty()) {
            if batch.is_none() && acks.is_empty() {
                self.receipts.forget();
            }
            self.doubtful = false;
            self.verifying = false;
            self.subscribe(now)?;
        }
        // Before what releases them: a broker sends PUBLISH again and then, when our PUBREC has come, PUBREL.
        let inbound = match batch {
            Some(batch) => self.take(batch)?,
            None => None,
        };
        for ack in acks {
            self.released(&ack)?;
        }
        Ok(inbound)
    }

    fn take(&mut self, mut batch: Batch) -> Result<Option<Inbound>, MqttError> {
        let first_seq = self.next_seq;
        let wanted = |topic: &str| self.subscribing.wants(topic);
        let receipts = &mut self.receipts;
        let unwanted = receipts.take(&mut batch, first_seq, self.strangers, wanted);
        if unwanted > 0 && self.unwanted == 0 {
            self.tell_unwanted();
        }
        self.unwanted += unwanted;
        self.next_seq += batch.len() as u64;
        // Of what came again, some is durable already.
        self.receipts.durable(0, self.link.output_mut());
        if self.receipts.len() > usize::from(u16::MAX) {
            return Err(MqttError::protocol(
                "more unacknowledged messages than there are packet ids",
            ));
        }
        let inbound = |batch| Inbound::new(self.link.epoch(), first_seq, batch);
        Ok((!batch.is_empty()).then(|| inbound(batch)))
    }

    fn tell_unwanted(&self) {
        let client_id = &self.link.options().client_id;
        if self.strangers {
            tracing::warn!(
                client_id,
                "messages of a subscription that is not asked for any more are acknowledged and dropped; an earlier run \
                 with this client id has left it in the session"
            );
        } else {
            tracing::warn!(
                client_id,
                "retained messages that match no filter are acknowledged and dropped; the broker sends them unasked"
            );
        }
    }

    /// PUBREL: the broker knows that we have the message, and gives its id to another one after our answer.
    fn released(&mut self, ack: &Ack) -> Result<(), MqttError> {
        if ack.kind != AckKind::PubRel {
            return Err(MqttError::protocol(
                "an acknowledgement, though nothing was published",
            ));
        }
        let protocol = self.link.options().protocol;
        let out = self.link.output_mut();
        if self.receipts.release(ack.packet_id) {
            packet::acknowledge(AckKind::PubComp, ack.packet_id, out);
        } else {
            packet::acknowledge_unknown(protocol, AckKind::PubComp, ack.packet_id, out);
        }
        Ok(())
    }

    fn connected(&mut self, session_present: bool, now: Instant) -> Result<(), MqttError> {
        if self.link.epoch() == 1 {
            self.strangers = self.subscribing.has_stale() || !self.former_known;
            self.began_anew = !session_present;
        }
        if !session_present {
            self.receipts.forget();
            self.doubtful = false;
            self.strangers = false;
        }
        if session_present && self.subscribed {
            return Ok(());
        }
        self.subscribed = false;
        if self.doubtful && self.receipts.knows_any() {
            // The session of before would send again now what it has under the ids that are known; a new one has no
            // subscriptions and is silent. Before SUBSCRIBE the two can be told apart.
            self.verifying = true;
            self.link.ping(now);
            self.suback_by = Some(now + self.link.options().connect_timeout);
            return Ok(());
        }
        self.doubtful = false;
        self.subscribe(now)
    }

    fn subscribe(&mut self, now: Instant) -> Result<(), MqttError> {
        let (protocol, timeout) = {
            let options = self.link.options();
            (options.protocol, options.connect_timeout)
        };
        let limits = self.link.limits();
        let max = limits.max_packet_size as usize;
        if !limits.identifiers_available {
            self.subscribing.drop_identifiers();
        }
        self.subscribing.check(self.link.limits())?;
        let out = self.link.output_mut();
        // in this order, so that a message that an old and a new filter match does not fall between them
        self.subscribing.subscribe(protocol, max, out)?;
        if self.strangers {
            self.subscribing.unsubscribe(protocol, max, out);
        }
        self.subscribed = !self.subscribing.is_waiting();
        self.suback_by = (!self.subscribed).then_some(now + timeout);
        Ok(())
    }

    /// Takes the answers to what was subscribed and unsubscribed.
    fn granted(&mut self, received: &mut Received) -> Result<(), MqttError> {
        if received.subacks.is_empty() && received.unsubacks.is_empty() {
            return Ok(());
        }
        for (id, codes, message) in received.subacks.drain(..) {
            self.subscribing.suback(id, &codes, message)?;
        }
        for (id, codes) in received.unsubacks.drain(..) {
            self.subscribing.unsuback(id, &codes)?;
        }
        if !self.subscribing.is_waiting() {
            self.suback_by = None;
            self.subscribed = true;
        }
        Ok(())
    }

    /// Every message up to this number is durable: acknowledges those that this connection brought, and remembers it of
    /// those that it may bring again.
    pub fn ack(&mut self, upto: u64) {
        let upto = upto.min(self.next_seq - 1);
        self.receipts.durable(upto, self.link.output_mut());
    }

    /// Whether the broker has yet to release a message of QoS 2 that was acknowledged.
    pub fn awaits_release(&self) -> bool {
        self.link.is_up() && self.receipts.awaits_release()
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
        self.receipts.close();
    }
}

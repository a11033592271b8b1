//! A subscriber's session against a broker that sends again what was not acknowledged, with an owner that commits late,
//! out of order and twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use headwater_mqtt::packet::{Property, ReadBuffer};
use headwater_mqtt::session::SubscriberSession;
use headwater_mqtt::{ConnectOptions, ProtocolVersion, QoS, Subscription};
use rand::Rng;
use rand::rngs::StdRng;

use crate::wire::{self, FromClient};
use crate::{Pipe, some_bytes};

struct Broker {
    protocol: ProtocolVersion,
    input: BytesMut,
    has_session: bool,
    connected: bool,
    subscribed: bool,
    resumed: bool,
    next_id: u16,
    /// What this session has sent and the client has not acknowledged, in the order of sending.
    unacknowledged: VecDeque<Sent>,
    /// Of these, what this connection waits for an acknowledgement of: the ids in the order of sending.
    sent_now: VecDeque<(u16, u64)>,
    /// Which ids were sent again on this connection, as a broker of 3.1.1 may.
    repeats: bool,
    /// Messages of QoS 1 and 2 that no session has sent.
    waiting: VecDeque<u64>,
    acknowledged: BTreeSet<u64>,
    window: usize,
    /// Which session this is.
    generation: u64,
}

/// A message that is not acknowledged for good.
#[derive(Debug, Clone, Copy)]
struct Sent {
    id: u16,
    number: u64,
    /// QoS 2: PUBREC has come, and PUBREL was sent.
    recorded: bool,
}

fn qos_of(number: u64) -> QoS {
    match number.is_multiple_of(3) {
        true => QoS::ExactlyOnce,
        false => QoS::AtLeastOnce,
    }
}

impl Broker {
    fn handle(&mut self, client: &mut Client, bytes: &[u8], out: &mut VecDeque<u8>) {
        self.input.extend_from_slice(bytes);
        while let Some(packet) = wire::read(self.protocol, &mut self.input) {
            match packet {
                FromClient::Connect { clean } => self.login(clean, out),
                FromClient::Subscribe { id, filters } => {
                    assert_eq!(filters, 2);
                    out.extend(wire::suback(self.protocol, id, filters));
                    self.subscribed = true;
                }
                FromClient::PubAck { id } | FromClient::PubRec { id }
                    if self.is_late(client, id) => {}
                FromClient::PubAck { id } => {
                    let at = self.acknowledge(client, id, QoS::AtLeastOnce);
                    self.done(at);
                }
                FromClient::PubRec { id } => {
                    let at = self.acknowledge(client, id, QoS::ExactlyOnce);
                    self.unacknowledged[at].recorded = true;
                    out.extend(wire::ack(wire::PUBREL, id, 0));
                }
                FromClient::PubComp { id, unknown } => {
                    let at = self.position(id);
                    assert!(self.unacknowledged[at].recorded, "PUBCOMP before PUBREL");
                    assert!(!unknown || self.resumed, "the client forgot id {id}");
                    self.done(at);
                }
                FromClient::PingReq => out.extend([0xD0, 0]),
                other => panic!("a subscriber must not send {other:?}"),
            }
        }
    }

    fn login(&mut self, clean: bool, out: &mut VecDeque<u8>) {
        self.connected = true;
        self.resumed = self.has_session && !clean;
        if !self.resumed {
            // The producer of the messages knows that the broker forgot them, and gives them again.
            for sent in self.unacknowledged.drain(..).rev() {
                match sent.recorded {
                    // The client has it for good.
                    true => _ = self.acknowledged.insert(sent.number),
                    false => self.waiting.push_front(sent.number),
                }
            }
            self.generation += 1;
            self.subscribed = false;
            self.next_id = 1;
        }
        self.has_session = true;
        out.extend(wire::connack(self.protocol, self.resumed, u16::MAX));
        if self.subscribed {
            for sent in &self.unacknowledged {
                if sent.recorded {
                    out.extend(wire::ack(wire::PUBREL, sent.id, 0));
                    continue;
                }
                let qos = qos_of(sent.number).level();
                out.extend(wire::publish(
                    self.protocol,
                    sent.id,
                    qos,
                    true,
                    sent.number,
                ));
                self.sent_now.push_back((sent.id, sent.number));
            }
        }
    }

    /// Whether this answers a repetition that crossed the first answer on the wire. A receiver of 3.1.1 cannot help it
    /// (section 4.3.2 there); at QoS 2 it is even asked for.
    fn is_late(&self, client: &mut Client, id: u16) -> bool {
        if !self.repeats
            || self
                .sent_now
                .front()
                .is_some_and(|(oldest, _)| *oldest == id)
        {
            return false;
        }
        match client.crossed.get_mut(&id) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    fn position(&self, id: u16) -> usize {
        let mut sent = self.unacknowledged.iter();
        sent.position(|sent| sent.id == id)
            .unwrap_or_else(|| panic!("id {id} is not in use"))
    }

    fn done(&mut self, at: usize) {
        let done = self.unacknowledged.remove(at).unwrap();
        self.acknowledged.insert(done.number);
    }

    /// PUBACK or PUBREC: answers which message is meant.
    fn acknowledge(&mut self, client: &Client, id: u16, qos: QoS) -> usize {
        let (oldest, number) = self
            .sent_now
            .pop_front()
            .expect("an acknowledgement of nothing");
        assert_eq!(id, oldest, "not in the order of receipt");
        assert_eq!(qos_of(number), qos, "the wrong acknowledgement of {number}");
        let seq = client.seq_of[&number];
        assert!(
            seq <= client.committed,
            "{number} (seq {seq}) was acknowledged but not committed"
        );
        let at = self.position(id);
        assert!(!self.unacknowledged[at].recorded, "PUBREC twice");
        at
    }

    fn send(
        &mut self,
        client: &mut Client,
        next_at_most_once: &mut u64,
        rng: &mut StdRng,
        out: &mut VecDeque<u8>,
    ) {
        if !self.connected || !self.subscribed {
            return;
        }
        if rng.random_bool(0.3) {
            *next_at_most_once += 1;
            out.extend(wire::publish(
                self.protocol,
                0,
                0,
                false,
                *next_at_most_once,
            ));
        } else if self.repeats && rng.random_bool(0.1) {
            // Not in order, and a second time: what MQTT 5 forbids and 3.1.1 only discourages.
            let count = self.sent_now.len();
            if let Some(&(id, number)) = self.sent_now.get(rng.random_range(0..=count)) {
                let qos = qos_of(number);
                out.extend(wire::publish(self.protocol, id, qos.level(), true, number));
                if qos == QoS::ExactlyOnce {
                    *client.crossed.entry(id).or_default() += 1;
                }
            }
        } else if self.unacknowledged.len() < self.window
            && let Some(number) = self.waiting.pop_front()
        {
            while self
                .unacknowledged
                .iter()
                .any(|sent| sent.id == self.next_id)
                || self.next_id == 0
            {
                self.next_id = self.next_id.wrapping_add(1);
            }
            let id = self.next_id;
            self.unacknowledged.push_back(Sent {
                id,
                number,
                recorded: false,
            });
            self.sent_now.push_back((id, number));
            let qos = qos_of(number).level();
            out.extend(wire::publish(self.protocol, id, qos, false, number));
            // Few ids, so that different connections use the same ones for different messages; but a broker that sends
            // again must not give an id away while an answer to it may be on its way.
            let ids = if self.repeats { 5_000 } else { 50 };
            self.next_id = self.next_id % ids + 1;
        }
    }

    fn lost(&mut self, rng: &mut StdRng) {
        self.connected = false;
        self.input.clear();
        self.sent_now.clear();
        if rng.random_bool(0.4) {
            self.has_session = false;
        }
    }
}

/// The owner: what it received and what it committed.
#[derive(Default)]
struct Client {
    epoch: u64,
    last_seq: u64,
    committed: u64,
    /// Under which number a message of QoS 1 or 2 was handed over first on this connection, or at all at QoS 2.
    seq_of: BTreeMap<u64, u64>,
    at_least_once: BTreeSet<u64>,
    /// Messages of QoS 2, each with the session of the broker that brought it.
    exactly_once: BTreeSet<(u64, u64)>,
    /// The ids of messages that were repeated on this connection after they were acknowledged, and how often.
    crossed: BTreeMap<u16, u32>,
    at_most_once: BTreeSet<u64>,
}

struct World {
    broker: Broker,
    client: Client,
    session: SubscriberSession,
    input: ReadBuffer,
    pipe: Option<Pipe>,
    now: Instant,
    total: u64,
    next_at_most_once: u64,
}

pub(crate) fn simulate(mut rng: StdRng) {
    let rng = &mut rng;
    let protocol = if rng.random() {
        ProtocolVersion::V5
    } else {
        ProtocolVersion::V311
    };
    let mut options = ConnectOptions::new("broker", 1883, "simulated");
    options.protocol = protocol;
    options.clean_start = rng.random_bool(0.2);
    options.session_expiry = Duration::from_secs(if rng.random() { 3600 } else { 0 });
    let subscription = |filter: &str| Subscription::new(filter, QoS::ExactlyOnce);
    let total = rng.random_range(1..300);
    let mut world = World {
        broker: Broker {
            protocol,
            input: BytesMut::new(),
            has_session: false,
            connected: false,
            subscribed: false,
            resumed: false,
            next_id: 1,
            unacknowledged: VecDeque::new(),
            sent_now: VecDeque::new(),
            waiting: (1..=total).collect(),
            acknowledged: BTreeSet::new(),
            window: rng.random_range(1..45),
            generation: 0,
            repeats: protocol == ProtocolVersion::V311 && rng.random_bool(0.3),
        },
        client: Client::default(),
        session: SubscriberSession::new(options, vec![subscription("t/+"), subscription("u/#")]),
        input: ReadBuffer::default(),
        pipe: None,
        now: Instant::now(),
        total,
        next_at_most_once: 1_000_000,
    };
    let loss = rng.random_range(0.0..0.05);
    for _ in 0..2_000 {
        world.step(rng, loss);
    }
    for _ in 0..200_000 {
        if world.broker.acknowledged.len() as u64 == total {
            break;
        }
        world.step(rng, 0.0);
    }
    world.check_end();
}

impl World {
    fn step(&mut self, rng: &mut StdRng, loss: f64) {
        match rng.random_range(0..8) {
            0 => self.connect(),
            1 => self.write(rng),
            2 => {
                let Some(pipe) = &mut self.pipe else { return };
                let bytes = some_bytes(rng, &mut pipe.to_broker);
                self.broker
                    .handle(&mut self.client, &bytes, &mut pipe.to_client);
            }
            3 | 4 => {
                let Some(pipe) = &mut self.pipe else { return };
                for _ in 0..rng.random_range(0..10) {
                    self.broker.send(
                        &mut self.client,
                        &mut self.next_at_most_once,
                        rng,
                        &mut pipe.to_client,
                    );
                }
            }
            5 => self.deliver(rng),
            6 => self.commit(rng),
            _ => {
                self.now += Duration::from_millis(rng.random_range(0..200));
                if self.pipe.is_some() && self.session.tick(self.now).is_err() {
                    self.lose(rng);
                }
            }
        }
        if rng.random_bool(loss) {
            self.lose(rng);
        }
    }

    fn connect(&mut self) {
        if self.pipe.is_none() {
            self.pipe = Some(Pipe::default());
            self.input.clear();
            self.session.begin(self.now).unwrap();
        }
    }

    fn write(&mut self, rng: &mut StdRng) {
        let Some(pipe) = &mut self.pipe else { return };
        let output = self.session.link().output();
        let len = if rng.random() {
            output.len()
        } else {
            rng.random_range(0..=output.len())
        };
        pipe.to_broker.extend(&output[..len]);
        self.session.wrote(len, self.now);
    }

    fn deliver(&mut self, rng: &mut StdRng) {
        let Some(pipe) = &mut self.pipe else { return };
        let bytes = some_bytes(rng, &mut pipe.to_client);
        self.input.for_read(0).extend_from_slice(&bytes);
        let inbound = self.session.receive(&mut self.input, self.now).unwrap();
        self.client.epoch = self.session.link().epoch();
        let Some(inbound) = inbound else { return };
        assert_eq!(inbound.epoch(), self.client.epoch);
        for message in inbound.iter() {
            assert_eq!(message.seq, self.client.last_seq + 1, "numbers have a gap");
            self.client.last_seq = message.seq;
            let number = wire::number(message.payload);
            assert_eq!(message.topic(), "t/x");
            if self.broker.protocol == ProtocolVersion::V5 {
                let text = number.to_string();
                let property = message.properties.iter().next();
                assert_eq!(property, Some(Property::UserProperty("n", &text)));
            }
            match message.qos() {
                QoS::AtMostOnce => {
                    assert!(self.client.at_most_once.insert(number), "QoS 0 came twice")
                }
                QoS::AtLeastOnce => {
                    let may_repeat = self.broker.resumed || self.broker.repeats;
                    assert!(!message.dup() || may_repeat, "DUP without a session");
                    self.client.at_least_once.insert(number);
                    let seq = *self.client.seq_of.entry(number).or_insert(message.seq);
                    if seq < message.seq && seq <= self.client.committed {
                        *self.client.crossed.entry(message.packet_id).or_default() += 1;
                    }
                }
                QoS::ExactlyOnce => {
                    let key = (number, self.broker.generation);
                    let first = self.client.exactly_once.insert(key);
                    assert!(first, "QoS 2: {number} was handed over twice");
                    self.client.seq_of.insert(number, message.seq);
                }
            }
        }
    }

    /// Commits something that was received: the newest, something old, or the same again.
    fn commit(&mut self, rng: &mut StdRng) {
        let upto = match rng.random_range(0..4) {
            0 => self.client.last_seq,
            1 => self.client.committed,
            _ => rng.random_range(0..=self.client.last_seq),
        };
        self.client.committed = self.client.committed.max(upto);
        self.session.ack(upto);
    }

    fn lose(&mut self, rng: &mut StdRng) {
        if self.pipe.take().is_some() {
            self.session.end();
            self.broker.lost(rng);
            self.client.crossed.clear();
            // What comes again at QoS 1 gets another number.
            let exactly_once = |number: &u64, _: &mut u64| qos_of(*number) == QoS::ExactlyOnce;
            self.client.seq_of.retain(exactly_once);
        }
    }

    fn check_end(&self) {
        let all: BTreeSet<_> = (1..=self.total).collect();
        let mut received = self.client.at_least_once.clone();
        received.extend(self.client.exactly_once.iter().map(|(number, _)| number));
        assert_eq!(received, all, "QoS 1 or 2 lost something");
        assert_eq!(
            self.broker.acknowledged, all,
            "not all that was committed was acknowledged"
        );
    }
}

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
    unacknowledged: VecDeque<(u16, u64)>,
    /// Of these, what has been sent on this connection: the ids in the order of sending.
    sent_now: VecDeque<(u16, u64)>,
    /// QoS 1 messages that no session has sent.
    waiting: VecDeque<u64>,
    acknowledged: BTreeSet<u64>,
    window: usize,
}

impl Broker {
    fn handle(&mut self, client: &Client, bytes: &[u8], out: &mut VecDeque<u8>) {
        self.input.extend_from_slice(bytes);
        while let Some(packet) = wire::read(self.protocol, &mut self.input) {
            match packet {
                FromClient::Connect { clean } => self.login(clean, out),
                FromClient::Subscribe { id, filters } => {
                    assert_eq!(filters, 2);
                    out.extend(wire::suback(self.protocol, id, filters));
                    self.subscribed = true;
                }
                FromClient::PubAck { id } => self.acknowledge(client, id),
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
            for (_, number) in self.unacknowledged.drain(..).rev() {
                self.waiting.push_front(number);
            }
            self.subscribed = false;
            self.next_id = 1;
        }
        self.has_session = true;
        out.extend(wire::connack(self.protocol, self.resumed, u16::MAX));
        if self.subscribed {
            for &(id, number) in &self.unacknowledged {
                out.extend(wire::publish(self.protocol, id, 1, true, number));
                self.sent_now.push_back((id, number));
            }
        }
    }

    fn acknowledge(&mut self, client: &Client, id: u16) {
        let (oldest, number) = self
            .sent_now
            .pop_front()
            .expect("an acknowledgement of nothing");
        assert_eq!(id, oldest, "not in the order of receipt");
        let seq = client.seq_of[&(client.epoch, id)];
        assert!(
            seq <= client.committed,
            "{number} (seq {seq}) was acknowledged but not committed"
        );
        let at = self
            .unacknowledged
            .iter()
            .position(|(other, _)| *other == id)
            .unwrap();
        self.unacknowledged.remove(at);
        self.acknowledged.insert(number);
    }

    fn send(&mut self, next_at_most_once: &mut u64, rng: &mut StdRng, out: &mut VecDeque<u8>) {
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
        } else if self.unacknowledged.len() < self.window
            && let Some(number) = self.waiting.pop_front()
        {
            while self
                .unacknowledged
                .iter()
                .any(|(id, _)| *id == self.next_id)
                || self.next_id == 0
            {
                self.next_id = self.next_id.wrapping_add(1);
            }
            self.unacknowledged.push_back((self.next_id, number));
            self.sent_now.push_back((self.next_id, number));
            out.extend(wire::publish(self.protocol, self.next_id, 1, false, number));
            // Few ids, so that different connections use the same ones for different messages.
            self.next_id = self.next_id % 50 + 1;
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
    seq_of: BTreeMap<(u64, u16), u64>,
    at_least_once: BTreeSet<u64>,
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
    let subscription = |filter: &str| Subscription::new(filter, QoS::AtLeastOnce);
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
                    .handle(&self.client, &bytes, &mut pipe.to_client);
            }
            3 | 4 => {
                let Some(pipe) = &mut self.pipe else { return };
                for _ in 0..rng.random_range(0..10) {
                    self.broker
                        .send(&mut self.next_at_most_once, rng, &mut pipe.to_client);
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
                    assert!(
                        !message.dup() || self.broker.resumed,
                        "DUP without a session"
                    );
                    self.client.at_least_once.insert(number);
                    let key = (self.client.epoch, message.packet_id);
                    self.client.seq_of.insert(key, message.seq);
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
        }
    }

    fn check_end(&self) {
        let all: BTreeSet<_> = (1..=self.total).collect();
        assert_eq!(self.client.at_least_once, all, "QoS 1 lost something");
        assert_eq!(
            self.broker.acknowledged, all,
            "not all that was committed was acknowledged"
        );
    }
}

//! A publisher's session against a broker that answers late, out of turn, twice, or with a refusal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use headwater_mqtt::packet::{Publish, ReadBuffer};
use headwater_mqtt::session::PublisherSession;
use headwater_mqtt::{ConnectOptions, MqttError, ProtocolVersion, QoS};
use rand::Rng;
use rand::rngs::StdRng;

use crate::wire::{self, FromClient};
use crate::{Pipe, some_bytes};

/// What the broker knows, over all connections.
struct Broker {
    protocol: ProtocolVersion,
    receive_max: u16,
    input: BytesMut,
    has_session: bool,
    /// Whether the connection of now resumed a session.
    resumed: bool,
    /// The ids of this session that were received and not answered: id → number.
    open: BTreeMap<u16, u64>,
    /// The same for this connection alone, in the order of receipt.
    unanswered: VecDeque<(u16, u64)>,
    /// QoS 1 publishes in the order of first receipt, and all that were answered.
    first_seen: Vec<u64>,
    seen: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    at_most_once: Vec<u64>,
}

fn is_refused(protocol: ProtocolVersion, number: u64) -> bool {
    protocol == ProtocolVersion::V5 && number.is_multiple_of(17)
}

fn is_at_least_once(number: u64) -> bool {
    !number.is_multiple_of(5)
}

impl Broker {
    fn handle(&mut self, rng: &mut StdRng, bytes: &[u8], out: &mut VecDeque<u8>) {
        self.input.extend_from_slice(bytes);
        while let Some(packet) = wire::read(self.protocol, &mut self.input) {
            match packet {
                FromClient::Connect { clean } => {
                    self.resumed = self.has_session && !clean;
                    self.has_session = true;
                    if !self.resumed {
                        self.open.clear();
                    }
                    self.receive_max = rng.random_range(1..40);
                    out.extend(wire::connack(self.protocol, self.resumed, self.receive_max));
                }
                FromClient::Publish {
                    id,
                    qos: 0,
                    number,
                    dup,
                } => {
                    assert!(!dup && id == 0 && !is_at_least_once(number));
                    assert!(
                        self.at_most_once.last() < Some(&number),
                        "QoS 0: {number} twice or out of order"
                    );
                    self.at_most_once.push(number);
                }
                FromClient::Publish {
                    id,
                    qos,
                    number,
                    dup,
                } => {
                    assert_eq!(qos, 1);
                    self.published(id, number, dup);
                }
                FromClient::PingReq => out.extend([0xD0, 0]),
                other => panic!("a publisher must not send {other:?}"),
            }
        }
    }

    fn published(&mut self, id: u16, number: u64, dup: bool) {
        assert_ne!(id, 0);
        assert!(!dup || self.resumed, "DUP on a session that knows nothing");
        let in_use = self.unanswered.iter().any(|(other, _)| *other == id);
        assert!(!in_use, "packet id {id} in use twice");
        if let Some(open) = self.open.insert(id, number) {
            assert_eq!(
                open, number,
                "id {id} was given to another message within one session"
            );
            assert!(dup, "sent again without DUP");
        }
        self.unanswered.push_back((id, number));
        if self.protocol == ProtocolVersion::V5 {
            assert!(
                self.unanswered.len() <= usize::from(self.receive_max),
                "receive maximum exceeded"
            );
        }
        if self.seen.insert(number) {
            assert!(
                self.first_seen.last() < Some(&number),
                "{number} came out of order"
            );
            self.first_seen.push(number);
        }
    }

    fn answer(&mut self, rng: &mut StdRng, out: &mut VecDeque<u8>) {
        let at = if rng.random_bool(0.8) {
            0
        } else {
            rng.random_range(0..=self.unanswered.len())
        };
        let Some((id, number)) = self.unanswered.remove(at) else {
            return;
        };
        self.open.remove(&id);
        self.answered.insert(number);
        let reason = if is_refused(self.protocol, number) {
            0x87
        } else {
            0
        };
        out.extend(wire::puback(id, reason));
        if rng.random_bool(0.02) {
            out.extend(wire::puback(id, reason));
        }
    }

    fn lost(&mut self, rng: &mut StdRng) {
        self.input.clear();
        self.unanswered.clear();
        if rng.random_bool(0.4) {
            self.has_session = false;
        }
    }
}

struct World {
    broker: Broker,
    session: PublisherSession,
    input: ReadBuffer,
    pipe: Option<Pipe>,
    now: Instant,
    total: u64,
    published: u64,
    completed: u64,
    refused: BTreeSet<u64>,
    /// What was written on this connection and is not yet a whole packet.
    writing: BytesMut,
    /// The QoS 0 publishes that were written to the end, whether or not they arrived.
    written: BTreeSet<u64>,
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
    let mut world = World {
        broker: Broker {
            protocol,
            receive_max: u16::MAX,
            input: BytesMut::new(),
            has_session: false,
            resumed: false,
            open: BTreeMap::new(),
            unanswered: VecDeque::new(),
            first_seen: Vec::new(),
            seen: BTreeSet::new(),
            answered: BTreeSet::new(),
            at_most_once: Vec::new(),
        },
        session: PublisherSession::new(options),
        input: ReadBuffer::default(),
        pipe: None,
        now: Instant::now(),
        total: rng.random_range(1..400),
        published: 0,
        completed: 0,
        refused: BTreeSet::new(),
        writing: BytesMut::new(),
        written: BTreeSet::new(),
    };
    let loss = rng.random_range(0.0..0.05);
    for _ in 0..2_000 {
        world.step(rng, loss);
    }
    for _ in 0..100_000 {
        if world.completed == world.total {
            break;
        }
        world.step(rng, 0.0);
    }
    world.check_end();
}

impl World {
    fn step(&mut self, rng: &mut StdRng, loss: f64) {
        match rng.random_range(0..8) {
            0 | 1 => self.publish(rng),
            2 => self.connect(),
            3 => self.write(rng),
            4 => self.deliver_to_broker(rng),
            5 => {
                if let Some(pipe) = &mut self.pipe {
                    for _ in 0..rng.random_range(0..10) {
                        self.broker.answer(rng, &mut pipe.to_client);
                    }
                }
            }
            6 => self.deliver_to_client(rng),
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
        self.check_progress();
    }

    fn publish(&mut self, rng: &mut StdRng) {
        let count = rng.random_range(0..20).min(self.total - self.published);
        let batch = (0..count).map(|_| {
            self.published += 1;
            let payload = wire::payload(self.published, rng.random_range(0..300));
            let qos = match is_at_least_once(self.published) {
                true => QoS::AtLeastOnce,
                false => QoS::AtMostOnce,
            };
            Publish::new(Bytes::from_static(b"t/x"), payload, qos)
        });
        let batch = batch.collect();
        self.session.publish(batch);
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
        self.writing.extend_from_slice(&output[..len]);
        while let Some(packet) = wire::read(self.broker.protocol, &mut self.writing) {
            if let FromClient::Publish { qos: 0, number, .. } = packet {
                assert!(
                    self.written.insert(number),
                    "QoS 0: {number} was written twice"
                );
            }
        }
        self.session.wrote(len, self.now);
    }

    fn deliver_to_broker(&mut self, rng: &mut StdRng) {
        let Some(pipe) = &mut self.pipe else { return };
        let bytes = some_bytes(rng, &mut pipe.to_broker);
        self.broker.handle(rng, &bytes, &mut pipe.to_client);
    }

    fn deliver_to_client(&mut self, rng: &mut StdRng) {
        let Some(pipe) = &mut self.pipe else { return };
        let bytes = some_bytes(rng, &mut pipe.to_client);
        self.input.for_read(0).extend_from_slice(&bytes);
        self.session.receive(&mut self.input, self.now).unwrap();
    }

    fn lose(&mut self, rng: &mut StdRng) {
        if self.pipe.take().is_some() {
            self.session.end();
            self.writing.clear();
            self.broker.lost(rng);
        }
    }

    fn check_progress(&mut self) {
        for (number, error) in self.session.take_refused() {
            assert!(matches!(error, MqttError::Refused { .. }));
            assert!(
                is_refused(self.broker.protocol, number),
                "{number} was not refused by the broker"
            );
            assert!(self.broker.answered.contains(&number));
            assert!(self.refused.insert(number), "{number} was reported twice");
        }
        let completed = self.session.completed();
        assert!(completed >= self.completed && completed <= self.published);
        for number in self.completed + 1..=completed {
            let done = if is_at_least_once(number) {
                self.broker.answered.contains(&number)
            } else {
                self.written.contains(&number)
            };
            assert!(
                done,
                "{number} is called complete, but it was not written or not answered"
            );
            let refused = is_at_least_once(number) && is_refused(self.broker.protocol, number);
            assert_eq!(self.refused.contains(&number), refused, "{number}");
        }
        self.completed = completed;
        let unfinished = self.session.unfinished() as u64;
        assert!(unfinished <= self.published - completed);
    }

    fn check_end(&self) {
        assert_eq!(
            self.completed, self.total,
            "not all publishes were completed"
        );
        assert_eq!(self.session.unfinished(), 0);
        let wanted: Vec<_> = (1..=self.total).filter(|n| is_at_least_once(*n)).collect();
        assert_eq!(self.broker.first_seen, wanted, "QoS 1 lost something");
    }
}

//! A publisher's session against a broker that answers late, out of turn, twice, or with a refusal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use headwater_mqtt::packet::{Publish, ReadBuffer};
use headwater_mqtt::session::{PublisherSession, Refused};
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
    /// Which session this is, and how often the client could not know it, because the answer to its login was lost.
    generation: u64,
    doubts: u64,
    /// Whether a message of QoS 2 is handed on when it is released, or when it arrives: the specification lets the
    /// broker choose.
    hands_on_late: bool,
    /// The ids of this session that were received and not answered: id → number. At QoS 2, not released.
    open: BTreeMap<u16, u64>,
    /// The ids of QoS 2 for which this session has sent PUBREC at least once.
    recorded: BTreeSet<u16>,
    /// The ids of QoS 2 that this session has seen released, and not used again: id → number.
    released: BTreeMap<u16, u64>,
    /// Up to which number the client knows that all is done.
    completed: u64,
    /// The answers that this connection owes, in the order of receipt.
    unanswered: VecDeque<Answer>,
    /// The ids that this connection has published and not seen answered for good.
    in_flight: BTreeSet<u16>,
    /// Publishes of QoS 1 and 2 in the order of first receipt, and all that were answered for good.
    first_seen: Vec<u64>,
    seen: BTreeSet<u64>,
    answered: BTreeSet<u64>,
    /// Messages of QoS 2 that were handed on, with the session that did.
    handed_on: BTreeSet<(u64, u64, u64)>,
    at_most_once: Vec<u64>,
    wants_birth: bool,
    birth_is_due: bool,
}

/// An acknowledgement that is due: its first byte, and for what.
#[derive(Debug, Clone, Copy)]
struct Answer {
    first: u8,
    id: u16,
    number: u64,
}

fn is_refused(protocol: ProtocolVersion, number: u64) -> bool {
    protocol == ProtocolVersion::V5 && number.is_multiple_of(17)
}

fn qos_of(number: u64) -> QoS {
    match number {
        _ if number.is_multiple_of(5) => QoS::AtMostOnce,
        _ if number.is_multiple_of(3) => QoS::ExactlyOnce,
        _ => QoS::AtLeastOnce,
    }
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
                        self.generation += 1;
                        self.open.clear();
                        self.recorded.clear();
                        self.released.clear();
                    }
                    self.birth_is_due = self.wants_birth;
                    self.receive_max = rng.random_range(1..40);
                    out.extend(wire::connack(self.protocol, self.resumed, self.receive_max));
                }
                FromClient::Publish {
                    id,
                    qos,
                    number: 0,
                    dup,
                } => {
                    assert!(self.birth_is_due && !dup && (id, qos) == (u16::MAX, 1));
                    self.birth_is_due = false;
                    self.in_flight.insert(id);
                    self.owe(wire::PUBACK, id, 0);
                }
                _ if self.birth_is_due => panic!("{packet:?} came before the birth message"),
                FromClient::Publish {
                    id,
                    qos: 0,
                    number,
                    dup,
                } => {
                    assert!(!dup && id == 0 && qos_of(number) == QoS::AtMostOnce);
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
                    assert_eq!(qos, qos_of(number).level());
                    self.published(id, number, dup);
                }
                FromClient::PubRel { id, unknown } => {
                    assert!(!unknown, "a PUBREC of {id} was not understood");
                    self.released(id);
                }
                FromClient::PingReq => out.extend([0xD0, 0]),
                other => panic!("a publisher must not send {other:?}"),
            }
        }
    }

    fn published(&mut self, id: u16, number: u64, dup: bool) {
        assert_ne!(id, 0);
        assert!(!dup || self.resumed, "DUP on a session that knows nothing");
        assert!(self.in_flight.insert(id), "packet id {id} in use twice");
        assert!(
            number > self.completed,
            "{number} was published again after it was completed"
        );
        self.released.remove(&id);
        let known = self.open.insert(id, number);
        if let Some(open) = known {
            assert_eq!(
                open, number,
                "id {id} was given to another message within one session"
            );
            assert!(dup, "sent again without DUP");
        }
        let exactly_once = qos_of(number) == QoS::ExactlyOnce;
        if exactly_once
            && known.is_none()
            && !self.hands_on_late
            && !is_refused(self.protocol, number)
        {
            self.hand_on(number);
        }
        self.owe(
            if exactly_once {
                wire::PUBREC
            } else {
                wire::PUBACK
            },
            id,
            number,
        );
        if self.protocol == ProtocolVersion::V5 {
            assert!(
                self.in_flight.len() <= usize::from(self.receive_max),
                "receive maximum exceeded"
            );
        }
        if self.protocol == ProtocolVersion::V311 {
            let unreleased = |id: &&u16| {
                self.open
                    .get(id)
                    .is_some_and(|n| qos_of(*n) == QoS::ExactlyOnce)
            };
            let unreleased = self.in_flight.iter().filter(unreleased).count();
            assert!(unreleased <= 20, "{unreleased} of QoS 2 on 3.1.1");
        }
        if self.seen.insert(number) {
            assert!(
                self.first_seen.last() < Some(&number),
                "{number} came out of order"
            );
            self.first_seen.push(number);
        }
    }

    fn released(&mut self, id: u16) {
        let Some(&number) = self.open.get(&id) else {
            // Released on an earlier connection, but the client has not heard of it.
            assert!(self.resumed, "PUBREL of {id} without a publish");
            let number = self.released.get(&id).copied();
            let number = number.expect("PUBREL of what this session has not seen");
            self.owe(wire::PUBCOMP, id, number);
            return;
        };
        assert!(
            self.recorded.remove(&id),
            "PUBREL of {id} without a PUBREC before it"
        );
        self.open.remove(&id);
        if self.hands_on_late {
            self.hand_on(number);
        }
        self.released.insert(id, number);
        self.owe(wire::PUBCOMP, id, number);
    }

    fn owe(&mut self, first: u8, id: u16, number: u64) {
        let twice = self
            .unanswered
            .iter()
            .any(|a| (a.first, a.id) == (first, id));
        assert!(!twice, "{first:#x} of {id} is asked for twice");
        self.unanswered.push_back(Answer { first, id, number });
    }

    fn hand_on(&mut self, number: u64) {
        let key = (number, self.generation, self.doubts);
        let first = self.handed_on.insert(key);
        assert!(first, "{number} was handed on twice by one session");
    }

    fn answer(&mut self, rng: &mut StdRng, out: &mut VecDeque<u8>) {
        let at = if rng.random_bool(0.8) {
            0
        } else {
            rng.random_range(0..=self.unanswered.len())
        };
        let Some(Answer { first, id, number }) = self.unanswered.remove(at) else {
            return;
        };
        let refused = first != wire::PUBCOMP && is_refused(self.protocol, number);
        let reason = if refused { 0x87 } else { 0 };
        if first == wire::PUBREC && !refused {
            self.recorded.insert(id);
        } else {
            self.in_flight.remove(&id);
            self.open.remove(&id);
            self.answered.insert(number);
        }
        out.extend(wire::ack(first, id, reason));
        if rng.random_bool(0.02) {
            out.extend(wire::ack(first, id, reason));
        }
    }

    fn lost(&mut self, rng: &mut StdRng) {
        self.input.clear();
        self.unanswered.clear();
        self.in_flight.clear();
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
    /// How many logins had succeeded when the connection began.
    epoch: u64,
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
    if rng.random_bool(0.3) {
        options.birth = Some(Publish::new("born", wire::payload(0, 5), QoS::ExactlyOnce));
    }
    options.session_expiry = Duration::from_secs(if rng.random() { 3600 } else { 0 });
    let mut world = World {
        broker: Broker {
            protocol,
            receive_max: u16::MAX,
            input: BytesMut::new(),
            has_session: false,
            resumed: false,
            generation: 0,
            doubts: 0,
            hands_on_late: rng.random(),
            open: BTreeMap::new(),
            recorded: BTreeSet::new(),
            released: BTreeMap::new(),
            completed: 0,
            unanswered: VecDeque::new(),
            in_flight: BTreeSet::new(),
            first_seen: Vec::new(),
            seen: BTreeSet::new(),
            answered: BTreeSet::new(),
            handed_on: BTreeSet::new(),
            at_most_once: Vec::new(),
            wants_birth: options.birth.is_some(),
            birth_is_due: false,
        },
        session: PublisherSession::new(options),
        input: ReadBuffer::default(),
        pipe: None,
        now: Instant::now(),
        epoch: 0,
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
            Publish::new(Bytes::from_static(b"t/x"), payload, qos_of(self.published))
        });
        let batch: Vec<_> = batch.collect();
        self.session.publish(batch);
    }

    fn connect(&mut self) {
        if self.pipe.is_none() {
            self.pipe = Some(Pipe::default());
            self.input.clear();
            self.epoch = self.session.link().epoch();
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
            if self.session.link().epoch() == self.epoch && self.session.link().output().is_empty()
            {
                self.broker.doubts += 1;
            }
            self.session.end();
            self.writing.clear();
            self.broker.lost(rng);
        }
    }

    fn check_progress(&mut self) {
        for Refused { number, error, .. } in self.session.take_refused() {
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
            let answered = qos_of(number) != QoS::AtMostOnce;
            let done = if answered {
                self.broker.answered.contains(&number)
            } else {
                self.written.contains(&number)
            };
            assert!(
                done,
                "{number} is called complete, but it was not written or not answered"
            );
            let refused = answered && is_refused(self.broker.protocol, number);
            assert_eq!(self.refused.contains(&number), refused, "{number}");
        }
        self.completed = completed;
        self.broker.completed = completed;
        let unfinished = self.session.unfinished() as u64;
        assert!(unfinished <= self.published - completed);
    }

    fn check_end(&self) {
        assert_eq!(
            self.completed, self.total,
            "not all publishes were completed"
        );
        assert_eq!(self.session.unfinished(), 0);
        let is_answered = |n: &u64| qos_of(*n) != QoS::AtMostOnce;
        let wanted: Vec<_> = (1..=self.total).filter(is_answered).collect();
        assert_eq!(self.broker.first_seen, wanted, "QoS 1 or 2 lost something");
        for number in wanted {
            let exactly_once = qos_of(number) == QoS::ExactlyOnce;
            if exactly_once && !is_refused(self.broker.protocol, number) {
                let numbers = (number, 0, 0)..(number + 1, 0, 0);
                let handed_on = self.broker.handed_on.range(numbers);
                assert!(handed_on.count() > 0, "{number} was never handed on");
            }
        }
    }
}

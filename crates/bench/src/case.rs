//! What is measured: cases, and who runs in them.

use std::num::NonZeroU32;

use bytes::Bytes;
use headwater_testkit::fake_broker::Feed;
use serde::{Deserialize, Serialize};

use crate::options::Sizes;

/// Where the messages come from.
pub(crate) const INPUT_TOPIC: &str = "bench/in";
/// Where the results go.
pub(crate) const OUTPUT_TOPIC: &str = "bench/out";
/// What stands before the time of sending, in messages and in results.
pub(crate) const STAMP_MARKER: &[u8] = b"\"ts\":";
/// How many different messages there are.
const DISTINCT_MESSAGES: usize = 1_000;
/// How many messages a publisher or the fake broker has unacknowledged at QoS 1 and 2.
const WINDOW: u16 = u16::MAX;

/// Who stands at the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    Fake,
    Mosquitto,
}

/// What is done with the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// Received, decoded, forgotten.
    Source,
    /// Received, decoded, filtered, projected, encoded, published.
    Pipe,
}

/// How many messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many, as fast as possible.
    Full(u64),
    /// So many at this rate, to measure latency.
    Paced { per_second: NonZeroU32, count: u64 },
    /// None.
    Idle { seconds: u32 },
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contender {
    /// A client that counts messages, and acknowledges them, and does nothing else.
    Count,
    /// A client that publishes what it receives.
    Bridge,
    Headwater,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "counts only",
            Self::Bridge => "copies only",
            Self::Headwater => "Headwater",
        }
    }
}

/// One case: a row of the table for each contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) broker: Broker,
    pub(crate) shape: Shape,
    pub(crate) qos: u8,
    /// Whether the subject speaks TLS; only with the fake broker.
    pub(crate) tls: bool,
    pub(crate) load: Load,
}

impl Case {
    /// Every case, in the order of the table.
    pub(crate) fn all(sizes: &Sizes) -> Vec<Self> {
        let fake = Load::Full(sizes.messages);
        let mosquitto = Load::Full(sizes.mosquitto_messages);
        // a rate of zero is not to be had from the command line
        let per_second = NonZeroU32::new(sizes.per_second).unwrap_or(NonZeroU32::MIN);
        let paced = Load::Paced {
            per_second,
            count: u64::from(sizes.per_second) * u64::from(sizes.seconds),
        };
        let idle = Load::Idle {
            seconds: sizes.seconds,
        };
        let plain = [
            (Broker::Fake, Shape::Source, fake, 2),
            (Broker::Fake, Shape::Pipe, fake, 2),
            (Broker::Fake, Shape::Pipe, paced, 1),
            (Broker::Mosquitto, Shape::Source, mosquitto, 1),
            // at QoS 2 with thousands in flight Mosquitto itself needs minutes
            (Broker::Mosquitto, Shape::Pipe, mosquitto, 1),
            (Broker::Mosquitto, Shape::Pipe, paced, 1),
            (Broker::Mosquitto, Shape::Pipe, idle, 1),
        ];
        let case = |broker, shape, load, qos, tls| Self {
            broker,
            shape,
            qos,
            tls,
            load,
        };
        let mut cases: Vec<_> = plain
            .into_iter()
            .flat_map(|(broker, shape, load, max_qos)| {
                (0..=max_qos).map(move |qos| case(broker, shape, load, qos, false))
            })
            .collect();
        cases.push(case(Broker::Fake, Shape::Source, fake, 0, true));
        cases.push(case(Broker::Fake, Shape::Pipe, fake, 1, true));
        cases
    }

    /// As in `fake-pipe-qos1-10000/s`.
    pub(crate) fn name(&self) -> String {
        let broker = match self.broker {
            Broker::Fake => "fake",
            Broker::Mosquitto => "mosquitto",
        };
        let shape = match self.shape {
            Shape::Source => "source",
            Shape::Pipe => "pipe",
        };
        let load = match self.load {
            Load::Full(_) => String::new(),
            Load::Paced { per_second, .. } => format!("-{per_second}/s"),
            Load::Idle { .. } => "-idle".to_owned(),
        };
        let tls = if self.tls { "-tls" } else { "" };
        format!("{broker}-{shape}-qos{}{tls}{load}", self.qos)
    }

    /// Who runs, the references first.
    pub(crate) fn contenders(&self) -> &'static [Contender] {
        match (self.shape, self.load) {
            (_, Load::Idle { .. }) => &[Contender::Headwater],
            (Shape::Source, _) => &[Contender::Count, Contender::Headwater],
            (Shape::Pipe, _) if self.tls => &[Contender::Headwater],
            (Shape::Pipe, _) => &[Contender::Count, Contender::Bridge, Contender::Headwater],
        }
    }

    /// How many messages are sent.
    pub(crate) fn messages(&self) -> u64 {
        match self.load {
            Load::Full(count) | Load::Paced { count, .. } => count,
            Load::Idle { .. } => 0,
        }
    }

    /// How long messages come at a steady rate, in tenths of a second.
    pub(crate) fn tenths(&self) -> usize {
        match self.load {
            Load::Paced { per_second, count } => {
                (10 * count / u64::from(per_second.get())) as usize
            }
            Load::Full(_) | Load::Idle { .. } => 1,
        }
    }

    /// What is sent: 100 bytes of JSON with six members, four of which are columns.
    pub(crate) fn feed(&self) -> Feed {
        let per_second = match self.load {
            Load::Paced { per_second, .. } => Some(per_second),
            Load::Full(_) | Load::Idle { .. } => None,
        };
        let payloads: Vec<_> = (0..DISTINCT_MESSAGES).map(message).collect();
        let stamp_at = per_second.and(stamp_at(&payloads[0]));
        Feed {
            topic: INPUT_TOPIC.to_owned(),
            payloads,
            qos: self.qos,
            count: self.messages(),
            window: WINDOW,
            per_second,
            stamp_at,
        }
    }
}

fn message(i: usize) -> Bytes {
    let ts = 1_795_242_288_123_456_789_u64 + i as u64;
    let (whole, tenth, seq) = (i % 40 + 10, i % 10, 1_000 + i % 9_000);
    let text = format!(
        r#"{{"device":"dev-{:02}","ts":{ts},"temperature":{whole}.{tenth},"humidity":4{tenth}.5,"seq":{seq},"ok":true}}"#,
        i % 100
    );
    Bytes::from(text)
}

fn stamp_at(payload: &Bytes) -> Option<usize> {
    let at = payload
        .windows(STAMP_MARKER.len())
        .position(|window| window == STAMP_MARKER)?;
    Some(at + STAMP_MARKER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_hundred_bytes() {
        assert!((0..DISTINCT_MESSAGES).all(|i| message(i).len() == 100));
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Case::all(&Sizes::full()).iter().map(Case::name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

//! Messages that were encoded beforehand, and how they are sent.

use std::io;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};

use super::link::{Writer, broken};
use crate::wire::{Properties, Publish, write_publish};

/// How many bytes go into one write.
const WRITE_BYTES: usize = 64 * 1024;
/// How often a paced load wakes, at most.
const TICK: Duration = Duration::from_millis(1);
/// Packet ids: 1 to 65,535.
const PACKET_IDS: usize = u16::MAX as usize;
/// How many digits a stamp has.
pub(super) const STAMP_DIGITS: usize = 19;

/// What to send.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The topic of all messages.
    pub topic: String,
    /// The payloads, sent in turn, again and again. At least one.
    pub payloads: Vec<Bytes>,
    /// 0, 1 or 2; at most what the subscriber asks for.
    pub qos: u8,
    /// How many messages in all.
    pub count: u64,
    /// How many may be unacknowledged at QoS 1 and 2, if the receiver does not say less.
    pub window: u16,
    /// How many a second; without it as many as the socket takes.
    pub per_second: Option<NonZeroU32>,
    /// Where in every payload to write, in 19 digits, the nanoseconds since 1970 at which it is sent.
    pub stamp_at: Option<usize>,
}

/// A feed as it goes over the wire.
pub(super) struct Encoded {
    /// Whole packets, one after another. At QoS 1 and 2 there is one for each packet id, in their order.
    ring: Vec<u8>,
    /// Where each packet begins, and where the last one ends.
    starts: Vec<usize>,
    /// Where in the ring the stamp of each packet is.
    stamps: Vec<usize>,
    qos: u8,
    count: u64,
    window: u16,
    per_second: Option<NonZeroU32>,
}

impl Encoded {
    pub(super) fn new(feed: &Feed, qos: u8, v5: bool) -> io::Result<Self> {
        if feed.payloads.is_empty() {
            return Err(broken("a feed without payloads"));
        }
        let mut encoded = Self {
            ring: Vec::new(),
            starts: vec![0],
            stamps: Vec::new(),
            qos,
            count: feed.count,
            window: feed.window,
            per_second: feed.per_second,
        };
        let mut packet = BytesMut::new();
        for (index, payload) in feed.payloads.iter().cycle().enumerate() {
            let whole_turn = index % feed.payloads.len() == 0;
            let enough = match qos {
                0 => whole_turn && encoded.ring.len() >= WRITE_BYTES,
                _ => index == PACKET_IDS,
            };
            if enough {
                break;
            }
            packet.clear();
            let publish = Publish {
                topic: feed.topic.clone(),
                payload: payload.clone(),
                qos,
                retain: false,
                dup: false,
                // only at QoS 0 can the index exceed the ids, and there it is not used
                packet_id: u16::try_from(index + 1).unwrap_or(0),
                properties: Properties::default(),
            };
            write_publish(&mut packet, &publish, v5).map_err(broken)?;
            encoded.ring.extend_from_slice(&packet);
            encoded.starts.push(encoded.ring.len());
            if let Some(at) = feed.stamp_at {
                if at + STAMP_DIGITS > payload.len() {
                    return Err(broken("a payload too short for its stamp"));
                }
                encoded.stamps.push(encoded.ring.len() - payload.len() + at);
            }
        }
        Ok(encoded)
    }

    /// Sends all messages. Returns early if the connection ends.
    pub(super) fn send(mut self, writer: &Writer, receive_maximum: u16) -> io::Result<()> {
        let window = u64::from(self.window.min(receive_maximum));
        let begun = Instant::now();
        let mut sent = 0;
        let mut at = 0;
        while sent < self.count {
            let room = match self.qos {
                0 => u64::MAX,
                _ => writer.await_room(sent, window)?,
            };
            let due = self.await_due(sent, begun);
            let wanted = room.min(due).min(self.count - sent);
            let end = self.end_of_write(at, wanted);
            self.stamp(at, end);
            // counted first, so that an acknowledgement cannot come before its message
            writer.count_sent((end - at) as u64);
            writer.write(&self.ring[self.starts[at]..self.starts[end]])?;
            sent += (end - at) as u64;
            at = end % (self.starts.len() - 1);
        }
        Ok(())
    }

    /// Waits until messages are due, and says how many. It wakes at most once a [`TICK`], as a load that wakes for each
    /// message would take the cores from those that are measured.
    fn await_due(&self, sent: u64, begun: Instant) -> u64 {
        let Some(per_second) = self.per_second else {
            return u64::MAX;
        };
        let per_second = f64::from(per_second.get());
        let due_at = Duration::from_secs_f64((sent + 1) as f64 / per_second);
        let ticks = due_at.as_nanos().div_ceil(TICK.as_nanos());
        // a run has fewer than 2^32 milliseconds
        let tick_at = TICK * u32::try_from(ticks).unwrap_or(u32::MAX);
        std::thread::sleep(tick_at.saturating_sub(begun.elapsed()));
        let due = (begun.elapsed().as_secs_f64() * per_second) as u64;
        due.saturating_sub(sent).max(1)
    }

    /// The packet before which a write that begins at `at` ends; it takes one packet at least.
    fn end_of_write(&self, at: usize, wanted: u64) -> usize {
        let last = self.starts.len() - 1;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let by_count = at.saturating_add(wanted).min(last);
        let by_bytes = self
            .starts
            .partition_point(|start| *start <= self.starts[at] + WRITE_BYTES)
            - 1;
        by_count.min(by_bytes.max(at + 1))
    }

    fn stamp(&mut self, from: usize, to: usize) {
        if self.stamps.is_empty() {
            return;
        }
        let digits = format!("{:019}", now_ns());
        for at in &self.stamps[from..to] {
            self.ring[*at..*at + STAMP_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }
}

/// Nanoseconds since 1970; 19 digits until the year 2286.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

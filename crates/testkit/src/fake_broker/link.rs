//! One connection: reads packets in bulk, counts PUBLISHes and their acknowledgements, and acknowledges in one write per
//! read.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::feed::{STAMP_DIGITS, now_ns};

/// How many latencies are kept; later messages are only counted.
pub const LATENCIES_MAX: usize = 10_000_000;

/// How much is read at once. A packet that is larger makes the buffer grow.
const READ_BYTES: usize = 256 * 1024;

/// What went over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// PUBLISHes sent.
    pub sent: u64,
    /// PUBACKs, or PUBCOMPs at QoS 2, received for them.
    pub acknowledged: u64,
    /// PUBACKs or PUBRECs that were not the next one in the order of sending (MQTT-4.6.0-2, -3).
    pub misordered: u64,
    /// PUBLISHes received.
    pub received: u64,
    /// Their bytes, headers included.
    pub received_bytes: u64,
    /// PUBRELs received for those at QoS 2: they are done then.
    pub released: u64,
}

/// The counts of all connections of one broker or client.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    misordered: AtomicU64,
    received: AtomicU64,
    received_bytes: AtomicU64,
    released: AtomicU64,
    stamp_marker: Option<Vec<u8>>,
    latencies_ns: Mutex<Vec<u64>>,
}

impl Tally {
    pub(super) fn new(stamp_marker: Option<Vec<u8>>) -> Self {
        Self {
            stamp_marker,
            ..Self::default()
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            sent: self.sent.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            misordered: self.misordered.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            released: self.released.load(Ordering::Relaxed),
        }
    }

    pub(super) fn take_latencies_ns(&self) -> Vec<u64> {
        let mut latencies = self
            .latencies_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *latencies)
    }

    fn keep_latencies(&self, ages_ns: &[u64]) {
        let mut latencies = self
            .latencies_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let room = LATENCIES_MAX - latencies.len();
        latencies.extend(ages_ns.iter().take(room));
    }
}

/// The sending half of a connection, shared by its two threads.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    stream: Arc<Mutex<TcpStream>>,
    tally: Arc<Tally>,
    window: Arc<Window>,
}

/// Which of the messages of one connection were acknowledged.
#[derive(Debug, Default)]
struct Window {
    /// How many; `None` once the connection has ended.
    acknowledged: Mutex<Option<u64>>,
    changed: Condvar,
}

impl Writer {
    /// Writes whole packets; nobody else's bytes come between.
    pub(super) fn write(&self, packets: &[u8]) -> io::Result<()> {
        self.stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(packets)
    }

    pub(super) fn count_sent(&self, messages: u64) {
        self.tally.sent.fetch_add(messages, Ordering::Relaxed);
    }

    /// Waits until fewer than `window` of `sent` messages are unacknowledged, and says how many more may be sent.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn await_room(&self, sent: u64, window: u64) -> io::Result<u64> {
        let mut acknowledged = self.window.lock();
        loop {
            let Some(count) = *acknowledged else {
                return Err(io::ErrorKind::ConnectionAborted.into());
            };
            let room = window.saturating_sub(sent - count.min(sent));
            if room > 0 {
                return Ok(room);
            }
            acknowledged = self
                .window
                .changed
                .wait(acknowledged)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Window {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A packet as it lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control<'a> {
    first: u8,
    body: &'a [u8],
}

impl<'a> Control<'a> {
    /// The packet type (2.1.2).
    pub(super) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The quality of service of a PUBLISH (3.3.1.2).
    #[inline]
    pub(super) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    #[inline]
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader::new(self.body)
    }
}

/// The receiving half of a connection.
pub(super) struct Link {
    stream: TcpStream,
    writer: Writer,
    tally: Arc<Tally>,
    /// The id that the next PUBACK or PUBREC should carry.
    next_ack: u16,
    ages_ns: Vec<u64>,
}

/// What one read brought.
#[derive(Default)]
struct Batch {
    received: u64,
    received_bytes: u64,
    acknowledged: u64,
    released: u64,
}

impl Link {
    pub(super) fn new(stream: TcpStream, tally: Arc<Tally>) -> io::Result<Self> {
        let window = Window {
            acknowledged: Mutex::new(Some(0)),
            ..Window::default()
        };
        let writer = Writer {
            stream: Arc::new(Mutex::new(stream.try_clone()?)),
            tally: Arc::clone(&tally),
            window: Arc::new(window),
        };
        Ok(Self {
            stream,
            writer,
            tally,
            next_ack: 1,
            ages_ns: Vec::new(),
        })
    }

    pub(super) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Ends the connection for both threads.
    pub(super) fn hang_up(&self) {
        // fails if the other side has done so already
        self.stream.shutdown(Shutdown::Both).ok();
        *self.writer.window.lock() = None;
        self.writer.window.changed.notify_all();
    }

    /// Reads until the other side closes. What is neither PUBLISH nor one of the acknowledgements goes to `control`, with
    /// the buffer for its answer.
    ///
    /// # Errors
    /// The connection broke, or bytes that are no MQTT.
    pub(super) fn run(
        &mut self,
        mut control: impl FnMut(Control<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut stream = self.stream.try_clone()?;
        let mut packets = Packets::default();
        let mut out = Vec::new();
        loop {
            let mut batch = Batch::default();
            let open = packets.read(&mut stream, |packet| match packet.kind() {
                3 => self.publish(packet, &mut batch, &mut out),
                4..=7 => self.acknowledgement(packet, &mut batch, &mut out),
                _ => control(packet, &mut out),
            })?;
            if !open {
                return Ok(());
            }
            self.finish(&batch, &mut out)?;
        }
    }

    #[inline]
    fn publish(
        &mut self,
        packet: Control<'_>,
        batch: &mut Batch,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        batch.received += 1;
        batch.received_bytes += packet.body.len() as u64;
        if packet.qos() > 0 {
            let mut reader = packet.reader();
            reader.string()?;
            let id = reader.bytes(2)?;
            let answer = if packet.qos() == 1 { 0x40 } else { 0x50 };
            out.extend_from_slice(&[answer, 2, id[0], id[1]]);
        }
        if let Some(marker) = &self.tally.stamp_marker
            && let Some(sent_ns) = find_stamp(packet.body, marker)
        {
            self.ages_ns.push(now_ns().saturating_sub(sent_ns));
        }
        Ok(())
    }

    /// PUBACK (4) and PUBREC (5) answer a PUBLISH of ours, PUBREL (6) goes on with one of theirs, PUBCOMP (7) ends ours.
    #[inline]
    fn acknowledgement(
        &mut self,
        packet: Control<'_>,
        batch: &mut Batch,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let id = packet.reader().bytes(2)?;
        match packet.kind() {
            6 => {
                out.extend_from_slice(&[0x70, 2, id[0], id[1]]);
                batch.released += 1;
            }
            7 => batch.acknowledged += 1,
            kind => {
                if id != self.next_ack.to_be_bytes() {
                    self.tally.misordered.fetch_add(1, Ordering::Relaxed);
                }
                self.next_ack = u16::from_be_bytes([id[0], id[1]]).wrapping_add(1).max(1);
                if kind == 4 {
                    batch.acknowledged += 1;
                } else {
                    out.extend_from_slice(&[0x62, 2, id[0], id[1]]);
                }
            }
        }
        Ok(())
    }

    /// Makes the counts known, and writes the answers.
    fn finish(&mut self, batch: &Batch, out: &mut Vec<u8>) -> io::Result<()> {
        // counted first: who has been answered may look at the counts
        if batch.received > 0 {
            let bytes = batch.received_bytes;
            self.tally
                .received_bytes
                .fetch_add(bytes, Ordering::Relaxed);
            self.tally
                .received
                .fetch_add(batch.received, Ordering::Relaxed);
        }
        if batch.released > 0 {
            self.tally
                .released
                .fetch_add(batch.released, Ordering::Relaxed);
        }
        if !self.ages_ns.is_empty() {
            self.tally.keep_latencies(&self.ages_ns);
            self.ages_ns.clear();
        }
        if batch.acknowledged > 0 {
            let count = batch.acknowledged;
            self.tally.acknowledged.fetch_add(count, Ordering::Relaxed);
            if let Some(acknowledged) = &mut *self.writer.window.lock() {
                *acknowledged += count;
            }
            self.writer.window.changed.notify_one();
        }
        if !out.is_empty() {
            self.writer.write(out)?;
            out.clear();
        }
        Ok(())
    }
}

/// The buffer between a socket and whole packets.
pub(super) struct Packets {
    buffer: Vec<u8>,
    len: usize,
}

impl Default for Packets {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_BYTES],
            len: 0,
        }
    }
}

impl Packets {
    /// Reads once, and hands over every packet that is whole. False at the end of the stream.
    pub(super) fn read(
        &mut self,
        stream: &mut impl Read,
        mut each: impl FnMut(Control<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        if self.len == self.buffer.len() {
            self.buffer.resize(2 * self.len, 0);
        }
        let read = stream.read(&mut self.buffer[self.len..])?;
        if read == 0 {
            return Ok(false);
        }
        self.len += read;
        let mut at = 0;
        while let Some((header, body)) = frame(&self.buffer[at..self.len])? {
            let end = at + header + body;
            if end > self.len {
                break;
            }
            each(Control {
                first: self.buffer[at],
                body: &self.buffer[at + header..end],
            })?;
            at = end;
        }
        self.buffer.copy_within(at..self.len, 0);
        self.len -= at;
        Ok(true)
    }
}

/// The lengths of the fixed header and of the rest (2.1.4), when they are known.
#[inline]
fn frame(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut len = 0;
    for (i, byte) in buffer.iter().skip(1).enumerate() {
        if i == 4 {
            return Err(broken("a length of more than four bytes"));
        }
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((i + 2, len)));
        }
    }
    Ok(None)
}

/// Appends a length (2.1.4).
pub(super) fn put_len(to: &mut Vec<u8>, mut len: usize) {
    loop {
        let byte = (len & 0x7f) as u8;
        len >>= 7;
        if len == 0 {
            return to.push(byte);
        }
        to.push(byte | 0x80);
    }
}

/// The number behind the marker.
fn find_stamp(body: &[u8], marker: &[u8]) -> Option<u64> {
    let at = body
        .windows(marker.len())
        .position(|window| window == marker)?;
    let digits = body.get(at + marker.len()..)?.get(..STAMP_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Bytes that are no MQTT.
pub(super) fn broken(what: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Reads the body of a packet from its front.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| broken("a packet that ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A string or binary data (1.5.4, 1.5.6).
    #[inline]
    pub(super) fn string(&mut self) -> io::Result<&'a [u8]> {
        let len = self.bytes(2)?;
        self.bytes(usize::from(u16::from_be_bytes([len[0], len[1]])))
    }

    /// A property list (2.2.2).
    pub(super) fn properties(&mut self) -> io::Result<Reader<'a>> {
        let mut len = 0;
        for i in 0..4 {
            let byte = self.bytes(1)?[0];
            len |= usize::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(Reader(self.bytes(len)?));
            }
        }
        Err(broken("a length of more than four bytes"))
    }

    /// The receive maximum (0x21) among the properties of a CONNECT or CONNACK.
    pub(super) fn receive_maximum(mut self) -> io::Result<Option<u16>> {
        while !self.is_empty() {
            match self.bytes(1)?[0] {
                0x21 => {
                    let maximum = self.bytes(2)?;
                    return Ok(Some(u16::from_be_bytes([maximum[0], maximum[1]])));
                }
                0x11 | 0x27 => drop(self.bytes(4)?),
                0x13 | 0x22 => drop(self.bytes(2)?),
                0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => drop(self.bytes(1)?),
                0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(self.string()?),
                0x26 => {
                    self.string()?;
                    self.string()?;
                }
                other => return Err(broken(format!("there is no property {other:#04x} here"))),
            }
        }
        Ok(None)
    }
}

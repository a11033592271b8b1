//! The other side of the wire: a client that feeds a broker, or counts what it sends, at next to no cost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;

use super::feed::{Encoded, Feed};
use super::link::{Control, Counts, Link, Reader, Tally, Writer, broken};
use crate::wire::{Connect, write_connect, write_subscribe};

/// How long a broker may take to answer CONNECT and SUBSCRIBE.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A client to be connected.
#[derive(Debug, Clone)]
pub struct LoadClientBuilder {
    client_id: String,
    v5: bool,
    stamp_marker: Option<Vec<u8>>,
    subscription: Option<(String, u8)>,
}

/// A connected client with a session of its own. It counts and acknowledges what arrives; on drop the connection is cut.
#[derive(Debug)]
pub struct LoadClient {
    stream: TcpStream,
    tally: Arc<Tally>,
    writer: Writer,
    v5: bool,
    /// How many publishes the broker takes unacknowledged.
    receive_maximum: u16,
    threads: Vec<JoinHandle<()>>,
}

impl LoadClientBuilder {
    /// Speaks MQTT 3.1.1 instead of 5.
    #[must_use]
    pub fn v311(mut self) -> Self {
        self.v5 = false;
        self
    }

    /// Subscribes before anything is counted.
    #[must_use]
    pub fn subscribe(mut self, filter: &str, qos: u8) -> Self {
        self.subscription = Some((filter.to_owned(), qos));
        self
    }

    /// As [`FakeBrokerBuilder::measure_latency`](super::FakeBrokerBuilder::measure_latency).
    #[must_use]
    pub fn measure_latency(mut self, marker: &[u8]) -> Self {
        self.stamp_marker = Some(marker.to_vec());
        self
    }

    /// Connects, subscribes, and begins to count.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    pub fn connect(self, addr: SocketAddr) -> io::Result<LoadClient> {
        let (stream, receive_maximum) = self.open(addr)?;
        let tally = Arc::new(Tally::new(self.stamp_marker));
        let mut link = Link::new(stream.try_clone()?, Arc::clone(&tally))?;
        let writer = link.writer();
        let reading = std::thread::spawn(move || {
            if let Err(error) = link.run(other_packet) {
                tracing::debug!(%error, "the connection of a load client has ended");
            }
            link.hang_up();
        });
        Ok(LoadClient {
            stream,
            tally,
            writer,
            v5: self.v5,
            receive_maximum,
            threads: vec![reading],
        })
    }

    /// Connects and subscribes; hands over the socket with the broker's receive maximum.
    pub(super) fn open(&self, addr: SocketAddr) -> io::Result<(TcpStream, u16)> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        let receive_maximum = self.greet(&mut stream)?;
        stream.set_read_timeout(None)?;
        Ok((stream, receive_maximum))
    }

    /// Logs in and subscribes; answers the broker's receive maximum.
    pub(super) fn greet(&self, stream: &mut (impl Read + Write)) -> io::Result<u16> {
        let receive_maximum = self.log_in(stream)?;
        if let Some((filter, qos)) = &self.subscription {
            subscribe(stream, filter, *qos, self.v5)?;
        }
        Ok(receive_maximum)
    }

    fn log_in(&self, stream: &mut (impl Read + Write)) -> io::Result<u16> {
        let connect = Connect {
            v5: self.v5,
            client_id: self.client_id.clone(),
            ..Connect::default()
        };
        let mut packet = BytesMut::new();
        write_connect(&mut packet, &connect).map_err(broken)?;
        stream.write_all(&packet)?;
        stream.flush()?;
        let body = read_packet(stream, 0x20)?;
        let mut reader = Reader::new(&body);
        let code = reader.bytes(2)?[1];
        if code != 0 {
            return Err(broken(format!("CONNECT was refused with {code:#04x}")));
        }
        let announced = match self.v5 {
            true => reader.properties()?.receive_maximum()?,
            false => None,
        };
        Ok(announced.unwrap_or(u16::MAX))
    }
}

impl LoadClient {
    /// A client of MQTT 5 with this id.
    pub fn builder(client_id: &str) -> LoadClientBuilder {
        LoadClientBuilder {
            client_id: client_id.to_owned(),
            v5: true,
            stamp_marker: None,
            subscription: None,
        }
    }

    /// Publishes the feed in a thread of its own; to be called once. The broker's receive maximum is heeded.
    ///
    /// # Errors
    /// A feed that cannot be encoded.
    pub fn publish(&mut self, feed: &Feed) -> io::Result<()> {
        let encoded = Encoded::new(feed, feed.qos, self.v5)?;
        let (writer, window) = (self.writer.clone(), self.receive_maximum);
        self.threads.push(std::thread::spawn(move || {
            if let Err(error) = encoded.send(&writer, window) {
                tracing::debug!(%error, "a feed has ended early");
            }
        }));
        Ok(())
    }

    /// What has been sent and received so far.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// As [`FakeBroker::take_latencies_ns`](super::FakeBroker::take_latencies_ns).
    pub fn take_latencies_ns(&self) -> Vec<u64> {
        self.tally.take_latencies_ns()
    }
}

impl Drop for LoadClient {
    fn drop(&mut self) {
        // fails if the broker has gone, and then the threads end too
        self.stream.shutdown(Shutdown::Both).ok();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn subscribe(stream: &mut (impl Read + Write), filter: &str, qos: u8, v5: bool) -> io::Result<()> {
    let mut packet = BytesMut::new();
    write_subscribe(&mut packet, 1, filter, qos, v5).map_err(broken)?;
    stream.write_all(&packet)?;
    stream.flush()?;
    match read_packet(stream, 0x90)?.last() {
        Some(code) if *code < 0x80 => Ok(()),
        code => Err(broken(format!(
            "the filter '{filter}' was refused: {code:02x?}"
        ))),
    }
}

/// Reads exactly one packet, byte by byte at first: the next one is for the link.
fn read_packet(stream: &mut impl Read, expected: u8) -> io::Result<Vec<u8>> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    if byte[0] & 0xf0 != expected {
        return Err(broken(format!("packet {:#04x} was not expected", byte[0])));
    }
    let mut len = 0;
    for i in 0..4 {
        stream.read_exact(&mut byte)?;
        len |= usize::from(byte[0] & 0x7f) << (7 * i);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// A client that neither pings nor unsubscribes gets nothing else that matters, save a DISCONNECT.
fn other_packet(packet: Control<'_>, _out: &mut Vec<u8>) -> io::Result<()> {
    match packet.kind() {
        14 => Err(broken("the broker has sent DISCONNECT")),
        _ => Ok(()),
    }
}

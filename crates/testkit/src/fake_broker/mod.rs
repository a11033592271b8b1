//! A broker that does nothing but move bytes, to measure those that talk to it.
//!
//! Real brokers are slower than what is measured against them. This one sends messages that were encoded beforehand, as
//! fast as the socket takes them, and counts and acknowledges what it gets without looking inside: a few tens of
//! nanoseconds a message. It speaks MQTT 3.1.1 and 5 at every QoS, and knows neither sessions nor routing. A
//! [`TlsFront`] before it adds TLS.
//!
//! ```text
//!              SUBSCRIBE to the filter of the feed ◄── client
//!  Feed (thread) ── PUBLISH, PUBLISH, PUBLISH … ─────► client
//!  Link (thread) ◄── PUBACKs or PUBCOMPs: open the window ─ client
//!  Link (thread) ◄── PUBLISH, PUBLISH, … ───────────── client      counted, with their age
//!                ── PUBACKs, one write per read ─────► client
//! ```
//!
//! The same two halves serve the other side of the wire: a [`LoadClient`] feeds a real broker, or counts what it sends; a
//! [`Bridge`] passes messages on.
//! To keep its CPU time apart from what it measures, run one of the two in another process.
//!
//! # Bounds
//! One read buffer and one batch of acknowledgements a connection; at most [`LATENCIES_MAX`] latencies; the feed is held
//! once, however many messages it stands for.

mod bridge;
mod client;
mod feed;
mod link;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use bridge::Bridge;
pub use client::{LoadClient, LoadClientBuilder};
pub use feed::Feed;
pub use link::{Counts, LATENCIES_MAX};
pub use tls::{TlsFront, count_over_tls};

use feed::Encoded;
use link::{Control, Link, Tally, Writer};

/// A broker to be started.
#[derive(Debug, Clone, Default)]
pub struct FakeBrokerBuilder {
    feeds: Vec<(String, Feed)>,
    stamp_marker: Option<Vec<u8>>,
}

/// A running broker on a free port of 127.0.0.1. On drop its connections are cut and its threads end.
#[derive(Debug)]
pub struct FakeBroker {
    addr: SocketAddr,
    tally: Arc<Tally>,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    feeds: Vec<(String, Feed)>,
    stopped: AtomicBool,
    /// The connections, to cut them, and their threads.
    links: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl FakeBrokerBuilder {
    /// Sends the feed to whoever subscribes to exactly this filter, from its beginning to each. A connection gets one
    /// feed, that of its first filter that has one.
    #[must_use]
    pub fn feed(mut self, filter: &str, feed: Feed) -> Self {
        self.feeds.push((filter.to_owned(), feed));
        self
    }

    /// Measures how old arriving messages are: the marker is followed by 19 digits, the nanoseconds since 1970 at which
    /// the message was sent (see [`Feed::stamp_at`]).
    #[must_use]
    pub fn measure_latency(mut self, marker: &[u8]) -> Self {
        self.stamp_marker = Some(marker.to_vec());
        self
    }

    /// Binds a free port and serves it.
    ///
    /// # Errors
    /// No port could be bound.
    pub fn start(self) -> io::Result<FakeBroker> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let tally = Arc::new(Tally::new(self.stamp_marker));
        let shared = Arc::new(Shared {
            feeds: self.feeds,
            ..Shared::default()
        });
        let accept = {
            let (tally, shared) = (Arc::clone(&tally), Arc::clone(&shared));
            std::thread::spawn(move || accept(&listener, &tally, &shared))
        };
        Ok(FakeBroker {
            addr,
            tally,
            shared,
            accept: Some(accept),
        })
    }
}

impl FakeBroker {
    /// A broker without feeds: it counts and acknowledges what it gets.
    pub fn builder() -> FakeBrokerBuilder {
        FakeBrokerBuilder::default()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `mqtt://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }

    /// What has been sent and received so far, over all connections.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// The ages of the messages that arrived, in nanoseconds, in the order of arrival; taken out.
    pub fn take_latencies_ns(&self) -> Vec<u64> {
        self.tally.take_latencies_ns()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // wakes the thread that accepts; if that fails, it has ended already
        TcpStream::connect(self.addr).ok();
        if let Some(accept) = self.accept.take() {
            accept.join().ok();
        }
        let links = std::mem::take(&mut *self.shared.lock_links());
        for (stream, thread) in links {
            // fails if the other side has gone, and then the thread ends too
            stream.shutdown(Shutdown::Both).ok();
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock_links(&self) -> std::sync::MutexGuard<'_, Vec<(TcpStream, JoinHandle<()>)>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, tally: &Arc<Tally>, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, to_cut)) = stream.and_then(|stream| Ok((stream.try_clone()?, stream)))
        else {
            continue;
        };
        let thread = {
            let (tally, shared) = (Arc::clone(tally), Arc::clone(shared));
            std::thread::spawn(move || {
                if let Err(error) = serve(stream, tally, &shared) {
                    tracing::debug!(%error, "a connection to the fake broker has ended");
                }
            })
        };
        shared.lock_links().push((to_cut, thread));
    }
}

/// Serves one connection until it ends.
fn serve(stream: TcpStream, tally: Arc<Tally>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut link = Link::new(stream, tally)?;
    let mut session = Session {
        feeds: &shared.feeds,
        v5: false,
        receive_maximum: u16::MAX,
        writer: link.writer(),
        feeding: None,
    };
    let outcome = link.run(|packet, out| session.control(packet, out));
    link.hang_up();
    if let Some(feeding) = session.feeding {
        feeding.join().ok();
    }
    outcome
}

/// What the broker knows of one client.
struct Session<'a> {
    feeds: &'a [(String, Feed)],
    v5: bool,
    receive_maximum: u16,
    writer: Writer,
    feeding: Option<JoinHandle<()>>,
}

impl Session<'_> {
    /// Answers whatever is neither a PUBLISH nor an acknowledgement.
    fn control(&mut self, packet: Control<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        match packet.kind() {
            1 => self.connect(packet, out),
            8 => self.subscribe(packet, out),
            10 => {
                let id = packet.reader().bytes(2)?;
                match self.v5 {
                    true => out.extend_from_slice(&[0xb0, 4, id[0], id[1], 0, 0]),
                    false => out.extend_from_slice(&[0xb0, 2, id[0], id[1]]),
                }
                Ok(())
            }
            12 => {
                out.extend_from_slice(&[0xd0, 0]);
                Ok(())
            }
            14 => Ok(()),
            kind => Err(link::broken(format!("packet type {kind} is not served"))),
        }
    }

    /// CONNECT (3.1): everybody is let in, to a new session.
    fn connect(&mut self, packet: Control<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut reader = packet.reader();
        reader.string()?;
        self.v5 = reader.bytes(1)?[0] == 5;
        reader.bytes(3)?;
        if !self.v5 {
            out.extend_from_slice(&[0x20, 2, 0, 0]);
            return Ok(());
        }
        if let Some(maximum) = reader.properties()?.receive_maximum()? {
            self.receive_maximum = maximum;
        }
        out.extend_from_slice(&[0x20, 3, 0, 0, 0]);
        Ok(())
    }

    /// SUBSCRIBE (3.8): grants everything, and starts the feed of the first filter that has one. The SUBACK is written
    /// here and not with the other answers, because the feed must not overtake it.
    fn subscribe(&mut self, packet: Control<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut reader = packet.reader();
        let id = reader.bytes(2)?;
        let mut body = vec![id[0], id[1]];
        if self.v5 {
            reader.properties()?;
            body.push(0);
        }
        let mut wanted = None;
        while !reader.is_empty() {
            let filter = reader.string()?;
            let qos = reader.bytes(1)?[0] & 3;
            body.push(qos);
            let found = self.feeds.iter().find(|(of, _)| of.as_bytes() == filter);
            wanted = wanted.or(found.map(|(_, feed)| (feed, qos)));
        }
        out.push(0x90);
        link::put_len(out, body.len());
        out.extend_from_slice(&body);
        self.writer.write(out)?;
        out.clear();
        if let (Some((feed, qos)), None) = (wanted, &self.feeding) {
            let feed = Encoded::new(feed, qos.min(feed.qos), self.v5)?;
            let window = self.receive_maximum;
            let writer = self.writer.clone();
            self.feeding = Some(std::thread::spawn(move || {
                if let Err(error) = feed.send(&writer, window) {
                    tracing::debug!(%error, "a feed has ended early");
                }
            }));
        }
        Ok(())
    }
}

//! The least that a client can do which passes messages on: what a pipeline is compared with.
//!
//! ```text
//! broker ── PUBLISH ──► thread 1: another header, the same payload ── PUBLISH ──► broker
//! broker ◄── PUBACK ─── thread 2 ◄──────────────────────────────────── PUBACK ─── broker
//! ```
//!
//! One write per read. At QoS 1 and 2 a message keeps its packet id on its way, and is acknowledged when its copy has been.
//! It does not reconnect.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::client::LoadClient;
use super::link::{Packets, broken, put_len};

/// A running bridge of MQTT 5. On drop its connections are cut.
#[derive(Debug)]
pub struct Bridge {
    streams: [TcpStream; 2],
    qos: u8,
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Progress {
    forwarded: AtomicU64,
    acknowledged: AtomicU64,
    /// At QoS 2, how many PUBRELs of the input were answered.
    released: AtomicU64,
}

impl Bridge {
    /// Forwards what matches the filter to the topic, both at the same broker.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses, or takes fewer than 65,535 unacknowledged publishes: the bridge has no
    /// queue to wait in.
    pub fn start(addr: SocketAddr, filter: &str, topic: &str, qos: u8) -> io::Result<Self> {
        let (output, receive_maximum) = LoadClient::builder("bridge-out").open(addr)?;
        if qos > 0 && receive_maximum < u16::MAX {
            return Err(broken(format!(
                "the broker takes only {receive_maximum} unacknowledged publishes"
            )));
        }
        let input = LoadClient::builder("bridge-in").subscribe(filter, qos);
        let (input, _) = input.open(addr)?;
        let progress = Arc::new(Progress::default());
        // at QoS 2 both threads write to both sides
        let (to_input, to_output) = (writer(&input)?, writer(&output)?);
        let forwarding = {
            let (from, to, back) = (
                input.try_clone()?,
                Arc::clone(&to_output),
                Arc::clone(&to_input),
            );
            let (progress, topic) = (Arc::clone(&progress), topic.as_bytes().to_vec());
            move || forward(from, [&to, &back], &topic, &progress)
        };
        let acknowledging = {
            let from = output.try_clone()?;
            let progress = Arc::clone(&progress);
            move || acknowledge(from, [&to_input, &to_output], &progress)
        };
        Ok(Self {
            streams: [input, output],
            qos,
            progress,
            threads: vec![spawn(forwarding), spawn(acknowledging)],
        })
    }

    /// How many messages were written to the output.
    pub fn forwarded(&self) -> u64 {
        self.progress.forwarded.load(Ordering::Relaxed)
    }

    /// How many of them, at QoS 1 and 2, were acknowledged there and then to the input; at QoS 2 to the last packet.
    pub fn acknowledged(&self) -> u64 {
        let acknowledged = self.progress.acknowledged.load(Ordering::Relaxed);
        match self.qos {
            2 => acknowledged.min(self.progress.released.load(Ordering::Relaxed)),
            _ => acknowledged,
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for stream in &self.streams {
            // fails if the broker has gone, and then the threads end too
            stream.shutdown(Shutdown::Both).ok();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn spawn(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Err(error) = work() {
            tracing::debug!(%error, "one direction of a bridge has ended");
        }
    })
}

fn writer(stream: &TcpStream) -> io::Result<Arc<Mutex<TcpStream>>> {
    Ok(Arc::new(Mutex::new(stream.try_clone()?)))
}

/// Writes whole packets, and forgets them.
fn put(to: &Mutex<TcpStream>, packets: &mut Vec<u8>) -> io::Result<()> {
    if packets.is_empty() {
        return Ok(());
    }
    let mut stream = to.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(packets)?;
    packets.clear();
    Ok(())
}

/// Messages go on to `to`; the PUBRELs among them are answered `back`.
fn forward(
    mut from: TcpStream,
    [to, back]: [&Mutex<TcpStream>; 2],
    topic: &[u8],
    progress: &Progress,
) -> io::Result<()> {
    let topic_len = u16::try_from(topic.len()).map_err(broken)?.to_be_bytes();
    let mut packets = Packets::default();
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    loop {
        let (mut messages, mut released) = (0, 0);
        let open = packets.read(&mut from, |packet| {
            let mut reader = packet.reader();
            if packet.kind() == 6 {
                let id = reader.bytes(2)?;
                answers.extend_from_slice(&[0x70, 2, id[0], id[1]]);
                released += 1;
            }
            if packet.kind() != 3 {
                return Ok(());
            }
            reader.string()?;
            let id = reader.bytes(if packet.qos() == 0 { 0 } else { 2 })?;
            reader.properties()?;
            let payload = reader.rest();
            out.push(0x30 | packet.qos() << 1);
            put_len(&mut out, 2 + topic.len() + id.len() + 1 + payload.len());
            for part in [&topic_len, topic, id, &[0], payload] {
                out.extend_from_slice(part);
            }
            messages += 1;
            Ok(())
        })?;
        if !open {
            return Ok(());
        }
        put(to, &mut out)?;
        put(back, &mut answers)?;
        progress.forwarded.fetch_add(messages, Ordering::Relaxed);
        progress.released.fetch_add(released, Ordering::Relaxed);
    }
}

/// PUBACK goes back `to` the input as it is. So does PUBREC, which is also answered `back`; what follows it on either side
/// is between that side and the bridge.
fn acknowledge(
    mut from: TcpStream,
    [to, back]: [&Mutex<TcpStream>; 2],
    progress: &Progress,
) -> io::Result<()> {
    let mut packets = Packets::default();
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    loop {
        let mut messages = 0;
        let open = packets.read(&mut from, |packet| {
            let kind = packet.kind();
            let id = packet.reader().bytes(2)?;
            if kind == 4 || kind == 5 {
                out.extend_from_slice(&[kind << 4, 2, id[0], id[1]]);
            }
            if kind == 5 {
                answers.extend_from_slice(&[0x62, 2, id[0], id[1]]);
            }
            if kind == 4 || kind == 7 {
                messages += 1;
            }
            Ok(())
        })?;
        if !open {
            return Ok(());
        }
        put(to, &mut out)?;
        put(back, &mut answers)?;
        progress.acknowledged.fetch_add(messages, Ordering::Relaxed);
    }
}

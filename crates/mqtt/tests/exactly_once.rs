//! QoS 2 through a world that loses connections: everything once, both ways, against a real Mosquitto.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater_connector::Metrics;
use headwater_mqtt::{
    ConnectOptions, ProtocolVersion, Publish, Publisher, QoS, Subscriber, Subscription,
};
use headwater_testkit::{Mosquitto, TestClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

const DEADLINE: Duration = Duration::from_secs(60);
const MESSAGES: usize = 2_000;
const CUTS: usize = 5;

/// Between a client and the broker: cuts the first connections in the middle of a packet, each after more bytes.
struct Scissors {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Scissors {
    async fn before(broker: &Mosquitto) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let broker = broker.plain_addr();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(broker).await.unwrap();
                let cut = counted.load(Ordering::Relaxed);
                if cut < CUTS {
                    // Enough for the login. Not a multiple of any packet's length.
                    carry(client, server, 5_003 * (1 + cut)).await;
                    counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    tokio::spawn(carry_all(client, server));
                }
            }
        });
        Self {
            address,
            cuts,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Carries bytes until so many have gone either way, then drops both ends.
async fn carry(mut client: TcpStream, mut server: TcpStream, bytes: usize) {
    let (mut up, mut down) = ([0; 700], [0; 700]);
    let mut carried = 0;
    while carried < bytes {
        tokio::select! {
            len = client.read(&mut up) => match len {
                Ok(len) if len > 0 => {
                    let len = len.min(bytes - carried);
                    carried += len;
                    if server.write_all(&up[..len]).await.is_err() { return }
                }
                _ => return,
            },
            len = server.read(&mut down) => match len {
                Ok(len) if len > 0 => {
                    let len = len.min(bytes - carried);
                    carried += len;
                    if client.write_all(&down[..len]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}

async fn carry_all(mut client: TcpStream, mut server: TcpStream) {
    copy_bidirectional(&mut client, &mut server).await.ok();
}

fn options(address: SocketAddr, protocol: ProtocolVersion, client_id: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(address.ip().to_string(), address.port(), client_id);
    options.protocol = protocol;
    options.clean_start = false;
    options.session_expiry = Duration::from_secs(300);
    options
}

async fn every_publish_arrives_once(protocol: ProtocolVersion) {
    let broker = Mosquitto::start().unwrap();
    let scissors = Scissors::before(&broker).await;
    let mut receiver = TestClient::connect(&broker).await.unwrap();
    receiver.subscribe("t/#", 2).await.unwrap();

    let options = options(scissors.address, protocol, "sender");
    let mut publisher = Publisher::start(options, Arc::default());
    let publish = |n: usize| {
        let payload = format!("{n:064}");
        Publish::new(Bytes::from_static(b"t/x"), payload, QoS::ExactlyOnce)
    };
    publisher
        .publish((0..MESSAGES).map(publish).collect())
        .await
        .unwrap();
    timeout(DEADLINE, publisher.flush()).await.unwrap().unwrap();
    assert_eq!(scissors.cuts(), CUTS);

    // What the broker hands on after this is behind it.
    receiver.publish("t/end", "", 1, false).await.unwrap();
    for n in 0..MESSAGES {
        let message = receiver.recv(DEADLINE).await.unwrap();
        assert_eq!(message.text(), format!("{n:064}"), "after {n}");
    }
    let end = receiver.recv(DEADLINE).await.unwrap();
    assert_eq!(end.topic, "t/end", "twice: {}", end.text());
    publisher.close().await.unwrap();
}

#[tokio::test]
async fn every_publish_arrives_once_on_5() {
    every_publish_arrives_once(ProtocolVersion::V5).await;
}

#[tokio::test]
async fn every_publish_arrives_once_on_3_1_1() {
    every_publish_arrives_once(ProtocolVersion::V311).await;
}

/// A client that publishes at QoS 2 and vanishes before it releases: the broker remembers the packet ids.
async fn leave_ids_behind(broker: &Mosquitto, protocol: ProtocolVersion, client_id: &str) {
    let (level, properties): (u8, &[u8]) = match protocol {
        ProtocolVersion::V31 | ProtocolVersion::V311 => (4, &[]),
        ProtocolVersion::V5 => (5, &[5, 0x11, 0, 0, 1, 0]),
    };
    let mut connect = vec![0, 4, b'M', b'Q', b'T', b'T', level, 0, 0, 60];
    connect.extend(properties);
    connect.extend([0, client_id.len() as u8]);
    connect.extend(client_id.as_bytes());
    let mut stream = TcpStream::connect(broker.plain_addr()).await.unwrap();
    let header = [0x10, connect.len() as u8];
    stream
        .write_all(&[&header, &connect[..]].concat())
        .await
        .unwrap();
    let no_properties: &[u8] = if level == 5 { &[0] } else { &[] };
    for id in 1..=10 {
        let publish = [&[0, 3, b't', b'/', b'x', 0, id][..], no_properties, b"old"].concat();
        let header = [0x34, publish.len() as u8];
        stream
            .write_all(&[&header, &publish[..]].concat())
            .await
            .unwrap();
    }
    let mut read = Vec::new();
    while !read.ends_with(&[0x50, 2, 0, 10]) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{read:?}");
    }
}

#[tokio::test]
async fn packet_ids_of_an_earlier_process_do_not_swallow_new_messages() {
    for protocol in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let broker = Mosquitto::builder().debug_log().start().unwrap();
        leave_ids_behind(&broker, protocol, "sender").await;
        let mut receiver = TestClient::connect(&broker).await.unwrap();
        receiver.subscribe("t/#", 2).await.unwrap();
        let options = options(broker.plain_addr(), protocol, "sender");
        let mut publisher = Publisher::start(options, Arc::default());
        let publish = |n: usize| Publish::new("t/x", n.to_string(), QoS::ExactlyOnce);
        publisher
            .publish((0..20).map(publish).collect())
            .await
            .unwrap();
        timeout(DEADLINE, publisher.flush()).await.unwrap().unwrap();
        for n in 0..20 {
            assert_eq!(receiver.recv(DEADLINE).await.unwrap().text(), n.to_string());
        }
        // Mosquitto looks into the payload too before it swallows one; others do not.
        let log = broker.log();
        assert!(log.contains("Sending CONNACK to sender (0, 0)"), "{log}");
        assert!(
            !log.contains("Sending CONNACK to sender (1, 0)"),
            "the old session is used"
        );
        publisher.close().await.unwrap();
    }
}

async fn every_message_is_received_once(protocol: ProtocolVersion) {
    let broker = Mosquitto::builder()
        .max_inflight_messages(100)
        .start()
        .unwrap();
    let scissors = Scissors::before(&broker).await;
    let metrics = Arc::new(Metrics::default());
    let subscription = Subscription::new("t/+", QoS::ExactlyOnce);
    let mut subscriber = Subscriber::start(
        options(scissors.address, protocol, "receiver"),
        vec![subscription],
        Arc::clone(&metrics),
    );
    timeout(DEADLINE, subscriber.subscribed())
        .await
        .unwrap()
        .unwrap();
    let sender = TestClient::connect(&broker).await.unwrap();
    let payloads = (0..MESSAGES).map(|n| format!("{n:064}"));
    sender.publish_many("t/x", payloads, 2).await.unwrap();
    sender.publish_many("t/x", ["end"], 2).await.unwrap();

    let mut next = 0;
    let mut ended = false;
    while !ended {
        let inbound = timeout(DEADLINE, subscriber.recv()).await.unwrap().unwrap();
        for message in inbound.iter() {
            ended = message.payload == b"end";
            if !ended {
                assert_eq!(message.payload, format!("{next:064}").as_bytes());
                next += 1;
            }
        }
        // Late: what was received last stays unacknowledged until more has come, if more may come.
        let late = if ended { 0 } else { 50 };
        subscriber.ack(inbound.last_seq().saturating_sub(late));
    }
    assert_eq!(next, MESSAGES);
    assert_eq!(scissors.cuts(), CUTS);
    assert!(metrics.snapshot().reconnects >= CUTS as u64);
    subscriber.close().await.unwrap();
}

#[tokio::test]
async fn every_message_is_received_once_on_5() {
    every_message_is_received_once(ProtocolVersion::V5).await;
}

#[tokio::test]
async fn every_message_is_received_once_on_3_1_1() {
    every_message_is_received_once(ProtocolVersion::V311).await;
}

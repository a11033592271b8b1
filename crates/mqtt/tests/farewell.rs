//! How a subscriber ends, and what it does not take, against a broker that follows a script.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater_mqtt::{ConnectOptions, ProtocolVersion, QoS, Subscriber, Subscription};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const DISCONNECT: u8 = 0xE0;

/// The broker's end of a connection, MQTT 3.1.1.
struct Broker(TcpStream);

impl Broker {
    /// Lets one client in, answers its SUBSCRIBE to one filter, and sends this behind it.
    async fn serve(listener: &TcpListener, then: &[u8]) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut broker = Self(stream);
        assert_eq!(broker.packet().await.0, 0x10, "CONNECT");
        broker.send(&[0x20, 2, 0, 0]).await;
        let (first, body) = broker.packet().await;
        assert_eq!(first, 0x82, "SUBSCRIBE");
        broker.send(&[0x90, 3, body[0], body[1], 2]).await;
        broker.send(then).await;
        broker
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next packet of the client: its first byte and its body, which must be shorter than 128 bytes.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let mut header = [0; 2];
            self.0.read_exact(&mut header).await.unwrap();
            let mut body = vec![0; usize::from(header[1])];
            self.0.read_exact(&mut body).await.unwrap();
            (header[0], body)
        };
        timeout(DEADLINE, read).await.unwrap()
    }

    async fn expect(&mut self, first: u8, packet_id: u8) {
        assert_eq!(self.packet().await, (first, vec![0, packet_id]));
    }
}

/// A message with one letter as its topic and no payload.
fn publish(flags: u8, topic: u8, packet_id: u8) -> [u8; 7] {
    [0x30 | flags, 5, 0, 1, topic, 0, packet_id]
}

async fn listen() -> (TcpListener, Subscriber) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = ConnectOptions::new("127.0.0.1", port, "c");
    options.protocol = ProtocolVersion::V311;
    let filter = Subscription::new("t", QoS::ExactlyOnce);
    let subscriber = Subscriber::start(options, vec![filter], Arc::default());
    (listener, subscriber)
}

#[tokio::test]
async fn the_goodbye_comes_after_the_last_release() {
    let (listener, mut subscriber) = listen().await;
    let messages = [publish(0x04, b't', 7), publish(0x04, b't', 8)].concat();
    let mut broker = Broker::serve(&listener, &messages).await;
    let mut last = 0;
    while last < 2 {
        last = timeout(DEADLINE, subscriber.recv())
            .await
            .unwrap()
            .unwrap()
            .last_seq();
    }
    subscriber.ack(1);
    let closed = tokio::spawn(subscriber.close());
    broker.expect(PUBREC, 7).await;
    // Nothing but the answer to this is said before it, and what comes now is for nobody.
    broker.send(&publish(0x04, b't', 9)).await;
    broker.send(&[PUBREL, 2, 0, 7]).await;
    broker.expect(PUBCOMP, 7).await;
    assert_eq!(broker.packet().await, (DISCONNECT, Vec::new()));
    drop(broker);
    timeout(DEADLINE, closed).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_broker_that_releases_nothing_is_not_waited_for_long() {
    let (listener, mut subscriber) = listen().await;
    let mut broker = Broker::serve(&listener, &publish(0x04, b't', 7)).await;
    timeout(DEADLINE, subscriber.recv()).await.unwrap().unwrap();
    subscriber.ack(1);
    let closed = tokio::spawn(subscriber.close());
    broker.expect(PUBREC, 7).await;
    assert_eq!(broker.packet().await, (DISCONNECT, Vec::new()));
    drop(broker);
    timeout(DEADLINE, closed).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn retained_messages_that_nobody_asked_for_are_acknowledged_and_dropped() {
    let (listener, mut subscriber) = listen().await;
    let messages = [publish(0x03, b'x', 5), publish(0x03, b't', 6)].concat();
    let mut broker = Broker::serve(&listener, &messages).await;
    let inbound = timeout(DEADLINE, subscriber.recv()).await.unwrap().unwrap();
    let topics: Vec<_> = inbound.iter().map(|message| message.topic()).collect();
    assert_eq!((topics, inbound.last_seq()), (vec!["t"], 1));
    assert_eq!(subscriber.unwanted(), 1);
    broker.expect(PUBACK, 5).await;
    subscriber.ack(1);
    broker.expect(PUBACK, 6).await;
}

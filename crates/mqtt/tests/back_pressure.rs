//! A connection that is lost while nobody receives: it is made again when there is room for what it brings, and not
//! before, because until then not even its CONNACK would be read.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater_connector::Metrics;
use headwater_mqtt::{ConnectOptions, ProtocolVersion, QoS, Subscriber, Subscription};
use headwater_testkit::wait_for_async;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
/// How long a login may take. A client that logs in while it cannot read does so again after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes the next packet of the client: its first byte.
async fn packet(stream: &mut TcpStream) -> u8 {
    let first = stream.read_u8().await.unwrap();
    let len = stream.read_u8().await.unwrap();
    assert!(len < 0x80, "longer than this broker understands");
    let mut body = vec![0; len.into()];
    stream.read_exact(&mut body).await.unwrap();
    first
}

async fn login(listener: &TcpListener, session_present: u8) -> TcpStream {
    let (mut stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(packet(&mut stream).await, 0x10, "CONNECT");
    stream
        .write_all(&[0x20, 2, session_present, 0])
        .await
        .unwrap();
    stream
}

/// PUBLISH of QoS 1 to 't', with a payload of 100,000 bytes.
fn large_publish(packet_id: u16) -> Vec<u8> {
    let len = 3 + 2 + 100_000_usize;
    let mut bytes = vec![0x32];
    bytes.extend([
        (len & 0x7F) as u8 | 0x80,
        (len >> 7 & 0x7F) as u8 | 0x80,
        (len >> 14) as u8,
    ]);
    bytes.extend([0, 1, b't']);
    bytes.extend(packet_id.to_be_bytes());
    bytes.resize(bytes.len() + 100_000, b'x');
    bytes
}

#[tokio::test]
async fn a_lost_connection_is_made_again_when_it_can_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = ConnectOptions::new("127.0.0.1", port, "slow");
    options.protocol = ProtocolVersion::V311;
    options.clean_start = false;
    options.keep_alive = Duration::from_secs(1);
    options.connect_timeout = CONNECT_TIMEOUT;
    let metrics = Arc::new(Metrics::default());
    let subscription = Subscription::new("t", QoS::AtLeastOnce);
    let mut subscriber = Subscriber::start(options, vec![subscription], Arc::clone(&metrics));

    let mut stream = login(&listener, 0).await;
    assert_eq!(packet(&mut stream).await, 0x82, "SUBSCRIBE");
    stream.write_all(&[0x90, 3, 0, 1, 1]).await.unwrap();
    // Until the client reads no more, and the buffers between are full.
    for packet_id in 1.. {
        let packet = large_publish(packet_id);
        let written = timeout(Duration::from_millis(500), stream.write_all(&packet)).await;
        if written.is_err() {
            break;
        }
    }
    drop(stream);
    wait_for_async("the loss to be noticed", DEADLINE, || {
        metrics.snapshot().in_flight == 0
    })
    .await
    .unwrap();
    let early = timeout(CONNECT_TIMEOUT / 2, listener.accept()).await;
    assert!(early.is_err(), "it connects although it cannot read");

    let broker = tokio::spawn(async move {
        let mut stream = login(&listener, 1).await;
        stream
            .write_all(&[0x32, 6, 0, 1, b't', 0, 1, b'!'])
            .await
            .unwrap();
        while packet(&mut stream).await != 0x40 {}
        stream
    });
    loop {
        let inbound = timeout(DEADLINE, subscriber.recv()).await.unwrap().unwrap();
        subscriber.ack(inbound.last_seq());
        if inbound.iter().any(|message| message.payload == b"!") {
            break;
        }
    }
    timeout(DEADLINE, broker).await.unwrap().unwrap();
    assert_eq!(metrics.snapshot().reconnects, 1);
}

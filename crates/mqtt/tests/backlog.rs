//! A session with more in it than the inbox holds: the broker sends it before its SUBACK.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater_mqtt::{ConnectOptions, ProtocolVersion, QoS, Subscriber, Subscription};
use headwater_testkit::{Mosquitto, TestClient};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const MESSAGES: usize = 5000;

fn subscriber(broker: &Mosquitto, protocol: ProtocolVersion) -> Subscriber {
    let mut options = ConnectOptions::new("127.0.0.1", broker.port(), "the-backlog");
    options.protocol = protocol;
    options.clean_start = false;
    options.session_expiry = Duration::from_secs(3600);
    let subscription = Subscription::new("backlog", QoS::AtLeastOnce);
    Subscriber::start(options, vec![subscription], Arc::default())
}

async fn a_large_backlog_is_read(protocol: ProtocolVersion) {
    let broker = Mosquitto::builder()
        .max_inflight_messages(0)
        .start()
        .unwrap();
    let mut first = subscriber(&broker, protocol);
    timeout(DEADLINE, first.subscribed())
        .await
        .unwrap()
        .unwrap();
    first.close().await.unwrap();

    let client = TestClient::connect(&broker).await.unwrap();
    let payloads = (0..MESSAGES).map(|n| format!("{n:01024}"));
    client.publish_many("backlog", payloads, 1).await.unwrap();

    let mut second = subscriber(&broker, protocol);
    // nobody reads yet, as a source that is being opened does not
    timeout(DEADLINE, second.subscribed())
        .await
        .unwrap()
        .unwrap();
    let mut next = 0;
    while next < MESSAGES {
        let inbound = timeout(DEADLINE, second.recv()).await.unwrap().unwrap();
        for message in inbound.iter() {
            assert_eq!(message.payload, format!("{next:01024}").as_bytes());
            next += 1;
        }
        second.ack(inbound.last_seq());
    }
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_large_backlog_is_read_on_5() {
    a_large_backlog_is_read(ProtocolVersion::V5).await;
}

#[tokio::test]
async fn a_large_backlog_is_read_on_3_1_1() {
    a_large_backlog_is_read(ProtocolVersion::V311).await;
}

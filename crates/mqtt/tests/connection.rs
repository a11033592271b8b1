//! The two handles against a real broker: Mosquitto, one for each test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test panics when it fails"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_connector::Metrics;
use headwater_mqtt::{
    ConnectOptions, MqttError, Password, ProtocolVersion, Publish, Publisher, QoS, ReasonCode,
    Subscriber, Subscription, tls,
};
use headwater_testkit::{Mosquitto, wait_for_async};
use tokio::time::timeout;

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(30);

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

fn options(broker: &Mosquitto, client_id: &str) -> ConnectOptions {
    let address = broker.plain_addr();
    ConnectOptions::new(address.ip().to_string(), address.port(), client_id)
}

fn subscriber(options: ConnectOptions, filter: &str, qos: QoS) -> (Subscriber, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let subscription = Subscription::new(filter, qos);
    let subscriber = Subscriber::start(options, vec![subscription], Arc::clone(&metrics));
    (subscriber, metrics)
}

fn publisher(options: ConnectOptions) -> Publisher {
    Publisher::start(options, Arc::new(Metrics::default()))
}

fn batch(numbers: std::ops::Range<u64>, qos: QoS) -> Vec<Publish> {
    numbers
        .map(|number| Publish::new(Bytes::from_static(b"t/x"), number.to_string(), qos))
        .collect()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("{what}: not within {DEADLINE:?}"))
}

/// Receives and acknowledges until all of these numbers have come; answers how many messages that took.
async fn receive_all(subscriber: &mut Subscriber, numbers: std::ops::Range<u64>) -> usize {
    let mut missing: BTreeSet<u64> = numbers.collect();
    let mut received = 0;
    while !missing.is_empty() {
        let inbound = within("messages", subscriber.recv()).await.unwrap();
        for message in inbound.iter() {
            assert_eq!(message.topic(), "t/x");
            missing.remove(
                &std::str::from_utf8(message.payload)
                    .unwrap()
                    .parse()
                    .unwrap(),
            );
            received += 1;
        }
        subscriber.ack(inbound.last_seq());
    }
    received
}

#[tokio::test]
async fn messages_go_there_and_back() {
    let broker = Mosquitto::start().unwrap();
    for protocol in VERSIONS.into_iter().chain([ProtocolVersion::V31]) {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut receiving = options(&broker, "receiver");
            receiving.protocol = protocol;
            let (mut subscriber, _metrics) = subscriber(receiving, "t/+", qos);
            within("subscription", subscriber.subscribed())
                .await
                .unwrap();
            let mut sending = options(&broker, "sender");
            sending.protocol = protocol;
            let mut publisher = publisher(sending);
            publisher.publish(batch(0..5_000, qos)).await.unwrap();
            within("flush", publisher.flush()).await.unwrap();
            assert_eq!(receive_all(&mut subscriber, 0..5_000).await, 5_000);
            within("close", publisher.close()).await.unwrap();
            within("close", subscriber.close()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_to_the_next_process() {
    let broker = Mosquitto::start().unwrap();
    for protocol in VERSIONS {
        let mut persistent = options(&broker, "durable");
        persistent.protocol = protocol;
        persistent.clean_start = false;
        persistent.session_expiry = Duration::from_secs(3600);
        let (mut first, _) = subscriber(persistent.clone(), "t/+", QoS::AtLeastOnce);
        within("subscription", first.subscribed()).await.unwrap();
        let mut publisher = publisher(options(&broker, "sender"));
        publisher
            .publish(batch(0..10, QoS::AtLeastOnce))
            .await
            .unwrap();
        within("flush", publisher.flush()).await.unwrap();
        let mut seen = 0;
        while seen < 10 {
            seen = within("messages", first.recv()).await.unwrap().last_seq();
        }
        first.ack(4);
        within("close", first.close()).await.unwrap();

        let (mut second, metrics) = subscriber(persistent, "t/+", QoS::AtLeastOnce);
        assert_eq!(
            receive_all(&mut second, 4..10).await,
            6,
            "0 to 3 were acknowledged"
        );
        within("close", second.close()).await.unwrap();
        assert_eq!(metrics.snapshot().in_flight, 0);
    }
}

#[tokio::test]
async fn a_killed_broker_costs_nothing_at_qos_1() {
    let mut broker = Mosquitto::builder().persistence().start().unwrap();
    let mut persistent = options(&broker, "durable");
    persistent.clean_start = false;
    persistent.session_expiry = Duration::from_secs(3600);
    let (mut subscriber, metrics) = subscriber(persistent, "t/+", QoS::AtLeastOnce);
    within("subscription", subscriber.subscribed())
        .await
        .unwrap();
    let mut publisher = publisher(options(&broker, "sender"));
    publisher
        .publish(batch(0..500, QoS::AtLeastOnce))
        .await
        .unwrap();
    receive_all(&mut subscriber, 0..100).await;
    broker.kill().unwrap();
    publisher
        .publish(batch(500..1_000, QoS::AtLeastOnce))
        .await
        .unwrap();
    let flush = publisher.flush();
    broker.restart().unwrap();
    within("flush", flush).await.unwrap();
    // What came before the kill need not come again.
    receive_all(&mut subscriber, 500..1_000).await;
    within("close", publisher.close()).await.unwrap();
    within("close", subscriber.close()).await.unwrap();
    assert_eq!(metrics.snapshot().reconnects, 1);
}

#[tokio::test]
async fn fatal_errors_say_what_to_do() {
    let broker = Mosquitto::builder()
        .user("reader", "right")
        .start()
        .unwrap();
    let mut wrong = options(&broker, "wrong");
    wrong.username = Some("reader".to_owned());
    wrong.password = Some(Password::new("hunter2"));
    for protocol in VERSIONS {
        wrong.protocol = protocol;
        let (mut subscriber, _) = subscriber(wrong.clone(), "t", QoS::AtLeastOnce);
        let error = within("refusal", subscriber.subscribed())
            .await
            .unwrap_err();
        assert!(matches!(error, MqttError::LoginRefused { .. }), "{error}");
        let text = format!("{error} {error:?} {wrong:?}");
        assert!(
            text.contains("username and password") && !text.contains("hunter2"),
            "{text}"
        );
        assert!(matches!(subscriber.recv().await, Err(MqttError::Closed)));

        let mut publisher = publisher(wrong.clone());
        let flushed = publisher.publish(batch(0..1, QoS::AtLeastOnce)).await;
        let flushed = match flushed {
            Ok(()) => within("refusal", publisher.flush()).await,
            refused => refused,
        };
        assert!(
            matches!(flushed, Err(MqttError::LoginRefused { .. })),
            "{flushed:?}"
        );
    }
}

#[tokio::test]
async fn a_forbidden_topic_is_reported_by_the_flush_that_covers_it() {
    let broker = Mosquitto::builder()
        .acl("topic readwrite t/#\n")
        .start()
        .unwrap();
    let mut publisher = publisher(options(&broker, "sender"));
    publisher
        .publish(batch(0..10, QoS::AtLeastOnce))
        .await
        .unwrap();
    within("flush", publisher.flush()).await.unwrap();
    let mut forbidden = batch(10..20, QoS::AtLeastOnce);
    forbidden[5].topic = Bytes::from_static(b"secret");
    publisher.publish(forbidden).await.unwrap();
    let refused = within("flush", publisher.flush()).await;
    let Err(MqttError::Refused { topic, reason, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (topic.as_str(), reason),
        ("secret", ReasonCode::NOT_AUTHORIZED)
    );
    publisher
        .publish(batch(20..30, QoS::AtLeastOnce))
        .await
        .unwrap();
    within("flush", publisher.flush()).await.unwrap();
    within("close", publisher.close()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let mut broker = Mosquitto::start().unwrap();
    broker.stop().unwrap();
    let (mut subscriber, _) = subscriber(options(&broker, "early"), "t", QoS::AtMostOnce);
    let early = timeout(Duration::from_millis(300), subscriber.subscribed()).await;
    assert!(early.is_err(), "there is no broker: {early:?}");
    broker.restart().unwrap();
    within("subscription", subscriber.subscribed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_owner_stops_the_reading_but_not_the_connection() {
    let broker = Mosquitto::builder().debug_log().start().unwrap();
    let mut slow = options(&broker, "slow");
    slow.keep_alive = Duration::from_secs(1);
    let (mut subscriber, metrics) = subscriber(slow, "t/+", QoS::AtLeastOnce);
    within("subscription", subscriber.subscribed())
        .await
        .unwrap();
    let mut publisher = publisher(options(&broker, "sender"));
    for number in 0..40 {
        let payload = vec![b' '; 200_000];
        let mut publish = batch(number..number + 1, QoS::AtLeastOnce);
        publish[0].payload = [number.to_string().into_bytes(), payload].concat().into();
        publisher.publish(publish).await.unwrap();
    }
    within("flush", publisher.flush()).await.unwrap();
    // Of a client that does not ping, the broker bears with 1.5 intervals; three pings take 2.25.
    let pings = || broker.log().matches("Received PINGREQ from slow").count();
    wait_for_async("three pings", DEADLINE, || pings() >= 3)
        .await
        .unwrap();
    assert!(
        metrics.snapshot().in_flight < 40,
        "the socket was read although nobody received"
    );
    let mut received = 0;
    while received < 40 {
        let inbound = within("messages", subscriber.recv()).await.unwrap();
        received += inbound.len();
        subscriber.ack(inbound.last_seq());
    }
    assert_eq!(metrics.snapshot().reconnects, 0);
    within("close", subscriber.close()).await.unwrap();
}

#[tokio::test]
async fn tls_checks_the_certificate() {
    let broker = Mosquitto::builder().tls().start().unwrap();
    let ca = broker.certificates().unwrap().ca.display().to_string();
    let mut secure = ConnectOptions::new("localhost", broker.port(), "secure");
    let trusted = tls::TlsParts {
        ca: Some(ca),
        ..tls::TlsParts::default()
    };
    secure.tls = Some(tls::configure("localhost", &trusted).unwrap());
    let mut sender = publisher(secure.clone());
    sender
        .publish(batch(0..2_000, QoS::AtLeastOnce))
        .await
        .unwrap();
    within("flush", sender.flush()).await.unwrap();
    within("close", sender.close()).await.unwrap();

    let other = Mosquitto::builder().tls().start().unwrap();
    secure.port = other.port();
    let mut stranger = publisher(secure);
    let error = within("refusal", stranger.connected()).await.unwrap_err();
    assert!(matches!(error, MqttError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("tls.ca"), "{error}");
}

//! Several filters in one session, and sessions that remember filters of an earlier process, against Mosquitto.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use headwater_connector::Metrics;
use headwater_mqtt::{
    ConnectOptions, Former, ProtocolVersion, QoS, Subscriber, Subscription, Subscriptions,
};
use headwater_testkit::{Mosquitto, TestClient, wait_for_async};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

async fn subscriber(
    broker: &Mosquitto,
    protocol: ProtocolVersion,
    subscriptions: impl Into<Subscriptions>,
) -> (Subscriber, Arc<Metrics>) {
    let mut options = ConnectOptions::new("127.0.0.1", broker.port(), "durable");
    options.protocol = protocol;
    options.clean_start = false;
    options.session_expiry = Duration::from_secs(3600);
    let metrics = Arc::new(Metrics::default());
    let mut subscriber = Subscriber::start(options, subscriptions, Arc::clone(&metrics));
    let subscribed = timeout(DEADLINE, subscriber.subscribed());
    subscribed.await.unwrap().unwrap();
    (subscriber, metrics)
}

fn filters(filters: &[&str]) -> Vec<Subscription> {
    let subscription = |filter: &&str| Subscription::new(*filter, QoS::AtLeastOnce);
    filters.iter().map(subscription).collect()
}

fn known(filters: &[&str]) -> Former {
    Former {
        filters: filters.iter().map(ToString::to_string).collect(),
        complete: true,
    }
}

/// Topics and QoS of so many messages, which are acknowledged.
async fn receive(subscriber: &mut Subscriber, count: usize) -> Vec<(String, u8)> {
    let mut received = Vec::new();
    while received.len() < count {
        let inbound = timeout(DEADLINE, subscriber.recv()).await.unwrap().unwrap();
        let seen = inbound
            .iter()
            .map(|m| (m.topic().to_owned(), m.qos().level()));
        received.extend(seen);
        subscriber.ack(inbound.last_seq());
    }
    received
}

#[tokio::test]
async fn every_filter_has_its_qos() {
    let broker = Mosquitto::start().unwrap();
    let client = TestClient::connect(&broker).await.unwrap();
    for protocol in VERSIONS {
        // More than fit into one SUBSCRIBE.
        let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .cycle();
        let of = |(n, qos): (usize, QoS)| Subscription::new(format!("t/{n}/+"), qos);
        let wanted: Vec<_> = all.take(20).enumerate().map(of).collect();
        let (mut subscriber, _) = subscriber(&broker, protocol, wanted).await;
        for n in 0..20 {
            client
                .publish(&format!("t/{n}/x"), "", 2, false)
                .await
                .unwrap();
        }
        let received = receive(&mut subscriber, 20).await;
        let expected = |n: usize| (format!("t/{n}/x"), (n % 3) as u8);
        assert_eq!(received, (0..20).map(expected).collect::<Vec<_>>());
        subscriber.close().await.unwrap();
    }
}

#[tokio::test]
async fn filters_that_are_known_are_unsubscribed() {
    for protocol in VERSIONS {
        let broker = Mosquitto::start().unwrap();
        let client = TestClient::connect(&broker).await.unwrap();
        let (first, _) = subscriber(&broker, protocol, filters(&["old/+", "kept/+"])).await;
        first.close().await.unwrap();
        client.publish_many("old/x", ["1", "2"], 1).await.unwrap();
        client.publish_many("kept/x", ["3"], 1).await.unwrap();

        let mut changed = Subscriptions::from(filters(&["kept/+", "new/+"]));
        changed.former = known(&["old/+", "kept/+"]);
        let (mut second, _) = subscriber(&broker, protocol, changed).await;
        assert_eq!(receive(&mut second, 1).await[0].0, "kept/x");
        client.publish_many("old/x", ["4"], 1).await.unwrap();
        client.publish_many("new/x", ["5"], 1).await.unwrap();
        assert_eq!(receive(&mut second, 1).await[0].0, "new/x");
        second.close().await.unwrap();

        // Nothing is compared now, so what the broker sends would show.
        let mut unchanged = Subscriptions::from(filters(&["kept/+", "new/+"]));
        unchanged.former = known(&[]);
        let (mut third, _) = subscriber(&broker, protocol, unchanged).await;
        client.publish_many("old/x", ["6"], 1).await.unwrap();
        client.publish_many("kept/x", ["7"], 1).await.unwrap();
        assert_eq!(receive(&mut third, 1).await[0].0, "kept/x");
        third.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_nobody_asks_for_is_acknowledged_and_dropped() {
    for protocol in VERSIONS {
        let broker = Mosquitto::start().unwrap();
        let client = TestClient::connect(&broker).await.unwrap();
        let both = filters(&["old/+", "kept/+"]);
        let (first, _) = subscriber(&broker, protocol, both.clone()).await;
        first.close().await.unwrap();
        // More than Mosquitto sends before the first is acknowledged.
        let many = (0..100).map(|n: usize| n.to_string());
        client.publish_many("old/x", many, 2).await.unwrap();
        client.publish_many("kept/x", ["end"], 1).await.unwrap();

        let (mut second, metrics) = subscriber(&broker, protocol, filters(&["kept/+"])).await;
        assert_eq!(receive(&mut second, 1).await[0].0, "kept/x");
        wait_for_async("all to be acknowledged", DEADLINE, || {
            metrics.snapshot().in_flight == 0
        })
        .await
        .unwrap();
        assert_eq!(second.unwanted(), 100);
        second.close().await.unwrap();

        let (mut third, _) = subscriber(&broker, protocol, both).await;
        client.publish_many("kept/x", ["next"], 1).await.unwrap();
        assert_eq!(
            receive(&mut third, 1).await[0].0,
            "kept/x",
            "old/x came again"
        );
        third.close().await.unwrap();
    }
}

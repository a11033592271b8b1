//! The fake broker against clients that share nothing with it but the wire.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Bridge, FakeBroker, Feed, LoadClient, TlsFront, count_over_tls};
use crate::{Certificates, TestClient, wait_for, wait_for_async};

const DEADLINE: Duration = Duration::from_secs(30);
const STAMPED: &str = r#"{"ts":0000000000000000000,"n":1}"#;

fn feed(qos: u8, count: u64) -> Feed {
    Feed {
        topic: "sensors/1".to_owned(),
        payloads: vec![Bytes::from_static(b"one"), Bytes::from_static(b"three")],
        qos,
        count,
        window: 1_000,
        per_second: None,
        stamp_at: None,
    }
}

fn broker(feed: Feed) -> FakeBroker {
    FakeBroker::builder()
        .feed("sensors/+", feed)
        .start()
        .unwrap()
}

#[tokio::test]
async fn a_subscriber_gets_the_feed_in_order() {
    for v5 in [false, true] {
        for qos in [0, 1, 2] {
            let broker = broker(feed(qos, 5_000));
            let builder = TestClient::builder();
            let builder = if v5 { builder } else { builder.v311() };
            let mut client = builder.connect(broker.addr()).await.unwrap();
            client.subscribe("sensors/+", qos).await.unwrap();
            for index in 0..5_000 {
                let message = client.recv(DEADLINE).await.unwrap();
                assert_eq!(message.text(), ["one", "three"][index % 2]);
                assert_eq!((message.topic.as_str(), message.qos), ("sensors/1", qos));
            }
            assert_eq!(broker.counts().sent, 5_000);
            if qos > 0 {
                wait_for_async("the acknowledgements", DEADLINE, || {
                    broker.counts().acknowledged == 5_000
                })
                .await
                .unwrap();
                assert_eq!(broker.counts().misordered, 0);
            }
        }
    }
}

#[tokio::test]
async fn publishes_are_counted_and_acknowledged() {
    let broker = FakeBroker::builder().start().unwrap();
    let client = TestClient::builder().connect(broker.addr()).await.unwrap();
    // a publish at QoS 1 returns when it has been acknowledged
    client.publish("a", "x", 1, false).await.unwrap();
    client.publish("a", "y", 0, false).await.unwrap();
    client.publish("a", "z", 1, false).await.unwrap();
    client.publish("a", "twice", 2, false).await.unwrap();
    assert_eq!(broker.counts().received, 4);
}

#[test]
fn ids_wrap_around_and_the_window_holds() {
    let count = 200_000;
    let broker = broker(feed(1, count));
    let client = LoadClient::builder("counter")
        .subscribe("sensors/+", 1)
        .connect(broker.addr())
        .unwrap();
    wait_for("all messages to be acknowledged", DEADLINE, || {
        let counts = broker.counts();
        // what was sent is read first, so it can only seem less
        assert!(counts.sent.saturating_sub(counts.acknowledged) <= 1_000);
        counts.acknowledged == count
    })
    .unwrap();
    assert_eq!(client.counts().received, count);
    assert_eq!(broker.counts().misordered, 0);
}

#[test]
fn a_load_client_feeds_a_broker_and_ages_are_measured() {
    let broker = FakeBroker::builder()
        .measure_latency(b"\"ts\":")
        .start()
        .unwrap();
    let mut client = LoadClient::builder("feeder")
        .connect(broker.addr())
        .unwrap();
    client
        .publish(&Feed {
            payloads: vec![Bytes::from_static(STAMPED.as_bytes())],
            stamp_at: STAMPED.find('0'),
            ..feed(1, 100_000)
        })
        .unwrap();
    wait_for("all messages to be acknowledged", DEADLINE, || {
        client.counts().acknowledged == 100_000
    })
    .unwrap();
    let ages = broker.take_latencies_ns();
    assert_eq!(ages.len(), 100_000);
    let longest = Duration::from_nanos(ages.into_iter().max().unwrap());
    assert!(longest < DEADLINE, "{longest:?}");
}

#[test]
fn a_pace_is_kept() {
    let begun = Instant::now();
    let broker = broker(Feed {
        per_second: NonZeroU32::new(1_000),
        ..feed(0, 300)
    });
    let client = LoadClient::builder("paced")
        .v311()
        .subscribe("sensors/+", 0)
        .connect(broker.addr())
        .unwrap();
    wait_for("all messages", DEADLINE, || client.counts().received == 300).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(299));
}

#[test]
fn a_client_that_hangs_up_in_the_window_leaves_no_thread_behind() {
    let broker = broker(feed(1, 1_000_000));
    let client = LoadClient::builder("brief")
        .subscribe("sensors/+", 1)
        .connect(broker.addr())
        .unwrap();
    drop(client);
    // joins every thread, and would hang if the feed still waited for its window
    drop(broker);
}

#[test]
fn a_bridge_passes_everything_on_and_acknowledges_behind_it() {
    for qos in [0, 1, 2] {
        let count = 150_000;
        let acknowledged = if qos == 0 { 0 } else { count };
        let broker = broker(feed(qos, count));
        let bridge = Bridge::start(broker.addr(), "sensors/+", "out", qos).unwrap();
        wait_for("all messages to come back", DEADLINE, || {
            broker.counts().received == count
        })
        .unwrap();
        wait_for("the acknowledgements", DEADLINE, || {
            broker.counts().acknowledged == acknowledged
        })
        .unwrap();
        assert_eq!(broker.counts().misordered, 0);
        // it counts what it has written, a moment after that has arrived
        wait_for("its own counts", DEADLINE, || {
            bridge.forwarded() == count && bridge.acknowledged() == acknowledged
        })
        .unwrap();
    }
}

#[test]
fn a_feed_can_be_counted_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::generate(folder.path()).unwrap();
    let broker = broker(feed(0, 10_000));
    let front = TlsFront::start(&certificates, broker.addr()).unwrap();
    let received = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            count_over_tls(
                front.addr(),
                &certificates.ca,
                "sensors/+",
                || (),
                &received,
            )
        });
        wait_for("all messages", DEADLINE, || {
            received.load(Ordering::Relaxed) == 10_000
        })
        .unwrap();
        drop(broker);
        // the end of the broker's connection comes through, as an end or as a fault
        counting.join().unwrap().ok();
    });
}

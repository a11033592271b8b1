//! Brokers that die in the middle of it: at QoS 1 nothing is lost.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use headwater_testkit::{Mosquitto, TestClient, wait_for_async};
use tokio::time::timeout;

use crate::support::*;

const COUNT: i64 = 300;

#[tokio::test]
async fn a_source_misses_nothing_when_the_broker_is_killed() -> Result<()> {
    for version in ["5", "3.1.1"] {
        let mut broker = Mosquitto::builder().persistence().start()?;
        let with = With::source(&broker, "in")
            .qos_1()
            .and("protocol_version", version);
        let (mut source, metrics) = open_source("killed", with, one_column()).await?;
        let mut seen = BTreeSet::new();
        for round in 0..3 {
            let client = TestClient::connect(&broker).await?;
            let values = round * COUNT..(round + 1) * COUNT;
            client.publish_many("in", payloads(values), 1).await?;
            // Some are read and committed, some read only, the rest not even read when the broker dies.
            let (first, position) = next_rows(&mut *source).await?;
            seen.extend(values_of(&first));
            source.commit(position).await?;
            on_disk(&broker).await?;
            broker.kill()?;
            broker.restart()?;
        }
        while seen.len() < 3 * COUNT as usize {
            let (rows, position) = next_rows(&mut *source)
                .await
                .with_context(|| format!("MQTT {version}: {} rows seen", seen.len()))?;
            seen.extend(values_of(&rows));
            source.commit(position).await?;
        }
        assert_eq!(seen, BTreeSet::from_iter(0..3 * COUNT), "MQTT {version}");
        assert!(metrics.snapshot().reconnects > 0, "MQTT {version}");
        wait_for_async("acknowledgements", DEADLINE, || {
            metrics.snapshot().in_flight == 0
        })
        .await?;
        source.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_sink_loses_nothing_when_the_broker_is_killed() -> Result<()> {
    for version in ["5", "3.1.1"] {
        let mut broker = Mosquitto::builder().persistence().start()?;
        // The reader has a session that outlives the broker.
        let reader = || {
            TestClient::builder()
                .session("reader")
                .connect(broker.plain_addr())
        };
        let client = reader().await?;
        client.subscribe("out", 1).await?;
        client.disconnect().await?;

        let with = With::sink(&broker, "out")
            .qos_1()
            .and("protocol_version", version);
        let (mut sink, _) = make_sink("killed", with)?;
        for start in [0, COUNT, 2 * COUNT] {
            let middle = start + COUNT / 2;
            sink.write(batch(start..middle)).await?;
            timeout(DEADLINE, sink.flush()).await.context("flush")??;
            on_disk(&broker).await?;
            // Sent, but neither read nor acknowledged by a broker that will never run again.
            broker.pause()?;
            sink.write(batch(middle..start + COUNT)).await?;
            broker.kill()?;
            broker.restart()?;
        }
        timeout(DEADLINE, sink.flush()).await.context("flush")??;

        let mut client = TestClient::builder()
            .session("reader")
            .connect(broker.plain_addr())
            .await?;
        let mut seen = BTreeSet::new();
        while seen.len() < 3 * COUNT as usize {
            let message = client
                .recv(DEADLINE)
                .await
                .with_context(|| format!("MQTT {version}: {} messages seen", seen.len()))?;
            seen.insert(message.text());
        }
        assert_eq!(seen, BTreeSet::from_iter(payloads(0..3 * COUNT)));
        sink.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn operators_wait_for_a_broker_that_is_not_there_yet() -> Result<()> {
    let mut broker = Mosquitto::start()?;
    broker.kill()?;
    let (mut source, _) = make_source("early", With::source(&broker, "a").qos_1(), one_column())?;
    let (mut sink, _) = make_sink("early-sink", With::sink(&broker, "a").qos_1())?;
    sink.write(batch([1])).await?;
    broker.restart()?;
    timeout(DEADLINE, source.open()).await??;
    timeout(DEADLINE, sink.flush()).await??;
    // The row of before may have come ahead of the subscription; this one cannot.
    sink.write(batch([2])).await?;
    timeout(DEADLINE, sink.flush()).await??;
    let mut seen = Vec::new();
    while seen.last() != Some(&2) {
        seen.extend(values_of(&next_rows(&mut *source).await?.0));
    }
    Ok(())
}

#[tokio::test]
async fn a_sink_loses_nothing_when_the_broker_is_restarted_in_mid_stream() -> Result<()> {
    let mut broker = Mosquitto::builder().persistence().start()?;
    let client = TestClient::builder()
        .session("reader")
        .connect(broker.plain_addr())
        .await?;
    client.subscribe("out", 1).await?;
    client.disconnect().await?;
    let (mut sink, _) = make_sink("restarted", With::sink(&broker, "out").qos_1())?;
    for value in 0..COUNT {
        sink.write(batch([value])).await?;
        if value % 100 == 50 {
            broker.stop()?;
            broker.restart()?;
        }
    }
    timeout(DEADLINE, sink.flush()).await.context("flush")??;
    let mut client = TestClient::builder()
        .session("reader")
        .connect(broker.plain_addr())
        .await?;
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT as usize {
        seen.insert(client.recv(DEADLINE).await?.text());
    }
    assert_eq!(seen, BTreeSet::from_iter(payloads(0..COUNT)));
    Ok(())
}

/// Waits until the broker has written to disk what it has acknowledged. It does so once in every turn of its loop, but
/// after the acknowledgement: a second round trip takes place in a later turn than the first.
async fn on_disk(broker: &Mosquitto) -> Result<()> {
    let client = TestClient::builder().connect(broker.plain_addr()).await?;
    client.publish("turn", "1", 1, false).await?;
    client.publish("turn", "2", 1, false).await
}

fn values_of(batch: &arrow::array::RecordBatch) -> Vec<i64> {
    values(batch)
}

//! Rows become messages, and a flush means that the broker has them.

use std::time::Duration;

use anyhow::Result;
use headwater_testkit::{Mosquitto, TestClient};
use tokio::time::timeout;

use crate::support::*;

#[tokio::test]
async fn rows_arrive_in_order_at_every_service() -> Result<()> {
    let broker = Mosquitto::start()?;
    for (version, qos, level) in SERVICES {
        let topic = format!("out/{version}/{qos}");
        let mut client = TestClient::connect(&broker).await?;
        client.subscribe(&topic, 2).await?;
        let with = With::sink(&broker, &topic)
            .and("qos", qos)
            .and("protocol_version", version);
        let (mut sink, metrics) = make_sink(&topic, with)?;
        timeout(DEADLINE, sink.open()).await??;
        for start in [0, 100, 200] {
            sink.write(batch(start..start + 100)).await?;
        }
        timeout(DEADLINE, sink.flush()).await??;
        let messages = client.collect(300, DEADLINE).await?;
        let texts: Vec<_> = messages.iter().map(|m| m.text()).collect();
        assert_eq!(texts, payloads(0..300), "{topic}");
        assert!(
            messages.iter().all(|m| m.qos == level && !m.retain),
            "{topic}"
        );
        assert_eq!(metrics.snapshot().in_flight, 0, "{topic}");
        sink.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_retained_row_waits_for_those_who_come_later() -> Result<()> {
    let broker = Mosquitto::start()?;
    let with = With::sink(&broker, "state")
        .qos_1()
        .and("sink.retain", "true");
    let (mut sink, _) = make_sink("retain", with)?;
    sink.write(batch([1, 2])).await?;
    timeout(DEADLINE, sink.flush()).await??;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("state", 1).await?;
    let message = client.recv(DEADLINE).await?;
    assert_eq!((message.text(), message.retain), (payload(2), true));
    Ok(())
}

#[tokio::test]
async fn a_flush_waits_for_the_broker() -> Result<()> {
    let broker = Mosquitto::start()?;
    let (mut sink, _) = make_sink("flush", With::sink(&broker, "slow").qos_1())?;
    timeout(DEADLINE, sink.open()).await??;
    broker.pause()?;
    sink.write(batch([1])).await?;
    let mut flush = sink.flush();
    let early = timeout(Duration::from_millis(200), &mut flush).await;
    assert!(
        early.is_err(),
        "the broker cannot have acknowledged anything"
    );
    broker.resume()?;
    timeout(DEADLINE, flush).await??;
    Ok(())
}

#[tokio::test]
async fn a_refused_publish_fails_the_flush() -> Result<()> {
    let broker = Mosquitto::builder().acl("topic read #\n").start()?;
    let (mut sink, _) = make_sink("refused", With::sink(&broker, "forbidden").qos_1())?;
    sink.write(batch([1])).await?;
    let error = timeout(DEADLINE, sink.flush()).await?.err().unwrap();
    insta::assert_snapshot!(error, @"sink to 'forbidden': publishing to 'forbidden' was refused: not authorized (0x87)");
    Ok(())
}

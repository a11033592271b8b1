//! Rows become messages, and a flush means that the broker has them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use headwater_connector::Rejects;
use headwater_format::BadData;
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
    insta::assert_snapshot!(error, @"bad data: row for 'forbidden': refused: not authorized (0x87); with bad_data = 'drop' such rows are counted and left out, with 'dead_letter' they are kept elsewhere");
    Ok(())
}

/// `v` in the payload, `topic` around it.
fn with_topic(rows: &[(&str, i64)]) -> RecordBatch {
    let values: Int64Array = rows.iter().map(|(_, v)| *v).collect();
    let topics: StringArray = rows.iter().map(|(topic, _)| Some(*topic)).collect();
    let schema = with_metadata(&[("topic", DataType::Utf8)]).arrow_schema();
    RecordBatch::try_new(schema, vec![Arc::new(values), Arc::new(topics)]).unwrap()
}

#[tokio::test]
async fn what_the_broker_refuses_is_bad_data_of_its_row() -> Result<()> {
    // Mosquitto 2.0.11 closes the connection after a denial; what was behind it comes over the next one.
    const ACL: &str = "topic read #\ntopic write allowed/#\n";
    let broker = Mosquitto::builder().acl(ACL).start()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("#", 1).await?;
    for bad_data in [BadData::Drop, BadData::DeadLetter] {
        let mut context = context("refused-rows");
        context.rejects = Rejects::new(bad_data, Arc::clone(&context.metrics));
        let (metrics, rejects) = (Arc::clone(&context.metrics), context.rejects.clone());
        let with = With::broker(&broker).and("type", "sink").qos_1();
        let schema = with_metadata(&[("topic", DataType::Utf8)]);
        let mut sink = sink_in(context, with, schema)?;
        let rows = [
            ("allowed/a", 1),
            ("forbidden/b", 2),
            ("allowed/+", 3),
            ("forbidden/b", 4),
            ("allowed/c", 5),
        ];
        sink.write(with_topic(&rows)).await?;
        timeout(DEADLINE, sink.flush()).await??;
        let arrived = client.collect(2, DEADLINE).await?;
        let topics: Vec<_> = arrived.iter().map(|m| m.topic.as_str()).collect();
        assert_eq!(topics, ["allowed/a", "allowed/c"]);
        assert_eq!(metrics.snapshot().bad_data, 3, "{bad_data:?}");
        let letters: usize = rejects.take()?.iter().map(RecordBatch::num_rows).sum();
        let expect = if bad_data == BadData::Drop { 0 } else { 3 };
        assert_eq!(letters, expect, "all are told before the flush is done");
        timeout(DEADLINE, sink.close()).await??;
    }
    Ok(())
}

#[tokio::test]
async fn a_row_over_the_brokers_size_is_bad_data_with_the_codes_name() -> Result<()> {
    let broker = Mosquitto::builder().line("max_packet_size 200").start()?;
    let (mut sink, _) = make_sink("large", With::sink(&broker, &"t/".repeat(150)).qos_1())?;
    sink.write(batch([1])).await?;
    let error = timeout(DEADLINE, sink.flush())
        .await?
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("refused: packet too large (0x95)"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn the_order_of_each_topic_is_kept() -> Result<()> {
    let broker = Mosquitto::start()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("order/#", 1).await?;
    let with = With::broker(&broker).and("type", "sink").qos_1();
    let schema = with_metadata(&[("topic", DataType::Utf8)]);
    let mut sink = sink_in(context("order"), with, schema)?;
    let topics = ["order/a", "order/b", "order/c"];
    for start in [0, 300, 600] {
        let rows: Vec<_> = (start..start + 300)
            .map(|v| (topics[v as usize % 3], v))
            .collect();
        sink.write(with_topic(&rows)).await?;
    }
    timeout(DEADLINE, sink.flush()).await??;
    let arrived = client.collect(900, DEADLINE).await?;
    for (at, topic) in topics.iter().enumerate() {
        let own = arrived.iter().filter(|m| m.topic == *topic);
        let texts: Vec<_> = own.map(|m| m.text()).collect();
        assert_eq!(texts, payloads((0..300).map(|n| n * 3 + at as i64)));
    }
    Ok(())
}

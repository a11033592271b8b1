//! Lookup tables: the burst of retained messages at the beginning, outages, bounds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use headwater_connector::{ErasedConnector, LookupError, LookupOperator, Operator};
use headwater_mqtt::MqttConnector;
use headwater_testkit::{Mosquitto, TestClient};
use tokio::time::{Instant, timeout};

use crate::support::{DEADLINE, With, context, with_metadata};

fn lookup(with: With) -> Result<Box<dyn LookupOperator>> {
    let schema = with_metadata(&[("topic.id", DataType::Utf8)]);
    let with = with.and("type", "lookup").and("topic", "d/{id}/shadow");
    let connector: &dyn ErasedConnector = &MqttConnector;
    match connector.make_operator(&with.connection(schema)?, context("lookup"))? {
        Operator::Lookup(lookup) => Ok(lookup),
        _ => bail!("the options make no lookup table"),
    }
}

async fn get(lookup: &mut dyn LookupOperator, ids: &[&str]) -> Result<Vec<(u32, i64)>> {
    let field = Field::new("topic.id", DataType::Utf8, true);
    let ids = Arc::new(StringArray::from(ids.to_vec()));
    let keys = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![ids])?;
    let found = lookup
        .lookup(&keys)
        .await
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let values = found
        .rows
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    Ok(found.keys.into_iter().zip(values).collect())
}

async fn open(lookup: &mut dyn LookupOperator) -> Result<()> {
    let opened = timeout(DEADLINE, lookup.open()).await.context("open")?;
    opened.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Waits until a key has this value.
async fn becomes(lookup: &mut dyn LookupOperator, id: &str, value: i64) -> Result<()> {
    let until = Instant::now() + DEADLINE;
    while get(lookup, &[id]).await? != [(0, value)] {
        if Instant::now() > until {
            bail!("'{id}' does not become {value}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn every_retained_message_is_there_before_the_first_row() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    for id in 0..3000 {
        let (topic, payload) = (format!("d/{id}/shadow"), format!("{{\"v\":{id}}}"));
        client.publish(&topic, payload, 1, true).await?;
    }
    for version in ["5", "3.1.1"] {
        let with = With::broker(&broker)
            .qos_1()
            .and("protocol_version", version);
        let mut lookup = lookup(with)?;
        open(lookup.as_mut()).await?;
        let ids: Vec<String> = (0..3001).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let expected: Vec<_> = (0..3000).map(|id| (id, i64::from(id))).collect();
        assert_eq!(get(lookup.as_mut(), &ids).await?, expected);
        lookup.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_outage_is_bridged_by_what_is_known_and_mended_afterwards() -> Result<()> {
    let mut broker = Mosquitto::builder().persistence().start()?;
    let client = TestClient::connect(&broker).await?;
    client.publish("d/a/shadow", r#"{"v":1}"#, 1, true).await?;
    let mut lookup = lookup(With::broker(&broker).qos_1())?;
    open(lookup.as_mut()).await?;
    assert_eq!(get(lookup.as_mut(), &["a"]).await?, [(0, 1)]);
    broker.stop()?;
    assert_eq!(
        get(lookup.as_mut(), &["a"]).await?,
        [(0, 1)],
        "what was there before"
    );
    broker.restart()?;
    let client = TestClient::connect(&broker).await?;
    client.publish("d/a/shadow", r#"{"v":2}"#, 1, true).await?;
    becomes(lookup.as_mut(), "a", 2).await?;
    lookup.close().await?;
    Ok(())
}

#[tokio::test]
async fn more_than_fits_into_memory_is_an_error_for_good() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    client.publish("d/a/shadow", r#"{"v":1}"#, 1, true).await?;
    let mut lookup = lookup(With::broker(&broker).and("lookup.cache.max_bytes", "50"))?;
    let error = timeout(DEADLINE, lookup.open()).await?.unwrap_err();
    assert!(matches!(error, LookupError::Final(_)));
    let expected = "the latest messages on 'd/+/shadow' take more memory than the 50 bytes of lookup.cache.max_bytes";
    assert!(error.to_string().contains(expected), "{error}");
    Ok(())
}

#[tokio::test]
async fn bad_data_that_is_dropped_leaves_what_was_there_before() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    client.publish("d/a/shadow", r#"{"v":1}"#, 1, true).await?;
    let mut lookup = lookup(With::broker(&broker).and("bad_data", "drop"))?;
    open(lookup.as_mut()).await?;
    client.publish("d/a/shadow", "no JSON", 1, false).await?;
    client.publish("d/b/shadow", r#"{"v":7}"#, 1, false).await?;
    becomes(lookup.as_mut(), "b", 7).await?;
    assert_eq!(get(lookup.as_mut(), &["a"]).await?, [(0, 1)]);
    Ok(())
}

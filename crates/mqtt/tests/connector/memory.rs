//! What a source remembers of its session in the state folder, from one run to the next.

use anyhow::Result;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema};
use headwater_connector::{State, TableSchema};
use headwater_testkit::{Mosquitto, TestClient};

use crate::support::*;

/// Each run has other topics, and all have one session. Between them, messages are published.
async fn runs_follow_each_other(version: &str, state: &State) -> Result<Vec<Vec<i64>>> {
    // a message for each filter of a session, as the standard allows
    let broker = Mosquitto::builder().line("allow_duplicate_messages true");
    let broker = broker.start()?;
    let client = TestClient::connect(&broker).await?;
    let mut seen = Vec::new();
    for (run, topic) in ["a/+", "a/#", "b", "a/x"].into_iter().enumerate() {
        let with = With::source(&broker, topic).qos_1();
        let with = with.and("protocol_version", version);
        let job = format!("memory-{version}");
        let mut source = open_with_state(&job, state.clone(), with, one_column()).await?;
        let run = i64::try_from(run)? * 10;
        client.publish_many("a/x", payloads([run + 1]), 1).await?;
        client.publish_many("b", payloads([run + 2]), 1).await?;
        // in the order of the broker: whatever an earlier filter brings of those before is in front of it
        let last = topic.replace(['+', '#'], "x");
        client.publish_many(&last, payloads([run + 3]), 1).await?;
        let mut values = Vec::new();
        while values.last() != Some(&(run + 3)) {
            let (batch, position) = next_rows(&mut *source).await?;
            values.extend(self::values(&batch));
            source.commit(position).await?;
        }
        source.close().await?;
        seen.push(values);
    }
    Ok(seen)
}

#[tokio::test]
async fn filters_that_were_edited_bring_nothing_more() -> Result<()> {
    for version in ["3.1.1", "5"] {
        let dir = tempfile::tempdir()?;
        let seen = runs_follow_each_other(version, &State::open(dir.path())?).await?;
        let expected: [&[i64]; 4] = [&[1, 3], &[11, 13], &[22, 23], &[31, 33]];
        assert_eq!(seen, expected, "{version}");
    }
    Ok(())
}

/// The same without a state folder, so that the test above is known to see something: on MQTT 3.1.1 nothing
/// tells the copies apart.
#[tokio::test]
async fn without_a_state_folder_overlapping_filters_bring_rows_twice() -> Result<()> {
    let seen = runs_follow_each_other("3.1.1", &State::default()).await?;
    assert_eq!(seen[0], [1, 3]);
    assert!(seen[1].starts_with(&[11, 11, 13]), "{seen:?}");
    Ok(())
}

/// The topic's type and the payload in hex, as in `sql-tests/format/sparkplug.slt`.
const NODE_BIRTH: (&str, &str) = ("NBIRTH/n", "08e807120b0a056264536571200858001800");
const DEVICE_BIRTH: (&str, &str) = (
    "DBIRTH/n/d",
    "08e807120c0a017410022009650000ac41120a0a026f6e1003200b70011801",
);
/// Of the aliases 2 and 9.
const DATA: (&str, &str) = ("DDATA/n/d", "08d00f12071002650000b4411204100950051802");
const DEATH: (&str, &str) = ("NDEATH/n", "120b0a05626453657120085800");

/// Publishes messages to a source that has begun to read; names and values of the metrics of `rows` rows.
async fn metrics(
    broker: &Mosquitto,
    state: &State,
    messages: &[(&str, &str)],
    rows: usize,
    commit: bool,
) -> Result<Vec<String>> {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let schema = TableSchema::payload_only(&Schema::new(vec![text("name"), text("value")]));
    let with = With::source(broker, "spBv1.0/#").qos_1();
    let with = with.and("format", "sparkplug_b");
    let mut source = open_with_state("sparkplug", state.clone(), with, schema).await?;
    let client = TestClient::connect(broker).await?;
    for (topic, hex) in messages {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16);
        let payload: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
        let topic = format!("spBv1.0/g/{topic}");
        client.publish(&topic, payload?, 1, false).await?;
    }
    let mut seen = Vec::new();
    while seen.len() < rows {
        let (batch, position) = next_rows(&mut *source).await?;
        let column = |at: usize| batch.column(at).as_string::<i32>().iter();
        let cell = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let row = |(name, value)| format!("{} {}", cell(name), cell(value));
        seen.extend(column(0).zip(column(1)).map(row));
        if commit {
            source.commit(position).await?;
        }
    }
    source.close().await?;
    Ok(seen)
}

#[tokio::test]
async fn births_of_an_earlier_run_name_the_aliases_of_this_one() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let state = State::open(dir.path())?;
    let broker = Mosquitto::start()?;
    let births = [NODE_BIRTH, DEVICE_BIRTH];
    let seen = metrics(&broker, &state, &births, 3, true).await?;
    assert_eq!(seen, ["bdSeq 0", "t 21.5", "on true"]);
    let seen = metrics(&broker, &state, &[DATA], 2, true).await?;
    assert_eq!(seen, ["t 22.5", "- 5"]);
    // A death that no row was made durable of is told again, and still knows what it made stale.
    let stale = ["bdSeq 0", "t -", "on -"];
    assert_eq!(metrics(&broker, &state, &[DEATH], 3, false).await?, stale);
    assert_eq!(metrics(&broker, &state, &[], 3, true).await?, stale);
    let seen = metrics(&broker, &state, &[DATA], 2, true).await?;
    assert_eq!(seen, ["- 22.5", "- 5"], "it is forgotten now");
    let seen = metrics(&broker, &State::default(), &[DATA], 2, true).await?;
    assert_eq!(seen, ["- 22.5", "- 5"]);
    Ok(())
}

//! What a source remembers of its session in the state folder, from one run to the next.

use anyhow::Result;
use headwater_connector::State;
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

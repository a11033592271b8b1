//! Topics of a real broker as tables of DataFusion.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use anyhow::{Context, Result};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use headwater_connector::Registry;
use headwater_mqtt::MqttConnector;
use headwater_testkit::{Mosquitto, TestClient, wait_for_async};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(30);

fn context() -> SessionContext {
    with_config(headwater_datafusion::session_config())
}

fn with_config(config: SessionConfig) -> SessionContext {
    let context = SessionContext::new_with_config(config);
    headwater_datafusion::register(&context, &Registry::default().with(MqttConnector));
    context
}

/// `readings (device TEXT, v BIGINT)` over `in/{device}`.
async fn create_readings(
    context: &SessionContext,
    broker: &Mosquitto,
    options: &str,
) -> Result<()> {
    let sql = format!(
        "CREATE EXTERNAL TABLE readings (device TEXT, v BIGINT NOT NULL)
         STORED AS MQTT LOCATION '{}/in/{{device}}'
         OPTIONS ('format' 'json', 'metadata.device' 'topic.device'{options})",
        broker.url()
    );
    context.sql(&sql).await?;
    Ok(())
}

/// Runs a query to its end, in the background.
async fn start(
    context: &SessionContext,
    sql: &str,
) -> Result<JoinHandle<Result<Vec<RecordBatch>>>> {
    let frame = context.sql(sql).await?;
    Ok(tokio::spawn(async move { Ok(frame.collect().await?) }))
}

async fn finish(query: JoinHandle<Result<Vec<RecordBatch>>>) -> Result<String> {
    let batches = timeout(DEADLINE, query)
        .await
        .context("the query has not ended")???;
    Ok(pretty_format_batches(&batches)?.to_string())
}

/// A broker whose log tells who has subscribed.
fn broker() -> Result<Mosquitto> {
    Mosquitto::builder().debug_log().start()
}

/// Waits until so many subscriptions have been granted since the broker's start.
async fn subscribed(broker: &Mosquitto, count: usize) -> Result<()> {
    wait_for_async("subscriptions", DEADLINE, || {
        broker.log().matches("Sending SUBACK to headwater_").count() >= count
    })
    .await
}

async fn publish(client: &TestClient, rows: impl IntoIterator<Item = (&str, i64)>) -> Result<()> {
    for (device, v) in rows {
        let payload = format!(r#"{{"v":{v}}}"#);
        client
            .publish(&format!("in/{device}"), payload, 1, false)
            .await?;
    }
    Ok(())
}

/// The next batch's values of `v`.
async fn next(stream: &mut SendableRecordBatchStream) -> Result<Vec<i64>> {
    let batch = timeout(DEADLINE, stream.next()).await.context("no rows")?;
    let batch = batch.context("the stream has ended")??;
    let values = batch.column_by_name("v").context("no column v")?;
    Ok(values.as_primitive::<Int64Type>().values().to_vec())
}

/// What is wrong with a statement, planned or run.
async fn error(context: &SessionContext, sql: &str) -> String {
    let failed = match context.sql(sql).await {
        Ok(frame) => frame.collect().await.err(),
        Err(error) => Some(error),
    };
    failed.unwrap().strip_backtrace()
}

#[tokio::test]
async fn a_limit_and_a_filter_in_a_session_of_defaults() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = with_config(SessionConfig::new());
    create_readings(&context, &broker, "").await?;
    let query = start(
        &context,
        "SELECT v * 10 AS tens, device FROM readings WHERE v > 1 AND device <> 'd' LIMIT 2",
    )
    .await?;
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 1), ("b", 2), ("d", 9), ("c", 3), ("e", 4)]).await?;
    assert_eq!(
        finish(query).await?,
        "+------+--------+\n\
         | tens | device |\n\
         +------+--------+\n\
         | 20   | b      |\n\
         | 30   | c      |\n\
         +------+--------+"
    );
    Ok(())
}

#[tokio::test]
async fn rows_that_pass_a_filter_come_at_once_and_one_by_one() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = context();
    create_readings(&context, &broker, "").await?;
    let frame = context
        .sql("SELECT v FROM readings WHERE v % 2 = 0")
        .await?;
    let mut stream = frame.execute_stream().await?;
    let reading = tokio::spawn(async move { (next(&mut stream).await, stream) });
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 1), ("a", 2)]).await?;
    let (first, mut stream) = reading.await?;
    assert_eq!(first?, [2]);
    publish(&client, [("a", 3), ("a", 4)]).await?;
    assert_eq!(next(&mut stream).await?, [4]);
    Ok(())
}

#[tokio::test]
async fn what_a_limit_bounds_can_be_aggregated() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = with_config(SessionConfig::new());
    create_readings(&context, &broker, "").await?;
    let query = start(
        &context,
        "SELECT count(*) AS n, sum(v) AS s FROM (SELECT v FROM readings WHERE v > 0 LIMIT 3)",
    )
    .await?;
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 0), ("a", 1), ("b", 2), ("c", 3), ("d", 4)]).await?;
    assert_eq!(
        finish(query).await?,
        "+---+---+\n\
         | n | s |\n\
         +---+---+\n\
         | 3 | 6 |\n\
         +---+---+"
    );
    let unbounded = error(
        &context,
        "SELECT device, sum(v) FROM readings GROUP BY device",
    )
    .await;
    assert!(
        unbounded.contains("Cannot execute pipeline breaking queries"),
        "{unbounded}"
    );
    Ok(())
}

#[tokio::test]
async fn two_queries_at_once_are_two_clients() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = context();
    create_readings(&context, &broker, ", 'job' 'both'").await?;
    let sql = "SELECT v FROM readings LIMIT 3";
    let first = start(&context, sql).await?;
    let second = start(&context, sql).await?;
    subscribed(&broker, 2).await?;
    publish(&client, [("a", 1), ("a", 2), ("a", 3)]).await?;
    assert_eq!(finish(first).await?, finish(second).await?);
    for id in ["headwater_both_readings_0", "headwater_both_readings-2_0"] {
        assert!(broker.log().contains(id), "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_not_asked_beyond_comes_again() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = context();
    create_readings(&context, &broker, ", 'qos' 'AtLeastOnce', 'job' 'again'").await?;
    let frame = context.sql("SELECT v FROM readings").await?;
    let mut stream = frame.execute_stream().await?;
    let reading = tokio::spawn(async move { (next(&mut stream).await, stream) });
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 1)]).await?;
    let (first, mut stream) = reading.await?;
    assert_eq!(first?, [1]);
    publish(&client, [("a", 2)]).await?;
    // asking for the second batch acknowledges the first
    assert_eq!(next(&mut stream).await?, [2]);
    drop(stream);
    publish(&client, [("a", 3)]).await?;

    let mut values = Vec::new();
    let frame = context.sql("SELECT v FROM readings").await?;
    let mut stream = frame.execute_stream().await?;
    while values.len() < 2 {
        values.extend(next(&mut stream).await?);
    }
    assert_eq!(values, [2, 3]);
    Ok(())
}

#[tokio::test]
async fn an_error_leaves_its_batch_unacknowledged() -> Result<()> {
    let broker = broker()?;
    let client = TestClient::connect(&broker).await?;
    let context = context();
    create_readings(&context, &broker, ", 'qos' 'AtLeastOnce', 'job' 'error'").await?;
    let query = start(&context, "SELECT 10 / v AS v FROM readings").await?;
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 0)]).await?;
    let failed = finish(query).await.unwrap_err();
    assert!(
        format!("{failed:#}").contains("Divide by zero"),
        "{failed:#}"
    );
    let again = start(&context, "SELECT v FROM readings LIMIT 1").await?;
    assert!(finish(again).await?.contains("| 0 |"));
    Ok(())
}

async fn create_alerts(context: &SessionContext, broker: &Mosquitto) -> Result<()> {
    let sql = format!(
        "CREATE EXTERNAL TABLE alerts (device TEXT, v BIGINT, at TIMESTAMP)
         STORED AS MQTT LOCATION '{}/alerts'
         OPTIONS ('type' 'sink', 'format' 'json', 'qos' 'AtLeastOnce')",
        broker.url()
    );
    context.sql(&sql).await?;
    Ok(())
}

#[tokio::test]
async fn rows_are_inserted_and_counted() -> Result<()> {
    let broker = broker()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("alerts", 1).await?;
    let context = context();
    create_alerts(&context, &broker).await?;
    let frame = context.sql(
        "INSERT INTO alerts VALUES ('a', 1, TIMESTAMP '2026-01-02T03:04:05Z'), ('b', 2, NULL), (NULL, 3, NULL)",
    );
    let counts = timeout(DEADLINE, frame.await?.collect()).await??;
    assert_eq!(counts[0].column(0).as_primitive::<UInt64Type>().value(0), 3);
    let messages = client.collect(3, DEADLINE).await?;
    let texts: Vec<_> = messages.iter().map(|message| message.text()).collect();
    assert_eq!(
        texts,
        [
            r#"{"device":"a","v":1,"at":"2026-01-02T03:04:05"}"#,
            r#"{"device":"b","v":2,"at":null}"#,
            r#"{"device":null,"v":3,"at":null}"#,
        ]
    );
    Ok(())
}

#[tokio::test]
async fn from_topic_to_topic() -> Result<()> {
    let broker = broker()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("alerts", 1).await?;
    let context = context();
    create_readings(&context, &broker, ", 'qos' 'AtLeastOnce'").await?;
    create_alerts(&context, &broker).await?;
    // without a limit it would never end
    let insert =
        "INSERT INTO alerts (device, v) SELECT device, v + 1 FROM readings WHERE v > 1 LIMIT 2";
    let query = start(&context, insert).await?;
    subscribed(&broker, 1).await?;
    publish(&client, [("a", 1), ("b", 2), ("c", 3)]).await?;
    let messages = client.collect(2, DEADLINE).await?;
    assert_eq!(messages[1].text(), r#"{"device":"c","v":4,"at":null}"#);
    assert!(finish(query).await?.contains("| 2     |"));
    Ok(())
}

#[tokio::test]
async fn mistakes_are_told_when_the_table_is_created() -> Result<()> {
    let context = context();
    for (options, expect) in [
        (
            "'format' 'json', 'qso' 'AtLeastOnce'",
            "unknown option 'qso'; did you mean 'qos'?",
        ),
        (
            "'format' 'json', 'qos' 'Twice'",
            "option 'qos': 'Twice' is not one of 'AtMostOnce', 'AtLeastOnce'",
        ),
        (
            "'qos' 'AtLeastOnce'",
            "missing option 'format'; one of 'json'",
        ),
        (
            "'format' 'json', 'metadata.devise' 'topic.device'",
            "option 'metadata.devise' is for a column that does not exist; did you mean 'device'?",
        ),
        (
            "'format' 'json', 'metadata.device' 'topic.devise'",
            "has no level '{devise}'; did you mean 'device'?",
        ),
        (
            "'format' 'json', 'topic' 'x'",
            "option 'topic' is given, and so is a LOCATION that says it",
        ),
        (
            "'format' 'json', 'bad_data' 'dead_letter', 'dead_letter.topic' 'x'",
            "'dead_letter' needs the engine",
        ),
        (
            "'format' 'json', 'connection_profile' 'p'",
            "option 'connection_profile' has no meaning here",
        ),
        (
            "'format' 'json', 'type' 'sink', 'metadata.device' 'topic.devise'",
            "table 't': column 'device': the topic 'in/{device}' has no '{devise}'",
        ),
    ] {
        let sql = format!(
            "CREATE EXTERNAL TABLE t (device TEXT, v BIGINT) STORED AS MQTT
             LOCATION 'mqtt://localhost/in/{{device}}' OPTIONS ({options})"
        );
        let error = error(&context, &sql).await;
        assert!(error.contains(expect), "{options}: {error}");
        assert!(error.contains("table 't': "), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_stream_cannot_do_is_refused() -> Result<()> {
    let context = context();
    let create = |clauses: &str, more: &str| {
        format!(
            "CREATE EXTERNAL TABLE t (device TEXT, v BIGINT {clauses}) STORED AS MQTT
             LOCATION 'mqtt://localhost/in' {more}"
        )
    };
    for (sql, expect) in [
        (
            create(", PRIMARY KEY (v)", "OPTIONS ('format' 'json')"),
            "PRIMARY KEY",
        ),
        (create("DEFAULT 1", "OPTIONS ('format' 'json')"), "DEFAULT"),
        (
            create("", "WITH ORDER (v) OPTIONS ('format' 'json')"),
            "WITH ORDER",
        ),
    ] {
        let error = error(&context, &sql).await;
        assert!(error.contains(expect), "{sql}: {error}");
    }
    context
        .sql(&create("", "OPTIONS ('format' 'json')"))
        .await?;
    let insert = error(&context, "INSERT INTO t VALUES ('a', 1)").await;
    assert!(
        insert.contains("create a table with the option 'type' 'sink'"),
        "{insert}"
    );
    let sink = create("", "OPTIONS ('format' 'json', 'type' 'sink')").replace("TABLE t", "TABLE s");
    context.sql(&sink).await?;
    let select = error(&context, "SELECT * FROM s").await;
    assert!(
        select.contains("table 's' is a sink and cannot be read"),
        "{select}"
    );
    Ok(())
}

#[tokio::test]
async fn any_connector_makes_tables() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lines.json");
    std::fs::write(&path, "{\"v\":1}\n{\"v\":2}\n{\"v\":3}\n")?;
    let context = SessionContext::new();
    let registry = headwater_local::register(Registry::default());
    headwater_datafusion::register(&context, &registry);
    let sql = format!(
        "CREATE EXTERNAL TABLE lines (v BIGINT) STORED AS SINGLE_FILE LOCATION '{}' OPTIONS ('format' 'json')",
        path.display()
    );
    context.sql(&sql).await?;
    let lines = start(&context, "SELECT v FROM lines WHERE v <> 2").await?;
    assert_eq!(
        finish(lines).await?,
        "+---+\n| v |\n+---+\n| 1 |\n| 3 |\n+---+"
    );
    Ok(())
}

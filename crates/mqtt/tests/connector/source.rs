//! Messages become rows, and are acknowledged when they are committed.

use std::time::Duration;

use anyhow::{Context, Result};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use headwater_connector::{ErasedConnector, Operator, Position};
use headwater_mqtt::MqttConnector;
use headwater_testkit::{Mosquitto, Properties, TestClient, wait_for_async};

use tokio::time::timeout;

use crate::support::*;

#[tokio::test]
async fn rows_come_in_order_at_every_service() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    for (version, qos, level) in SERVICES {
        let topic = format!("in/{version}/{qos}");
        let with = With::source(&broker, &topic)
            .and("qos", qos)
            .and("protocol_version", version);
        let (mut source, metrics) = open_source(&topic, with, one_column()).await?;
        client
            .publish_many(&topic, payloads(0..1000), level)
            .await?;
        let mut values = Vec::new();
        while values.len() < 1000 {
            let (batch, position) = next_rows(&mut *source).await?;
            values.extend(self::values(&batch));
            // To a client of 3.1.1, Mosquitto sends 20 messages and waits for their acknowledgement.
            source.commit(position).await?;
        }
        assert_eq!(values, Vec::from_iter(0..1000), "{topic}");
        wait_for_async("all acknowledgements", DEADLINE, || {
            metrics.snapshot().in_flight == 0
        })
        .await?;
        let counted = metrics.snapshot();
        assert_eq!((counted.messages, counted.rows), (1000, 1000), "{topic}");
        source.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn metadata_tells_what_is_around_the_payload() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let schema = with_metadata(&[
        ("topic", DataType::Utf8),
        ("topic.line", DataType::Utf8),
        ("qos", DataType::Int64),
        ("retain", DataType::Boolean),
        ("packet_id", DataType::Int32),
        ("content_type", DataType::Utf8),
        ("user_property.site", DataType::Utf8),
        ("message_expiry_interval", DataType::Int64),
    ]);
    let with = With::source(&broker, "plant/{line}/+").qos_1();
    let (mut source, _) = open_source("metadata", with, schema).await?;
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        message_expiry_interval: Some(60),
        user_properties: vec![("site".to_owned(), "north".to_owned())],
        ..Properties::default()
    };
    client
        .publish_with("plant/a/temp", payload(1), 1, false, properties)
        .await?;
    client.publish("other/a/temp", payload(9), 1, false).await?;
    client.publish("plant/b/temp", payload(2), 0, false).await?;

    let mut rows = Vec::new();
    while rows.len() < 2 {
        let (batch, _) = next_rows(&mut *source).await?;
        rows.extend((0..batch.num_rows()).map(|row| batch.slice(row, 1)));
    }
    let text = |row: usize, name: &str| {
        let column = rows[row].column_by_name(name).unwrap();
        let column = column.as_string_opt::<i32>().unwrap();
        column.iter().next().unwrap().map(str::to_owned)
    };
    assert_eq!(values(&rows[0]), [1]);
    assert_eq!(text(0, "topic").as_deref(), Some("plant/a/temp"));
    assert_eq!(text(0, "topic.line").as_deref(), Some("a"));
    assert_eq!(text(0, "content_type").as_deref(), Some("application/json"));
    assert_eq!(text(0, "user_property.site").as_deref(), Some("north"));
    let number = |row: usize, name: &str| rows[row][name].as_primitive::<Int64Type>().value(0);
    assert_eq!((number(0, "qos"), number(1, "qos")), (1, 0));
    assert!((1..=60).contains(&number(0, "message_expiry_interval")));
    let ids = |row: usize| {
        rows[row]["packet_id"]
            .as_primitive::<Int32Type>()
            .iter()
            .next()
    };
    assert!(ids(0).unwrap().is_some_and(|id| id > 0));
    assert_eq!(ids(1), Some(None), "no packet id at QoS 0");
    assert_eq!(text(1, "topic.line").as_deref(), Some("b"));
    assert_eq!(text(1, "content_type"), None);
    assert!(!rows[0]["retain"].as_boolean().value(0));
    Ok(())
}

#[tokio::test]
async fn retained_messages_are_known_as_such() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    client.publish("state", payload(1), 1, true).await?;
    let schema = with_metadata(&[("retain", DataType::Boolean)]);
    let (mut source, _) = open_source("retained", With::source(&broker, "state"), schema).await?;
    let retained = |batch: &arrow::array::RecordBatch| batch["retain"].as_boolean().value(0);
    let (first, _) = next_rows(&mut *source).await?;
    assert!(retained(&first));
    client.publish("state", payload(2), 1, true).await?;
    let (second, _) = next_rows(&mut *source).await?;
    assert!(!retained(&second), "it came after the subscription");
    assert_eq!((values(&first), values(&second)), (vec![1], vec![2]));
    Ok(())
}

#[tokio::test]
async fn what_was_not_committed_comes_again_to_the_same_job() -> Result<()> {
    for version in ["5", "3.1.1"] {
        let broker = Mosquitto::start()?;
        let client = TestClient::connect(&broker).await?;
        let with = || {
            With::source(&broker, "a")
                .qos_1()
                .and("protocol_version", version)
        };
        let (mut source, metrics) = open_source("again", with(), one_column()).await?;
        client.publish_many("a", payloads(0..5), 1).await?;
        let (_, position) = read(&mut *source, 5).await?;
        source.commit(position).await?;
        wait_for_async("acknowledgements", DEADLINE, || {
            metrics.snapshot().in_flight == 0
        })
        .await?;
        client.publish_many("a", payloads(5..10), 1).await?;
        read(&mut *source, 5).await?;
        // No close and no commit, as if the process had been killed.
        drop(source);

        client.publish_many("a", payloads(10..15), 1).await?;
        let (mut source, _) = open_source("again", with(), one_column()).await?;
        let (values, position) = read(&mut *source, 10).await?;
        assert_eq!(values, Vec::from_iter(5..15), "MQTT {version}");
        source.commit(position).await?;
        source.close().await?;

        client.publish("a", payload(15), 1, false).await?;
        let (mut source, _) = open_source("again", with(), one_column()).await?;
        let (values, _) = read(&mut *source, 1).await?;
        assert_eq!(values, [15], "closing acknowledged the rest");
    }
    Ok(())
}

#[tokio::test]
async fn bad_data_is_dropped_and_counted_or_ends_the_source() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let with = With::source(&broker, "bad").qos_1();
    let (mut dropping, metrics) =
        open_source("drop", with.clone().and("bad_data", "drop"), one_column()).await?;
    let (mut failing, _) = open_source("fail", with, one_column()).await?;
    client.publish("bad", payload(1), 1, false).await?;
    client.publish("bad", "nonsense", 1, false).await?;
    client.publish("bad", payload(2), 1, false).await?;

    let (values, position) = read(&mut *dropping, 2).await?;
    assert_eq!(values, [1, 2]);
    assert_eq!(metrics.snapshot().bad_data, 1);
    dropping.commit(position).await?;
    wait_for_async("acknowledgements", DEADLINE, || {
        metrics.snapshot().in_flight == 0
    })
    .await?;

    let error = loop {
        if let Err(error) = next_rows(&mut *failing).await {
            break error.to_string();
        }
    };
    assert!(
        error.starts_with("bad data: message on topic 'bad': "),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn probes_are_nobodys_data() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let with = With::source(&broker, "#").qos_1();
    let (mut source, metrics) = open_source("probes", with, one_column()).await?;
    let marked = Properties {
        user_properties: vec![("headwater-probe".to_owned(), "1".to_owned())],
        ..Properties::default()
    };
    client.publish_with("a", "x", 1, false, marked).await?;
    client
        .publish("headwater/probe/y", "headwater connection test", 1, false)
        .await?;
    client.publish("a", payload(7), 1, false).await?;
    let (values, position) = read(&mut *source, 1).await?;
    assert_eq!(values, [7]);
    assert_eq!(metrics.snapshot().bad_data, 0);
    source.commit(position).await?;
    wait_for_async("acknowledgements", DEADLINE, || {
        metrics.snapshot().in_flight == 0
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn many_messages_make_few_batches() -> Result<()> {
    const COUNT: i64 = 50_000;
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let with = With::source(&broker, "many").qos_1();
    let (mut source, _) = open_source("many", with, one_column()).await?;
    let publishing = client.publish_many("many", payloads(0..COUNT), 1);
    let reading = async {
        let mut values = Vec::new();
        while values.len() < COUNT as usize {
            let (batch, position) = next_rows(&mut *source).await?;
            values.extend(self::values(&batch));
            source.commit(position).await?;
        }
        anyhow::Ok(values)
    };
    let (published, values) = tokio::join!(publishing, reading);
    published?;
    assert_eq!(values?, Vec::from_iter(0..COUNT));
    Ok(())
}

#[tokio::test]
async fn a_rate_limit_slows_down_and_loses_nothing() -> Result<()> {
    const COUNT: i64 = 60;
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let with = With::source(&broker, "slow")
        .qos_1()
        .and("rate_limit.messages_per_second", "200");
    let (mut source, metrics) = open_source("slow", with, one_column()).await?;
    client.publish_many("slow", payloads(0..COUNT), 1).await?;
    let started = tokio::time::Instant::now();
    let (mut values, mut position) = (Vec::new(), Position(0));
    while values.len() < COUNT as usize {
        // A future that is dropped while it waits takes nothing with it.
        let Ok(batch) = timeout(Duration::from_millis(1), source.next()).await else {
            continue;
        };
        let batch = batch?.context("the source has ended")?;
        assert!(batch.position > position && batch.rows.num_rows() <= 20);
        position = batch.position;
        values.extend(self::values(&batch.rows));
        source.commit(position).await?;
    }
    assert_eq!(values, Vec::from_iter(0..COUNT));
    // Twenty may come at once, and the others one in five milliseconds.
    assert!(
        started.elapsed() >= Duration::from_millis(195),
        "{:?}",
        started.elapsed()
    );
    wait_for_async("all acknowledgements", DEADLINE, || {
        metrics.snapshot().in_flight == 0
    })
    .await
}

#[tokio::test]
async fn messages_count_when_their_rows_are_handed_over() -> Result<()> {
    let broker = Mosquitto::start()?;
    let client = TestClient::connect(&broker).await?;
    let fast = With::source(&broker, "fast").qos_1();
    let slow = With::source(&broker, "slow").qos_1();
    let slow = slow.and("rate_limit.messages_per_second", "1");
    for (topic, with) in [("fast", fast), ("slow", slow)] {
        let (mut source, metrics) = open_source(topic, with, one_column()).await?;
        client.publish_many(topic, payloads(0..5), 1).await?;
        wait_for_async("all messages to be read from the socket", DEADLINE, || {
            metrics.snapshot().in_flight == 5
        })
        .await?;
        assert_eq!(metrics.snapshot().messages, 0, "nobody has taken them");
        let (batch, _) = next_rows(&mut *source).await?;
        assert!(topic == "fast" || batch.num_rows() == 1);
        source.close().await?;
        assert_eq!(metrics.snapshot().messages, batch.num_rows() as u64);
    }
    Ok(())
}

#[tokio::test]
async fn members_of_a_group_share_the_messages() -> Result<()> {
    const COUNT: i64 = 300;
    let broker = Mosquitto::start()?;
    let with = || {
        With::source(&broker, "work/+")
            .qos_1()
            .and("shared_group", "g")
    };
    let connector: &dyn ErasedConnector = &MqttConnector;
    let connection = with().connection(one_column())?;
    assert!(connector.max_parallelism(&connection)? > 1);
    let alone = With::source(&broker, "work/+").connection(one_column())?;
    assert_eq!(connector.max_parallelism(&alone)?, 1);
    let mut sources = Vec::new();
    for subtask in 0..3 {
        let mut context = context("group");
        (context.subtask, context.parallelism) = (subtask, 3);
        let Operator::Source(mut source) = connector.make_operator(&connection, context)? else {
            anyhow::bail!("the options make a sink");
        };
        timeout(DEADLINE, source.open()).await??;
        sources.push(source);
    }
    let client = TestClient::connect(&broker).await?;
    for topic in ["work/a", "work/b", "work/c"] {
        client
            .publish_many(topic, payloads(0..COUNT / 3), 1)
            .await?;
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for (member, mut source) in sources.into_iter().enumerate() {
        let sender = sender.clone();
        tasks.spawn(async move {
            while let Ok(Some(batch)) = source.next().await {
                let rows = batch.rows.num_rows();
                source.commit(batch.position).await.ok();
                if sender.send((member, rows)).is_err() {
                    break;
                }
            }
        });
    }
    let mut shares = [0; 3];
    while shares.iter().sum::<usize>() < COUNT as usize {
        let (member, rows) = timeout(DEADLINE, receiver.recv()).await?.context("ended")?;
        shares[member] += rows;
    }
    assert_eq!(shares.iter().sum::<usize>(), COUNT as usize, "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    Ok(())
}

#[test]
fn tables_that_cannot_work_are_refused_before_anything_is_connected() {
    let error = |with: With, schema| with.connection(schema).err().unwrap().to_string();
    let source = |topic: &str| {
        With::url("mqtt://localhost")
            .and("type", "source")
            .and("topic", topic)
    };
    insta::assert_snapshot!(error(source("a/#/b"), one_column()), @"option 'topic': 'a/#/b' has '#' as level 2 of 3; it must be the last");
    insta::assert_snapshot!(error(source("a"), with_metadata(&[("topc", DataType::Utf8)])), @"column 'topc': unknown metadata 'topc'; did you mean 'topic'? (there are 'topic', 'topic.*', 'topic[*]', 'qos', 'retain', 'dup', 'packet_id', 'received_at', 'content_type', 'response_topic', 'correlation_data', 'message_expiry_interval', 'payload_format_indicator', 'subscription_identifier', 'user_properties', 'user_property.*')");
    insta::assert_snapshot!(error(source("a/{dev}"), with_metadata(&[("topic.dve", DataType::Utf8)])), @"column 'topic.dve': the topic 'a/+' has no level '{dve}'; did you mean 'dev'?");
    insta::assert_snapshot!(error(source("a").and("sink.retain", "true"), one_column()), @"option 'sink.retain' is for type = 'sink', but this table has type = 'source'");
    insta::assert_snapshot!(error(source("a").and("qos", "ExactlyTwice"), one_column()), @"option 'qos': 'ExactlyTwice' is not one of 'AtMostOnce', 'AtLeastOnce', 'ExactlyOnce'; did you mean 'ExactlyOnce'?");
    insta::assert_snapshot!(error(source("a").and("url", "localhost:1883"), one_column()), @"option 'url': 'localhost:1883' has no scheme; did you mean 'mqtt://localhost:1883'?");
    insta::assert_snapshot!(error(source("a").and("url", "wsx://localhost"), one_column()), @"option 'url': 'wsx://localhost' has an unknown scheme; the schemes are mqtt, tcp, mqtts, ssl, ws and wss");
    insta::assert_snapshot!(error(source("a").and("url", "mqtts://h").and("tls.cert", "x"), one_column()), @"missing option 'tls.key': The private key of `tls.cert` (PKCS#1, PKCS#8 or SEC1): path or PEM text");
    insta::assert_snapshot!(error(source("a/+").and("type", "sink"), one_column()), @"option 'topic': 'a/+' has the wildcard '+'; a sink publishes to one topic, wildcards are for sources");
    insta::assert_snapshot!(error(source("a").and("type", "sink"), with_metadata(&[("topic", DataType::Utf8)])), @"option 'topic' and column 'topic' both say the topic; leave out the option");
    insta::assert_snapshot!(error(source("a").and("format", "raw_string"), one_column()), @"format 'raw_string' needs exactly one payload column, of type TEXT or BYTEA; the table has 'v' (Int64)");
}

#[test]
fn the_description_names_the_topic_and_no_secret() -> Result<()> {
    let with = With::url("mqtt://u:geheim@localhost")
        .and("type", "source")
        .and("topic", "a/{b}/#");
    assert_eq!(
        with.connection(one_column())?.description,
        "MqttSource<a/+/#>"
    );
    Ok(())
}

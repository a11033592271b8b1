//! The connector on top of the handles: connection tests, and rows on their way.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::FutureExt;
use headwater_connector::{
    Connection, ErasedConnector, Metrics, Operator, Options, ProbePlace, Progress, Rejects,
    SqlOption, State, StepStatus, TableSchema, TaskContext,
};
use headwater_mqtt::MqttConnector;
use headwater_testkit::brokers::{PASSWORD, USER};

use crate::check::{Check, version_name};
use crate::scene::Scene;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "test-source",
        "the connection test of a source passes every step",
        |scene| connection_test(scene, "source", "a/+").boxed(),
    )
    .v31(),
    Check::new(
        "test-sink",
        "the connection test of a sink passes every step",
        |scene| connection_test(scene, "sink", "a").boxed(),
    )
    .v31(),
    Check::new("rows", "rows go out of a sink and into a source", |scene| {
        rows(scene).boxed()
    })
    .v31(),
];

/// The connector as the engine sees it.
const CONNECTOR: &dyn ErasedConnector = &MqttConnector;

/// `v TEXT`, which is the payload.
fn one_column() -> TableSchema {
    TableSchema::payload_only(&Schema::new(vec![Field::new("v", DataType::Utf8, true)]))
}

fn table(scene: &Scene, kind: &str, topic: &str) -> Result<Connection> {
    let url = format!("mqtt://127.0.0.1:{}", scene.broker.port);
    let topic = scene.topic(topic);
    let pairs = [
        ("url", url.as_str()),
        ("username", USER),
        ("password", PASSWORD),
        ("protocol_version", version_name(scene.protocol)),
        ("type", kind),
        ("topic", &topic),
        ("qos", "AtLeastOnce"),
        ("format", "raw_string"),
    ];
    let option = |(key, value): (&str, &str)| SqlOption {
        key: key.to_owned(),
        value: value.to_owned(),
        location: None,
    };
    let options = Options(pairs.map(option).to_vec());
    Ok(CONNECTOR.from_options("t", &options, one_column(), None)?)
}

async fn connection_test(scene: Scene, kind: &'static str, topic: &'static str) -> Result<()> {
    let connection = table(&scene, kind, topic)?;
    let (progress, mut steps) = Progress::channel();
    let test = CONNECTOR.test(&connection, ProbePlace::Table, progress)?;
    let passed = test.context("the connector has no test")?.await;
    let mut bad = Vec::new();
    while let Some(step) = steps.recv().await {
        if step.status != StepStatus::Ok {
            bad.push(format!("{}: {}", step.step, step.message));
        }
    }
    ensure!(passed && bad.is_empty(), "{}", bad.join("; "));
    Ok(())
}

fn operator(scene: &Scene, kind: &str) -> Result<Operator> {
    let context = TaskContext {
        job_id: format!("{}{kind}", scene.id),
        operator_id: "t".to_owned(),
        subtask: 0,
        parallelism: 1,
        metrics: Arc::new(Metrics::default()),
        rejects: Rejects::default(),
        state: State::default(),
    };
    let table = table(scene, kind, "a")?;
    CONNECTOR.make_operator(&table, context)
}

async fn rows(scene: Scene) -> Result<()> {
    let (Operator::Source(mut source), Operator::Sink(mut sink)) =
        (operator(&scene, "source")?, operator(&scene, "sink")?)
    else {
        bail!("the connector made the wrong operators");
    };
    source.open().await?;
    let sent: Vec<String> = (0..100).map(|number| format!("row {number}")).collect();
    let column = StringArray::from(sent.clone());
    let batch = RecordBatch::try_new(one_column().arrow_schema(), vec![Arc::new(column)])?;
    sink.write(batch).await?;
    sink.flush().await?;
    let mut came = Vec::new();
    while came.len() < sent.len() {
        let batch = source.next().await?.context("the source has ended")?;
        let column = batch.rows.column(0).as_string::<i32>();
        came.extend(column.iter().flatten().map(str::to_owned));
        source.commit(batch.position).await?;
    }
    ensure!(came == sent, "other rows came: {came:?}");
    sink.close().await?;
    source.close().await?;
    Ok(())
}

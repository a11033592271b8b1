//! The properties of a message (MQTT 5, section 3.3.2.3) arrive as they were sent.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::FutureExt;
use headwater_mqtt::{PropertiesWriter, Subscription};

use crate::check::Check;
use crate::scene::{Receiver, Scene, expect_same};

pub(super) const CHECKS: &[Check] = &[
    Check::new("payload-format", "payload format indicator", |scene| {
        // The connector reads it and does not write it.
        arrives(scene, Bytes::from_static(&[1, 1])).boxed()
    })
    .v5(),
    Check::new("content-type", "content type", |scene| {
        travels(scene, |write| {
            write.content_type("text/größe");
        })
        .boxed()
    })
    .v5(),
    Check::new("response-topic", "response topic", |scene| {
        travels(scene, |write| {
            write.response_topic("answers/here");
        })
        .boxed()
    })
    .v5(),
    Check::new("correlation-data", "correlation data", |scene| {
        travels(scene, |write| {
            write.correlation_data(b"\x00\xFF\x80");
        })
        .boxed()
    })
    .v5(),
    Check::new(
        "user-properties",
        "user properties, with their order and repetitions",
        |scene| {
            travels(scene, |write| {
                write
                    .user_property("b", "1")
                    .user_property("a", "")
                    .user_property("b", "größe");
            })
            .boxed()
        },
    )
    .v5(),
    Check::new(
        "bare",
        "the broker adds no properties to a message",
        |scene| bare(scene).boxed(),
    )
    .v5(),
    Check::new(
        "expiry",
        "message expiry arrives, with what is left of it",
        |scene| expiry(scene).boxed(),
    )
    .v5(),
    Check::new(
        "expired",
        "a message that has expired in the session does not come",
        |scene| expired(scene).boxed(),
    )
    .v5(),
];

async fn travels(scene: Scene, write: fn(&mut PropertiesWriter)) -> Result<()> {
    let mut writer = PropertiesWriter::default();
    write(&mut writer);
    arrives(scene, writer.take()).await
}

async fn arrives(scene: Scene, properties: Bytes) -> Result<()> {
    let topic = scene.topic("a");
    let mut message = scene.message(&topic, "x");
    message.properties = properties;
    let sent: Vec<String> = headwater_mqtt::Properties::new(&message.properties)
        .iter()
        .map(|property| format!("{property:?}"))
        .collect();
    let mut receiver = scene.subscribe(&topic).await?;
    scene.sender().await?.send(vec![message.clone()]).await?;
    let came = receiver.next_acked().await?;
    // What a broker adds is a check of its own.
    let mut came = came.properties;
    came.retain(|property| sent.contains(property));
    expect_same("the properties", &came, &sent)
}

async fn bare(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..1)).await?;
    let came = receiver.next_acked().await?;
    expect_same("the properties", &came.properties, &[])
}

fn expiring(scene: &Scene, text: &'static str, seconds: u32) -> headwater_mqtt::Publish {
    let mut writer = PropertiesWriter::default();
    writer.message_expiry_interval(seconds);
    let mut message = scene.message(&scene.topic("a"), text);
    message.properties = writer.take();
    message
}

async fn expiry(scene: Scene) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic("a")).await?;
    let message = expiring(&scene, "x", 1_000);
    scene.sender().await?.send(vec![message]).await?;
    let came = receiver.next_acked().await?;
    // On a busy machine some seconds may have passed.
    let left = (900..=1_000).map(|seconds| format!("MessageExpiryInterval({seconds})"));
    ensure!(
        left.into_iter().any(|left| came.properties.contains(&left)),
        "of 1000 seconds are left {:?}",
        came.properties
    );
    Ok(())
}

async fn expired(scene: Scene) -> Result<()> {
    let open = || {
        let subscription = Subscription::new(scene.topic("a"), scene.qos);
        Receiver::open(scene.durable("sub"), vec![subscription])
    };
    open().await?.close().await?;
    let mut sender = scene.sender().await?;
    let messages = [
        expiring(&scene, "short", 1),
        expiring(&scene, "long", 1_000),
    ];
    sender.send(messages.to_vec()).await?;
    // What is waited for is time itself. A broker that counts whole seconds may take two for one.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut receiver = open().await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "long",
        "a second after its end came {message:?}"
    );
    Ok(())
}

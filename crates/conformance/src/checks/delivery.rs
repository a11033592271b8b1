//! Messages arrive: all, once, in their order, as they were sent.

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::QoS;
use headwater_testkit::brokers::Feature;

use crate::check::{Check, Services};
use crate::scene::{Receiver, Scene, Sender, expect_same};

pub(super) const CHECKS: &[Check] = &[
    Check::new("publish", "publish and subscribe", |scene| {
        publish(scene).boxed()
    })
    .each(Services::Each)
    .v31(),
    Check::new(
        "lowered",
        "a subscription at QoS 0 lowers what is published at a higher one",
        |scene| lowered(scene).boxed(),
    )
    .each(Services::EachAcknowledged),
    Check::new("bytes", "payloads of any bytes, and empty ones", |scene| {
        any_bytes(scene).boxed()
    })
    .v31(),
    Check::new("large", "a message of 1 MiB", |scene| {
        large(scene, 1024 * 1024).boxed()
    })
    .v31(),
    Check::new("huge", "a message of 16 MiB", |scene| {
        large(scene, 16 * 1024 * 1024).boxed()
    })
    .needs(&[Feature::Huge]),
    Check::new(
        "many",
        "5,000 small messages at once, in their order",
        |scene| many(scene).boxed(),
    )
    .each(Services::EachAcknowledged),
    Check::new(
        "fan-out",
        "every subscriber of a topic gets every message",
        |scene| fan_out(scene).boxed(),
    ),
];

async fn publish(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..20)).await?;
    for number in 0..20 {
        let message = receiver.next_acked().await?;
        ensure!(
            message.text() == number.to_string() && message.topic == topic,
            "in the place of number {number} on '{topic}' came {message:?}"
        );
        ensure!(
            message.qos == scene.qos && !message.retain && !message.dup,
            "not as it was sent, at QoS {}: {message:?}",
            scene.qos.level()
        );
    }
    receiver.expect_silence().await?;
    sender.close().await?;
    receiver.close().await
}

async fn lowered(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let low = Scene {
        qos: QoS::AtMostOnce,
        ..scene.clone()
    };
    let mut receiver = low.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..1)).await?;
    let message = receiver.next_acked().await?;
    ensure!(message.qos == QoS::AtMostOnce, "came as {message:?}");
    Ok(())
}

async fn any_bytes(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads = [every_byte, Vec::new(), b"\0".to_vec(), vec![0xFF; 300]];
    let messages = payloads.iter();
    let messages = messages.map(|payload| scene.message(&topic, payload.clone()));
    scene.sender().await?.send(messages.collect()).await?;
    for payload in payloads {
        let message = receiver.next_acked().await?;
        ensure!(
            message.payload == payload,
            "{payload:02x?} came as {message:02x?}"
        );
    }
    Ok(())
}

async fn large(scene: Scene, bytes: usize) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    // A prime, so that no piece of a power of two looks like another.
    let payload: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let messages = vec![scene.message(&topic, payload.clone())];
    scene.sender().await?.send(messages).await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.payload == payload,
        "{bytes} bytes were sent, other {} came",
        message.payload.len()
    );
    Ok(())
}

async fn many(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    let messages = scene.numbered(&topic, 0..5_000);
    let (sent, received) = tokio::join!(sender.send(messages), receiver.expect_numbers(0..5_000));
    sent?;
    received?;
    receiver.expect_silence().await?;
    ensure!(receiver.reconnects() == 0, "the subscriber was cut off");
    Ok(())
}

async fn fan_out(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receivers: Vec<Receiver> = Vec::new();
    for role in ["one", "two", "three"] {
        receivers.push(scene.subscribe_as(role, &topic).await?);
    }
    let mut sender: Sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..10)).await?;
    let expected: Vec<String> = (0..10).map(|number: u32| number.to_string()).collect();
    for receiver in &mut receivers {
        expect_same("one of three", &receiver.texts(10).await?, &expected)?;
    }
    Ok(())
}

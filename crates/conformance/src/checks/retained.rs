//! Retained messages (section 3.3.1.3): kept, replaced, deleted.

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::Publish;

use crate::check::{Check, Services};
use crate::scene::{Receiver, Scene};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "retained",
        "a retained message comes to a later subscriber, with the flag",
        |scene| kept(scene).boxed(),
    )
    .each(Services::Each)
    .v31(),
    Check::new(
        "retained-live",
        "it comes without the flag to who has subscribed before",
        |scene| live(scene).boxed(),
    ),
    Check::new(
        "retained-replaced",
        "the last retained message replaces the one before",
        |scene| replaced(scene).boxed(),
    ),
    Check::new(
        "retained-cleared",
        "an empty retained message deletes it",
        |scene| cleared(scene).boxed(),
    )
    .v31(),
    Check::new(
        "retained-wildcard",
        "a wildcard brings all that are retained",
        |scene| wildcard(scene).boxed(),
    ),
];

pub(super) fn retain(mut message: Publish) -> Publish {
    message.retain = true;
    message
}

/// Subscribes until a retained message is there: a broker may acknowledge it before it is stored.
async fn kept_by_now(scene: &Scene, topic: &str, wanted: &str) -> Result<Receiver> {
    let mut receiver = scene.subscribe(topic).await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == wanted,
        "in the place of '{wanted}' came {message:?}"
    );
    ensure!(message.retain, "without the flag: {message:?}");
    Ok(receiver)
}

async fn kept(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut sender = scene.sender().await?;
    sender
        .send(vec![retain(scene.message(&topic, "kept"))])
        .await?;
    // At QoS 0 nothing says that it has arrived, save that something else has come back.
    let mut fence = scene.subscribe_as("fence", &scene.topic("fence")).await?;
    sender
        .send(vec![scene.message(&scene.topic("fence"), "")])
        .await?;
    fence.next_acked().await?;
    let mut receiver = kept_by_now(&scene, &topic, "kept").await?;
    receiver.expect_silence().await
}

async fn live(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut receiver = scene.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    sender
        .send(vec![retain(scene.message(&topic, "kept"))])
        .await?;
    let message = receiver.next_acked().await?;
    ensure!(!message.retain, "with the flag: {message:?}");
    Ok(())
}

async fn replaced(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let messages = ["one", "two", "three"];
    let messages = messages.map(|text| retain(scene.message(&topic, text)));
    let mut sender = scene.sender().await?;
    sender.send(messages.to_vec()).await?;
    let mut receiver = kept_by_now(&scene, &topic, "three").await?;
    receiver.expect_silence().await
}

async fn cleared(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let mut sender = scene.sender().await?;
    let messages = ["kept", ""].map(|text| retain(scene.message(&topic, text)));
    sender.send(messages.to_vec()).await?;
    let mut receiver = scene.subscribe(&topic).await?;
    sender.send(vec![scene.message(&topic, "live")]).await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "live",
        "after its deletion came {message:?}"
    );
    Ok(())
}

async fn wildcard(scene: Scene) -> Result<()> {
    let topics = ["a/b", "a/b/c", "a/d"].map(|topic| scene.topic(topic));
    let messages = topics.clone();
    let messages = messages.map(|topic| retain(scene.message(&topic, topic.clone())));
    scene.sender().await?.send(messages.to_vec()).await?;
    let mut receiver = scene.subscribe(&scene.topic("a/#")).await?;
    let mut came = receiver.texts(topics.len()).await?;
    came.sort();
    ensure!(came == topics, "of {topics:?} came {came:?}");
    Ok(())
}

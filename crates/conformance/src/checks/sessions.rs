//! Sessions outlive connections (section 4.1): nothing that was not acknowledged is forgotten.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::{ConnectOptions, Subscription};

use crate::check::{Check, Services};
use crate::scene::{Received, Receiver, Scene};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "session",
        "messages of an absence wait in the session",
        |scene| absence(scene).boxed(),
    )
    .each(Services::EachAcknowledged),
    Check::new(
        "again",
        "what was not acknowledged comes again, what was does not",
        |scene| again(scene).boxed(),
    )
    .each(Services::EachAcknowledged),
    Check::new(
        "dup",
        "what comes again has the flag that says so",
        |scene| flagged(scene).boxed(),
    )
    .each(Services::EachAcknowledged),
    Check::new(
        "clean-start",
        "a clean start forgets the session",
        |scene| clean_start(scene).boxed(),
    ),
    Check::new(
        "session-ends",
        "a session that shall end with the connection does",
        |scene| session_ends(scene).boxed(),
    ),
];

const AGAIN_DEADLINE: Duration = Duration::from_secs(45);

async fn open(scene: &Scene, options: ConnectOptions) -> Result<Receiver> {
    let subscription = Subscription::new(scene.topic("a"), scene.qos);
    Receiver::open(options, vec![subscription]).await
}

async fn absence(scene: Scene) -> Result<()> {
    open(&scene, scene.durable("sub")).await?.close().await?;
    let mut sender = scene.sender().await?;
    sender
        .send(scene.numbered(&scene.topic("a"), 0..10))
        .await?;
    let mut receiver = open(&scene, scene.durable("sub")).await?;
    receiver.expect_numbers(0..10).await?;
    sender
        .send(scene.numbered(&scene.topic("a"), 10..12))
        .await?;
    receiver.expect_numbers(10..12).await
}

/// Ten messages, of which four are acknowledged; the fifth as it comes over the next connection. Some brokers send one
/// message at a time until it is acknowledged, so only one is left without.
async fn fifth_again(scene: &Scene) -> Result<(Receiver, Received)> {
    let mut receiver = open(scene, scene.durable("sub")).await?;
    let mut sender = scene.sender().await?;
    sender
        .send(scene.numbered(&scene.topic("a"), 0..10))
        .await?;
    receiver.expect_numbers(0..4).await?;
    let left = receiver.next().await?;
    ensure!(left.text() == "4", "in the place of number 4 came {left:?}");
    receiver.close().await?;

    let mut receiver = open(scene, scene.durable("sub")).await?;
    // A broker that repeats by the clock and not by the connection takes half a minute.
    let first = receiver.next_within(AGAIN_DEADLINE).await?;
    receiver.ack(first.seq);
    ensure!(
        first.text() == "4",
        "number 4 was not acknowledged; again came {first:?}"
    );
    Ok((receiver, first))
}

async fn again(scene: Scene) -> Result<()> {
    let (mut receiver, _) = fifth_again(&scene).await?;
    receiver.expect_numbers(5..10).await?;
    receiver.expect_silence().await
}

async fn flagged(scene: Scene) -> Result<()> {
    let (_, message) = fifth_again(&scene).await?;
    ensure!(message.dup, "without the flag: {message:?}");
    Ok(())
}

async fn clean_start(scene: Scene) -> Result<()> {
    open(&scene, scene.durable("sub")).await?.close().await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&scene.topic("a"), 0..3)).await?;
    let mut receiver = open(&scene, scene.options("sub")).await?;
    sender
        .send(vec![scene.message(&scene.topic("a"), "new")])
        .await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "new",
        "the old session brought {message:?}"
    );
    Ok(())
}

async fn session_ends(scene: Scene) -> Result<()> {
    open(&scene, scene.options("sub")).await?.close().await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&scene.topic("a"), 0..3)).await?;
    let mut receiver = open(&scene, scene.durable("sub")).await?;
    sender
        .send(vec![scene.message(&scene.topic("a"), "new")])
        .await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "new",
        "the ended session brought {message:?}"
    );
    Ok(())
}

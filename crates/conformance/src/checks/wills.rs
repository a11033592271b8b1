//! Last wills (section 3.1.2.5): published when a connection ends without a goodbye, and only then.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures::FutureExt;
use headwater_mqtt::{ConnectOptions, Will};

use super::retained::retain;
use crate::check::{Check, Services};
use crate::scene::{Receiver, Scene, Sender};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "will",
        "the will of a client that is cut off is published",
        |scene| cut_off(scene).boxed(),
    )
    .each(Services::Each)
    .v31(),
    Check::new("will-retained", "a will can be retained", |scene| {
        retained(scene).boxed()
    }),
    Check::new(
        "will-forgotten",
        "the will of a client that says goodbye is not",
        |scene| goodbye(scene).boxed(),
    )
    .v31(),
    Check::new(
        "will-delay",
        "will delay: a client that comes back in time is not announced",
        |scene| back_in_time(scene).boxed(),
    )
    .v5(),
];

fn mortal(scene: &Scene, retained: bool, delay: Duration) -> ConnectOptions {
    let mut options = scene.durable("mortal");
    let message = scene.message(&scene.topic("will"), "gone");
    let message = match retained {
        true => retain(message),
        false => message,
    };
    options.will = Some(Will { message, delay });
    options
}

async fn expect_gone(receiver: &mut Receiver) -> Result<()> {
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "gone",
        "in the place of the will came {message:?}"
    );
    Ok(())
}

async fn cut_off(scene: Scene) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic("will")).await?;
    drop(Sender::open(mortal(&scene, false, Duration::ZERO)).await?);
    expect_gone(&mut receiver).await?;
    receiver.expect_silence().await
}

async fn retained(scene: Scene) -> Result<()> {
    let mut watch = scene.subscribe(&scene.topic("will")).await?;
    drop(Sender::open(mortal(&scene, true, Duration::ZERO)).await?);
    expect_gone(&mut watch).await?;
    // A broker may hand it on before it has stored it.
    for _ in 0..20 {
        let mut late = scene.subscribe_as("late", &scene.topic("will")).await?;
        if let Some(message) = late.next_unless_silent().await? {
            ensure!(
                message.text() == "gone" && message.retain,
                "to a later subscriber came {message:?}"
            );
            return Ok(());
        }
    }
    bail!("to later subscribers it did not come")
}

async fn goodbye(scene: Scene) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic("will")).await?;
    let mortal = Sender::open(mortal(&scene, false, Duration::ZERO)).await?;
    mortal.close().await?;
    receiver.expect_silence().await
}

async fn back_in_time(scene: Scene) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic("will")).await?;
    let options = mortal(&scene, false, Duration::from_secs(3600));
    drop(Sender::open(options.clone()).await?);
    receiver.expect_silence().await?;
    let back = Sender::open(options).await?;
    back.close().await?;
    receiver.expect_silence().await
}

//! The options of a subscription (MQTT 5, section 3.8.3.1).

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::{RetainHandling, Subscription};

use super::retained::retain;
use crate::check::Check;
use crate::scene::{Receiver, Scene};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "retain-never",
        "retain handling: never brings no retained message",
        |scene| never(scene).boxed(),
    )
    .v5(),
    Check::new(
        "retain-if-new",
        "retain handling: only with a new subscription",
        |scene| if_new(scene).boxed(),
    )
    .v5(),
    Check::new(
        "retain-as-published",
        "retain as published keeps the flag",
        |scene| as_published(scene).boxed(),
    )
    .v5(),
    Check::new(
        "no-local",
        "no local holds back nothing of other clients",
        |scene| no_local(scene).boxed(),
    )
    .v5(),
];

fn subscription(scene: &Scene) -> Subscription {
    Subscription::new(scene.topic("a"), scene.qos)
}

/// Publishes a message that the broker keeps.
async fn send_kept(scene: &Scene) -> Result<()> {
    let kept = retain(scene.message(&scene.topic("a"), "kept"));
    scene.sender().await?.send(vec![kept]).await
}

async fn expect_live(scene: &Scene, receiver: &mut Receiver) -> Result<()> {
    let mut sender = scene.sender().await?;
    sender
        .send(vec![scene.message(&scene.topic("a"), "live")])
        .await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "live",
        "before the live one came {message:?}"
    );
    Ok(())
}

async fn never(scene: Scene) -> Result<()> {
    send_kept(&scene).await?;
    let mut subscription = subscription(&scene);
    subscription.retained = RetainHandling::Never;
    let mut receiver = Receiver::open(scene.options("sub"), vec![subscription]).await?;
    expect_live(&scene, &mut receiver).await
}

async fn if_new(scene: Scene) -> Result<()> {
    send_kept(&scene).await?;
    let mut subscription = subscription(&scene);
    subscription.retained = RetainHandling::IfNew;
    let open = || Receiver::open(scene.durable("sub"), vec![subscription.clone()]);
    let mut receiver = open().await?;
    let message = receiver.next_acked().await?;
    ensure!(
        message.text() == "kept",
        "to a new subscription came {message:?}"
    );
    receiver.close().await?;
    let mut receiver = open().await?;
    expect_live(&scene, &mut receiver).await
}

async fn as_published(scene: Scene) -> Result<()> {
    let mut subscription = subscription(&scene);
    subscription.retain_as_published = true;
    let mut receiver = Receiver::open(scene.options("sub"), vec![subscription]).await?;
    send_kept(&scene).await?;
    let message = receiver.next_acked().await?;
    ensure!(message.retain, "without the flag: {message:?}");
    Ok(())
}

async fn no_local(scene: Scene) -> Result<()> {
    let mut subscription = subscription(&scene);
    subscription.no_local = true;
    let mut receiver = Receiver::open(scene.options("sub"), vec![subscription]).await?;
    expect_live(&scene, &mut receiver).await
}

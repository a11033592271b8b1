//! Login, keep-alive, client ids, takeover.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::FutureExt;
use headwater_mqtt::{MqttError, Password, Publisher, Subscriber, Subscription};
use headwater_testkit::wait_for_async;

use crate::check::Check;
use crate::scene::{Receiver, Scene};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "password",
        "a wrong password is refused, for good",
        |scene| wrong_password(scene).boxed(),
    )
    .v31(),
    Check::new(
        "anonymous",
        "a login without a user is refused, for good",
        |scene| anonymous(scene).boxed(),
    ),
    Check::new(
        "keep-alive",
        "pings keep a silent connection alive",
        |scene| keep_alive(scene).boxed(),
    )
    .v31(),
    Check::new(
        "empty-id",
        "an empty client id gets one of the broker",
        |scene| empty_id(scene).boxed(),
    ),
    Check::new("long-id", "a client id of 60 characters", |scene| {
        long_id(scene).boxed()
    }),
    Check::new(
        "takeover",
        "a second client with the same id takes over the session",
        |scene| takeover(scene).boxed(),
    ),
];

async fn refused(subscriber: &mut Subscriber) -> Result<()> {
    let outcome = tokio::time::timeout(Duration::from_secs(15), subscriber.subscribed()).await;
    match outcome.context("neither accepted nor refused for good within 15 s")? {
        Err(MqttError::LoginRefused { .. }) => Ok(()),
        Err(error) => bail!("not as a refused login: {}", error.chain()),
        Ok(()) => bail!("it was accepted"),
    }
}

async fn wrong_password(scene: Scene) -> Result<()> {
    let mut options = scene.options("sub");
    options.password = Some(Password::new("wrong"));
    let filter = Subscription::new(scene.topic("a"), scene.qos);
    refused(&mut Subscriber::start(
        options,
        vec![filter],
        Arc::default(),
    ))
    .await
}

async fn anonymous(scene: Scene) -> Result<()> {
    let mut options = scene.options("sub");
    (options.username, options.password) = (None, None);
    let filter = Subscription::new(scene.topic("a"), scene.qos);
    refused(&mut Subscriber::start(
        options,
        vec![filter],
        Arc::default(),
    ))
    .await
}

async fn keep_alive(scene: Scene) -> Result<()> {
    let mut options = scene.options("sub");
    options.keep_alive = Duration::from_secs(1);
    let filter = Subscription::new(scene.topic("a"), scene.qos);
    let mut receiver = Receiver::open(options, vec![filter]).await?;
    // Of a client that says nothing a broker bears one and a half intervals; what is waited for is time itself.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&scene.topic("a"), 0..1)).await?;
    receiver.expect_numbers(0..1).await?;
    ensure!(
        receiver.reconnects() == 0,
        "the connection was lost and made again"
    );
    Ok(())
}

async fn with_id(scene: Scene, id: &str) -> Result<()> {
    let mut options = scene.options("sub");
    id.clone_into(&mut options.client_id);
    let filter = Subscription::new(scene.topic("a"), scene.qos);
    let mut receiver = Receiver::open(options, vec![filter]).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&scene.topic("a"), 0..1)).await?;
    receiver.expect_numbers(0..1).await
}

async fn empty_id(scene: Scene) -> Result<()> {
    with_id(scene, "").await
}

/// What the connector makes is `<prefix>_<job>_<operator>_<subtask>`, with characters beyond those that every broker
/// must take (section 3.1.3.1).
async fn long_id(scene: Scene) -> Result<()> {
    let id = format!("headwater_job-1_readings.in_0_{:x<30}", scene.id);
    with_id(scene, &id).await
}

async fn takeover(scene: Scene) -> Result<()> {
    let mut first = scene.subscribe_as("same", &scene.topic("a")).await?;
    // A publisher needs no subscription, so it says nothing that could be mistaken for the first client.
    let mut second = Publisher::start(scene.options("same"), Arc::default());
    second.connected().await?;
    wait_for_async(
        "the end of the first connection",
        Duration::from_secs(15),
        || first.reconnects() > 0,
    )
    .await?;
    drop(second);
    // It comes back as soon as nobody disputes the session, and subscribes again if that was lost.
    let mut sender = scene.sender().await?;
    for number in 0..100 {
        sender
            .send(scene.numbered(&scene.topic("a"), number..number + 1))
            .await?;
        let came = tokio::time::timeout(Duration::from_millis(200), first.next_acked()).await;
        if let Ok(message) = came {
            message?;
            return Ok(());
        }
    }
    bail!("the first client did not come back")
}

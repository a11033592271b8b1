//! The options of a subscription (MQTT 5, section 3.8.3.1).

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::{RetainHandling, Subscription};

use super::retained::retain;
use crate::check::Check;
use crate::scene::{Received, Receiver, Scene};

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
    Check::new(
        "identifiers",
        "subscription identifiers tell filters apart",
        |scene| identifiers(scene).boxed(),
    )
    .v5(),
    Check::new(
        "identifiers-overlap",
        "a message for two filters has both their identifiers",
        |scene| identifiers_overlap(scene).boxed(),
    )
    .v5(),
    Check::new(
        "topic-alias",
        "topics that the broker may abbreviate come whole",
        |scene| topic_alias(scene).boxed(),
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

async fn identified(scene: &Scene, filters: [(&str, u32); 2]) -> Result<Receiver> {
    let subscription = |(filter, identifier)| {
        let mut subscription = Subscription::new(scene.topic(filter), scene.qos);
        subscription.identifier = Some(identifier);
        subscription
    };
    let subscriptions = filters.map(subscription);
    Receiver::open(scene.options("sub"), subscriptions.to_vec()).await
}

/// What a broker adds is a check of its own.
fn identifiers_of(message: &Received) -> Vec<String> {
    let mut properties = message.properties.clone();
    properties.retain(|property| property.starts_with("SubscriptionIdentifier"));
    properties
}

async fn identifiers(scene: Scene) -> Result<()> {
    let mut receiver = identified(&scene, [("a", 1), ("b/+", 300)]).await?;
    let messages = ["b/x", "a"].map(|topic| scene.message(&scene.topic(topic), ""));
    scene.sender().await?.send(messages.to_vec()).await?;
    for wanted in ["SubscriptionIdentifier(300)", "SubscriptionIdentifier(1)"] {
        let came = receiver.next_acked().await?;
        ensure!(
            identifiers_of(&came) == [wanted],
            "in the place of {wanted} came {came:?}"
        );
    }
    Ok(())
}

/// In one message, or in a copy for each (section 3.3.4).
async fn identifiers_overlap(scene: Scene) -> Result<()> {
    let mut receiver = identified(&scene, [("+/b", 1), ("a/+", 2)]).await?;
    let message = scene.message(&scene.topic("a/b"), "");
    scene.sender().await?.send(vec![message]).await?;
    let mut came = identifiers_of(&receiver.next_acked().await?);
    while let Some(copy) = receiver.next_unless_silent().await? {
        receiver.ack(copy.seq);
        came.extend(identifiers_of(&copy));
    }
    came.sort();
    ensure!(
        came == ["SubscriptionIdentifier(1)", "SubscriptionIdentifier(2)"],
        "came with {came:?}"
    );
    Ok(())
}

async fn topic_alias(scene: Scene) -> Result<()> {
    let mut options = scene.options("sub");
    options.topic_alias_maximum = 3;
    let filter = Subscription::new(scene.topic("#"), scene.qos);
    let mut receiver = Receiver::open(options, vec![filter]).await?;
    // More topics than aliases, each several times.
    let topics: Vec<String> = (0..20)
        .map(|n| scene.topic(&format!("{}", n % 5)))
        .collect();
    let messages = topics
        .iter()
        .map(|topic| scene.message(topic, topic.clone()));
    scene.sender().await?.send(messages.collect()).await?;
    for topic in &topics {
        let came = receiver.next_acked().await?;
        ensure!(
            came.topic == *topic && came.text() == *topic,
            "in the place of '{topic}' came {came:?}"
        );
    }
    Ok(())
}

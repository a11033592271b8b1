//! Shared subscriptions (MQTT 5, section 4.8.2; many brokers have them on 3.1.1 too).

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_testkit::brokers::Feature;

use crate::check::Check;
use crate::scene::Scene;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "shared",
        "a shared subscription: each message to one of the group",
        |scene| each_to_one(scene).boxed(),
    )
    .needs(&[Feature::Shared]),
    Check::new(
        "shared-groups",
        "two groups and a plain subscription get every message",
        |scene| groups(scene).boxed(),
    )
    .needs(&[Feature::Shared]),
];

async fn each_to_one(scene: Scene) -> Result<()> {
    let filter = format!("$share/group/{}", scene.topic("+"));
    let mut one = scene.subscribe_as("one", &filter).await?;
    let mut two = scene.subscribe_as("two", &filter).await?;
    let mut sender = scene.sender().await?;
    let mut counts = [0; 2];
    for number in 0..60_u32 {
        let topic = scene.topic("a");
        let message = scene.message(&topic, number.to_string());
        sender.send(vec![message]).await?;
        let (who, came) = tokio::select! {
            came = one.next_acked() => (0, came?),
            came = two.next_acked() => (1, came?),
        };
        counts[who] += 1;
        ensure!(
            came.text() == number.to_string(),
            "in the place of number {number} came {came:?}"
        );
    }
    one.expect_silence().await?;
    two.expect_silence().await?;
    ensure!(
        !counts.contains(&0),
        "one of the two got all {} messages",
        counts[0] + counts[1]
    );
    Ok(())
}

async fn groups(scene: Scene) -> Result<()> {
    let topic = scene.topic("a");
    let (first, second) = (format!("$share/g1/{topic}"), format!("$share/g2/{topic}"));
    let mut one = scene.subscribe_as("one", &first).await?;
    let mut two = scene.subscribe_as("two", &second).await?;
    let mut plain = scene.subscribe_as("plain", &topic).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..10)).await?;
    for receiver in [&mut one, &mut two, &mut plain] {
        receiver.expect_numbers(0..10).await?;
        receiver.expect_silence().await?;
    }
    Ok(())
}

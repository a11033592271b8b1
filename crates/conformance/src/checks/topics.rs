//! Filters match what the specification says (section 4.7), and any topic can be used.

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::Subscription;
use headwater_testkit::brokers::Feature;

use crate::check::Check;
use crate::scene::{Receiver, Scene, expect_same};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "plus",
        "`+` matches one level, also an empty one",
        |scene| {
            const MATCHED: [&str; 3] = ["a/x/c", "a//c", "a/$x/c"];
            const OTHERS: [&str; 4] = ["a/c", "a/x/y/c", "a/x/c/d", "b/x/c"];
            matching(scene, "a/+/c", &MATCHED, &OTHERS).boxed()
        },
    )
    .v31(),
    Check::new(
        "hash",
        "`#` matches any number of levels, also none",
        |scene| {
            const MATCHED: [&str; 5] = ["a", "a/", "a/b", "a/b/c/d", "a/$b"];
            matching(scene, "a/#", &MATCHED, &["b", "aa", "b/a/c"]).boxed()
        },
    )
    .v31(),
    Check::new("plus-hash", "`+` and `#` in one filter", |scene| {
        const MATCHED: [&str; 3] = ["x/a", "x/a/b/c", "/a/b"];
        matching(scene, "+/a/#", &MATCHED, &["a", "x/b/a"]).boxed()
    }),
    Check::new(
        "dollar",
        "wildcards at the beginning match no topic that begins with `$`",
        |scene| dollar(scene).boxed(),
    )
    .needs(&[Feature::DollarTopics]),
    Check::new("topic-spaces", "topics with spaces", |scene| {
        odd_topic(scene, "with space/ ").boxed()
    }),
    Check::new("topic-scripts", "topics in other scripts", |scene| {
        odd_topic(scene, "größe/температура/温度").boxed()
    }),
    Check::new("topic-empty-levels", "topics with empty levels", |scene| {
        odd_topic(scene, "/a//b/").boxed()
    }),
    Check::new(
        "topic-signs",
        "topics with dots, stars and other signs",
        |scene| odd_topic(scene, "a.b/*/>/%2F[a]'\"\\").boxed(),
    ),
    Check::new("topic-long", "topics of 1,000 characters", |scene| {
        odd_topic(scene, LONG).boxed()
    }),
    Check::new(
        "several-filters",
        "several filters in one SUBSCRIBE",
        |scene| several_filters(scene).boxed(),
    ),
    Check::new(
        "overlapping",
        "filters that overlap miss nothing",
        |scene| overlapping(scene).boxed(),
    ),
];

/// A thousand characters.
const LONG: &str = {
    const CHARACTERS: [u8; 1_000] = [b'x'; 1_000];
    match std::str::from_utf8(&CHARACTERS) {
        Ok(text) => text,
        Err(_) => "",
    }
};

type Topics = &'static [&'static str];

/// Publishes to all topics, and expects those of `matched` only.
async fn matching(scene: Scene, filter: &str, matched: Topics, others: Topics) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic(filter)).await?;
    let all = others.iter().chain(matched);
    let messages = all.map(|topic| scene.message(&scene.topic(topic), *topic));
    scene.sender().await?.send(messages.collect()).await?;
    expect_topics(&mut receiver, matched).await
}

async fn expect_topics(receiver: &mut Receiver, topics: &[&str]) -> Result<()> {
    let mut expected: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let mut came = Vec::new();
    for _ in topics {
        match receiver.next_acked().await {
            Ok(message) => came.push(message.text()),
            Err(_silence) => break,
        }
    }
    // Order is promised within a topic only (section 4.6).
    came.sort();
    expected.sort();
    expect_same("the topics", &came, &expected)?;
    receiver.expect_silence().await
}

async fn dollar(scene: Scene) -> Result<()> {
    let hidden = format!("$conformance/{}", scene.id);
    let visible = format!("conformance/{}", scene.id);
    let filter = format!("+/{}", scene.id);
    let mut wild = scene.subscribe_as("wild", &filter).await?;
    let mut named = scene.subscribe_as("named", &hidden).await?;
    let mut sender = scene.sender().await?;
    let messages = [&hidden, &visible].map(|topic| scene.message(topic, topic.clone()));
    sender.send(messages.to_vec()).await?;
    let first = wild.next_acked().await?;
    ensure!(
        first.topic == visible,
        "'{filter}' has matched '{}'",
        first.topic
    );
    ensure!(named.next_acked().await?.topic == hidden);
    Ok(())
}

async fn odd_topic(scene: Scene, topic: &'static str) -> Result<()> {
    let topic = scene.topic(topic);
    let mut receiver = scene.subscribe(&topic).await?;
    let mut sender = scene.sender().await?;
    sender.send(scene.numbered(&topic, 0..3)).await?;
    for _ in 0..3 {
        let message = receiver.next_acked().await?;
        ensure!(message.topic == topic, "'{topic}' came as {message:?}");
    }
    Ok(())
}

async fn several_filters(scene: Scene) -> Result<()> {
    let filters = ["a", "b/+", "c/#"];
    let filters = filters.map(|filter| Subscription::new(scene.topic(filter), scene.qos));
    let mut receiver = Receiver::open(scene.options("sub"), filters.to_vec()).await?;
    let topics = ["x", "a", "b/1", "c/1/2", "c"];
    let messages = topics.map(|topic| scene.message(&scene.topic(topic), topic));
    scene.sender().await?.send(messages.to_vec()).await?;
    expect_topics(&mut receiver, &topics[1..]).await
}

/// A broker may send one message for each filter that matches, or one for all (section 3.3.4).
async fn overlapping(scene: Scene) -> Result<()> {
    let filters = ["a/#", "a/+", "a/x"];
    let filters = filters.map(|filter| Subscription::new(scene.topic(filter), scene.qos));
    let mut receiver = Receiver::open(scene.options("sub"), filters.to_vec()).await?;
    let mut sender = scene.sender().await?;
    sender
        .send(scene.numbered(&scene.topic("a/x"), 0..3))
        .await?;
    let mut texts = Vec::new();
    while texts.len() < 3 {
        let text = receiver.next_acked().await?.text();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    expect_same("the messages", &texts, &["0", "1", "2"].map(str::to_owned))
}

//! Neither side sends more than the other takes (MQTT 5, section 4.9).

use anyhow::{Result, ensure};
use futures::FutureExt;
use headwater_mqtt::Subscription;

use crate::check::{Check, Services};
use crate::scene::{Receiver, Scene};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "receive-maximum",
        "the broker sends no more than our receive maximum",
        |scene| receive_maximum(scene).boxed(),
    )
    .v5()
    .each(Services::EachAcknowledged),
    Check::new(
        "late-acks",
        "messages go on coming when acknowledgements are late",
        |scene| late_acks(scene).boxed(),
    ),
];

async fn receive_maximum(scene: Scene) -> Result<()> {
    const MAXIMUM: u32 = 5;
    let mut options = scene.options("sub");
    options.receive_maximum = MAXIMUM as u16;
    let subscription = Subscription::new(scene.topic("a"), scene.qos);
    let mut receiver = Receiver::open(options, vec![subscription]).await?;
    let mut sender = scene.sender().await?;
    sender
        .send(scene.numbered(&scene.topic("a"), 0..20))
        .await?;
    // How many come without an acknowledgement is the broker's choice, within the maximum.
    let first = receiver.next().await?;
    let mut last = first.seq;
    let mut came = 1;
    while let Some(message) = receiver.next_unless_silent().await? {
        (last, came) = (message.seq, came + 1);
    }
    ensure!(
        first.text() == "0" && came <= MAXIMUM,
        "{came} messages came without an acknowledgement, beginning with {first:?}"
    );
    receiver.ack(last);
    receiver.expect_numbers(came..20).await
}

/// A pipeline acknowledges when its results are durable: here, message by message, since the window of some brokers is one.
async fn late_acks(scene: Scene) -> Result<()> {
    let mut receiver = scene.subscribe(&scene.topic("a")).await?;
    let mut sender = scene.sender().await?;
    sender
        .send(scene.numbered(&scene.topic("a"), 0..50))
        .await?;
    for number in 0..50 {
        let message = receiver.next().await?;
        ensure!(
            message.text() == number.to_string(),
            "out of order: {message:?}"
        );
        tokio::task::yield_now().await;
        receiver.ack(message.seq);
    }
    ensure!(receiver.reconnects() == 0, "the subscriber was cut off");
    Ok(())
}

//! The NATS server with its MQTT listener.

use std::process::Command;

use anyhow::Result;

use super::process::{Process, folder, program, write};
use super::{Broker, Feature, PASSWORD, Product, USER};
use crate::wait::free_port;

/// NATS: 3.1.1, on top of its JetStream.
pub const NATS: Product = Product {
    name: "nats",
    title: "NATS",
    install: "apt-get install nats-server",
    lacks: &[
        (Feature::V31, "speaks MQTT 3.1.1 only"),
        (Feature::V5, "speaks MQTT 3.1.1 only"),
        (Feature::ExactlyOnce, "has QoS 2 from version 2.10 on"),
        (Feature::Shared, "has no shared subscriptions over MQTT"),
    ],
    remarks: &[
        (
            "dollar",
            "To NATS such a topic is like any other; leave it out by a narrower filter.",
        ),
        (
            "topic-spaces",
            "Topics are subjects of NATS, in which spaces are not allowed.",
        ),
        (
            "topic-signs",
            "Topics are subjects of NATS, in which `.`, `*` and `>` have meanings of their own.",
        ),
    ],
    launch,
};

fn launch() -> Result<Broker> {
    let dir = folder("nats")?;
    let (client_port, port) = (free_port()?, free_port()?);
    let store = dir.path().join("store");
    let config = format!(
        "server_name: conformance\n\
         listen: \"127.0.0.1:{client_port}\"\n\
         max_payload: 33554432\n\
         max_pending: 268435456\n\
         jetstream {{ store_dir: {store:?} }}\n\
         authorization {{ user: {USER}, password: {PASSWORD} }}\n\
         mqtt {{ host: 127.0.0.1, port: {port}, max_ack_pending: 1000 }}\n"
    );
    let config = write(&dir, "nats.conf", &config)?;
    let mut command = Command::new(program("nats-server")?);
    command.arg("-c").arg(config);
    let mut process = Process::spawn(command, dir)?;
    process.await_login(port, "Server is ready")?;
    let version = process.logged_after("Version: ")?;
    Ok(Broker::new(port, version, process))
}

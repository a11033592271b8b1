//! aMQTT, the broker of the Python world.

use std::process::Command;

use anyhow::{Context, Result};

use super::process::{Process, folder, installed, write};
use super::{Broker, Feature, PASSWORD_HASH, Product, USER, own_dir};
use crate::wait::free_port;

/// aMQTT: 3.1.1.
pub const AMQTT: Product = Product {
    name: "amqtt",
    title: "aMQTT",
    install: "python3 -m venv ~/.cache/headwater/brokers/amqtt && \
              ~/.cache/headwater/brokers/amqtt/bin/pip install amqtt",
    lacks: &[
        (Feature::V31, "speaks MQTT 3.1.1 only"),
        (Feature::V5, "speaks MQTT 3.1.1 only"),
        (Feature::Shared, "has no shared subscriptions"),
        (
            Feature::DollarTopics,
            "lets no client publish to topics that begin with `$`",
        ),
    ],
    remarks: &[
        (
            "again",
            "After a connection that left a message unacknowledged it begins a new session, and the message is lost.",
        ),
        (
            "dup",
            "After a connection that left a message unacknowledged it begins a new session, and the message is lost.",
        ),
        ("will-retained", "It does not keep a will."),
        (
            "takeover",
            "It lets several connections have one client id.",
        ),
    ],
    launch,
};

fn launch() -> Result<Broker> {
    let program = installed(&[&own_dir().join("amqtt/bin/amqtt")])?;
    let version = Command::new(&program).arg("--version").output()?;
    let version = String::from_utf8(version.stdout).context("its version is no text")?;
    let dir = folder("amqtt")?;
    let port = free_port()?;
    let passwords = write(&dir, "passwords", &format!("{USER}:{PASSWORD_HASH}\n"))?;
    let config = format!(
        "listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n\
         plugins:\n  amqtt.plugins.authentication.FileAuthPlugin:\n    password_file: {}\n",
        passwords.display()
    );
    let config = write(&dir, "amqtt.yaml", &config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let mut process = Process::spawn(command, dir)?;
    process.await_login(port, "")?;
    Ok(Broker::new(port, version.trim().to_owned(), process))
}

//! aMQTT, the broker of the Python world.

use std::process::Command;

use anyhow::{Context, Result};

use super::process::{Process, folder, installed, write};
use super::{Broker, Feature, Product, USER, own_dir};
use crate::wait::free_port;

/// aMQTT: 3.1.1.
pub const AMQTT: Product = Product {
    name: "amqtt",
    title: "aMQTT",
    install: "python3 -m venv ~/.cache/headwater/brokers/amqtt && \
              ~/.cache/headwater/brokers/amqtt/bin/pip install amqtt",
    lacks: &[
        (Feature::V5, "speaks MQTT 3.1.1 only"),
        (Feature::Shared, "has no shared subscriptions"),
        (
            Feature::DollarTopics,
            "lets no client publish to topics that begin with `$`",
        ),
    ],
    remarks: &[],
    launch,
};

/// [`PASSWORD`](super::PASSWORD), as its password file wants it.
const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$m/x1KbVwyS2wf2ZK4vUOJg$GVUIXp+/lWnrVSo5CmFcY9SxWbW2AK2rq2KE18VJBeE";

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

//! Eclipse Mosquitto, which all other tests run against too.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Broker, PASSWORD, Product, USER};
use crate::mosquitto::{Mosquitto, find_binary};

/// Eclipse Mosquitto: 3.1.1 and 5. No remarks: it passes all.
pub const MOSQUITTO: Product = Product {
    name: "mosquitto",
    title: "Mosquitto",
    install: "apt-get install mosquitto mosquitto-clients",
    lacks: &[],
    remarks: &[],
    launch,
};

fn launch() -> Result<Broker> {
    let broker = Mosquitto::builder().user(USER, PASSWORD).start()?;
    Ok(Broker::new(broker.port(), version()?, broker))
}

/// Its help begins with "mosquitto version 2.0.11", and ends with a failure.
fn version() -> Result<String> {
    let help = Command::new(find_binary("mosquitto")?).arg("-h").output()?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let version = help.split_whitespace().nth(2);
    Ok(version.context("mosquitto -h has no version")?.to_owned())
}

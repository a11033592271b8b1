//! aedes, the broker that programs of Node.js embed.

use std::process::Command;

use anyhow::Result;

use super::process::{Process, folder, installed, write};
use super::{Broker, Feature, PASSWORD, Product, USER, own_dir};
use crate::wait::free_port;

/// aedes: 3.1.1.
pub const AEDES: Product = Product {
    name: "aedes",
    title: "aedes",
    install: "npm install --prefix ~/.cache/headwater/brokers aedes",
    lacks: &[
        (Feature::V5, "speaks MQTT 3.1.1 only"),
        (Feature::Shared, "has no shared subscriptions"),
    ],
    remarks: &[(
        "dup",
        "It repeats without the flag; the source does not stand on it.",
    )],
    launch,
};

/// A program around the broker; its arguments are the folder of the package, the port, the user and the password.
const PROGRAM: &str = r#"
import { createServer } from 'node:net'
import { readFileSync } from 'node:fs'
const [dir, port, user, password] = process.argv.slice(2)
const { Aedes } = await import(`file://${dir}/aedes.js`)
const broker = await Aedes.createBroker()
broker.authenticate = (client, name, secret, done) => {
  if (name === user && String(secret) === password) return done(null, true)
  const refusal = new Error('bad user name or password')
  refusal.returnCode = 4
  done(refusal, false)
}
const { version } = JSON.parse(readFileSync(`${dir}/package.json`))
createServer(broker.handle).listen(Number(port), '127.0.0.1', () => console.log(`aedes ${version} listens`))
"#;

fn launch() -> Result<Broker> {
    let package = installed(&[&own_dir().join("node_modules/aedes")])?;
    let dir = folder("aedes")?;
    let port = free_port()?;
    let program = write(&dir, "broker.mjs", PROGRAM)?;
    let mut command = Command::new("node");
    command.arg(program).arg(package).arg(port.to_string());
    command.args([USER, PASSWORD]);
    let mut process = Process::spawn(command, dir)?;
    process.await_login(port, "listens")?;
    let version = process.logged_after("aedes ")?;
    Ok(Broker::new(port, version, process))
}

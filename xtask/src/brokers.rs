//! `cargo xtask brokers`: the conformance suite against brokers of several makers.
//!
//! The suite itself is `crates/conformance`, how a broker is started stands in `crates/testkit/src/brokers`; here is only
//! what to type. Nothing is installed by it: what is missing is said by the suite, with the command that installs it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where the table goes when all brokers were tested.
const TABLE: &str = "docs/brokers.md";

const HELP: &str = "\
usage: cargo xtask brokers [NAME…] [-- FILTER]

Runs the conformance suite against the brokers named, or against all of them; only then docs/brokers.md is written anew.
FILTER selects checks by a part of their names, like `5/retained`.

The brokers, and what installs them (as root where it is apt-get; make sure that it starts no services, which the suite
does not need: it starts every broker itself, on free ports of 127.0.0.1 and with a folder that it throws away):

  mosquitto   apt-get install mosquitto mosquitto-clients
  embedded    nothing: it is compiled into the suite
  ejabberd    apt-get install --no-install-recommends ejabberd
  rabbitmq    apt-get install --no-install-recommends rabbitmq-server
  nats        apt-get install nats-server
  aedes       npm install --prefix ~/.cache/headwater/brokers aedes
  amqtt       python3 -m venv ~/.cache/headwater/brokers/amqtt &&
              ~/.cache/headwater/brokers/amqtt/bin/pip install amqtt

HEADWATER_BROKERS_DIR names another folder for the last two.
";

/// Runs the suite; `arguments` are names of brokers, then `--` and what the suite's own command line takes.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    if let ["help" | "--help" | "-h"] = arguments {
        eprint!("{HELP}");
        return Ok(());
    }
    let end = arguments.iter().position(|argument| *argument == "--");
    let (names, filter) = arguments.split_at(end.unwrap_or(arguments.len()));
    let names = match names {
        [] => "all".to_owned(),
        names => names.join(","),
    };
    let mut command = Command::new("cargo");
    // With the package of the command, so that nothing is compiled with other features: see CONTRIBUTING.md.
    command
        .args(["test", "-p", "headwater", "-p", "headwater-conformance"])
        .args(["--test", "brokers"])
        .args(filter)
        .current_dir(crate::root())
        .env("HEADWATER_BROKERS", &names);
    if names == "all" && filter.is_empty() {
        command.env("HEADWATER_BROKERS_TABLE", crate::root().join(TABLE));
    }
    eprintln!("xtask: HEADWATER_BROKERS={names} {command:?}");
    let status = command.status().context("cargo cannot be executed")?;
    ensure!(status.success(), "the suite failed ({status})");
    Ok(())
}

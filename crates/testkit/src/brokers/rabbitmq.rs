//! RabbitMQ with its MQTT plugin.
//!
//! Its node talks to the name server of Erlang, `epmd`, which it would start as a daemon that outlives it; it is given one
//! of its own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::process::{Process, folder, installed, program, write};
use super::{Broker, Feature, PASSWORD, Product, USER};
use crate::wait::free_port;

/// RabbitMQ: 3.1.1 before version 3.13.
pub const RABBITMQ: Product = Product {
    name: "rabbitmq",
    title: "RabbitMQ",
    install: "apt-get install rabbitmq-server",
    lacks: &[
        (Feature::V5, "speaks MQTT 5 from version 3.13 on"),
        (
            Feature::ExactlyOnce,
            "grants QoS 1 where QoS 2 is asked for",
        ),
        (Feature::Shared, "has no shared subscriptions"),
    ],
    remarks: &[
        (
            "dollar",
            "To RabbitMQ such a topic is like any other; leave it out by a narrower filter.",
        ),
        (
            "topic-signs",
            "Topics are routing keys of AMQP: `.` and `*` come back as `/` and `+`.",
        ),
        (
            "retained-wildcard",
            "Its store finds retained messages by their whole topic only.",
        ),
    ],
    launch,
};

fn launch() -> Result<Broker> {
    // Debian's wrapper in the path would change the user; this is what it calls.
    let server = installed(&[
        Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server"),
        Path::new("/usr/local/sbin/rabbitmq-server"),
    ])?;
    let dir = folder("rabbitmq")?;
    let (port, node_port, names_port) = (free_port()?, free_port()?, free_port()?);
    let names = name_server(names_port)?;
    let config = format!(
        "listeners.tcp = none\n\
         mqtt.listeners.tcp.1 = 127.0.0.1:{port}\n\
         mqtt.allow_anonymous = false\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         log.console = true\n"
    );
    let config = write(&dir, "rabbitmq.conf", &config)?;
    let plugins = write(&dir, "plugins", "[rabbitmq_mqtt].\n")?;
    let mut command = Command::new(server);
    command
        .env("HOME", dir.path())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", names_port.to_string())
        .env("RABBITMQ_NODENAME", "conformance@localhost")
        .env("RABBITMQ_DIST_PORT", node_port.to_string())
        .env("RABBITMQ_MNESIA_BASE", dir.path().join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.path().join("log"))
        .env("RABBITMQ_CONFIG_FILE", config)
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins)
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        );
    let mut process = Process::spawn(command, dir)?;
    process.await_login(port, "Server startup complete")?;
    let version = process.logged_after("Starting RabbitMQ ")?;
    Ok(Broker::new(port, version, (process, names)))
}

fn name_server(port: u16) -> Result<Process> {
    let mut command = Command::new(program("epmd")?);
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    let mut names = Process::spawn(command, folder("epmd")?)?;
    names.await_listener(port)?;
    Ok(names)
}

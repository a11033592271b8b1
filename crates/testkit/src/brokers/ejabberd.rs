//! ejabberd, an XMPP server that is an MQTT broker too.
//!
//! Its control script would change the user and start daemons, so Erlang is started with what the script would give it,
//! and as a node without a name, which needs no name server.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::process::{Process, folder, installed, program, write};
use super::{Broker, Feature, PASSWORD, Product, USER};
use crate::wait::free_port;

/// ejabberd: 3.1.1 and 5.
pub const EJABBERD: Product = Product {
    name: "ejabberd",
    title: "ejabberd",
    install: "apt-get install ejabberd",
    lacks: &[
        (Feature::V31, "speaks MQTT 3.1.1 and 5 only"),
        (
            Feature::Shared,
            "has no shared subscriptions: on MQTT 5 it says so, and the source with it; on 3.1.1 it ends the connection",
        ),
        (
            Feature::DollarTopics,
            "lets clients publish to topics that begin with `$` only by `access_publish`",
        ),
    ],
    remarks: &[
        (
            "expired",
            "It counts the first message of an absent session as sent already, and what was sent does not expire.",
        ),
        (
            "will-delay",
            "It publishes a will at once, whatever its delay.",
        ),
    ],
    launch,
};

/// Where Debian keeps the libraries of Erlang programs.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/erlang/lib",
];

fn launch() -> Result<Broker> {
    installed(&[Path::new("/usr/sbin/ejabberdctl")])?;
    let dir = folder("ejabberd")?;
    let port = free_port()?;
    let config = format!(
        "hosts: [localhost]\n\
         loglevel: info\n\
         log_rotate_count: 0\n\
         auth_password_format: plain\n\
         listen:\n  - port: {port}\n    ip: 127.0.0.1\n    module: mod_mqtt\n\
         modules:\n  mod_mqtt:\n    max_queue: unlimited\n"
    );
    let config = write(&dir, "ejabberd.yml", &config)?;
    let started = format!(
        "ejabberd_auth:try_register(<<\"{USER}\">>, <<\"localhost\">>, <<\"{PASSWORD}\">>), \
         io:format(\"ejabberd ~s has started~n\", [ejabberd_option:version()])."
    );
    let mut command = Command::new(program("erl")?);
    command
        .env("HOME", dir.path())
        .env("ERL_LIBS", LIBRARIES.join(":"))
        .env("EJABBERD_CONFIG_PATH", config)
        .env("EJABBERD_LOG_PATH", dir.path().join("ejabberd.log"))
        .args(["-noinput", "-mnesia", "dir"])
        .arg(format!("{:?}", dir.path().join("mnesia")))
        .args(["-s", "ejabberd", "-eval", &started]);
    let mut process = Process::spawn(command, dir)?;
    process.await_login(port, "has started")?;
    let version = process.logged_after("\nejabberd ")?;
    Ok(Broker::new(port, version, process))
}

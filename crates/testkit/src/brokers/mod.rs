//! Brokers of several makers, for the conformance suite: one file each.
//!
//! A [`Product`] says how a broker is installed, what it does not offer, and how it is started; a [`Broker`] is one that
//! runs: on free ports of 127.0.0.1, with a throw-away folder, with one user ([`USER`], [`PASSWORD`]), as child processes
//! that end when it is dropped. Nothing here installs anything.

mod aedes;
mod amqtt;
mod ejabberd;
mod mosquitto;
mod nats;
mod process;
mod rabbitmq;

use std::any::Any;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};

pub use aedes::AEDES;
pub use amqtt::AMQTT;
pub use ejabberd::EJABBERD;
pub use mosquitto::MOSQUITTO;
pub use nats::NATS;
pub use rabbitmq::RABBITMQ;

/// The only user that a broker lets in.
pub const USER: &str = "tester";
/// Its password.
pub const PASSWORD: &str = "secret";
/// The password as Argon2 makes it at the least cost: a check logs in often, and brokers take their time to verify.
pub const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$m/x1KbVwyS2wf2ZK4vUOJg$GVUIXp+/lWnrVSo5CmFcY9SxWbW2AK2rq2KE18VJBeE";

/// What a broker may leave out without breaking the protocol, or leaves out as everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// MQTT 3.1.
    V31,
    /// MQTT 5.
    V5,
    /// QoS 2.
    ExactlyOnce,
    /// Shared subscriptions (`$share`).
    Shared,
    /// Messages of 16 MiB.
    Huge,
    /// Topics of clients that begin with `$`.
    DollarTopics,
}

/// A broker that can be tested.
#[derive(Debug)]
pub struct Product {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The commands that install it.
    pub install: &'static str,
    /// What it does not offer, and why.
    pub lacks: &'static [(Feature, &'static str)],
    /// What is known of checks that it fails: the beginning of the check's name, and what to add to its failure.
    pub remarks: &'static [(&'static str, &'static str)],
    /// Starts it and waits until it answers.
    pub launch: fn() -> Result<Broker>,
}

impl Product {
    /// Why the product does not offer one of these features, if it does not.
    pub fn lacks(&self, features: &[Feature]) -> Option<&'static str> {
        let mut lacks = self.lacks.iter();
        let (_, why) = lacks.find(|(feature, _)| features.contains(feature))?;
        Some(why)
    }

    /// What is known of a check that fails.
    pub fn remark(&self, check: &str) -> Option<&'static str> {
        let mut remarks = self.remarks.iter();
        let (_, remark) = remarks.find(|(start, _)| check.starts_with(start))?;
        Some(remark)
    }

    /// Starts the broker.
    ///
    /// # Errors
    /// It is not installed or does not start; says how it is installed.
    pub fn start(&self) -> Result<Broker> {
        (self.launch)().with_context(|| {
            let Self { title, install, .. } = self;
            format!("{title} cannot be started; to install it: {install}")
        })
    }
}

/// A running broker; it ends when this is dropped.
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    /// Its version, as it says itself.
    pub version: String,
    /// What it runs in.
    _processes: Box<dyn Any + Send + Sync>,
}

impl Broker {
    /// A broker that listens on this port of 127.0.0.1 for as long as `processes` is not dropped.
    pub fn new(port: u16, version: String, processes: impl Any + Send + Sync) -> Self {
        Self {
            port,
            version,
            _processes: Box::new(processes),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("port", &self.port)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Where the brokers are that no package of the system brings: `HEADWATER_BROKERS_DIR`, or
/// `~/.cache/headwater/brokers`.
fn own_dir() -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(PathBuf::new, PathBuf::from);
    std::env::var_os("HEADWATER_BROKERS_DIR")
        .map_or_else(|| home().join(".cache/headwater/brokers"), PathBuf::from)
}

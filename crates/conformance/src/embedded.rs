//! The broker of `headwater demo`, that of the crate `mqtt5`, in a runtime of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use headwater_testkit::brokers::{Broker, Feature, PASSWORD_HASH, Product, USER};
use mqtt5::broker::MqttBroker;
use mqtt5::broker::auth::PasswordAuthProvider;
use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use tokio::runtime::Runtime;

/// The embedded broker: 3.1.1 and 5.
pub(crate) const EMBEDDED: Product = Product {
    name: "embedded",
    title: "mqtt5 (of the demo)",
    install: "it is compiled into the suite",
    lacks: &[(Feature::V31, "speaks MQTT 3.1.1 and 5 only")],
    remarks: &[(
        "bare",
        "It adds who has sent a message, as user properties.",
    )],
    launch,
};

/// Where the version stands that was compiled.
const LOCK: &str = include_str!("../../../Cargo.lock");

fn launch() -> Result<Broker> {
    let runtime = Runtime::new()?;
    let port = runtime.block_on(serve())?;
    let (_, version) = LOCK
        .split_once("name = \"mqtt5\"\nversion = \"")
        .context("mqtt5 is not in Cargo.lock")?;
    let version = version.split('"').next().unwrap_or_default();
    Ok(Broker::new(port, version.to_owned(), runtime))
}

/// Starts the broker with the limits of the demo, and with a password.
async fn serve() -> Result<u16> {
    let storage = StorageConfig {
        backend: StorageBackend::Memory,
        max_queued_messages_per_client: 1_000_000,
        ..StorageConfig::default()
    };
    let config = BrokerConfig::new()
        .with_bind_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .with_storage(storage)
        .with_client_channel_capacity(100_000)
        .with_max_outbound_inflight(1000);
    let users = PasswordAuthProvider::new();
    users.add_user_with_hash(USER, PASSWORD_HASH);
    let broker = MqttBroker::with_config(config).await?;
    let mut broker = broker.with_auth_provider(Arc::new(users));
    let port = broker.local_addr().context("it does not listen")?.port();
    tokio::spawn(async move {
        if let Err(error) = broker.run().await {
            eprintln!("the embedded broker has stopped: {error}");
        }
    });
    Ok(port)
}

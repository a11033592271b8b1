//! What the tests stand on: a real broker, a client that shares no code with ours, and the driver of `sql-tests/`.
//!
//! - [`Mosquitto`] starts a broker of its own for one test, and kills and restarts it.
//! - [`brokers`] starts the brokers of other makers, if they are installed.
//! - [`TestClient`] publishes and subscribes with its own codec, so that a fault of the connector cannot hide itself.
//! - [`wait_for`] and [`wait_for_async`] wait for what a test wants to see, with a deadline, instead of sleeping.
//! - [`fake_broker`] is a broker that does nothing but move bytes, for benches.
//! - [`slt`] runs the `.slt` files.
//!
//! Save for the fake broker nothing here is fast; everything here fails with a message that says what was awaited and what happened instead.

pub mod brokers;
mod certificates;
mod client;
pub mod fake_broker;
mod mosquitto;
pub mod slt;
mod wait;
mod wire;

pub use certificates::{Certificates, ClientKey, ENCRYPTED_KEYS};
pub use client::{Message, TestClient, TestClientBuilder};
pub use mosquitto::{Mosquitto, MosquittoBuilder};
pub use wait::{free_port, wait_for, wait_for_async};
pub use wire::Properties;

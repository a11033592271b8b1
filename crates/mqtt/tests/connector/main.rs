//! The connector against a real Mosquitto, through the interface that the engine uses: options in, operators out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod keys;
mod lookup;
mod memory;
mod outage;
mod probe;
mod proxy;
mod security;
mod sink;
mod source;
mod support;
mod websocket;

//! The real command: what it prints, what it does at a broker, and what is left when it or the broker is killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cli;
mod crash;
#[cfg(feature = "demo")]
mod demo;
mod ended;
mod infer;
mod over;
mod processes;
mod rpc;
mod server;
mod support;
mod traces;

//! Every endpoint as a scenario: what is good, what is bad, and who may not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod documents;
mod jobs;
mod metrics;
mod pipelines;
mod profiles;
mod safety;
mod settings;
mod state;
mod support;
mod tables;

//! What SQL becomes: plans and errors as people read them, values as batches compute them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod errors;
mod fake;
mod plans;
mod robustness;
mod updating;
mod values;
mod windows;

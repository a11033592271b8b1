//! One suite of checks over `headwater-mqtt`'s handles, run against brokers of several makers.
//!
//! ```text
//!  Check (what is promised) × Version × QoS ─► Scene (options, topics, handles) ─► Subscriber, Publisher ─► Broker
//!                                                   └─► Outcome ─► table (docs/brokers.md)
//! ```
//!
//! - [`check`] says what a check is; [`checks`] has them all, one file a subject. A new check is one function and one
//!   entry, a new QoS one entry in [`check::SERVICES`].
//! - [`scene`] is what a check is given: a broker, a version of MQTT, and names that no other check uses.
//! - [`table`] writes what came out.
//!
//! Every check on every broker is one test. Without `HEADWATER_BROKERS` in the environment the suite runs against
//! Mosquitto; `cargo xtask brokers` sets it. A failure that the broker's file explains (`Product::remarks`) fails no test:
//! it is known, and stands in the table.

mod check;
mod checks;
#[cfg(feature = "embedded")]
mod embedded;
mod scene;
mod table;
mod trial;

pub use trial::run;

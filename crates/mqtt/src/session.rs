//! The protocol without sockets.
//!
//! A session is told what happens (a transport is up, bytes came, bytes were written, time passed) and answers with
//! bytes to write and with what they mean for its owner. It never waits and never looks at a clock, so a test can lead
//! it through any history, from a seed.
//!
//! ```text
//!            begin, receive, wrote, tick, end                      output
//! driver ──────────────────────────────────────► Session ──────────────────────────► driver
//! owner  ── publish, ack ──────────────────────►         ── Inbound, completed ────► owner
//! ```
//!
//! [`Link`] is what every connection has: login, keep-alive, the broker's limits, the output buffer. Upon it stand
//! [`SubscriberSession`] (what was received and must be acknowledged) and [`PublisherSession`] (what was sent and must
//! be acknowledged to us), which survive the connections they use. QoS 2 will add its second handshake to both.
//!
//! # Promises
//! - A message is acknowledged only after its owner said so, only on the connection that brought it, in the order of
//!   receipt (MQTT-4.6.0-2).
//! - A QoS 1 publish is kept until the broker answers. On a resumed session it is sent again with DUP under its old id
//!   and in its old place; without a session it is published anew, in order. Never more than the broker's receive
//!   maximum are unanswered.
//! - Every publish is completed exactly once, and reported if it was refused.

mod heartbeat;
mod in_flight;
mod link;
mod publisher;
mod subscriber;

pub use link::Link;
pub use publisher::PublisherSession;
pub use subscriber::SubscriberSession;

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
//! be acknowledged to us), which survive the connections they use.
//!
//! # Promises
//! - A message is acknowledged only after its owner said so, in the order of receipt (MQTT-4.6.0-2), and only on a
//!   connection that brought it: at QoS 1 the one that the owner had it from, at QoS 2 the last one.
//! - A message of QoS 2 is handed over once for as long as the broker keeps the session and this one lives: across
//!   connections, but not across a crash of our process, which leaves no memory of packet ids. PUBREC says that a
//!   message is durable, so after a crash the broker sends what was not durable again, and what was durable but whose
//!   PUBREC it has not seen; whoever must not count twice then needs a key, or a journal.
//! - A publish of QoS 1 is kept until PUBACK, one of QoS 2 until PUBCOMP. On a resumed session it is sent again with DUP
//!   under its old id and in its old place, or released if the broker has it; without a session it is published anew,
//!   in order. Never more than the broker's receive maximum are unanswered, both phases counted.
//! - So a publish of QoS 2 is handed on once for as long as the broker keeps the session. When it has lost it, or a login
//!   was not answered and it may have, a message may come twice, because the alternative is to lose it.
//! - Every publish is completed exactly once, and reported if it was refused.

mod heartbeat;
mod in_flight;
mod link;
mod publisher;
mod queue;
mod receipts;
mod refused;
mod subscriber;
mod subscribing;

pub use link::Link;
pub use publisher::PublisherSession;
pub use refused::Refused;
pub use subscriber::SubscriberSession;

//! The MQTT connector.
//!
//! The lower half is a client of its own, made for pipelines that acknowledge late and in batches: a session without
//! sockets ([`session`]) says what the protocol demands, a driver joins it to tokio, and two handles are all that the
//! rest sees: [`Subscriber`] receives from one connection, [`Publisher`] sends over one.
//!
//! ```text
//!  options ─► dial (resolve, TCP, TLS) ─► driver ◄──► session (CONNECT … DISCONNECT, ids, acknowledgements)
//!                                          │ ▲              │
//!                            Subscriber ◄──┘ └── Publisher  └── packet (bytes ↔ packets)
//! ```
//!
//! Both handles reconnect by themselves for as long as the fault may pass; what comes out as an error is final.

pub mod config;
pub mod connector;
mod dead_letter;
pub mod dial;
mod driver;
pub mod error;
pub mod metadata;
pub mod options;
pub mod packet;
pub mod probe;
pub mod publisher;
pub mod session;
pub mod sink;
pub mod source;
pub mod subscriber;
pub mod tls;
pub mod topic;

pub use connector::MqttConnector;
pub use error::{MqttError, ReasonCode};
pub use options::{
    ConnectOptions, Former, Password, ProtocolVersion, QoS, RetainHandling, Subscription,
    Subscriptions, Tls,
};
pub use packet::{Ack, AckKind, Inbound, Message, Properties, PropertiesWriter, Property, Publish};
pub use publisher::Publisher;
pub use subscriber::Subscriber;

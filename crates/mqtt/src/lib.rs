//! The MQTT connector.
//!
//! The lower half is a client of its own, made for pipelines that acknowledge late and in batches: a session without
//! sockets ([`session`]) says what the protocol demands, a driver joins it to tokio, and two handles are all that the
//! rest sees: [`Subscriber`] receives from one connection, [`Publisher`] sends over one.
//!
//! ```text
//!  options ─► dial (TCP, proxy, TLS, WebSocket) ─► driver ◄──► session (CONNECT … DISCONNECT, ids, acknowledgements)
//!                                          │ ▲              │
//!                            Subscriber ◄──┘ └── Publisher  └── packet (bytes ↔ packets)
//! ```
//!
//! Both handles reconnect by themselves for as long as the fault may pass; what comes out as an error is final.
//!
//! # Without the engine
//!
//! The upper half can be used without it: a source yields Arrow batches with positions, and is told which position is
//! durable. The broker keeps every message of `AtLeastOnce` until then, also across restarts of the program, as long as
//! the job keeps its name.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use arrow::datatypes::{DataType, Field, Schema};
//! use headwater_connector::{
//!     Column, ColumnOrigin, ErasedConnector, Metrics, Operator, Options, Rejects, SqlOption, State, TableSchema,
//!     TaskContext,
//! };
//! use headwater_mqtt::MqttConnector;
//!
//! # #[tokio::main]
//! # async fn main() -> anyhow::Result<()> {
//! // the payload's columns, and one from around the payload
//! let mut schema = TableSchema::payload_only(&Schema::new(vec![
//!     Field::new("temperature", DataType::Float64, true),
//! ]));
//! schema.columns.push(Column {
//!     field: Arc::new(Field::new("device", DataType::Utf8, true)),
//!     origin: ColumnOrigin::Metadata("topic.device".to_owned()),
//! });
//!
//! // the options of `WITH (…)`, checked by the same schemas
//! let options = Options(vec![
//!     SqlOption::new("type", "source"),
//!     SqlOption::new("url", "mqtt://localhost:1883"),
//!     SqlOption::new("topic", "sensors/{device}/temperature"),
//!     SqlOption::new("qos", "AtLeastOnce"),
//!     SqlOption::new("format", "json"),
//! ]);
//! let connector: &dyn ErasedConnector = &MqttConnector;
//! let readings = connector.from_options("readings", &options, schema, None)?;
//!
//! let context = TaskContext {
//!     job_id: "report".to_owned(),
//!     operator_id: "readings".to_owned(),
//!     subtask: 0,
//!     parallelism: 1,
//!     metrics: Arc::new(Metrics::of("readings")),
//!     rejects: Rejects::default(),
//!     state: State::default(),
//! };
//! let Operator::Source(mut source) = connector.make_operator(&readings, context)? else {
//!     anyhow::bail!("'type' says that it is a source");
//! };
//! source.open().await?; // connected and subscribed
//! while let Some(batch) = source.next().await? {
//!     store(&batch.rows).await?;
//!     // only now may the broker forget these messages
//!     source.commit(batch.position).await?;
//! }
//! # Ok(())
//! # }
//! # async fn store(rows: &arrow::record_batch::RecordBatch) -> anyhow::Result<()> { Ok(()) }
//! ```
//!
//! [`Subscriber`] and [`Publisher`] can be used by themselves too, by those who want messages rather than rows. As tables
//! of any DataFusion program, topics are to be had from the crate `headwater-datafusion`.

pub mod config;
pub mod connector;
mod dead_letter;
pub mod dial;
mod driver;
pub mod error;
mod location;
pub mod lookup;
pub mod metadata;
pub mod options;
pub mod packet;
pub mod probe;
pub mod publisher;
mod sample;
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
    Subscriptions, Tls, Will,
};
pub use packet::{Ack, AckKind, Inbound, Message, Properties, PropertiesWriter, Property, Publish};
pub use publisher::Publisher;
pub use subscriber::Subscriber;

//! What a connector is.
//!
//! A connector makes tables out of the world: it says by two JSON schemas how it is configured, and makes source and
//! sink operators over Arrow `RecordBatch`es. This crate holds the traits and the one piece of code that turns
//! configuration into JSON by those schemas; it knows no connector by name.
//!
//! In the order of a table's life: [`config`] reads the `WITH` options by the schemas, [`connector`] makes a
//! [`Connection`] of them, [`progress`] reports its test, and [`operator`] moves the data, which [`decode`] makes rows
//! of; [`lookup`] is for tables in which rows look others up. What cannot be made rows of, or cannot be sent, is the affair of [`dead_letter`]; what the next run must know, of
//! [`state`].

mod bad_data;
pub mod config;
pub mod connector;
mod cpu;
pub mod dead_letter;
pub mod decode;
pub mod encode;
mod exclusive;
pub mod lookup;
pub mod metrics;
pub mod operator;
pub mod progress;
mod registry;
pub mod sample;
pub mod state;
pub mod table;

pub use config::{ConfigError, Location, Options, SqlOption};
pub use connector::{
    Connection, ConnectionProfile, ConnectionType, Connector, ConnectorMetadata, ErasedConnector,
    MetadataDef, Sampling,
};
pub use cpu::{measured, thread_cpu_ns};
pub use dead_letter::{Rejection, Rejects};
pub use decode::{MetadataColumns, NoMetadata, Place, RowDecoder};
pub use encode::{Kept, RowEncoder};
pub use exclusive::Exclusive;
pub use headwater_format::{BadData, CHANGE, Format};
pub use lookup::{CacheOptions, FixedRows, Found, LookupError, LookupOperator, RowIndex};
pub use metrics::{Metrics, MetricsSnapshot, Stopwatch};
pub use operator::{
    Flushed, Operator, OperatorConfig, OperatorError, Position, SinkOperator, SourceBatch,
    SourceOperator, TaskContext,
};
pub use progress::{ProbePlace, Progress, StepStatus, TestStep};
pub use registry::Registry;
pub use sample::{Listening, MetadataColumn, SampleRequest, Sampled};
pub use state::{State, StateError};
pub use table::{Column, ColumnOrigin, TableSchema};

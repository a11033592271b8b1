//! Topics and other streams as tables of any DataFusion program, without the engine.
//!
//! Every source and sink of a [`Registry`] becomes a [`TableProvider`](datafusion::catalog::TableProvider):
//! [`SourceTable`] is an unbounded table to select from, [`SinkTable`] one to insert into. [`register`] makes them known
//! to `CREATE EXTERNAL TABLE … STORED AS <connector>`, with the options that the connector's JSON schema describes
//! (`headwater connectors mqtt` lists them).
//!
//! ```no_run
//! use datafusion::prelude::SessionContext;
//! use futures::StreamExt;
//! use headwater_connector::Registry;
//! use headwater_mqtt::MqttConnector;
//!
//! # #[tokio::main]
//! # async fn main() -> datafusion::error::Result<()> {
//! let context = SessionContext::new_with_config(headwater_datafusion::session_config());
//! headwater_datafusion::register(&context, &Registry::default().with(MqttConnector));
//!
//! context.sql(
//!     "CREATE EXTERNAL TABLE readings (device TEXT, temperature DOUBLE, ts TIMESTAMP)
//!      STORED AS MQTT LOCATION 'mqtt://localhost:1883/sensors/{device}/temperature'
//!      OPTIONS ('format' 'json', 'qos' 'AtLeastOnce', 'metadata.device' 'topic.device')",
//! ).await?;
//!
//! let hot = context.sql("SELECT device, temperature FROM readings WHERE temperature > 70").await?;
//! let mut batches = hot.execute_stream().await?;
//! while let Some(batch) = batches.next().await {
//!     println!("{:?}", batch?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/topic.rs` runs this against a broker of yours:
//! `cargo run -p headwater -p headwater-datafusion --example topic -- 'mqtt://localhost:1883/sensors/#'`.
//!
//! # `CREATE EXTERNAL TABLE`
//!
//! - **`LOCATION`** is the connector's address of a table: for MQTT the broker's URL, followed by the topic or topic
//!   filter as it is (`mqtt://host:1883/sensors/+/temperature`, `mqtts://user@host/a/#`). The URL of a WebSocket has a
//!   path of its own, so its topic is given as `'topic'`. An empty location leaves all to the options.
//! - **`OPTIONS`** are those of the connector, its profile and the format, as in `WITH (…)`: `'tls.ca'`, `'format'`,
//!   `'bad_data'`. `'type'` is `source` unless it is given. Mistakes are errors that name the nearest option.
//! - **`'metadata.<column>' '<name>'`** says that a column is not in the payload but around it: `METADATA FROM` in the
//!   dialect of the engine. DataFusion folds the names of options to lower case, so the column is found whatever its case.
//! - **`'job' '<name>'`** says who reads, when sessions are to be found again (below).
//! - TEXT and BYTEA are `Utf8` and `Binary` in these tables, since the decoders make no views.
//!
//! # When a message is acknowledged
//!
//! The engine knows when all that was made of a message is durable. DataFusion does not tell, so here **a batch is
//! acknowledged when the query asks for the batch after it**, and the last one of a source that ends when that is found
//! out. A query that fails, a stream that is dropped and a `LIMIT` that is reached leave their last batch unacknowledged,
//! whole: at QoS 1 its messages come again to the next query with the same job and table name, those rows included that
//! were seen already. Rows that a `WHERE` drops, and bad data that is dropped, count as dealt with.
//!
//! Asking is not yet having dealt with it: operators that gather or read ahead (aggregates, joins, sorts,
//! `RepartitionExec`, `CoalescePartitionsExec`) ask for more while they hold rows in memory, and a crash then loses what
//! they hold. [`session_config`] plans with one partition, so that nothing is repartitioned. `WHERE` is evaluated within
//! the scan, batch by batch: rows come out as soon as they have arrived. A query of `SELECT` expressions, `WHERE` and
//! `LIMIT` over one source therefore holds nothing back, and an `INSERT INTO` a [`SinkTable`] with such a query is at
//! least once from end to end, because the sink asks for the next batch only when the other side has accepted this one.
//!
//! Who needs another rule takes the operator itself: `SourceOperator` yields batches with positions and is told which
//! position is durable; the documentation of `headwater-mqtt` has an example.
//!
//! # Who reads
//!
//! A persistent session belongs to a client id, `<client_prefix>_<job>_<table>_0`. The job is [`Job::of_program`] unless
//! it is given: the same whenever the same program runs on the same machine. Two queries over one table at the same
//! time are two clients (the second one's table is called `<table>-2`) and each gets every message. Programs that run
//! twice on one machine, or have two tables of one name, give each a `job` of its own, or they will take each other's
//! sessions over.

mod exec;
mod factory;
mod filter;
mod identity;
mod sink;
mod source;
mod stream;
mod types;

use std::sync::Arc;

use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use headwater_connector::{Connection, ConnectionType, ErasedConnector, Registry};
use headwater_format::BadData;

pub use factory::ConnectorTableFactory;
pub use identity::Job;
pub use sink::SinkTable;
pub use source::SourceTable;

/// Makes the connectors known to `CREATE EXTERNAL TABLE … STORED AS <connector>` in this session.
pub fn register(context: &SessionContext, registry: &Registry) {
    let state = context.state_ref();
    let mut state = state.write();
    for connector in registry.iter() {
        let factory = ConnectorTableFactory::new(Arc::clone(connector));
        // that is how DataFusion looks it up
        let name = connector.name().to_uppercase();
        state.table_factories_mut().insert(name, Arc::new(factory));
    }
}

/// Settings with which DataFusion does not read ahead of what a query has dealt with: one partition.
#[must_use]
pub fn session_config() -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(1)
        .with_round_robin_repartition(false)
}

/// An error of a table's configuration, which is the user's.
fn plan_error(table: &str, error: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Plan(format!("table '{table}': {error}"))
}

/// Refuses a connection of another connector or of the other kind, and one that asks for dead letters: these need a
/// second sink whose acceptance the source waits for, which is the engine's work.
fn check(
    connector: &dyn ErasedConnector,
    connection: &Connection,
    kind: ConnectionType,
) -> Result<()> {
    let name = &connection.name;
    if connector.name() != connection.connector {
        return plan_err!(
            "table '{name}' is for the connector '{}', not for '{}'",
            connection.connector,
            connector.name()
        );
    }
    if connection.connection_type != kind {
        let named = |kind| match kind {
            ConnectionType::Source => "source",
            ConnectionType::Sink => "sink",
            ConnectionType::Lookup => "lookup table",
        };
        let (is, wanted) = (named(connection.connection_type), named(kind));
        return plan_err!("table '{name}' is a {is}, not a {wanted}");
    }
    if connection.config.format.bad_data == BadData::DeadLetter {
        return plan_err!(
            "table '{name}': option 'bad_data': 'dead_letter' needs the engine; here there are 'fail' and 'drop'"
        );
    }
    Ok(())
}

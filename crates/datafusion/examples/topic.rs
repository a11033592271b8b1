//! Reads a topic as a table of DataFusion, and prints its payloads as they come, until Ctrl-C or the query's `LIMIT`.
//!
//! ```sh
//! cargo run -p headwater -p headwater-datafusion --example topic -- 'mqtt://localhost:1883/sensors/#'
//! cargo run -p headwater -p headwater-datafusion --example topic -- 'mqtt://localhost:1883/sensors/#' \
//!     "SELECT topic, payload::INT + 1 FROM messages WHERE topic LIKE 'sensors/%' LIMIT 10"
//! ```
//!
//! The table is called `messages`, and has the columns `topic` and `payload`, both TEXT. A payload that is not text ends the
//! query: with `'bad_data' 'drop'` among the options such messages would be left out. A broker that cannot be reached is
//! tried again; the log on standard error says so.

#![allow(clippy::print_stdout, reason = "an example speaks to people")]

use anyhow::{Context, Result};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use headwater_connector::Registry;
use headwater_mqtt::MqttConnector;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let location = arguments
        .next()
        .context("usage: topic <mqtt://host:port/topic> [<SELECT … FROM messages>]")?;
    let query = arguments
        .next()
        .unwrap_or_else(|| "SELECT topic, payload FROM messages".to_owned());

    let context = SessionContext::new_with_config(headwater_datafusion::session_config());
    headwater_datafusion::register(&context, &Registry::default().with(MqttConnector));
    let create = format!(
        "CREATE EXTERNAL TABLE messages (topic TEXT, payload TEXT)
         STORED AS MQTT LOCATION '{}'
         OPTIONS ('format' 'raw_string', 'metadata.topic' 'topic')",
        location.replace('\'', "''")
    );
    context.sql(&create).await?;

    let mut batches = context.sql(&query).await?.execute_stream().await?;
    while let Some(batch) = batches.next().await {
        println!("{}", pretty_format_batches(&[batch?])?);
    }
    Ok(())
}

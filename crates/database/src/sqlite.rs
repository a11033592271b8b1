//! `sqlite`: a table of an SQLite database, in which rows of a stream look others up.
//!
//! Each key is a query of its own, since there is no network between. The database is opened to be read only, in a thread
//! for what blocks; whoever writes it meanwhile is waited for. If the file was replaced by another, that one is opened.
//!
//! SQLite keeps any value in any column. Text, numbers and blobs become what the declared column is by the rules of
//! `format = 'json'`; beside that, a number is text where text is declared, 0 and 1 are booleans, text that holds JSON is
//! read where something nested is declared, and `BYTEA` takes blobs.
//!
//! Errors: a database that is away, or locked for long, is a fault that passes; one without the table or the columns is
//! none.

mod lookup;
mod value;

use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_connector::lookup::try_lookup;
use headwater_connector::{
    ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Operator,
    OperatorConfig, ProbePlace, Progress, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;

use self::lookup::SqliteLookup;
pub use crate::options::{SqliteTable, SqliteType};
use crate::{Parts, cache};

const NAME: &str = "sqlite";

/// Makes tables of SQLite databases into tables.
#[derive(Debug, Clone, Copy)]
pub struct SqliteConnector;

impl Connector for SqliteConnector {
    type ProfileT = ();
    type TableT = SqliteTable;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "SQLite",
            description: "Looks rows up in a table of an SQLite database",
            source: false,
            sink: false,
            lookup: true,
            testing: true,
            format: false,
            profile_schema: None,
            table_schema: include_str!("../../../schemas/database/sqlite/table.json"),
        }
    }

    fn table_type(&self, (): &(), _table: &SqliteTable) -> ConnectionType {
        ConnectionType::Lookup
    }

    fn from_config(
        &self,
        name: &str,
        (): (),
        table: SqliteTable,
        schema: TableSchema,
        _format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        options(&table)?;
        let parts = Parts {
            connector: NAME,
            name,
            profile: &(),
            table: &table,
            schema,
            description: format!("SqliteLookup<{}, {}>", *table.path, *table.table),
        };
        parts.connection()
    }

    fn test(
        &self,
        (): (),
        table: SqliteTable,
        config: &OperatorConfig,
        _place: ProbePlace,
        progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        let cache = options(&table).ok()?;
        let lookup = SqliteLookup::new(&table, config.clone(), cache);
        let remedy =
            "see that the file is a database that can be read, with this table and its columns";
        Some(try_lookup(Box::new(lookup), progress, remedy).boxed())
    }

    fn make_operator(
        &self,
        (): (),
        table: SqliteTable,
        config: OperatorConfig,
        _context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let lookup = SqliteLookup::new(&table, config, options(&table)?);
        Ok(Operator::Lookup(Box::new(lookup)))
    }
}

fn options(table: &SqliteTable) -> Result<headwater_connector::CacheOptions, ConfigError> {
    let SqliteType::Lookup { cache: options } = &table.type_;
    let options = options.clone().unwrap_or_default();
    cache(options.max_bytes, &options.ttl)
}

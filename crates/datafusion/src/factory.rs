//! `CREATE EXTERNAL TABLE … STORED AS <connector>`.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Result, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::CreateExternalTable;
use headwater_connector::config::{OptionDoc, describe, did_you_mean, quoted};
use headwater_connector::{
    Column, ColumnOrigin, ConnectionType, ErasedConnector, Options, SqlOption, TableSchema,
};

use crate::identity::Job;
use crate::sink::SinkTable;
use crate::source::SourceTable;
use crate::{plan_error, types};

/// What DataFusion puts before the names of options that have no dot.
const NO_NAMESPACE: &str = "format.";
/// How options begin that say where the values of a column come from.
const METADATA: &str = "metadata.";
/// Options of the engine's dialect, which connectors pass over.
const FOREIGN: [&str; 2] = ["connector", "connection_profile"];

/// Makes the tables of one connector from `CREATE EXTERNAL TABLE`. The crate's documentation tells how location and
/// options are read.
pub struct ConnectorTableFactory {
    connector: Arc<dyn ErasedConnector>,
}

impl ConnectorTableFactory {
    /// A factory for `STORED AS` this connector's name, in upper case.
    pub fn new(connector: Arc<dyn ErasedConnector>) -> Self {
        Self { connector }
    }

    /// `type` may be left out of tables that are read.
    fn read_by_default(&self, options: &mut Vec<SqlOption>) -> Result<()> {
        let all = describe(&self.connector.metadata()).map_err(plain)?;
        let readable = |option: &OptionDoc| option.required && option.kind.contains("'source'");
        let mut kinds = all.iter().filter(|option| option.name == "type");
        if kinds.any(readable) && !options.iter().any(|option| option.key == "type") {
            options.push(SqlOption::new("type", "source"));
        }
        Ok(())
    }

    fn connection(
        &self,
        name: &str,
        options: Vec<SqlOption>,
        schema: TableSchema,
    ) -> Result<headwater_connector::Connection> {
        let made = self
            .connector
            .from_options(name, &Options(options), schema, None);
        made.map_err(|e| plan_error(name, e))
    }
}

impl std::fmt::Debug for ConnectorTableFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConnectorTableFactory")
            .field(&self.connector.name())
            .finish()
    }
}

#[async_trait]
impl TableProviderFactory for ConnectorTableFactory {
    async fn create(
        &self,
        _session: &dyn Session,
        table: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let name = table.name.table();
        refuse_clauses(name, table)?;
        let Given {
            mut options,
            metadata,
            job,
        } = Given::of(table);
        for key in FOREIGN {
            if options.iter().any(|option| option.key == key) {
                return plan_err!("table '{name}': option '{key}' has no meaning here; remove it");
            }
        }
        self.read_by_default(&mut options)?;
        let located = self.connector.locate(location(name, table)?);
        for option in located.map_err(|e| plan_error(name, e))?.0 {
            if options.iter().any(|given| given.key == option.key) {
                return plan_err!(
                    "table '{name}': option '{}' is given, and so is a LOCATION that says it; remove one of them",
                    option.key
                );
            }
            options.push(option);
        }
        let schema = columns(name, table.schema.as_arrow(), &metadata)?;
        let connection = self.connection(name, options, schema)?;
        let connector = Arc::clone(&self.connector);
        Ok(match connection.connection_type {
            ConnectionType::Source => Arc::new(SourceTable::try_new(connector, connection, job)?),
            ConnectionType::Sink => Arc::new(SinkTable::try_new(connector, connection, job)?),
            ConnectionType::Lookup => {
                return plan_err!(
                    "table '{name}': looking rows up needs the engine; here there are sources and sinks"
                );
            }
        })
    }
}

/// The options of a statement, sorted by whom they are for.
struct Given {
    /// The connector's.
    options: Vec<SqlOption>,
    /// `metadata.<column>`, by the name of the column in lower case.
    metadata: Vec<(String, String)>,
    job: Job,
}

impl Given {
    fn of(table: &CreateExternalTable) -> Self {
        let mut given = Self {
            options: Vec::new(),
            metadata: Vec::new(),
            job: Job::of_program(),
        };
        let mut all: Vec<_> = table.options.iter().collect();
        // they come in the order of a hash map, and errors should not change theirs
        all.sort();
        for (key, value) in all {
            let key = key.strip_prefix(NO_NAMESPACE).unwrap_or(key);
            match key.strip_prefix(METADATA) {
                Some(column) => given.metadata.push((column.to_owned(), value.clone())),
                None if key == "job" => given.job = Job::new(value),
                None => given.options.push(SqlOption::new(key, value)),
            }
        }
        given
    }
}

/// The declared columns, each with its origin.
fn columns(table: &str, declared: &Schema, metadata: &[(String, String)]) -> Result<TableSchema> {
    let mut schema = TableSchema::payload_only(&types::without_views(declared));
    for (name, value) in metadata {
        let matches = |column: &&mut Column| column.field.name().to_lowercase() == *name;
        let mut found: Vec<_> = schema.columns.iter_mut().filter(matches).collect();
        match found.as_mut_slice() {
            [column] => column.origin = ColumnOrigin::Metadata(value.clone()),
            [] => {
                let names = declared.fields().iter().map(|field| field.name().as_str());
                return plan_err!(
                    "table '{table}': option 'metadata.{name}' is for a column that does not exist{}; there are {}",
                    did_you_mean(name, names.clone()),
                    quoted(names)
                );
            }
            _ => {
                return plan_err!(
                    "table '{table}': option 'metadata.{name}' is for several columns, since the names of options have no case; rename one of them"
                );
            }
        }
    }
    Ok(schema)
}

fn location<'a>(name: &str, table: &'a CreateExternalTable) -> Result<&'a str> {
    match table.locations.as_slice() {
        [one] => Ok(one),
        _ => plan_err!("table '{name}' has several locations; it can have one"),
    }
}

/// What a stream cannot have.
fn refuse_clauses(name: &str, table: &CreateExternalTable) -> Result<()> {
    let clause = if !table.table_partition_cols.is_empty() {
        "PARTITIONED BY"
    } else if !table.order_exprs.is_empty() {
        "WITH ORDER"
    } else if table.constraints.iter().next().is_some() {
        "PRIMARY KEY or UNIQUE"
    } else if !table.column_defaults.is_empty() {
        "DEFAULT"
    } else {
        return Ok(());
    };
    plan_err!("table '{name}': {clause} is not supported by tables of connectors")
}

fn plain(error: headwater_connector::ConfigError) -> DataFusionError {
    DataFusionError::Plan(error.to_string())
}

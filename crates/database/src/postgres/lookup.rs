//! The operator of a table in which rows are looked up.

use std::ops::Range;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::{
    CacheOptions, Found, LookupError, LookupOperator, OperatorConfig, OperatorError,
};
use tokio::task::JoinHandle;
use tokio_postgres::config::Config;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::tls::Tls;
use crate::quoted;
use crate::rows::{Rows, is_text};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Looks rows up in a table.
pub(super) struct PostgresLookup {
    database: Config,
    tls: Option<Tls>,
    table: String,
    config: OperatorConfig,
    cache: CacheOptions,
    /// `None` before it was opened, and after a fault.
    open: Option<Open>,
}

struct Open {
    client: Client,
    /// Moves what is said; it ends with the connection.
    connection: JoinHandle<()>,
    /// The columns of the table, in the order of the declaration, as the database knows them.
    types: Vec<Type>,
    /// The question by the columns of its keys.
    prepared: Option<(Vec<String>, Statement)>,
    rows: Rows,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl PostgresLookup {
    pub(super) fn new(
        (mut database, tls): (Config, Option<Tls>),
        table: &str,
        config: OperatorConfig,
        cache: CacheOptions,
    ) -> Self {
        database.connect_timeout(CONNECT);
        Self {
            database,
            tls,
            table: table.to_owned(),
            config,
            cache,
            open: None,
        }
    }

    async fn connect(&self) -> Result<Open, LookupError> {
        let failed = |error| self.fault(error);
        let (client, connection) = match &self.tls {
            None => {
                let (client, connection) = self.database.connect(NoTls).await.map_err(failed)?;
                // what ends it is told by the next question
                (
                    client,
                    tokio::spawn(async { connection.await.unwrap_or_default() }),
                )
            }
            Some(tls) => {
                let connected = self.database.connect(tls.clone()).await;
                let (client, connection) = connected.map_err(failed)?;
                (
                    client,
                    tokio::spawn(async { connection.await.unwrap_or_default() }),
                )
            }
        };
        let columns = self.config.schema.columns.iter();
        let columns: Vec<_> = columns.map(|column| quoted(column.field.name())).collect();
        let query = format!("SELECT {} FROM {} LIMIT 0", columns.join(", "), self.from());
        let statement = client.prepare(&query).await.map_err(failed)?;
        let types = statement
            .columns()
            .iter()
            .map(|column| column.type_().clone());
        Ok(Open {
            types: types.collect(),
            client,
            connection,
            prepared: None,
            rows: Rows::new(&self.config, &self.table)?,
        })
    }

    /// The table's name, with that of its schema.
    fn from(&self) -> String {
        let parts: Vec<_> = self.table.splitn(2, '.').map(quoted).collect();
        parts.join(".")
    }

    /// The rows of keys that come as an array of text for each column.
    fn query(&self, keys: &Schema, types: &[Type]) -> String {
        let schema = self.config.schema.arrow_schema();
        let shown = schema.fields().iter().map(|field| shown(field));
        let shown: Vec<_> = shown.collect();
        let names = keys.fields().iter().map(|field| field.name());
        let equal = names.clone().enumerate().map(|(number, name)| {
            let index = schema.index_of(name).unwrap_or_default();
            let (namespace, kind) = (types[index].schema(), types[index].name());
            let (namespace, kind) = (quoted(namespace), quoted(kind));
            format!("t.{} = k.k{number}::{namespace}.{kind}", quoted(name))
        });
        let equal: Vec<_> = equal.collect();
        let arrays: Vec<_> = (1..=names.len()).map(|n| format!("${n}::text[]")).collect();
        let columns: Vec<_> = (0..names.len()).map(|n| format!("k{n}")).collect();
        format!(
            "SELECT k.n, (SELECT row_to_json(r)::text FROM (SELECT {}) r) \
             FROM unnest({}) WITH ORDINALITY AS k({}, n) JOIN {} t ON {} ORDER BY k.n",
            shown.join(", "),
            arrays.join(", "),
            columns.join(", "),
            self.from(),
            equal.join(" AND "),
        )
    }

    async fn ask(&self, open: &mut Open, keys: &RecordBatch) -> Result<Found, LookupError> {
        let schema = keys.schema();
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let statement = match &open.prepared {
            Some((by, statement)) if *by == names => statement.clone(),
            _ => {
                let query = self.query(&schema, &open.types);
                let statement = open.client.prepare(&query).await;
                let statement = statement.map_err(|error| self.fault(error))?;
                open.prepared = Some((names, statement.clone()));
                statement
            }
        };
        let columns = texts(keys)?;
        // the next part last
        let mut ahead = vec![0..keys.num_rows()];
        while let Some(part) = ahead.pop() {
            match of(&open.client, &statement, &columns, part.clone()).await {
                Ok(rows) => {
                    for row in rows {
                        let (number, json): (i64, &str) = (row.get(0), row.get(1));
                        // counted from 1, within the part, which has fewer than 2^32
                        let key = part.start as u32 + number as u32 - 1;
                        open.rows.push(key, json.as_bytes())?;
                    }
                }
                // a key that is no value of the column's type has no row; which it is, is found by halving
                Err(error) if is_bad_value(&error) => {
                    if part.len() > 1 {
                        let middle = part.start + part.len() / 2;
                        ahead.extend([middle..part.end, part.start..middle]);
                    }
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
        Ok(open.rows.finish()?)
    }

    /// Whether it passes, in the words of the database, with the place.
    fn fault(&self, error: tokio_postgres::Error) -> LookupError {
        let state = error.code().map(|state| state.code());
        let passes = match state {
            // connection, resources, rollback, the operator's intervention
            Some(code) => ["08", "53", "40", "57"]
                .iter()
                .any(|class| code.starts_with(class)),
            // not said by the database, but of the way to it
            None => true,
        };
        let message = format!(
            "table '{}' of the PostgreSQL database cannot be read",
            self.table
        );
        let error = OperatorError::caused_by(message, error);
        match passes {
            true => LookupError::Passing(error),
            false => LookupError::Final(error),
        }
    }
}

#[async_trait]
impl LookupOperator for PostgresLookup {
    async fn open(&mut self) -> Result<(), LookupError> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.client.is_closed())
        {
            self.open = Some(self.connect().await?);
        }
        Ok(())
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        // gone for good if this future is dropped, because its answer would be taken for the next one's rows
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let found = self.ask(&mut open, keys).await?;
        self.open = Some(open);
        Ok(found)
    }

    fn cache(&self) -> Option<CacheOptions> {
        Some(self.cache)
    }
}

/// A column of the table as a part of a JSON object.
fn shown(field: &Field) -> String {
    let name = quoted(field.name());
    match field.data_type() {
        DataType::Binary => format!("replace(encode(t.{name}, 'base64'), E'\\n', '') AS {name}"),
        _ if is_text(field) => format!("t.{name}::text AS {name}"),
        _ => format!("t.{name} AS {name}"),
    }
}

/// The columns of keys as text.
fn texts(keys: &RecordBatch) -> Result<Vec<ArrayRef>, OperatorError> {
    let columns = keys
        .columns()
        .iter()
        .map(|column| cast(column, &DataType::Utf8));
    columns.collect::<Result<_, _>>().map_err(|error| {
        OperatorError::caused_by(
            "a key of this type cannot be looked up in PostgreSQL",
            error,
        )
    })
}

async fn of(
    client: &Client,
    statement: &Statement,
    columns: &[ArrayRef],
    part: Range<usize>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let arrays = columns.iter().map(|column| {
        let column = column.as_string::<i32>();
        let values = part
            .clone()
            .map(|row| column.is_valid(row).then(|| column.value(row)));
        values.collect::<Vec<Option<&str>>>()
    });
    let arrays: Vec<_> = arrays.collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
    client.query(statement, &parameters).await
}

/// Whether a value is none of its type: a data exception (class 22).
fn is_bad_value(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|state| state.code().starts_with("22"))
}

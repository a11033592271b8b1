//! The operator of a table in which rows are looked up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::{
    CacheOptions, Found, LookupError, LookupOperator, OperatorConfig, OperatorError,
};
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};
use tokio::task::spawn_blocking;

use super::SqliteTable;
use super::value::{Keys, write_row};
use crate::quoted;
use crate::rows::Rows;

/// How long a database that is locked is waited for at once.
const BUSY: Duration = Duration::from_secs(5);

/// Looks rows up in a table.
pub(super) struct SqliteLookup {
    place: Place,
    cache: CacheOptions,
    /// `None` before it was opened, and after a fault.
    open: Option<Open>,
}

/// What is looked for where.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    table: String,
    config: OperatorConfig,
}

struct Open {
    connection: Connection,
    /// The number of the file, by which another of its name is known.
    file: Option<u64>,
    rows: Rows,
}

impl SqliteLookup {
    pub(super) fn new(table: &SqliteTable, config: OperatorConfig, cache: CacheOptions) -> Self {
        let place = Place {
            path: PathBuf::from(table.path.as_str()),
            table: table.table.to_string(),
            config,
        };
        Self {
            place,
            cache,
            open: None,
        }
    }

    /// Does something with the database, in a thread for what blocks.
    async fn with<T: Send + 'static>(
        &mut self,
        action: impl FnOnce(&Place, &mut Open) -> Result<T, LookupError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let place = self.place.clone();
        let open = self.open.take();
        let done = spawn_blocking(move || {
            let mut open = match open {
                Some(open) if open.file == file_number(&place.path) => open,
                _ => place.open()?,
            };
            action(&place, &mut open).map(|done| (open, done))
        });
        let done = done.await.map_err(|error| {
            let message = format!("work on '{}' was interrupted", self.place.path.display());
            OperatorError::caused_by(message, error)
        })?;
        let (open, done) = done?;
        self.open = Some(open);
        Ok(done)
    }
}

#[async_trait]
impl LookupOperator for SqliteLookup {
    async fn open(&mut self) -> Result<(), LookupError> {
        self.with(|place, open| {
            // finds out whether the table and its columns are there
            let none: [&str; 0] = [];
            let query = place.query(&none);
            let prepared = open.connection.prepare(&query);
            prepared.map(drop).map_err(|error| place.fault(error))
        })
        .await
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        let keys = keys.clone();
        self.with(move |place, open| place.lookup(open, &keys))
            .await
    }

    fn cache(&self) -> Option<CacheOptions> {
        Some(self.cache)
    }
}

impl Place {
    fn open(&self) -> Result<Open, LookupError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = file_number(&self.path);
        let connection = Connection::open_with_flags(&self.path, flags);
        let connection = connection.map_err(|error| self.fault(error))?;
        connection
            .busy_timeout(BUSY)
            .map_err(|error| self.fault(error))?;
        Ok(Open {
            connection,
            file,
            rows: Rows::new(&self.config, &self.table)?,
        })
    }

    /// The rows with these columns equal to parameters.
    fn query(&self, keys: &[impl AsRef<str>]) -> String {
        let columns = self.config.schema.columns.iter();
        let columns: Vec<_> = columns.map(|column| quoted(column.field.name())).collect();
        let equal = keys
            .iter()
            .map(|key| format!("{} = ?", quoted(key.as_ref())));
        let equal: Vec<_> = equal.collect();
        let condition = match equal.as_slice() {
            [] => String::new(),
            equal => format!(" WHERE {}", equal.join(" AND ")),
        };
        format!(
            "SELECT {} FROM {}{condition}",
            columns.join(", "),
            quoted(&self.table)
        )
    }

    fn lookup(&self, open: &mut Open, keys: &RecordBatch) -> Result<Found, LookupError> {
        let schema = self.config.schema.arrow_schema();
        let query = self.query(&names(&keys.schema()));
        let mut statement = open
            .connection
            .prepare(&query)
            .map_err(|error| self.fault(error))?;
        let values = Keys::new(keys)?;
        let mut json = Vec::new();
        for key in 0..keys.num_rows() {
            let rows = statement.query(params_from_iter(values.of(key)?));
            let mut rows = rows.map_err(|error| self.fault(error))?;
            while let Some(row) = rows.next().map_err(|error| self.fault(error))? {
                json.clear();
                write_row(row, &schema, &mut json).map_err(|error| self.fault(error))?;
                // a batch has fewer rows than 2^32
                open.rows.push(key as u32, &json)?;
            }
        }
        Ok(open.rows.finish()?)
    }

    /// Whether it passes, in the words of SQLite, with the place and the remedy.
    fn fault(&self, error: rusqlite::Error) -> LookupError {
        let passes = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::CannotOpen
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::SchemaChanged
                    | ErrorCode::OutOfMemory
            )
        );
        let path = self.path.display();
        let message = format!(
            "table '{}' of the SQLite database '{path}' cannot be read",
            self.table
        );
        let error = OperatorError::caused_by(message, error);
        match passes {
            true => LookupError::Passing(error),
            false => LookupError::Final(error),
        }
    }
}

fn names(schema: &Schema) -> Vec<String> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

#[cfg(unix)]
fn file_number(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| file.ino())
}

#[cfg(not(unix))]
fn file_number(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

//! Connection tables.

use rusqlite::{OptionalExtension, Row};
use serde_json::Value;

use super::profiles::now;
use super::{Database, Listing, ProfileRecord, StoreError, taken};
use crate::secrets::new_id;
use crate::types::ConnectionSchema;

/// A table to be kept.
#[derive(Debug, Clone)]
pub(crate) struct NewTable {
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) profile_id: Option<String>,
    pub(crate) config: Value,
    pub(crate) schema: ConnectionSchema,
}

/// A table as it is kept, with its secrets.
#[derive(Debug, Clone)]
pub(crate) struct TableRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) profile: Option<ProfileRecord>,
    pub(crate) config: Value,
    pub(crate) schema: ConnectionSchema,
    pub(crate) created_at: u64,
    pub(crate) consumers: u32,
}

const SELECT: &str = "SELECT id, name, connector, profile_id, config, schema, created_at,
    (SELECT count(*) FROM pipeline_tables WHERE table_id = tables.id) FROM tables";

struct Sealed {
    id: String,
    name: String,
    connector: String,
    profile_id: Option<String>,
    config: Vec<u8>,
    schema: String,
    created_at: u64,
    consumers: u32,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok(Sealed {
        id: row.get(0)?,
        name: row.get(1)?,
        connector: row.get(2)?,
        profile_id: row.get(3)?,
        config: row.get(4)?,
        schema: row.get(5)?,
        created_at: row.get::<_, i64>(6)?.cast_unsigned(),
        consumers: row.get(7)?,
    })
}

impl Database {
    /// All tables.
    pub(crate) fn tables(&self) -> Result<Vec<TableRecord>, StoreError> {
        self.tables_page(None, u32::MAX)
    }

    /// One page of the tables.
    pub(crate) fn tables_page(
        &self,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<TableRecord>, StoreError> {
        let tables = Listing {
            table: "tables",
            select: SELECT,
            of: None,
        };
        let rows = self.page(tables, (after, limit), read)?;
        rows.into_iter().map(|row| self.table_of(row)).collect()
    }

    /// Keeps a table.
    pub(crate) fn insert_table(&self, table: &NewTable) -> Result<TableRecord, StoreError> {
        let id = new_id("ct")?;
        let sealed = self.seal(&id, &table.config.to_string())?;
        let schema = serde_json::to_string(&table.schema)?;
        let sql = "INSERT INTO tables (id, name, connector, profile_id, config, schema, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let NewTable {
            name,
            connector,
            profile_id,
            ..
        } = table;
        let values = (&id, name, connector, profile_id, sealed, schema, now());
        let inserted = self.connection.execute(sql, values);
        inserted.map_err(|error| taken(error, "connection table", name))?;
        let sql = format!("{SELECT} WHERE id = ?1");
        let row = self.connection.query_row(&sql, [&id], read).optional()?;
        self.table_of(row.ok_or(StoreError::Missing("connection table"))?)
    }

    /// Forgets a table that nobody uses.
    pub(crate) fn delete_table(&self, id: &str) -> Result<(), StoreError> {
        self.delete("tables", "connection table", id, "pipelines")
    }

    fn table_of(&self, row: Sealed) -> Result<TableRecord, StoreError> {
        Ok(TableRecord {
            config: serde_json::from_str(&self.unseal(&row.id, &row.config)?)?,
            profile: row
                .profile_id
                .as_deref()
                .map(|id| self.profile(id))
                .transpose()?,
            schema: serde_json::from_str(&row.schema)?,
            id: row.id,
            name: row.name,
            connector: row.connector,
            created_at: row.created_at,
            consumers: row.consumers,
        })
    }
}

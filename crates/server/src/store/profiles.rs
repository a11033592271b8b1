//! Connection profiles.

use rusqlite::{OptionalExtension, Row};
use serde_json::Value;

use super::{Database, StoreError, taken};
use crate::secrets::new_id;
use crate::types::now_micros;

/// A profile as it is kept, with its secrets.
#[derive(Debug, Clone)]
pub(crate) struct ProfileRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) config: Value,
}

const SELECT: &str = "SELECT id, name, connector, config FROM profiles";

type Sealed = (String, String, String, Vec<u8>);

fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

impl Database {
    /// All profiles, newest first.
    pub(crate) fn profiles(&self) -> Result<Vec<ProfileRecord>, StoreError> {
        let mut statement = self
            .connection
            .prepare(&format!("{SELECT} ORDER BY seq DESC"))?;
        let rows: Vec<_> = statement.query_map([], read)?.collect::<Result<_, _>>()?;
        rows.into_iter().map(|row| self.profile_of(row)).collect()
    }

    /// The profile of this id.
    pub(crate) fn profile(&self, id: &str) -> Result<ProfileRecord, StoreError> {
        let sql = format!("{SELECT} WHERE id = ?1");
        let row = self.connection.query_row(&sql, [id], read).optional()?;
        self.profile_of(row.ok_or(StoreError::Missing("connection profile"))?)
    }

    /// Keeps a profile.
    pub(crate) fn insert_profile(
        &self,
        name: &str,
        connector: &str,
        config: &Value,
    ) -> Result<ProfileRecord, StoreError> {
        let id = new_id("cp")?;
        let sealed = self.seal(&id, &config.to_string())?;
        let sql = "INSERT INTO profiles (id, name, connector, config, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        self.connection
            .execute(sql, (&id, name, connector, sealed, now()))
            .map_err(|error| taken(error, "connection profile", name))?;
        self.profile(&id)
    }

    /// Forgets a profile that nobody uses.
    pub(crate) fn delete_profile(&self, id: &str) -> Result<(), StoreError> {
        self.delete("profiles", "connection profile", id, "tables or pipelines")
    }

    fn profile_of(
        &self,
        (id, name, connector, sealed): Sealed,
    ) -> Result<ProfileRecord, StoreError> {
        let config = serde_json::from_str(&self.unseal(&id, &sealed)?)?;
        Ok(ProfileRecord {
            id,
            name,
            connector,
            config,
        })
    }
}

/// Now, as SQLite keeps it.
pub(super) fn now() -> i64 {
    i64::try_from(now_micros()).unwrap_or(i64::MAX)
}

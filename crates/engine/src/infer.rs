//! A table that fits what is there: listen, look at the payloads, write the `CREATE TABLE`.
//!
//! ```text
//! connector: sample ─► payloads ─► columns and format ─┐
//!                   └► topic with named levels ────────┴─► CREATE TABLE ─► planned, and every sample decoded
//! ```
//!
//! What comes out is planned before it is given out, and every sample is decoded by it: what does not fit is told.

mod payload;
mod profile;

use std::sync::Arc;

use arrow::datatypes::Field;
use headwater_connector::{
    Column, ColumnOrigin, ConfigError, Connection, OperatorError, SampleRequest, Sampled,
    SqlOption, TableSchema,
};
use headwater_format::Decoder;
use headwater_planner::{PlanError, create_table};

use crate::Engine;
use payload::Payloads;
pub use profile::Profile;

/// Why no table was inferred.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The profile or the topic is at fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The other side could not be reached, or refused.
    #[error(transparent)]
    Listen(#[from] OperatorError),
    /// Nothing was heard.
    #[error("nothing was published to '{place}' while it was listened to")]
    Silence {
        /// What was listened to.
        place: String,
    },
    /// The table that was made cannot be planned, which is a bug.
    #[error("the inferred table cannot be planned")]
    Plan(#[from] PlanError),
}

/// A table, and how it came about.
#[derive(Debug, Clone)]
pub struct Inferred {
    /// `CREATE TABLE …;`
    pub sql: String,
    /// What the user should know of it, in sentences.
    pub notes: Vec<String>,
    /// How many messages it was made of.
    pub messages: usize,
    /// From how many topics they came.
    pub places: usize,
}

impl Engine {
    /// Listens to a place without disturbing anybody, and writes a table for what is heard.
    ///
    /// # Errors
    /// A profile or a place that is none, a broker that cannot be reached or refuses, and silence.
    pub async fn infer(
        &self,
        profile: &Profile,
        request: SampleRequest,
    ) -> Result<Inferred, InferError> {
        let place = request.place.clone();
        let connector = self.registry().get(&profile.connector)?;
        let Some(sampling) = connector.sample(&profile.config, request)? else {
            let message = format!(
                "the connector '{}' cannot be listened to",
                profile.connector
            );
            return Err(ConfigError::new(None, message).into());
        };
        let sampled = sampling.await?;
        let Some(payloads) = payload::infer(&sampled.payloads) else {
            return Err(InferError::Silence { place });
        };
        let schema = columns(&payloads, &sampled);
        let mut options = vec![SqlOption::new("connector", profile.connector.as_str())];
        options.extend(sampled.options.iter().cloned());
        let shown = profile.options(connector.metadata().profile_schema);
        options.extend(shown.options);
        options.extend(payloads.options.iter().cloned());
        let name = table_name(&place);
        let mut notes = shown.notes;
        notes.extend(payloads.notes);
        let sql = self
            .fitting(profile, &name, &schema, options, &sampled, &mut notes)
            .await?;
        Ok(Inferred {
            sql,
            notes,
            messages: sampled.payloads.len(),
            places: sampled.places,
        })
    }

    /// The table's text, after it has been planned and has read every sample.
    async fn fitting(
        &self,
        profile: &Profile,
        name: &str,
        schema: &TableSchema,
        mut options: Vec<SqlOption>,
        sampled: &Sampled,
        notes: &mut Vec<String>,
    ) -> Result<String, InferError> {
        let sql = create_table(name, schema, &options);
        // a catalog of its own, in which the name is free
        let engine = Self::with_connectors(self.registry().clone());
        if let Some(named) = &profile.named {
            engine.add_profile(named.clone()).await;
        }
        let script = engine.plan(&sql).await?;
        let Some((bad, reason)) = script
            .tables
            .first()
            .and_then(|table| misfits(table, sampled))
        else {
            return Ok(sql);
        };
        notes.push(format!(
            "{bad} of {} messages do not fit, and are dropped by bad_data = 'drop'; the first: {reason}",
            sampled.payloads.len()
        ));
        options.push(SqlOption::new("bad_data", "drop"));
        Ok(create_table(name, schema, &options))
    }
}

/// How many samples a table cannot read, and why it cannot read the first of them.
fn misfits(table: &Connection, sampled: &Sampled) -> Option<(usize, String)> {
    let config = &table.config;
    let mut decoder = match Decoder::new(&config.format, config.schema.payload_schema()) {
        Ok(decoder) => decoder,
        Err(error) => return Some((sampled.payloads.len(), error.to_string())),
    };
    let mut reasons = sampled.payloads.iter().filter_map(|payload| {
        let rejected = decoder.push(payload).err()?;
        rejected.bad.first().map(ToString::to_string)
    });
    let first = reasons.next()?;
    Some((1 + reasons.count(), first))
}

/// The metadata columns, then those of the payload. A name that both have goes to the payload.
fn columns(payloads: &Payloads, sampled: &Sampled) -> TableSchema {
    let mut schema = TableSchema::default();
    for found in &sampled.metadata {
        let mut name = found.name.clone();
        while payloads.schema.field_with_name(&name).is_ok() {
            name = format!("topic_{name}");
        }
        schema.columns.push(Column {
            field: Arc::new(Field::new(name, found.data_type.clone(), true)),
            origin: ColumnOrigin::Metadata(found.metadata.clone()),
        });
    }
    let payload = TableSchema::payload_only(&payloads.schema).columns;
    schema.columns.extend(payload);
    schema
}

/// After the last level of the topic that is a word.
fn table_name(place: &str) -> String {
    let is_word = |level: &&str| {
        level.starts_with(|c: char| c.is_ascii_alphabetic())
            && level
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let word = place.split('/').rev().find(is_word);
    word.unwrap_or("messages").to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_called_after_their_topic() {
        for (place, name) in [
            ("sensors/+/temperature", "temperature"),
            ("sensors/#", "sensors"),
            ("plant-7/Line/{line}", "line"),
            ("plant-7/+", "plant_7"),
            ("#", "messages"),
        ] {
            assert_eq!(table_name(place), name);
        }
    }
}

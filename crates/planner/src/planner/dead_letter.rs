//! Where the dead letters of a table go.

use std::sync::Arc;

use headwater_connector::dead_letter::{check_columns, standard_columns};
use headwater_connector::{BadData, Connection, ConnectionType, Location, TableSchema};

use super::{Draft, Planner};
use crate::catalog::Relation;
use crate::ddl::Configuration;
use crate::error::PlanError;
use crate::translate::Sink;

/// Where the option stands that says where dead letters go.
pub(super) fn place(table: &Configuration) -> Option<Location> {
    let mut options = table.options.0.iter();
    let option = options.find(|option| option.key.starts_with("dead_letter."));
    option.and_then(|option| option.location)
}

impl Planner {
    /// Checks the dead letters of every table that a text declares, used or not, now that all its tables are known.
    pub(super) fn check_dead_letters(&mut self, draft: &Draft) -> Result<(), PlanError> {
        for (name, location) in &draft.tables {
            let table = self.connection(name)?;
            if table.config.format.bad_data == BadData::DeadLetter {
                self.dead_letters(&table)
                    .map_err(|error| error.or_at(*location))?;
            }
        }
        Ok(())
    }

    /// The sink for the dead letters of a table that has them.
    pub(super) fn dead_letters(&mut self, table: &Connection) -> Result<Sink, PlanError> {
        let options = &table.config.format.dead_letter;
        match (&options.topic, &options.table) {
            (Some(topic), _) => {
                let connector = self.registry.get(&table.connector)?;
                Ok(Sink {
                    connection: Arc::new(connector.dead_letter(table, topic)?),
                    id: format!("dead_letters_{}", table.name),
                })
            }
            (None, Some(name)) => {
                let connection = self.dead_letter_table(table, name)?;
                Ok(Sink::of(&connection))
            }
            // refused with the other options of the table
            (None, None) => Err(PlanError::new(format!(
                "table '{}' does not say where its dead letters go",
                table.name
            ))),
        }
    }

    fn dead_letter_table(
        &mut self,
        table: &Connection,
        name: &str,
    ) -> Result<Arc<Connection>, PlanError> {
        let wrong = |reason: String| {
            PlanError::new(format!(
                "option 'dead_letter.table' of '{}': {reason}",
                table.name
            ))
        };
        let relation = self.catalog.get(name).map_err(|mut error| {
            error.message = wrong(error.message).message;
            error
        })?;
        let untyped = match relation {
            Relation::Sink(_) => None,
            Relation::Untyped(untyped) => Some(untyped.clone()),
            Relation::Source { .. } | Relation::View(_) | Relation::Memory(_) => {
                let error = wrong(format!("'{name}' is no sink and cannot take dead letters"));
                return Err(error.hint("name a table with type = 'sink'"));
            }
        };
        let connection = match untyped {
            None => self.connection(name)?,
            Some(untyped) => {
                let columns = TableSchema::payload_only(&standard_columns());
                let connection = Arc::new(self.connect(name, &untyped, columns)?);
                if connection.connection_type != ConnectionType::Sink {
                    return Err(wrong(format!("'{name}' is no sink")));
                }
                let relation = Relation::Sink(Arc::clone(&connection));
                self.catalog.insert(name, relation);
                connection
            }
        };
        if connection.config.format.bad_data == BadData::DeadLetter {
            let error = wrong(format!("'{name}' has dead letters of its own"));
            return Err(error.hint("give it bad_data = 'fail' or 'drop'"));
        }
        if table.connector == connection.connector
            && let Some(pattern) = self
                .registry
                .get(&table.connector)?
                .feeds(&connection, table)?
        {
            let error = wrong(format!(
                "'{name}' writes what '{}' reads ('{pattern}'), so that dead letters would go round in a loop",
                table.name
            ));
            return Err(error.hint("write them to somewhere outside of it"));
        }
        check_columns(name, &connection.config.schema.arrow_schema())?;
        Ok(connection)
    }
}

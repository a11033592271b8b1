//! The tables and views that exist, by name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{LogicalPlan, TableSource, Union};
use headwater_connector::Connection;
use headwater_connector::Location;

use crate::ddl::Configuration;
use crate::error::PlanError;
use crate::fields::StructFields;
use crate::names::{quoted, there_are};
use crate::stream;

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Relation {
    /// A table that is read: its columns as a query over the connection.
    Source {
        /// The table.
        connection: Arc<Connection>,
        /// Its physical columns, and the generated ones computed from them.
        query: LogicalPlan,
    },
    /// A table that is written.
    Sink(Arc<Connection>),
    /// A table without columns: a sink that takes those of the first query written to it.
    Untyped(Configuration),
    /// A query with a name.
    View(LogicalPlan),
    /// A table without a connector.
    Memory(Memory),
}

/// A stream with a name, within its job: whoever reads it reads all that is written to it. With a key, rows are looked up in it
/// where it is joined.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Its columns.
    pub schema: SchemaRef,
    /// Which of them are its primary key, if it has one.
    pub key: Vec<usize>,
    /// The queries that write it, in the form of its columns.
    writes: Vec<Arc<LogicalPlan>>,
    /// Whether it has been read. What is written later would be missing there.
    read: AtomicBool,
}

impl Memory {
    pub(crate) fn new(schema: SchemaRef, key: Vec<usize>) -> Self {
        Self {
            schema,
            key,
            writes: Vec::new(),
            read: AtomicBool::new(false),
        }
    }

    /// Refuses to be written after it was read.
    pub(crate) fn check_unread(&self, name: &str) -> Result<(), PlanError> {
        if !self.read.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = format!("memory table '{name}' is written here, and was read before");
        Err(PlanError::new(message)
            .hint("put all its INSERTs before the first query or view that reads it"))
    }

    /// All that is written to it.
    fn query(&self, name: &str) -> Result<LogicalPlan, PlanError> {
        self.read.store(true, Ordering::Relaxed);
        let rows = match self.writes.as_slice() {
            [] => {
                let message =
                    format!("memory table '{name}' is read, and nothing is written to it");
                return Err(PlanError::new(message).hint(format!(
                    "put INSERT INTO {} SELECT … before; or was a connector meant: WITH (connector = '…', …)?",
                    quoted(name)
                )));
            }
            writes => united(writes),
        };
        let rows = rows.and_then(|rows| stream::marked(rows, name, &self.key));
        rows.map_err(|error| PlanError::new(error.strip_backtrace()))
    }

    /// All rows that are part of queries that write it, this one among them, if its key is to name each of them.
    pub(crate) fn keyed_values(
        &self,
        query: &LogicalPlan,
    ) -> DataFusionResult<Option<LogicalPlan>> {
        if self.key.is_empty() || !stream::is_constant(query)? {
            return Ok(None);
        }
        let mut values = vec![Arc::new(query.clone())];
        for write in &self.writes {
            if stream::is_constant(write)? {
                values.push(Arc::clone(write));
            }
        }
        united(&values).map(Some)
    }
}

/// The rows of all queries, of which there is one at least.
fn united(queries: &[Arc<LogicalPlan>]) -> DataFusionResult<LogicalPlan> {
    match queries {
        [only] => Ok(only.as_ref().clone()),
        several => Union::try_new_with_loose_types(several.to_vec()).map(LogicalPlan::Union),
    }
}

/// All relations.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    relations: BTreeMap<String, Relation>,
}

impl Catalog {
    /// Adds a relation or replaces the one of this name.
    pub(crate) fn insert(&mut self, name: &str, relation: Relation) {
        self.relations.insert(name.to_owned(), relation);
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.relations.contains_key(name)
    }

    /// The relation of this name.
    ///
    /// # Errors
    /// There is none; the hint has the nearest name.
    pub(crate) fn get(&self, name: &str) -> Result<&Relation, PlanError> {
        self.relations.get(name).ok_or_else(|| {
            let error = PlanError::new(format!("table '{name}' not found"));
            let names = self.relations.keys().map(String::as_str);
            let hint = match self.relations.is_empty() {
                true => "create it with CREATE TABLE … WITH (connector = '…', …)".to_owned(),
                false => there_are(names.clone()),
            };
            error.hint(hint).near(name, names)
        })
    }

    /// Adds a query to what is written to a memory table.
    pub(crate) fn write(&mut self, name: &str, query: LogicalPlan) {
        if let Some(Relation::Memory(memory)) = self.relations.get_mut(name) {
            memory.writes.push(Arc::new(query));
        }
    }

    /// The relation of this name, to read from.
    ///
    /// # Errors
    /// There is none, or it is a sink, or a memory table that nobody writes.
    pub(crate) fn readable(&self, name: &str) -> Result<Arc<dyn TableSource>, PlanError> {
        let query = match self.get(name)? {
            Relation::Source { query, .. } | Relation::View(query) => query.clone(),
            Relation::Memory(memory) => memory.query(name)?,
            Relation::Sink(_) | Relation::Untyped(_) => {
                let message = format!("table '{name}' is a sink and cannot be read");
                return Err(PlanError::new(message)
                    .hint("to read what is written there, declare a source table for it"));
            }
        };
        Ok(Arc::new(Inlined {
            schema: Arc::clone(query.schema().inner()),
            query,
        }))
    }

    /// The fields of the structs in everything that can be read.
    pub(crate) fn struct_fields(&self) -> StructFields {
        let mut known = StructFields::default();
        for relation in self.relations.values() {
            let fields = match relation {
                Relation::Source { query, .. } | Relation::View(query) => query.schema().fields(),
                Relation::Memory(memory) => memory.schema.fields(),
                Relation::Sink(_) | Relation::Untyped(_) => continue,
            };
            fields.iter().for_each(|field| known.add(field));
        }
        known
    }

    /// The error of declaring a name twice.
    pub(crate) fn check_free(&self, name: &str, location: Location) -> Result<(), PlanError> {
        let kind = match self.relations.get(name) {
            None => return Ok(()),
            Some(Relation::View(_)) => "view",
            Some(_) => "table",
        };
        let error = PlanError::new(format!("there is a {kind} '{name}' already")).at(location);
        Err(error.hint("give it another name, or write IF NOT EXISTS to keep the first one"))
    }
}

/// A relation that stands for its query wherever it is named.
struct Inlined {
    schema: SchemaRef,
    query: LogicalPlan,
}

impl TableSource for Inlined {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.query))
    }
}

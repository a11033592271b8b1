//! The columns of a table as a connector sees them: which come out of the payload, which from around it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use headwater_format::{CHANGE, Format, FormatConfig};

use crate::config::ConfigError;

/// Where the value of a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// The payload, by the table's format.
    Payload,
    /// The connector's metadata of this name (`METADATA FROM 'topic'`).
    Metadata(String),
}

/// One physical column of a table. Generated columns are the planner's affair and do not appear here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, type and nullability.
    pub field: FieldRef,
    /// Where its values come from.
    pub origin: ColumnOrigin,
}

/// The physical columns of a table, in the order of its declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// The columns, in the order of declaration, which is the order of every batch.
    pub columns: Vec<Column>,
}

impl TableSchema {
    /// A table all of whose columns come from, or go into, the payload.
    pub fn payload_only(schema: &Schema) -> Self {
        let column = |field: &FieldRef| Column {
            field: Arc::clone(field),
            origin: ColumnOrigin::Payload,
        };
        Self {
            columns: schema.fields().iter().map(column).collect(),
        }
    }

    /// The schema of the batches that a source of this table yields and a sink takes.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.columns.iter().map(|c| Arc::clone(&c.field)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The columns that the format reads or writes, in order.
    pub fn payload_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .columns
            .iter()
            .filter(|c| c.origin == ColumnOrigin::Payload)
            .map(|c| Arc::clone(&c.field))
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The columns of a table with this format: one of changes has the column [`CHANGE`] behind those that were declared, which
    /// says what each row does.
    ///
    /// # Errors
    /// A column of that name was declared.
    pub fn in_format(mut self, format: &FormatConfig) -> Result<Self, ConfigError> {
        if format.format != Some(Format::DebeziumJson) {
            return Ok(self);
        }
        if self.columns.iter().any(|c| c.field.name() == CHANGE) {
            let message = format!(
                "column '{CHANGE}' is what format 'debezium_json' says of each row; give it another name"
            );
            return Err(ConfigError::new(None, message));
        }
        // without columns it is not known yet what the table has
        if !self.payload_schema().fields().is_empty() {
            self.columns.push(Column {
                field: Arc::new(Field::new(CHANGE, DataType::Int64, false)),
                origin: ColumnOrigin::Payload,
            });
        }
        Ok(self)
    }

    /// The columns of rows that are only shown, and the format in which they show what they do.
    pub fn shown(schema: &Schema) -> (Self, Format) {
        let mut shown = Self::payload_only(schema);
        match shown.change() {
            Some(change) => {
                shown.columns.truncate(change);
                (shown, Format::DebeziumJson)
            }
            None => (shown, Format::Json),
        }
    }

    /// Where the column [`CHANGE`] of a table of changes stands: behind all others.
    pub fn change(&self) -> Option<usize> {
        let last = self.columns.len().checked_sub(1)?;
        (self.columns[last].field.name() == CHANGE).then_some(last)
    }

    /// The metadata columns: index in the table, metadata name, field.
    pub fn metadata(&self) -> impl Iterator<Item = (usize, &str, &FieldRef)> {
        self.columns
            .iter()
            .enumerate()
            .filter_map(|(i, column)| match &column.origin {
                ColumnOrigin::Metadata(name) => Some((i, name.as_str(), &column.field)),
                ColumnOrigin::Payload => None,
            })
    }
}

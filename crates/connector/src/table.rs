//! The columns of a table as a connector sees them: which come out of the payload, which from around it.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};

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

//! Columns as DataFusion declares them, in the types that formats read and write.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema};

/// The same columns without views, which DataFusion makes of TEXT and BYTEA unless it is told not to.
pub(crate) fn without_views(schema: &Schema) -> Schema {
    let fields: Fields = schema.fields().iter().map(field).collect();
    Schema::new(fields)
}

fn field(field: &FieldRef) -> FieldRef {
    let plain = plain(field.data_type());
    if plain == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(plain))
}

fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn views_go_wherever_they_are() {
        let item = Arc::new(Field::new("item", DataType::BinaryView, true));
        let inner = Field::new("c", DataType::List(item), true);
        let declared = Schema::new(vec![
            Field::new("a", DataType::Utf8View, false),
            Field::new("b", DataType::Struct(vec![inner].into()), true),
            Field::new("d", DataType::Int64, true),
        ]);
        let plain = without_views(&declared);
        assert_eq!(plain.field(0), &Field::new("a", DataType::Utf8, false));
        let item = Arc::new(Field::new("item", DataType::Binary, true));
        let inner = Field::new("c", DataType::List(item), true);
        assert_eq!(
            plain.field(1).data_type(),
            &DataType::Struct(vec![inner].into())
        );
        assert_eq!(plain.field(2), declared.field(2));
    }
}

//! Arrow's types by their names in SQL.

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::types::{is_json, is_json_union};

/// A type as it is written in `CREATE TABLE`, or Arrow's name for what cannot be declared.
pub(crate) fn sql_type(field: &Field) -> String {
    declared(field, &str::to_owned).unwrap_or_else(|| match field.data_type() {
        DataType::Timestamp(_, Some(_)) => "TIMESTAMPTZ".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        other if is_json_union(other) => "JSON".to_owned(),
        other => other.to_string(),
    })
}

/// A type as it is written in `CREATE TABLE`, if it can be; `name` writes the names of a struct's members.
pub(crate) fn declared(field: &Field, name: &dyn Fn(&str) -> String) -> Option<String> {
    Some(match field.data_type() {
        DataType::Utf8 if is_json(field) => "JSON".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INT UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 => "TEXT".to_owned(),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(unit, None) => match unit {
            TimeUnit::Second => "TIMESTAMP(0)".to_owned(),
            TimeUnit::Millisecond => "TIMESTAMP(3)".to_owned(),
            TimeUnit::Microsecond => "TIMESTAMP(6)".to_owned(),
            TimeUnit::Nanosecond => "TIMESTAMP".to_owned(),
        },
        DataType::List(item) => format!("{}[]", declared(item, name)?),
        DataType::Struct(fields) => {
            let member =
                |field: &Field| Some(format!("{} {}", name(field.name()), declared(field, name)?));
            let members: Option<Vec<_>> = fields.iter().map(|field| member(field)).collect();
            format!("STRUCT<{}>", members?.join(", "))
        }
        _ => return None,
    })
}

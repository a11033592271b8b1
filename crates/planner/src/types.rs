//! Column types: SQL's as Arrow's.
//!
//! DataFusion knows most of them; here are those that it does not know or would read as something our formats do not
//! write (string views).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};
use datafusion_functions_json::JSON_UNION_DATA_TYPE;

/// The key of the field metadata that says what a column holds beyond its Arrow type.
const LOGICAL_TYPE: &str = "headwater.type";

/// Whether a column holds JSON documents as text (`JSON` in SQL).
pub fn is_json(field: &Field) -> bool {
    field
        .metadata()
        .get(LOGICAL_TYPE)
        .is_some_and(|logical| logical == "json")
}

/// The metadata of a `JSON` column.
pub fn json_metadata() -> HashMap<String, String> {
    HashMap::from([(LOGICAL_TYPE.to_owned(), "json".to_owned())])
}

/// Whether a column that a query has given a sink is what `->` gives, as text.
pub(crate) fn is_json_text(field: &Field) -> bool {
    field
        .metadata()
        .get(LOGICAL_TYPE)
        .is_some_and(|logical| logical == "json_text")
}

/// The metadata of such a column.
pub(crate) fn json_text_metadata() -> HashMap<String, String> {
    HashMap::from([(LOGICAL_TYPE.to_owned(), "json_text".to_owned())])
}

/// The union that `->` gives.
#[cfg(test)]
pub(crate) fn json_union() -> DataType {
    JSON_UNION_DATA_TYPE.clone()
}

/// Whether values are the union that `->` gives: one member for each JSON type.
pub(crate) fn is_json_union(data_type: &DataType) -> bool {
    *data_type == *JSON_UNION_DATA_TYPE
}

/// Whether such values are within a list or a struct.
pub(crate) fn holds_json_union(data_type: &DataType) -> bool {
    let holds =
        |field: &FieldRef| is_json_union(field.data_type()) || holds_json_union(field.data_type());
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds(item),
        DataType::Struct(fields) => fields.iter().any(holds),
        _ => false,
    }
}

/// The type that sinks and terminals are given for a computed type: no views, dictionaries or other ways of storing
/// the same values.
pub(crate) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(plain_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(plain_field(item), *size),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect::<Fields>())
        }
        other if is_json_union(other) => DataType::Utf8,
        other => other.clone(),
    }
}

/// `MAP<key, value>`, as DataFusion's functions on maps have it.
pub(crate) fn map_of(key: Field, value: Field) -> DataType {
    let entries = Fields::from(vec![key.with_nullable(false), value]);
    let entries = Field::new("entries", DataType::Struct(entries), false);
    DataType::Map(Arc::new(entries), false)
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain(field.data_type());
    if plain == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(plain))
}

/// Adds types to those of DataFusion.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let nullable = |data_type| Field::new("", data_type, true);
        let field = match sql_type {
            SqlType::JSON | SqlType::JSONB => {
                nullable(DataType::Utf8).with_metadata(json_metadata())
            }
            SqlType::Timestamp(precision, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                let unit = time_unit(sql_type, *precision)?;
                nullable(DataType::Timestamp(unit, Some("+00:00".into())))
            }
            SqlType::Datetime(precision) => {
                nullable(DataType::Timestamp(time_unit(sql_type, *precision)?, None))
            }
            SqlType::Bytes(_) | SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Blob(_) => {
                nullable(DataType::Binary)
            }
            SqlType::Character(_) | SqlType::CharacterVarying(_) | SqlType::CharVarying(_) => {
                nullable(DataType::Utf8)
            }
            SqlType::Nvarchar(_) => nullable(DataType::Utf8),
            SqlType::Int64 => nullable(DataType::Int64),
            SqlType::Int32 => nullable(DataType::Int32),
            SqlType::Int16 => nullable(DataType::Int16),
            SqlType::Float64 => nullable(DataType::Float64),
            SqlType::Float32 => nullable(DataType::Float32),
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(field)))
    }
}

fn time_unit(sql_type: &SqlType, precision: Option<u64>) -> Result<TimeUnit> {
    match precision {
        Some(0) => Ok(TimeUnit::Second),
        Some(3) => Ok(TimeUnit::Millisecond),
        Some(6) => Ok(TimeUnit::Microsecond),
        None | Some(9) => Ok(TimeUnit::Nanosecond),
        Some(_) => not_impl_err!("Unsupported SQL type {sql_type}"),
    }
}

//! A declaration as text: `CREATE TABLE` for a table that nobody has written yet.

use datafusion::sql::sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS,
};
use headwater_connector::{Column, ColumnOrigin, SqlOption, TableSchema};

use crate::names::quoted;
use crate::type_name::declared;

/// `CREATE TABLE name (…) WITH (…);`, which reads back as the same columns and options. A column of a type that SQL has
/// no name for is left out.
#[must_use]
pub fn create_table(name: &str, schema: &TableSchema, options: &[SqlOption]) -> String {
    let columns: Vec<_> = schema.columns.iter().filter_map(column).collect();
    let options: Vec<_> = options.iter().map(option).collect();
    format!(
        "CREATE TABLE {} (\n{}\n) WITH (\n{}\n);\n",
        identifier(name),
        aligned(&columns, " "),
        aligned(&options, " = ")
    )
}

/// Pairs below each other, separated by commas.
fn aligned(pairs: &[(String, String)], between: &str) -> String {
    let lengths = pairs.iter().map(|(left, _)| left.chars().count());
    // a single long name must not push all others to the right
    let width = lengths.filter(|length| *length <= 24).max().unwrap_or(0);
    let lines: Vec<_> = pairs
        .iter()
        .map(|(left, right)| format!("  {left:<width$}{between}{right}"))
        .collect();
    lines.join(",\n")
}

fn column(column: &Column) -> Option<(String, String)> {
    let mut text = declared(&column.field, &identifier)?;
    if !column.field.is_nullable() {
        text.push_str(" NOT NULL");
    }
    if let ColumnOrigin::Metadata(name) = &column.origin {
        text.push_str(&format!(" METADATA FROM {}", literal(name)));
    }
    Some((identifier(column.field.name()), text))
}

fn option(option: &SqlOption) -> (String, String) {
    let parts: Vec<_> = option.key.split('.').map(quoted).collect();
    (parts.join("."), literal(&option.value))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as it must be written anywhere in a query.
fn identifier(name: &str) -> String {
    let plain = quoted(name);
    if plain != name || !is_reserved(name) {
        return plain;
    }
    format!("\"{name}\"")
}

fn is_reserved(name: &str) -> bool {
    let Ok(index) = ALL_KEYWORDS.binary_search(&name.to_ascii_uppercase().as_str()) else {
        return false;
    };
    let keyword = ALL_KEYWORDS_INDEX[index];
    RESERVED_FOR_COLUMN_ALIAS.contains(&keyword) || RESERVED_FOR_TABLE_ALIAS.contains(&keyword)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::types::json_metadata;

    #[test]
    fn a_table_as_text() {
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let inner = Field::new("deviceId", DataType::List(item), true);
        let mut schema = TableSchema::payload_only(&Schema::new(vec![
            Field::new("select", DataType::Int64, false),
            Field::new("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
            Field::new("nested", DataType::Struct(vec![inner].into()), true),
            Field::new("rest", DataType::Utf8, true).with_metadata(json_metadata()),
        ]));
        schema.columns.push(Column {
            field: Arc::new(Field::new("sensor", DataType::Utf8, true)),
            origin: ColumnOrigin::Metadata("topic.sensor".to_owned()),
        });
        let options = [
            SqlOption::new("connector", "mqtt"),
            SqlOption::new("tls.ca", "it's"),
        ];
        insta::assert_snapshot!(create_table("t", &schema, &options), @r#"
        CREATE TABLE t (
          "select" BIGINT NOT NULL,
          ts       TIMESTAMP,
          nested   STRUCT<"deviceId" DOUBLE[]>,
          rest     JSON,
          sensor   TEXT METADATA FROM 'topic.sensor'
        ) WITH (
          connector = 'mqtt',
          tls.ca    = 'it''s'
        );
        "#);
    }
}

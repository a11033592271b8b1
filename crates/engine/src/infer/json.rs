//! The columns of JSON objects.
//!
//! Every sample widens what is known of a member. What agrees becomes a type; what does not, what was never seen with a
//! value, and what is too deep or too wide for a struct becomes JSON, which takes everything. Columns may be null, since
//! what all samples have the next message may lack.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use headwater_connector::SqlOption;
use headwater_format::Format;
use headwater_planner::json_field;
use serde_json::{Map, Value};

use super::payload::Payloads;

/// How deep structs go.
const DEPTH_MAX: usize = 6;
/// How many members a struct has; an object with more is more likely a map.
const STRUCT_FIELDS_MAX: usize = 100;
/// How many columns a table has; beyond, the document is one column.
const COLUMNS_MAX: usize = 500;

/// A number that counts units since 1970 lies between 2001 and 2096, if its name speaks of time.
const EPOCH_SECONDS: std::ops::Range<i128> = 1_000_000_000..4_000_000_000;

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Nothing: it was always null.
    Unknown,
    Boolean,
    Integer {
        min: i128,
        max: i128,
    },
    Float,
    Text(Text),
    Object(Vec<(String, Shape)>),
    List(Box<Shape>),
    /// Values that do not agree.
    Any,
}

/// What all texts of a member were.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Text {
    Timestamp,
    Date,
    Other,
}

/// The format and columns of objects.
pub(super) fn infer(objects: &[Map<String, Value>]) -> Payloads {
    let mut members = Vec::new();
    for object in objects {
        widen(&mut members, of_members(object, 0));
    }
    if members.is_empty() || members.len() > COLUMNS_MAX || ambiguous(&members) {
        return document();
    }
    let unit = timestamp_unit(&members);
    let fields: Fields = members
        .iter()
        .map(|(name, shape)| field(name, shape, unit))
        .collect();
    let mut options = vec![SqlOption::new("format", Format::Json.name())];
    // numbers count milliseconds if nothing is said
    if let Some(unit) = unit.filter(|unit| unit.name != "unix_millis") {
        options.push(SqlOption::new("json.timestamp_format", unit.name));
    }
    Payloads {
        schema: Arc::new(Schema::new(fields)),
        options,
        notes: Vec::new(),
    }
}

/// The whole document as one column.
pub(super) fn document() -> Payloads {
    Payloads {
        schema: Arc::new(Schema::new(vec![json_field("document")])),
        options: vec![
            SqlOption::new("format", Format::Json.name()),
            SqlOption::new("json.unstructured", "true"),
        ],
        notes: Vec::new(),
    }
}

/// Whether a name is empty, which no column can be called.
fn ambiguous(members: &[(String, Shape)]) -> bool {
    members.iter().any(|(name, _)| name.is_empty())
}

fn of_members(object: &Map<String, Value>, depth: usize) -> Vec<(String, Shape)> {
    let member = |(name, value): (&String, &Value)| (name.clone(), of(value, depth + 1));
    object.iter().map(member).collect()
}

fn of(value: &Value, depth: usize) -> Shape {
    match value {
        Value::Null => Shape::Unknown,
        Value::Bool(_) => Shape::Boolean,
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => Shape::Integer {
                min: n.into(),
                max: n.into(),
            },
            (None, Some(n)) => Shape::Integer {
                min: n.into(),
                max: n.into(),
            },
            (None, None) => Shape::Float,
        },
        Value::String(text) => Shape::Text(of_text(text)),
        Value::Object(_) | Value::Array(_) if depth > DEPTH_MAX => Shape::Any,
        Value::Object(object) if object.len() > STRUCT_FIELDS_MAX => Shape::Any,
        Value::Object(object) => Shape::Object(of_members(object, depth)),
        Value::Array(items) => {
            let items = items.iter().map(|item| of(item, depth + 1));
            Shape::List(Box::new(items.fold(Shape::Unknown, Shape::and)))
        }
    }
}

fn of_text(text: &str) -> Text {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range)
            .is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()))
    };
    let date = digits(0..4)
        && digits(5..7)
        && digits(8..10)
        && text[4..].starts_with('-')
        && text[7..].starts_with('-');
    if !date {
        return Text::Other;
    }
    match text.as_bytes().get(10) {
        None => Text::Date,
        Some(b'T' | b't' | b' ')
            if digits(11..13) && text[13..].starts_with(':') && digits(14..16) =>
        {
            Text::Timestamp
        }
        Some(_) => Text::Other,
    }
}

impl Shape {
    /// What both are.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, shape) | (shape, Self::Unknown) => shape,
            (Self::Boolean, Self::Boolean) => Self::Boolean,
            (Self::Integer { min: a, max: b }, Self::Integer { min: c, max: d }) => Self::Integer {
                min: a.min(c),
                max: b.max(d),
            },
            (Self::Float | Self::Integer { .. }, Self::Float | Self::Integer { .. }) => Self::Float,
            (Self::Text(a), Self::Text(b)) => Self::Text(if a == b { a } else { Text::Other }),
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.and(*b))),
            (Self::Object(mut a), Self::Object(b)) => {
                widen(&mut a, b);
                match a.len() > STRUCT_FIELDS_MAX {
                    true => Self::Any,
                    false => Self::Object(a),
                }
            }
            _ => Self::Any,
        }
    }
}

fn widen(known: &mut Vec<(String, Shape)>, more: Vec<(String, Shape)>) {
    for (name, shape) in more {
        if let Some((_, known)) = known.iter_mut().find(|(known, _)| *known == name) {
            let before = std::mem::replace(known, Shape::Unknown);
            *known = before.and(shape);
        } else if known.len() <= COLUMNS_MAX {
            // one more than the limit is enough to know that there are too many
            known.push((name, shape));
        }
    }
}

/// In what numbers count time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    /// `json.timestamp_format`.
    name: &'static str,
    per_second: i128,
}

const UNITS: [Unit; 4] = [
    Unit {
        name: "unix_seconds",
        per_second: 1,
    },
    Unit {
        name: "unix_millis",
        per_second: 1_000,
    },
    Unit {
        name: "unix_micros",
        per_second: 1_000_000,
    },
    Unit {
        name: "unix_nanos",
        per_second: 1_000_000_000,
    },
];

/// The unit in which a member counts time, if it seems to.
fn counts_time(name: &str, shape: &Shape) -> Option<Unit> {
    let Shape::Integer { min, max } = shape else {
        return None;
    };
    let name = name.to_ascii_lowercase();
    let speaks = matches!(name.as_str(), "t" | "ts" | "at")
        || ["time", "date", "stamp"]
            .iter()
            .any(|word| name.contains(word))
        || ["_ts", "_at"].iter().any(|ending| name.ends_with(ending));
    let fits = |unit: &&Unit| {
        let range = EPOCH_SECONDS.start * unit.per_second..EPOCH_SECONDS.end * unit.per_second;
        range.contains(min) && range.contains(max)
    };
    UNITS.iter().filter(|_| speaks).find(fits).copied()
}

/// The unit of the table: that of the first member that counts time. A table has one.
fn timestamp_unit(members: &[(String, Shape)]) -> Option<Unit> {
    members.iter().find_map(|(name, shape)| match shape {
        Shape::Object(inner) => timestamp_unit(inner),
        shape => counts_time(name, shape),
    })
}

fn field(name: &str, shape: &Shape, unit: Option<Unit>) -> Field {
    match data_type(name, shape, unit) {
        Some(data_type) => Field::new(name, data_type, true),
        None => json_field(name),
    }
}

/// The type of a column; JSON if there is none.
fn data_type(name: &str, shape: &Shape, unit: Option<Unit>) -> Option<DataType> {
    let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
    if let Some(own) = counts_time(name, shape)
        && Some(own) == unit
    {
        return Some(timestamp);
    }
    Some(match shape {
        Shape::Boolean => DataType::Boolean,
        Shape::Integer { max, .. } if *max <= i64::MAX.into() => DataType::Int64,
        Shape::Integer { min, .. } if *min >= 0 => DataType::UInt64,
        Shape::Integer { .. } | Shape::Float => DataType::Float64,
        Shape::Text(Text::Timestamp) => timestamp,
        Shape::Text(Text::Date) => DataType::Date32,
        Shape::Text(Text::Other) => DataType::Utf8,
        Shape::List(item) => {
            // lists of documents have no SQL type of their own
            let item = data_type("", item, None)?;
            DataType::List(Arc::new(Field::new("item", item, true)))
        }
        Shape::Object(members) if members.is_empty() || ambiguous(members) => return None,
        Shape::Object(members) => DataType::Struct(
            members
                .iter()
                .map(|(name, shape)| field(name, shape, unit))
                .collect(),
        ),
        Shape::Unknown | Shape::Any => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use headwater_connector::TableSchema;
    use headwater_planner::create_table;

    use super::*;

    fn check(objects: &[&str]) -> String {
        let objects: Vec<_> = objects
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        let found = infer(&objects);
        create_table(
            "t",
            &TableSchema::payload_only(&found.schema),
            &found.options,
        )
    }

    #[test]
    fn samples_widen_types() {
        let table = check(&[
            r#"{"i": 1, "f": 1, "b": true, "s": "a", "n": null, "mixed": 1, "big": 18446744073709551615, "late": null}"#,
            r#"{"i": -2, "f": 1.5, "b": false, "s": "2026-01-01", "n": null, "mixed": "x", "late": 1, "deviceId": "d"}"#,
        ]);
        insta::assert_snapshot!(table, @r#"
        CREATE TABLE t (
          i          BIGINT,
          f          DOUBLE,
          b          BOOLEAN,
          s          TEXT,
          n          JSON,
          mixed      JSON,
          big        BIGINT UNSIGNED,
          late       BIGINT,
          "deviceId" TEXT
        ) WITH (
          format = 'json'
        );
        "#);
    }

    #[test]
    fn times_are_known_by_form_or_by_name_and_range() {
        let table = check(&[
            r#"{"at": "2026-11-21T06:24:48.123Z", "day": "2026-11-21", "ts": 1763706288, "count": 1763706288, "other_ts": 1763706288000}"#,
        ]);
        insta::assert_snapshot!(table, @r#"
        CREATE TABLE t (
          at       TIMESTAMP,
          day      DATE,
          ts       TIMESTAMP,
          count    BIGINT,
          other_ts BIGINT
        ) WITH (
          format                = 'json',
          json.timestamp_format = 'unix_seconds'
        );
        "#);
    }

    #[test]
    fn objects_and_lists_nest_as_far_as_they_agree() {
        let table = check(&[
            r#"{"position": {"lat": 1.0, "select": null}, "values": [1, 2.5], "none": [], "mixed": [1, "a"], "empty": {}}"#,
            r#"{"position": {"lat": 2, "select": 3}, "values": [], "list": [{"a": [1]}, {"b": "x"}]}"#,
        ]);
        insta::assert_snapshot!(table, @r#"
        CREATE TABLE t (
          position STRUCT<lat DOUBLE, "select" BIGINT>,
          "values" DOUBLE[],
          none     JSON,
          mixed    JSON,
          empty    JSON,
          list     STRUCT<a BIGINT[], b TEXT>[]
        ) WITH (
          format = 'json'
        );
        "#);
    }

    #[test]
    fn what_has_no_columns_is_a_document() {
        for object in ["{}", r#"{"": 1}"#] {
            assert!(check(&[object]).contains("json.unstructured"), "{object}");
        }
    }
}

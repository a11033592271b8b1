//! Dead letters as the rows of a user's table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatchOptions, StringArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::schema;
use crate::config::{ConfigError, did_you_mean, quoted};

/// The columns that a table of dead letters may have, in the order in which they are told of.
const COLUMNS: [&str; 7] = [
    "payload", "encoding", "topic", "error", "time", "position", "source",
];

/// The columns of a table of dead letters that is declared without any, and of the messages of `dead_letter.topic`.
#[must_use]
pub fn standard_columns() -> SchemaRef {
    let fields = COLUMNS.map(|name| {
        let (data_type, nullable) = match name {
            "payload" => (DataType::Utf8, false),
            other => built(other).unwrap_or((DataType::Utf8, false)),
        };
        Field::new(name, data_type, nullable)
    });
    Arc::new(Schema::new(fields.to_vec()))
}

/// The type in which a column is built, and whether it may be null.
fn built(name: &str) -> Option<(DataType, bool)> {
    match name {
        "encoding" | "source" => Some((DataType::Utf8, false)),
        name => {
            let schema = schema();
            let field = schema.field_with_name(name).ok()?;
            Some((field.data_type().clone(), field.is_nullable()))
        }
    }
}

/// Checks that dead letters fit the columns of a table.
///
/// # Errors
/// No `payload`, a payload as text without `encoding`, and columns that are unknown, of a type that the values cannot
/// have, or NOT NULL where there may be nothing.
pub fn check_columns(table: &str, columns: &Schema) -> Result<(), ConfigError> {
    let has = |name: &str| columns.field_with_name(name).is_ok();
    let wrong = |message| Err(ConfigError::new(None, message));
    for field in columns.fields() {
        check_column(table, field)?;
    }
    if !has("payload") {
        return wrong(format!(
            "table '{table}' takes dead letters, but has no column 'payload'; add payload BYTEA"
        ));
    }
    let text = |field: &Field| is_text(field.data_type());
    if columns.field_with_name("payload").is_ok_and(text) && !has("encoding") {
        return wrong(format!(
            "table '{table}' takes dead letters with their payload as text, of which not all bytes could be had back; \
             make it payload BYTEA, or add encoding TEXT"
        ));
    }
    Ok(())
}

fn check_column(table: &str, field: &Field) -> Result<(), ConfigError> {
    let (name, to) = (field.name(), field.data_type());
    let wrong = |message| Err(ConfigError::new(None, message));
    let Some((from, nullable)) = built(name) else {
        return wrong(format!(
            "table '{table}' takes dead letters, which have no column '{name}'{}; they have {}",
            did_you_mean(name, COLUMNS.into_iter()),
            quoted(COLUMNS.into_iter())
        ));
    };
    let fits = match name.as_str() {
        "payload" => is_text(to) || is_binary(to),
        "time" => matches!(to, DataType::Timestamp(..)) || is_text(to),
        "position" => to.is_integer() || is_text(to),
        _ => is_text(to),
    };
    if !fits || !(from == *to || can_cast_types(&from, to)) {
        let wanted = match name.as_str() {
            "payload" => "BYTEA or TEXT",
            "time" => "TIMESTAMP",
            "position" => "BIGINT",
            _ => "TEXT",
        };
        return wrong(format!(
            "table '{table}' takes dead letters, but its column '{name}' has the type {to}; make it {wanted}"
        ));
    }
    if nullable && !field.is_nullable() {
        return wrong(format!(
            "table '{table}' takes dead letters, whose '{name}' may be null; leave out NOT NULL"
        ));
    }
    Ok(())
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

/// Dead letters (of [`schema`]) as rows of a table whose columns were [checked](check_columns). `source` is the name
/// of the table at which the bad data was met.
///
/// # Errors
/// Columns that were not checked.
pub fn fit(
    letters: &RecordBatch,
    columns: &SchemaRef,
    source: &str,
) -> Result<RecordBatch, ArrowError> {
    let rows = letters.num_rows();
    let column = |field: &FieldRef| -> Result<ArrayRef, ArrowError> {
        let to = field.data_type();
        let column: ArrayRef = match field.name().as_str() {
            "payload" if is_text(to) => Arc::new(texts(payloads(letters)?)),
            "encoding" => Arc::new(encodings(payloads(letters)?)),
            "source" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                source, rows,
            ))),
            name => Arc::clone(letters.column(letters.schema_ref().index_of(name)?)),
        };
        if column.data_type() == to {
            return Ok(column);
        }
        cast(&column, to)
    };
    let arrays = columns
        .fields()
        .iter()
        .map(column)
        .collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options)
}

fn payloads(letters: &RecordBatch) -> Result<&BinaryArray, ArrowError> {
    let column = letters.column_by_name("payload");
    column
        .and_then(|column| column.as_binary_opt::<i32>())
        .ok_or_else(|| ArrowError::SchemaError("dead letters without a payload".to_owned()))
}

/// Payloads as text: as they are if they are UTF-8, else in base64.
fn texts(payloads: &BinaryArray) -> StringArray {
    let text = |payload| match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_not_text) => STANDARD.encode(payload),
    };
    StringArray::from_iter_values(payloads.iter().flatten().map(text))
}

/// Which of the two [`texts`] did.
fn encodings(payloads: &BinaryArray) -> StringArray {
    let encoding = |payload| match std::str::from_utf8(payload) {
        Ok(_) => "utf8",
        Err(_not_text) => "base64",
    };
    StringArray::from_iter_values(payloads.iter().flatten().map(encoding))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;
    use crate::dead_letter::{DeadLetters, Rejection};

    fn letters() -> RecordBatch {
        let mut letters = DeadLetters::default();
        for (payload, topic, position) in [
            ("{\"v\":".as_bytes(), Some("a/b"), Some(7)),
            (&[0xFF, 0xFE], None, None),
        ] {
            letters.push(&Rejection {
                payload,
                topic,
                error: "cut off",
                position,
            });
        }
        letters.finish().unwrap().unwrap()
    }

    fn columns(columns: &[(&str, DataType)]) -> Schema {
        let field =
            |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn text_payloads_say_how_they_are_encoded() {
        let fitted = fit(&letters(), &standard_columns(), "readings").unwrap();
        let text = |name: &str| -> Vec<_> {
            let column = fitted.column_by_name(name).unwrap();
            let texts = column.as_string::<i32>().iter();
            texts
                .map(|text| text.unwrap_or("null").to_owned())
                .collect()
        };
        assert_eq!(text("payload"), ["{\"v\":", "//4="]);
        assert_eq!(text("encoding"), ["utf8", "base64"]);
        assert_eq!(text("topic"), ["a/b", "null"]);
        assert_eq!(text("source"), ["readings", "readings"]);
        check_columns("standard", &standard_columns()).unwrap();
    }

    #[test]
    fn binary_payloads_are_kept_as_they_are() {
        let table = columns(&[("payload", DataType::Binary), ("position", DataType::Int32)]);
        check_columns("t", &table).unwrap();
        let fitted = fit(&letters(), &Arc::new(table), "readings").unwrap();
        assert_eq!(fitted.column(0).as_binary::<i32>().value(1), [0xFF, 0xFE]);
        assert!(fitted.column(1).is_null(1));
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_with_a_remedy() {
        let check = |given: &[(&str, DataType)], expect: &str| {
            let error = check_columns("t", &columns(given)).unwrap_err().message;
            assert!(error.contains(expect), "{error}");
        };
        let payload = ("payload", DataType::Binary);
        check(&[("error", DataType::Utf8)], "add payload BYTEA");
        check(&[("payload", DataType::Utf8)], "add encoding TEXT");
        check(
            &[payload.clone(), ("eror", DataType::Utf8)],
            "did you mean 'error'?",
        );
        check(
            &[payload.clone(), ("time", DataType::Int64)],
            "make it TIMESTAMP",
        );
        check(
            &[payload.clone(), ("error", DataType::Boolean)],
            "make it TEXT",
        );
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        check_columns("t", &columns(&[payload, ("time", time)])).unwrap();
        let strict = Schema::new(vec![
            Field::new("payload", DataType::Binary, false),
            Field::new("topic", DataType::Utf8, false),
        ]);
        let error = check_columns("t", &strict).unwrap_err().message;
        assert!(error.contains("leave out NOT NULL"), "{error}");
    }
}

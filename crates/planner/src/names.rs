//! Names as SQL reads and writes them.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Spanned};
use headwater_connector::Location;

use crate::error::PlanError;
use crate::parse::place;

/// The name of a relation, normalised, and its place.
///
/// # Errors
/// It has several parts.
pub(crate) fn single(name: &ObjectName) -> Result<(String, Option<Location>), PlanError> {
    let location = place(name.span().start);
    match name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => Ok((normalised(ident), location)),
            None => Err(PlanError::new(format!("'{name}' is not a name")).at(location)),
        },
        _ => {
            let message = format!("'{name}' has several parts, but names of tables have one");
            Err(PlanError::new(message).at(location))
        }
    }
}

/// A name as it is stored: in lower case unless it was quoted.
pub(crate) fn normalised(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// A name as it must be written: in double quotes if it would be read differently without.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if plain && starts_well {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `there are a, "B", c`: the names that can be written.
pub(crate) fn there_are<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(quoted).collect();
    format!("there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_when_sql_would_change_them() {
        assert_eq!(quoted("device_1"), "device_1");
        assert_eq!(quoted("deviceId"), "\"deviceId\"");
        assert_eq!(quoted("1st"), "\"1st\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}

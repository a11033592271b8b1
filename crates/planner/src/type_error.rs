//! Types that do not fit: DataFusion's words as ours, with the names of types that `CREATE TABLE` knows.

use arrow::datatypes::{DataType, Field};

use crate::error::PlanError;
use crate::parse::Parsed;
use crate::type_name::sql_type;
use crate::types::plain;

/// What `->` gives, by the name that users know.
const JSON: &str = "JSON";

/// The error for a message of DataFusion about types, `None` if it is about something else.
pub(crate) fn type_error(message: &str, parsed: &Parsed) -> Option<PlanError> {
    operator(message)
        .or_else(|| value(message, parsed))
        .or_else(|| argument(message))
        .or_else(|| branches(message, parsed))
}

/// Operands to which an operator cannot be applied.
fn operator(message: &str) -> Option<PlanError> {
    if let Some(operation) = between(message, "coerce arithmetic expression ", " to valid types") {
        let (left, operator, right) = operands(operation)?;
        let error = PlanError::new(format!(
            "'{operator}' cannot be applied to {left} and {right}"
        ));
        return Some(match [&left, &right].map(|name| name == "TEXT") {
            [true, _] | [_, true] => error.hint(
                "a || b puts texts together; for a number in a text write CAST(… AS DOUBLE) or CAST(… AS BIGINT)",
            ),
            _ if left == "TIMESTAMP" || right == "TIMESTAMP" => {
                error.hint("write spans of time as INTERVAL '5 seconds'")
            }
            _ => error,
        });
    }
    if let Some((_, operation)) = message.split_once("argument type for comparison operation ") {
        let (left, operator, right) = operands(operation)?;
        let message = format!("{left} and {right} cannot be compared by '{operator}'");
        return Some(PlanError::new(message));
    }
    if let Some((_, operation)) = message.split_once("type for logical boolean operation ") {
        let (left, operator, right) = operands(operation)?;
        let message = format!("'{operator}' takes two BOOLEAN, not {left} and {right}");
        return Some(PlanError::new(message));
    }
    if let Some((_, given)) = message.split_once("non-boolean predicate ") {
        let (_, given) = given.rsplit_once(" returning ")?;
        let message = format!("a condition is BOOLEAN, not {}", in_sql(given));
        return Some(PlanError::new(message));
    }
    if message.contains("Unary operator '-' only supports") {
        let message = "'-' takes a number or an INTERVAL";
        return Some(PlanError::new(message));
    }
    let types = between(message, "coerce ", " in LIKE expression")?;
    Some(PlanError::new(format!(
        "LIKE takes two TEXT, not {}",
        in_sql(types)
    )))
}

/// A text that is no value of the type that is wanted.
fn value(message: &str, parsed: &Parsed) -> Option<PlanError> {
    let (text, data_type) = if let Some(rest) = after(message, "Cannot cast string '") {
        let (text, rest) = rest.split_once("' to value of ")?;
        (text, in_sql(rest.strip_suffix(" type").unwrap_or(rest)))
    } else if let Some(rest) = after(message, "Error parsing timestamp from '") {
        let (text, _) = rest.split_once("': ")?;
        (text, "TIMESTAMP".to_owned())
    } else {
        let rest = after(message, "Invalid input syntax for type interval: \"")?;
        (rest.split_once('"')?.0, "INTERVAL".to_owned())
    };
    let error = PlanError::new(format!("'{text}' is no {data_type}"));
    let error = error.at(parsed.first_text(text));
    Some(match data_type.as_str() {
        "TIMESTAMP" => error.hint("write it as '2026-11-21T09:00:00Z'"),
        "INTERVAL" => error.hint("write it as '90 seconds', '1 minute 30 seconds' or '2 days'"),
        _ => error,
    })
}

/// A function that does not take what it is given.
fn argument(message: &str) -> Option<PlanError> {
    if message.contains("unnest() can only be applied to") {
        let error = PlanError::new("unnest takes a list, or in a SELECT a struct");
        return Some(error.hint("declare the column as a list (BIGINT[], STRUCT<…>[])"));
    }
    if let Some(name) = between(message, "Function '", "' user-defined coercion failed") {
        let message = format!("the arguments of '{name}' have no common type");
        return Some(PlanError::new(message).hint("convert them with CAST(… AS …)"));
    }
    if let Some((name, given)) = after(message, "Error during planning: Function '")
        .and_then(|rest| rest.split_once("' requires "))
        .and_then(|(name, rest)| Some((name, after(rest, ", but received ")?)))
    {
        let given = given.split(" (").next().unwrap_or(given);
        let given = in_sql(given).replace("String", "TEXT");
        return Some(PlanError::new(format!(
            "'{name}' cannot be applied to {given}"
        )));
    }
    if let Some(call) = after(message, "to satisfy a call to ") {
        let (name, rest) = call.split_once(" function: coercion from ")?;
        let (given, _) = rest.split_once(" to the signature")?;
        let message = format!("{name} cannot be applied to {}", in_sql(given));
        return Some(PlanError::new(message));
    }
    if let Some(given) = after(message, "array_element does not support type ") {
        let given = given.split(". No function").next().unwrap_or(given);
        let message = format!(
            "{} has no elements that could be picked by […]",
            in_sql(given)
        );
        return Some(PlanError::new(message));
    }
    if let Some((columns, names)) = after(message, "Source table contains ")
        .and_then(|rest| rest.strip_suffix(" names given as column alias"))
        .and_then(|rest| rest.split_once(" columns but only "))
    {
        let message = format!("{columns} columns cannot be given {names} names");
        let error = PlanError::new(message);
        return Some(error.hint("name all of them, as in AS x(a, b)"));
    }
    let given = after(message, "Unsupported CAST from ")?;
    let (from, to) = given.split_once(" to ")?;
    let message = format!("{} cannot be cast to {}", in_sql(from), in_sql(to));
    Some(PlanError::new(message))
}

/// Values of different types in one column.
fn branches(message: &str, parsed: &Parsed) -> Option<PlanError> {
    if message.contains("UNION queries have different number of columns") {
        let message = "the two sides of a UNION ALL have different numbers of columns";
        return Some(PlanError::new(message).at(parsed.first_use("union")));
    }
    if let Some(rest) = after(message, "Previous inputs were of type ") {
        let (first, rest) = rest.split_once(", but got incompatible type ")?;
        let (second, _) = rest.split_once(" on column")?;
        let message = format!(
            "a column of the UNION ALL is {} on one side and {} on the other",
            in_sql(first),
            in_sql(second)
        );
        let error = PlanError::new(message).at(parsed.first_use("union"));
        return Some(error.hint("convert one with CAST(… AS …)"));
    }
    let in_case = message.contains(" to common types in CASE");
    let results = between(message, "coerce then (", ") to common types").filter(|_| in_case)?;
    let (first, second) = results.split_once(") and else (")?;
    let message = format!(
        "the results of a CASE are {} and {}, which have no common type",
        in_sql(first),
        in_sql(second)
    );
    Some(PlanError::new(message).hint("convert one with CAST(… AS …)"))
}

/// `Utf8 + Int64` as its parts.
fn operands(operation: &str) -> Option<(String, &str, String)> {
    let spaces = operation.match_indices(' ').map(|(at, _)| at);
    for space in spaces {
        let (left, rest) = (&operation[..space], &operation[space + 1..]);
        if let (Some(left), Some((operator, right))) = (operand(left), split_operator(rest)) {
            return Some((left, operator, in_sql(right)));
        }
    }
    None
}

/// The name in SQL of what is a type by itself.
fn operand(text: &str) -> Option<String> {
    match text {
        JSON => Some(JSON.to_owned()),
        _ => text.parse().ok().map(|data_type| type_name(&data_type)),
    }
}

/// The operator, which may be several words (`IS DISTINCT FROM`), and the right operand.
fn split_operator(rest: &str) -> Option<(&str, &str)> {
    let mut spaces = rest.match_indices(' ').map(|(at, _)| at);
    let at = spaces.find(|at| operand(&rest[at + 1..]).is_some())?;
    Some((&rest[..at], &rest[at + 1..]))
}

/// The text with Arrow's names of types as SQL's.
pub(crate) fn in_sql(text: &str) -> String {
    if let Ok(data_type) = text.parse() {
        return type_name(&data_type);
    }
    let words = text.split_inclusive(' ').map(|word| {
        let bare = word.trim_end_matches([' ', ',', '.', ')']);
        match bare.parse::<DataType>() {
            Ok(data_type) => word.replacen(bare, &type_name(&data_type), 1),
            Err(_) => word.to_owned(),
        }
    });
    words.collect()
}

/// The text with the one word for what `->` gives that users know. DataFusion writes all that the union may hold.
pub(crate) fn with_json(text: &str) -> String {
    let mut rest = text;
    let mut told = String::with_capacity(text.len());
    while let Some((before, union)) = rest.split_once("Union(") {
        let mut open = 1_usize;
        let end = union.find(|c| {
            open = match c {
                '(' => open + 1,
                ')' => open - 1,
                _ => open,
            };
            open == 0
        });
        let Some(end) = end else { break };
        told.push_str(before);
        told.push_str(JSON);
        rest = &union[end + 1..];
    }
    told.push_str(rest);
    told
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".to_owned(),
        other => sql_type(&Field::new("", plain(other), true)),
    }
}

fn after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.split_once(before).map(|(_, rest)| rest)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_names_in_sql() {
        let check = |text, expected| assert_eq!(in_sql(text), expected);
        check("Utf8", "TEXT");
        check("Timestamp(ns)", "TIMESTAMP");
        check("List(Int64)", "BIGINT[]");
        check(
            "Struct(\"a\": Int64, \"b\": Utf8)",
            "STRUCT<a BIGINT, b TEXT>",
        );
        check("Utf8 and Int64", "TEXT and BIGINT");
        check(
            "a boolean expression, got Utf8",
            "a boolean expression, got TEXT",
        );
        check("nothing of that kind", "nothing of that kind");
    }

    #[test]
    fn what_an_arrow_gives_is_called_json() {
        let union = crate::types::json_union();
        let check = |text: &str, expected| assert_eq!(with_json(text), expected);
        check(&format!("Int64 AND {union}"), "Int64 AND JSON");
        check(&format!("f({union}, {union})."), "f(JSON, JSON).");
        check("Union(Sparse, 0: (", "Union(Sparse, 0: (");
    }

    #[test]
    fn operations_are_taken_apart() {
        let check = |text, left: &str, operator, right: &str| {
            let expected = Some((left.to_owned(), operator, right.to_owned()));
            assert_eq!(operands(text), expected);
        };
        check("Utf8 + Int64", "TEXT", "+", "BIGINT");
        check(
            "Struct(\"a\": Int64, \"b\": Utf8) IS DISTINCT FROM Timestamp(ns)",
            "STRUCT<a BIGINT, b TEXT>",
            "IS DISTINCT FROM",
            "TIMESTAMP",
        );
        assert_eq!(operands("x + y"), None);
    }
}

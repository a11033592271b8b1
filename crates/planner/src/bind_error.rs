//! DataFusion's errors as ours: the place from its diagnostics, the nearest name, no backtrace.

use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Token;
use headwater_connector::Location;

use crate::catalog::Catalog;
use crate::error::PlanError;
use crate::names::there_are;
use crate::parse::{Parsed, lower_first};
use crate::session::Session;
use crate::type_error::{in_sql, type_error, with_json};

/// The message about columns of one name, of which DataFusion does not tell the places.
pub(crate) const DUPLICATE: &str = "two columns of the query have the same name";

/// Says in our words, and with the best place that is known, why DataFusion could not plan a statement.
pub(crate) fn plan_error(
    error: &DataFusionError,
    parsed: &Parsed,
    session: &Session,
    catalog: &Catalog,
) -> PlanError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let location = span.map(|span| Location {
        line: span.start.line,
        column: span.start.column,
    });
    let plan_error = match error.find_root() {
        DataFusionError::External(source) => match source.downcast_ref::<PlanError>() {
            Some(ours) => {
                let place = ours.about.as_ref().and_then(|name| parsed.first_use(name));
                ours.clone().or_at(place)
            }
            None => PlanError::new(lower_first(&source.to_string())),
        },
        DataFusionError::SchemaError(schema, _) => schema_error(schema, parsed),
        root => {
            let message = with_json(&root.message());
            match missing_field(&message) {
                Some(name) => catalog.struct_fields().unknown(name, parsed),
                None => other_error(&message, parsed, session),
            }
        }
    };
    // A diagnostic knows better than a search for the name.
    let plan_error = match location {
        Some(location) if location != parsed.location => plan_error.at(location),
        _ => plan_error.or_at(location),
    };
    double_quoted(plan_error, parsed).or_at(Some(parsed.location))
}

/// Says how text is written if what was not found stands in double quotes.
fn double_quoted(error: PlanError, parsed: &Parsed) -> PlanError {
    let token = error
        .location
        .and_then(|location| parsed.token_at(location));
    match token {
        Some(Token::Word(word))
            if error.message.ends_with("not found")
                && word.quote_style == Some('"')
                && !error
                    .hint
                    .as_ref()
                    .is_some_and(|hint| hint.starts_with("did you mean")) =>
        {
            let hint = format!("text stands in single quotes: '{}'", word.value);
            error.hint(hint)
        }
        _ => error,
    }
}

fn schema_error(error: &SchemaError, parsed: &Parsed) -> PlanError {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => not_found(field, valid_fields).at(parsed.first_use(&field.name)),
        SchemaError::AmbiguousReference { field } => {
            let message = format!("several columns have the name '{}'", field.name);
            PlanError::new(message)
                .at(parsed.first_use(&field.name))
                .hint("give one of them another with AS, or write the name of its table before it")
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            PlanError::new(format!("two columns have the name '{name}'"))
                .hint("give one of them another with AS")
        }
    }
}

fn not_found(field: &Column, valid_fields: &[Column]) -> PlanError {
    let message = match &field.relation {
        Some(relation) => format!("column '{}' not found in '{relation}'", field.name),
        None => format!("column '{}' not found", field.name),
    };
    let error = PlanError::new(message);
    let names = || valid_fields.iter().map(|valid| valid.name.as_str());
    let error = match valid_fields.is_empty() {
        true => error,
        false => error.hint(there_are(names())),
    };
    error.near(&field.name, names())
}

/// The name in DataFusion's words for a field that a struct does not have.
fn missing_field(message: &str) -> Option<&str> {
    between(message, "Field ", " not found in struct")
}

fn other_error(message: &str, parsed: &Parsed, session: &Session) -> PlanError {
    if let Some(name) = between(message, "Invalid function '", "'") {
        let error = PlanError::new(format!("unknown function '{name}'"));
        let error = error.at(parsed.first_use(name));
        return error.near(name, session.functions());
    }
    if let Some(error) = type_error(message, parsed) {
        return error;
    }
    if let Some(data_type) = between(message, ": type ", " is not Struct") {
        let message = format!("a value of the type {} has no fields", in_sql(data_type));
        return PlanError::new(message).hint("only structs, maps and JSON have");
    }
    if message.starts_with("Projections require unique expression names") {
        let error = PlanError::new(DUPLICATE);
        return error.hint("give one of them another with AS");
    }
    // The lines after the first are for those who write DataFusion.
    let first = message.lines().next().unwrap_or_default();
    let first = first.split(" No function matches the given name").next();
    let first = first.and_then(|first| first.split(" (DataType: ").next());
    let first = first.unwrap_or_default().trim_end_matches('.');
    PlanError::new(lower_first(&in_sql(first))).at(first_quoted_use(message, parsed))
}

/// The place of the first name in quotes that also stands in the statement.
fn first_quoted_use(message: &str, parsed: &Parsed) -> Option<Location> {
    let quoted = message.split('\'').skip(1).step_by(2);
    let mut places = quoted.filter_map(|name| {
        let last = name.rsplit('.').next().unwrap_or(name);
        parsed.first_use(name).or_else(|| parsed.first_use(last))
    });
    places.next()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

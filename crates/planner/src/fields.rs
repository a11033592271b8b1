//! The fields of structs, for errors about one that does not exist.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use headwater_connector::Location;

use crate::error::PlanError;
use crate::names::there_are;
use crate::parse::{Parsed, place};

/// For each column or field that is a struct, or a list of structs, the names of its fields.
#[derive(Default)]
pub(crate) struct StructFields(BTreeMap<String, Vec<String>>);

impl StructFields {
    /// Adds a column and all that is within it.
    pub(crate) fn add(&mut self, field: &Field) {
        let mut data_type = field.data_type();
        while let DataType::List(item) = data_type {
            data_type = item.data_type();
        }
        if let DataType::Struct(fields) = data_type {
            let names = fields.iter().map(|field| field.name().clone());
            self.0
                .entry(field.name().clone())
                .or_default()
                .extend(names);
            fields.iter().for_each(|field| self.add(field));
        }
    }

    /// The error for a field that is not there.
    pub(crate) fn unknown(&self, name: &str, parsed: &Parsed) -> PlanError {
        let (location, parent) = access(name, parsed);
        let fields = parent.and_then(|parent| self.0.get_key_value(parent));
        let message = match fields {
            Some((parent, _)) => format!("field '{name}' not found in '{parent}'"),
            None => format!("field '{name}' not found in the struct"),
        };
        let error = PlanError::new(message).at(location);
        let all = || match fields {
            Some((_, fields)) => fields.iter().collect::<Vec<_>>(),
            None => self.0.values().flatten().collect(),
        };
        let error = match fields {
            Some((_, fields)) => error.hint(there_are(fields.iter().map(String::as_str))),
            None => error,
        };
        error.near(name, all().into_iter().map(String::as_str))
    }
}

/// Where a field is looked up (`parent.name`, `parent['name']`), and in what.
fn access<'a>(name: &str, parsed: &'a Parsed) -> (Option<Location>, Option<&'a str>) {
    for triple in parsed.tokens.windows(3) {
        let [parent, between, field] = triple else {
            continue;
        };
        let found = match (&between.token, &field.token) {
            (Token::Period, Token::Word(word)) => match word.quote_style {
                Some(_) => word.value == name,
                None => word.value.eq_ignore_ascii_case(name),
            },
            (Token::LBracket, Token::SingleQuotedString(text)) => text == name,
            _ => false,
        };
        if found {
            return (place(field.span.start), word(parent));
        }
    }
    (parsed.first_use(name), None)
}

fn word(token: &TokenWithSpan) -> Option<&str> {
    match &token.token {
        Token::Word(word) => Some(&word.value),
        _ => None,
    }
}

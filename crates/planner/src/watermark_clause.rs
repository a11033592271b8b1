//! `WATERMARK FOR ts [AS expr]` among the columns of a table, which sqlparser does not know: it is taken out of the tokens
//! before they are parsed.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use headwater_connector::Location;

use crate::dialect::is_word;
use crate::error::PlanError;
use crate::parse::{parse_expression, place};

/// What a clause says.
#[derive(Debug, Clone)]
pub(crate) struct WatermarkClause {
    /// The column that is the event time.
    pub(crate) column: Ident,
    /// What the watermark is after a row.
    pub(crate) watermark: Option<Expr>,
    /// Where the clause stands.
    pub(crate) location: Option<Location>,
}

const USAGE: &str =
    "write WATERMARK FOR column AS column - INTERVAL '5 seconds', or WATERMARK FOR column";

/// Takes the clause out of the tokens of a `CREATE TABLE`, if there is one.
///
/// # Errors
/// A clause that cannot be read, or a second one.
pub(crate) fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<WatermarkClause>, PlanError> {
    let Some(clause) = find(tokens) else {
        return Ok(None);
    };
    let read = read(&tokens[clause.clone()])?;
    // One of the commas around it goes with it.
    let after_comma = tokens[clause.start - 1].token == Token::Comma;
    let before_comma = tokens
        .get(clause.end)
        .is_some_and(|next| next.token == Token::Comma);
    tokens.drain(match (after_comma, before_comma) {
        (true, _) => clause.start - 1..clause.end,
        (false, true) => clause.start..clause.end + 1,
        (false, false) => clause,
    });
    match find(tokens) {
        None => Ok(Some(read)),
        Some(second) => Err(PlanError::new("a table has one WATERMARK only")
            .at(place(tokens[second.start].span.start))),
    }
}

/// From `WATERMARK` to before the comma or the parenthesis behind the clause.
fn find(tokens: &[TokenWithSpan]) -> Option<Range<usize>> {
    if !is_word(&tokens.first()?.token, "CREATE") {
        return None;
    }
    let start = tokens.windows(3).position(|three| {
        matches!(three[0].token, Token::LParen | Token::Comma)
            && is_word(&three[1].token, "WATERMARK")
            && is_word(&three[2].token, "FOR")
    })? + 1;
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::Comma if depth == 0 => return Some(start..index),
            Token::RParen | Token::RBracket => depth -= 1,
            _ => {}
        }
    }
    Some(start..tokens.len())
}

fn read(clause: &[TokenWithSpan]) -> Result<WatermarkClause, PlanError> {
    let location = clause.first().and_then(|token| place(token.span.start));
    let (column, rest) = match clause {
        [_, _, column, rest @ ..] => (column, rest),
        _ => {
            return Err(PlanError::new("WATERMARK FOR needs a column")
                .at(location)
                .hint(USAGE));
        }
    };
    let Token::Word(word) = &column.token else {
        let message = format!("WATERMARK FOR needs a column, not {}", column.token);
        return Err(PlanError::new(message)
            .at(place(column.span.start))
            .hint(USAGE));
    };
    let watermark = match rest {
        [] => None,
        [r#as, expr @ ..] if is_word(&r#as.token, "AS") => Some(parse_expression(expr.to_vec())?),
        [other, ..] => {
            let message = format!(
                "WATERMARK FOR {word} is followed by AS, not {}",
                other.token
            );
            return Err(PlanError::new(message)
                .at(place(other.span.start))
                .hint(USAGE));
        }
    };
    Ok(WatermarkClause {
        column: word.clone().into_ident(column.span),
        watermark,
        location,
    })
}

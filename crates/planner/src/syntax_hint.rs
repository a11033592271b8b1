//! What a syntax error probably comes of: a misspelt keyword, which SQL reads as a name for as long as it can, a comma
//! that is missing or one too many, or a clause of other engines.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use headwater_connector::Location;
use headwater_connector::config::nearest;

use crate::parse::place;

/// The keywords that begin statements and clauses. Shorter ones are too near to what people call their columns.
const KEYWORDS: [&str; 17] = [
    "SELECT", "INSERT", "INTO", "CREATE", "TABLE", "VIEW", "EXPLAIN", "VALUES", "FROM", "WHERE",
    "UNION", "CROSS", "JOIN", "GROUP", "ORDER", "LIMIT", "WITH",
];

/// What to do about a syntax error at a place of a statement.
pub(crate) fn syntax_hint(tokens: &[TokenWithSpan], at: Option<Location>) -> Option<String> {
    let at = at?;
    let found = tokens
        .iter()
        .position(|token| place(token.span.start) == Some(at))?;
    let before = found.checked_sub(1).map(|before| &tokens[before].token);
    emit(&tokens[found].token)
        .or_else(|| before.and_then(emit))
        .or_else(|| misspelt(&tokens[found].token))
        .or_else(|| before.and_then(misspelt))
        .or_else(|| comma(before?, &tokens[found].token))
}

/// `EMIT CHANGES`, `EMIT FINAL`, `EMIT EVERY …` stand behind queries of other engines.
fn emit(token: &Token) -> Option<String> {
    let Token::Word(word) = token else {
        return None;
    };
    let hint = "there is no EMIT: a window is answered once, when it has ended; cumulate(step, width) answers earlier, too, \
                and GROUP BY date_bin(…) in the place of a window tells changes each second";
    (word.quote_style.is_none() && word.value.eq_ignore_ascii_case("EMIT")).then(|| hint.to_owned())
}

fn misspelt(token: &Token) -> Option<String> {
    let Token::Word(word) = token else {
        return None;
    };
    let is_name = word.keyword == Keyword::NoKeyword && word.quote_style.is_none();
    let near = nearest(&word.value, KEYWORDS.into_iter()).filter(|_| is_name)?;
    Some(format!("did you mean {near} by '{}'?", word.value))
}

fn comma(before: &Token, found: &Token) -> Option<String> {
    let value = matches!(before, Token::SingleQuotedString(_) | Token::Number(..));
    let closes = match found {
        Token::RParen => true,
        Token::Word(word) => word.keyword == Keyword::FROM,
        _ => false,
    };
    if *before == Token::Comma && closes {
        return Some("the comma before it is one too many".to_owned());
    }
    let names = matches!(found, Token::Word(_) | Token::SingleQuotedString(_));
    (value && names).then(|| "is a comma missing before it?".to_owned())
}

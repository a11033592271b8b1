//! SQL text → statements, each with its place.
//!
//! The whole text is tokenised once, so that every place that a later error names counts from the top of the text,
//! however many statements stand before it.

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{
    Location as SqlLocation, Span, Token, TokenWithSpan, Tokenizer, Word,
};
use headwater_connector::Location;

use crate::dialect::{HeadwaterDialect, is_word};
use crate::error::PlanError;
use crate::syntax_hint::syntax_hint;
use crate::watermark_clause::{self, WatermarkClause};

/// How deep expressions, types and queries may be nested in parentheses and the like.
const NESTING_MAX: usize = 100;

/// How many operators and keywords one statement may have. They nest without parentheses (`1 + 1 + 1 + …`), and everything that
/// walks over them recurses.
const OPERATORS_MAX: usize = 5_000;

/// How the names of hidden columns begin: those that operators with state add to the rows.
const RESERVED: &str = "__headwater";

/// One statement of a text.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// Its first word.
    pub location: Location,
    /// Its tokens, without white space, for finding the places that the syntax tree does not keep.
    pub tokens: Vec<TokenWithSpan>,
    /// The `WATERMARK FOR …` of a table.
    pub watermark: Option<WatermarkClause>,
}

/// Splits a text into its statements.
///
/// # Errors
/// The first thing that is no SQL, with its place.
pub(crate) fn parse(sql: &str) -> Result<Vec<Parsed>, PlanError> {
    let mut parsed = Vec::new();
    for tokens in split(tokenize(sql)?) {
        check_size(&tokens)?;
        check_names(&tokens)?;
        parsed.push(parse_statement(tokens)?);
    }
    Ok(parsed)
}

/// The tokens of a text, without white space and comments.
fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, PlanError> {
    let mut tokens = Tokenizer::new(&HeadwaterDialect, sql)
        .tokenize_with_location()
        .map_err(|error| PlanError::new(lower_first(&error.message)).at(place(error.location)))?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(tokens)
}

/// The tokens of each statement; empty statements (`;;`) are left out.
fn split(tokens: Vec<TokenWithSpan>) -> Vec<Vec<TokenWithSpan>> {
    tokens
        .split(|token| token.token == Token::SemiColon)
        .filter(|statement| !statement.is_empty())
        .map(<[TokenWithSpan]>::to_vec)
        .collect()
}

fn parse_statement(tokens: Vec<TokenWithSpan>) -> Result<Parsed, PlanError> {
    let location = tokens.first().and_then(|token| place(token.span.start));
    let mut rest = tokens.clone();
    let watermark = watermark_clause::take(&mut rest)?;
    let mut parser = parser(join_dotted_options(rest));
    let statement = parser.parse_statement();
    let statement =
        statement.and_then(|parsed| nothing_behind(parsed, &parser, "statement or ';'"));
    Ok(Parsed {
        statement: statement.map_err(|error| explained(error, &tokens))?,
        location: location.unwrap_or(Location { line: 1, column: 1 }),
        tokens,
        watermark,
    })
}

/// Reads an expression that stands alone.
///
/// # Errors
/// What is no expression, with its place.
pub(crate) fn parse_expression(tokens: Vec<TokenWithSpan>) -> Result<Expr, PlanError> {
    let mut parser = parser(tokens.clone());
    let expr = parser.parse_expr();
    let expr = expr.and_then(|parsed| nothing_behind(parsed, &parser, "expression"));
    expr.map_err(|error| explained(error, &tokens))
}

/// Reads a text that is one expression, as if a statement showed it.
///
/// # Errors
/// What is no expression, with its place.
pub(crate) fn parse_lone_expression(text: &str) -> Result<(Expr, Parsed), PlanError> {
    let tokens = tokenize(text)?;
    check_size(&tokens)?;
    let expr = parse_expression(tokens)?;
    let statement = tokenize(&format!("SELECT {text}")).and_then(parse_statement)?;
    Ok((expr, statement))
}

fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&HeadwaterDialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens)
}

fn nothing_behind<T>(parsed: T, parser: &Parser, what: &str) -> Result<T, ParserError> {
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        _ => parser.expected(&format!("end of {what}"), next),
    }
}

/// A syntax error with its place and what was perhaps meant.
fn explained(error: ParserError, tokens: &[TokenWithSpan]) -> PlanError {
    let error = settled(syntax_error(error), tokens);
    let hint = syntax_hint(tokens, error.location);
    let end = tokens.last().and_then(|token| place(token.span.end));
    let error = error.or_at(end);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Refuses statements over which later steps could not recurse.
fn check_size(tokens: &[TokenWithSpan]) -> Result<(), PlanError> {
    let mut operators = tokens.iter().filter(|token| nests(&token.token));
    let Some(one_too_many) = operators.nth(OPERATORS_MAX) else {
        return Ok(());
    };
    let message = format!("the statement has more than {OPERATORS_MAX} operators and keywords");
    Err(PlanError::new(message)
        .at(place(one_too_many.span.start))
        .hint("write long lists of alternatives as x IN (…), or split the statement"))
}

/// Refuses names that could be those of hidden columns.
fn check_names(tokens: &[TokenWithSpan]) -> Result<(), PlanError> {
    let reserved = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => {
            let beginning = word.value.get(..RESERVED.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(RESERVED))
        }
        _ => false,
    };
    let Some(token) = tokens.iter().find(reserved) else {
        return Ok(());
    };
    let message = format!("names that begin with '{RESERVED}' are reserved");
    Err(PlanError::new(message).at(place(token.span.start)))
}

/// Whether a token can make the syntax tree one level deeper. What fills long lists cannot.
fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Comma
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::LParen
        | Token::RParen => false,
        _ => true,
    }
}

/// Makes one quoted word of a dotted option name (`json.unstructured = …`), which sqlparser reads only in quotes, and
/// of a name in single quotes, whose place sqlparser forgets.
fn join_dotted_options(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joined = Vec::with_capacity(tokens.len());
    let mut rest = 0;
    for name in dotted_option_names(&tokens) {
        joined.extend_from_slice(&tokens[rest..name.start]);
        let parts = tokens[name.clone()].iter().map(|token| match &token.token {
            Token::Word(word) => word.value.clone(),
            Token::SingleQuotedString(name) => name.clone(),
            other => other.to_string(),
        });
        let word = Word {
            value: parts.collect(),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
        let span = Span::new(tokens[name.start].span.start, tokens[name.end - 1].span.end);
        joined.push(TokenWithSpan::new(Token::Word(word), span));
        rest = name.end;
    }
    joined.extend_from_slice(&tokens[rest..]);
    joined
}

/// Where `a.b.c` or `'a.b.c'` stands before `=` in the `WITH (…)` of a `CREATE TABLE`.
fn dotted_option_names(tokens: &[TokenWithSpan]) -> Vec<Range<usize>> {
    let mut names = Vec::new();
    let creates = tokens
        .first()
        .is_some_and(|token| is_word(&token.token, "CREATE"));
    let with = tokens
        .windows(2)
        .position(|pair| is_word(&pair[0].token, "WITH") && pair[1].token == Token::LParen);
    let Some(with) = with.filter(|_| creates) else {
        return names;
    };
    let mut start = with + 2;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.token {
            Token::Word(_) | Token::Period => continue,
            Token::Eq if is_dotted(&tokens[start..index]) => names.push(start..index),
            Token::Eq if is_single_quoted(&tokens[index - 1].token) => names.push(index - 1..index),
            _ => {}
        }
        start = index + 1;
    }
    names
}

/// Whether tokens are words with single dots between them, and at least two of them.
fn is_dotted(tokens: &[TokenWithSpan]) -> bool {
    let mut alternating = tokens
        .iter()
        .enumerate()
        .map(|(index, token)| match token.token {
            Token::Word(_) => index % 2 == 0,
            _ => index % 2 == 1,
        });
    tokens.len() >= 3 && tokens.len() % 2 == 1 && alternating.all(|fits| fits)
}

fn is_single_quoted(token: &Token) -> bool {
    matches!(token, Token::SingleQuotedString(_))
}

/// sqlparser writes the place into its message: `Expected: …, found: … at Line: 3, Column: 5`.
fn syntax_error(error: ParserError) -> PlanError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            format!("the statement is nested more than {NESTING_MAX} levels deep")
        }
    };
    let (message, location) = match message.rsplit_once(" at Line: ") {
        Some((before, after)) => (before.to_owned(), parse_place(after)),
        None => (message, None),
    };
    let message = message
        .replacen("Expected: ", "expected ", 1)
        .replacen(", found: ", ", found ", 1)
        .replace("found EOF", "found the end of the statement");
    PlanError::new(lower_first(&message)).at(location)
}

/// The error with the place of the token that it says was found; sqlparser sometimes names the place of the next one.
fn settled(error: PlanError, tokens: &[TokenWithSpan]) -> PlanError {
    let at = |token: &TokenWithSpan| place(token.span.start) == error.location;
    let Some(next) = tokens.iter().position(at).filter(|index| *index > 0) else {
        return error;
    };
    let found = |token: &TokenWithSpan| error.message.ends_with(&format!("found {}", token.token));
    if found(&tokens[next - 1]) && !found(&tokens[next]) {
        let location = place(tokens[next - 1].span.start);
        return error.at(location);
    }
    error
}

/// The place in `3, Column: 5`.
fn parse_place(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location {
        line: line.trim().parse().ok()?,
        column: column.trim().parse().ok()?,
    })
}

/// sqlparser's place as ours; sqlparser says "nowhere" by line 0.
pub(crate) fn place(location: SqlLocation) -> Option<Location> {
    (location.line > 0).then_some(Location {
        line: location.line,
        column: location.column.max(1),
    })
}

/// Our messages begin in lower case, whatever library they come from; names in capitals stay.
pub(crate) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => message.trim().to_owned(),
    }
}

impl Parsed {
    /// The place of the token that follows a name: where the type of a column stands.
    pub(crate) fn after(&self, name: &Ident) -> Option<Location> {
        let at = |token: &TokenWithSpan| token.span.start == name.span.start;
        let index = self.tokens.iter().position(at)?;
        place(self.tokens.get(index + 1)?.span.start)
    }

    /// The token that stands at a place.
    pub(crate) fn token_at(&self, location: Location) -> Option<&Token> {
        let at = |token: &&TokenWithSpan| place(token.span.start) == Some(location);
        self.tokens.iter().find(at).map(|token| &token.token)
    }

    /// The place where a text stands first.
    pub(crate) fn first_text(&self, text: &str) -> Option<Location> {
        let same = |token: &&TokenWithSpan| matches!(&token.token, Token::SingleQuotedString(own) if own == text);
        place(self.tokens.iter().find(same)?.span.start)
    }

    /// The place where a name is used first, for errors of which only the name is known.
    pub(crate) fn first_use(&self, name: &str) -> Option<Location> {
        let named = |token: &&TokenWithSpan| match &token.token {
            Token::Word(word) if word.quote_style.is_some() => word.value == name,
            Token::Word(word) => word.value.eq_ignore_ascii_case(name),
            _ => false,
        };
        place(self.tokens.iter().find(named)?.span.start)
    }
}

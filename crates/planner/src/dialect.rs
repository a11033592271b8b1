//! The SQL that is understood: PostgreSQL's, with Arroyo's additions.
//!
//! sqlparser asks a dialect what it may read. Operators and their precedence (`->`, `->>`, `?`) are PostgreSQL's;
//! types (`STRUCT<a INT>`), wildcards (`* EXCEPT (…)`) and literals (`{a: 1}`) are taken from where users of
//! streaming SQL know them; `METADATA FROM '…'` is our own column option, and a computed column need not say STORED.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{ColumnOption, Expr, GeneratedAs};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// PostgreSQL's dialect, whose rules are followed where none is given here.
const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// What the hook of sqlparser answers: nothing of ours, or an option (that could not be read).
type ColumnOptionAnswer = Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError>;

/// The dialect of every text that is planned.
#[derive(Debug)]
pub(crate) struct HeadwaterDialect;

impl Dialect for HeadwaterDialect {
    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    /// `a IS DISTINCT FROM b AND c`: sqlparser takes all that follows for what is compared.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        const SAME: [Keyword; 4] = [Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM];
        let comparison = if parser.parse_keywords(&SAME) {
            Expr::IsNotDistinctFrom
        } else if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
            Expr::IsDistinctFrom
        } else {
            return None;
        };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| comparison(Box::new(left.clone()), Box::new(right))))
    }

    fn parse_column_option(&self, parser: &mut Parser) -> ColumnOptionAnswer {
        if is_word(&parser.peek_token_ref().token, "METADATA") {
            return Ok(Some(parse_metadata(parser).map(Some)));
        }
        let computed = is_word(&parser.peek_token_ref().token, "GENERATED")
            && parser.peek_nth_token_ref(3).token == Token::LParen;
        Ok(computed.then(|| parse_generated(parser).map(Some)))
    }

    /// `(a INT, b TEXT,)`.
    fn supports_column_definition_trailing_commas(&self) -> bool {
        true
    }

    /// Makes `?` an operator and not a parameter.
    fn supports_geometric_types(&self) -> bool {
        true
    }

    /// `STRUCT<a INT, b TEXT>`, and `STRUCT(1, 'a')`.
    fn supports_struct_literal(&self) -> bool {
        true
    }

    /// `MAP<TEXT, TEXT>`.
    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    /// `TEXT[]`.
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    /// `{a: 1}`.
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    /// `MAP {'a': 1}`.
    fn support_map_literal_syntax(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
}

/// Whether a token is this word, unquoted, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Reads `METADATA FROM 'name'`.
fn parse_metadata(parser: &mut Parser) -> Result<ColumnOption, ParserError> {
    let metadata = parser.next_token().token;
    parser.expect_keyword(Keyword::FROM)?;
    let name = parser.next_token();
    match &name.token {
        Token::SingleQuotedString(_) => {
            Ok(ColumnOption::DialectSpecific(vec![metadata, name.token]))
        }
        _ => parser.expected("the name of a metadata field in single quotes", name),
    }
}

/// Reads `GENERATED ALWAYS AS (expr)`, with or without `STORED` or `VIRTUAL` behind it, which on a stream are the same.
fn parse_generated(parser: &mut Parser) -> Result<ColumnOption, ParserError> {
    parser.expect_keywords(&[Keyword::GENERATED, Keyword::ALWAYS, Keyword::AS])?;
    parser.expect_token(&Token::LParen)?;
    let expr = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    let _either = parser.parse_one_of_keywords(&[Keyword::STORED, Keyword::VIRTUAL]);
    Ok(ColumnOption::Generated {
        generated_as: GeneratedAs::Always,
        sequence_options: None,
        generation_expr: Some(expr),
        generation_expr_mode: None,
        generated_keyword: true,
    })
}

/// The name in `METADATA FROM 'name'`, if the option is one.
pub(crate) fn metadata_name(option: &ColumnOption) -> Option<&str> {
    match option {
        ColumnOption::DialectSpecific(tokens) => match tokens.as_slice() {
            [first, Token::SingleQuotedString(name)] if is_word(first, "METADATA") => Some(name),
            _ => None,
        },
        _ => None,
    }
}

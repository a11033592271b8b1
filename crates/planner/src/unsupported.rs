//! Everything that is SQL and cannot be run yet, in one place that shrinks.
//!
//! Checked on the syntax tree before anything is bound, because only there the places are known. What slips through
//! (DataFusion has more ways to say a thing than the tree has nodes) is caught when the physical plan is translated:
//! an operator that the runtime does not have is an error there, never a wrong answer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, LimitClause, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Spanned, Statement, TableFactor, Value, Visit, Visitor, visit_expressions,
};
use datafusion::sql::sqlparser::tokenizer::{Span, TokenWithSpan};
use headwater_connector::Location;

use crate::dialect::is_word;
use crate::error::PlanError;
use crate::implied::lateral_unnest;
use crate::parse::{Parsed, place};

/// What every refusal ends with.
const NOT_YET: &str = "which this version cannot run yet";

/// How deep an expression may be nested, counting `1 + 1 + 1` as two levels. DataFusion's time to plan grows with the
/// square of it (and workers evaluate it on the stack of a thread).
pub(crate) const DEPTH_MAX: usize = 500;

/// What to do about an expression that is too deep.
pub(crate) const DEPTH_HINT: &str =
    "write long lists of alternatives as x IN (…), or take several steps";

/// Refuses the parts of a query, or of an expression in a table, that cannot be run.
///
/// # Errors
/// The first such part, with its place.
pub(crate) fn check(node: &impl Visit, parsed: &Parsed) -> Result<(), PlanError> {
    let mut refusal = Refusal { parsed, depth: 0 };
    match node.visit(&mut refusal) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The error for a statement of a kind that is not run at all.
pub(crate) fn statement(statement: &Statement, location: Location) -> PlanError {
    let text = statement.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let verb = match words.as_slice() {
        [first @ ("CREATE" | "DROP" | "ALTER" | "SHOW"), second, ..] => format!("{first} {second}"),
        [first, ..] => (*first).to_owned(),
        [] => "this".to_owned(),
    };
    PlanError::new(format!("{verb} is not a statement that is understood"))
        .at(location)
        .hint("there are CREATE TABLE, CREATE VIEW, INSERT INTO … SELECT, SELECT, SET and EXPLAIN")
}

/// Walks over a syntax tree until something is refused.
struct Refusal<'a> {
    parsed: &'a Parsed,
    /// In how many expressions the walk is.
    depth: usize,
}

type Verdict = ControlFlow<PlanError>;

impl Refusal<'_> {
    /// Refuses a clause; `span` is somewhere in it, `keyword` begins it.
    fn refuse(&self, message: impl Into<String>, span: Span, keyword: &str) -> Verdict {
        ControlFlow::Break(PlanError::new(message).at(self.keyword_before(span, keyword)))
    }

    /// Where the keyword stands that is nearest before a place; the place itself if there is none.
    fn keyword_before(&self, span: Span, keyword: &str) -> Option<Location> {
        let at = place(span.start)?;
        let before = |token: &&TokenWithSpan| {
            is_word(&token.token, keyword)
                && (token.span.start.line, token.span.start.column) <= (at.line, at.column)
        };
        let keyword = self.parsed.tokens.iter().rev().find(before);
        keyword
            .and_then(|token| place(token.span.start))
            .or(Some(at))
    }

    fn set_operation(&self, body: &SetExpr) -> Verdict {
        let SetExpr::SetOperation {
            left,
            op,
            set_quantifier,
            right,
        } = body
        else {
            return self.values(body);
        };
        match (op, set_quantifier) {
            (SetOperator::Union, SetQuantifier::AllByName | SetQuantifier::ByName) => {
                let message = format!("UNION BY NAME is a way to write a union, {NOT_YET}");
                return self.refuse(message, right.span(), "UNION");
            }
            (SetOperator::Union, _) => {}
            (operator, _) => {
                let message = format!("{operator} must remember every row, which a stream cannot");
                return self.refuse(message, right.span(), &operator.to_string());
            }
        }
        self.set_operation(left)?;
        self.set_operation(right)
    }

    fn values(&self, body: &SetExpr) -> Verdict {
        match body {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Table(_) | SetExpr::Values(_) => {
                ControlFlow::Continue(())
            }
            other => {
                let message = "a query may only be a SELECT";
                self.refuse(message, other.span(), "SELECT")
            }
        }
    }

    fn clauses_of_select(&self, select: &Select) -> Verdict {
        let token = select.select_token.0.span;
        if !select.lateral_views.is_empty() || select.top.is_some() || select.into.is_some() {
            let message = "LATERAL VIEW, TOP and SELECT INTO are not understood";
            return self.refuse(message, token, "SELECT");
        }
        let sorted = [&select.cluster_by, &select.distribute_by];
        if sorted.iter().any(|exprs| !exprs.is_empty()) || !select.sort_by.is_empty() {
            return self.refuse(
                "a stream has no end, so that it cannot be sorted",
                token,
                "SELECT",
            );
        }
        if !select.connect_by.is_empty() || select.prewhere.is_some() {
            return self.refuse(
                "CONNECT BY and PREWHERE are not understood",
                token,
                "SELECT",
            );
        }
        ControlFlow::Continue(())
    }
}

/// Whether the rows of a table in FROM are made of the row beside which they stand (`unnest`, or a lateral subquery of
/// it), so that putting them there is no join of streams.
fn reads_nothing(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::UNNEST {
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
            ..
        } => true,
        TableFactor::Derived {
            lateral: true,
            subquery,
            ..
        } => matches!(subquery.body.as_ref(), SetExpr::Select(select) if select.from.is_empty()),
        other => lateral_unnest(other).is_some_and(|unnest| reads_nothing(&unnest)),
    }
}

/// Where in an expression a function `OVER` rows stands, if there is one.
fn over(expr: &Expr) -> Option<Span> {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Function(function) if function.over.is_some() => ControlFlow::Break(expr.span()),
        _ => ControlFlow::Continue(()),
    });
    found.break_value()
}

/// Whether it is text like `{a,0,b}`, which in PostgreSQL leads to a part of a document; here it would be a name.
fn is_path(expr: &Expr) -> bool {
    let Expr::Value(value) = expr else {
        return false;
    };
    matches!(&value.value, Value::SingleQuotedString(text) if text.trim_start().starts_with('{'))
}

impl Visitor for Refusal<'_> {
    type Break = PlanError;

    fn pre_visit_query(&mut self, query: &Query) -> Verdict {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            let message = "WITH RECURSIVE never ends on a stream";
            return self.refuse(message, with.span(), "WITH");
        }
        self.set_operation(&query.body)?;
        if let Some(order) = &query.order_by {
            let message = "a stream has no end, so that it cannot be sorted by ORDER BY";
            return self.refuse(message, order.span(), "ORDER");
        }
        if let Some(limit) = &query.limit_clause {
            let keyword = match limit {
                LimitClause::LimitOffset { limit: None, .. } => "OFFSET",
                _ => "LIMIT",
            };
            let message = format!("{keyword} ends a stream, {NOT_YET}");
            return self.refuse(message, limit.span(), keyword);
        }
        if let Some(fetch) = &query.fetch {
            let message = format!("FETCH ends a stream, {NOT_YET}");
            return self.refuse(message, fetch.span(), "FETCH");
        }
        let odd = !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if odd {
            let message = "FOR, SETTINGS, FORMAT and |> after a query are not understood";
            return self.refuse(message, query.span(), "SELECT");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Verdict {
        if let Some(Distinct::On(_)) = select.distinct {
            let message = "DISTINCT ON takes the first of rows that are in an order, which those of a stream are not";
            let token = select
                .projection
                .first()
                .map_or(Span::empty(), Spanned::span);
            return self.refuse(message, token, "DISTINCT");
        }
        match &select.group_by {
            GroupByExpr::Expressions(_, modifiers) if modifiers.is_empty() => {}
            keys => {
                let message =
                    "GROUP BY takes columns and expressions, without ALL, ROLLUP, CUBE and TOTALS";
                return self.refuse(message, keys.span(), "GROUP");
            }
        }
        if let Some(over) = select.selection.as_ref().and_then(over) {
            let message = "WHERE is looked at before functions OVER rows are computed";
            return self.refuse(message, over, "WHERE").map_break(|error| {
                error.hint("put the condition behind it: QUALIFY lag(x) OVER (…) <> x")
            });
        }
        self.clauses_of_select(select)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Verdict {
        let message = match factor {
            TableFactor::Table {
                args: None,
                sample: None,
                version: None,
                ..
            }
            | TableFactor::Derived { lateral: false, .. }
            | TableFactor::NestedJoin { .. } => return ControlFlow::Continue(()),
            factor if reads_nothing(factor) => return ControlFlow::Continue(()),
            TableFactor::UNNEST { .. } => {
                let message = format!("unnest WITH ORDINALITY or OFFSET counts rows, {NOT_YET}");
                return self.refuse(message, factor.span(), "UNNEST");
            }
            TableFactor::Derived { .. } => format!("LATERAL is a join, {NOT_YET}"),
            _ => "FROM takes tables, views and subqueries only".to_owned(),
        };
        self.refuse(message, factor.span(), "")
    }

    fn post_visit_expr(&mut self, _: &Expr) -> Verdict {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Verdict {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("an expression is nested more than {DEPTH_MAX} levels deep");
            return self
                .refuse(message, expr.span(), "")
                .map_break(|error| error.hint(DEPTH_HINT));
        }
        match expr {
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => {
                let message = "GROUP BY takes columns and expressions, without ROLLUP, CUBE and GROUPING SETS";
                self.refuse(message, expr.span(), "")
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                let message = format!("a subquery in an expression is a join, {NOT_YET}");
                self.refuse(message, expr.span(), "")
            }
            Expr::SimilarTo { .. } => {
                let message = "SIMILAR TO is not understood";
                self.refuse(message, expr.span(), "SIMILAR")
                    .map_break(|error| {
                        error.hint("write LIKE, or ~ with a regular expression: k ~ '^(a|b)'")
                    })
            }
            Expr::BinaryOp {
                op: BinaryOperator::HashLongArrow,
                right,
                ..
            } if is_path(right) => {
                let message = "#>> takes no path";
                self.refuse(message, right.span(), "").map_break(|error| {
                    error.hint("take one step after the other: j -> 'a' -> 0 ->> 'b'")
                })
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => {
                    let message = format!("'{name}' is a parameter, and there are none");
                    self.refuse(message, value.span, "")
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

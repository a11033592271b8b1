//! Where an error stands that came without a place: at the smallest expression that fails alone with the same words.
//!
//! DataFusion tells places for columns only. So each expression of each `SELECT` is tried over the same FROM, then the
//! parts of the one that fails, and so on downwards. That costs planning, but only those who have an error already.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, Spanned, Statement, Value, Visit, Visitor,
};

use headwater_connector::Location;

use super::Planner;
use crate::bind_error::DUPLICATE;
use crate::error::PlanError;
use crate::parse::{Parsed, place};
use crate::stream::Output;

/// How many expressions are tried for one error.
const TRIALS_MAX: usize = 100;

/// The longest statement, in tokens, of which expressions are tried: the time to plan a deep one grows with the square.
const TOKENS_MAX: usize = 500;

impl Planner {
    /// The same error, with the place of the expression that causes it if it stands at the beginning of the statement.
    pub(super) async fn pinpointed(&self, error: PlanError, parsed: &Parsed) -> PlanError {
        let vague = is_vague(&error, parsed);
        let Some(query) = query_of(&parsed.statement) else {
            return error;
        };
        if !vague || parsed.tokens.len() > TOKENS_MAX {
            return error;
        }
        if let Some(error) = self.duplicate_within(query, &error, parsed) {
            return error;
        }
        let mut trials = Trials {
            planner: self,
            parsed,
            query,
            message: &error.message,
            left: TRIALS_MAX,
        };
        let culprit = trials.culprit().await;
        match culprit.as_ref().and_then(place_of) {
            Some(location) => error.at(location),
            None => error,
        }
    }
}

impl Planner {
    /// The error about columns of the same name of the query in which they stand, if that is one in FROM.
    fn duplicate_within(
        &self,
        query: &Query,
        error: &PlanError,
        parsed: &Parsed,
    ) -> Option<PlanError> {
        if error.message != DUPLICATE {
            return None;
        }
        let queries = selects(query).into_iter().map(|select| Query {
            body: Box::new(SetExpr::Select(Box::new(select))),
            ..query.clone()
        });
        let mut errors = queries.filter_map(|query| self.bind_named(&query, parsed).err());
        errors.find(|error| error.location != Some(parsed.location))
    }
}

fn query_of(statement: &Statement) -> Option<&Query> {
    match statement {
        Statement::Query(query) => Some(query),
        Statement::Insert(insert) => insert.source.as_deref(),
        Statement::CreateView(create) => Some(&create.query),
        Statement::Explain { statement, .. } => query_of(statement),
        _ => None,
    }
}

/// Whether an error stands at the beginning of its statement because nothing better was known.
pub(super) fn is_vague(error: &PlanError, parsed: &Parsed) -> bool {
    error.location == Some(parsed.location) && error.more.is_empty()
}

/// Where an expression begins.
pub(super) fn place_of(expr: &Expr) -> Option<Location> {
    place(expr.span().start)
}

/// The smallest part of an expression that fails alone with the same words: `tried` tells how one fails.
pub(super) async fn smallest(
    mut expr: Expr,
    message: &str,
    mut tried: impl AsyncFnMut(&Expr) -> Option<PlanError>,
) -> Expr {
    'descend: loop {
        for part in parts(&expr) {
            if place_of(&part).is_none() {
                continue;
            }
            let error = tried(&part).await;
            if error.is_some_and(|error| error.message == message) {
                expr = part;
                continue 'descend;
            }
        }
        return expr;
    }
}

/// What an expression is tried as.
#[derive(Clone, Copy)]
enum Role {
    Column,
    Condition,
}

struct Trials<'a> {
    planner: &'a Planner,
    parsed: &'a Parsed,
    query: &'a Query,
    message: &'a str,
    left: usize,
}

impl Trials<'_> {
    /// The smallest expression that fails alone; the first one, if there are several.
    async fn culprit(&mut self) -> Option<Expr> {
        for select in selects(self.query) {
            let columns = select.projection.iter().filter_map(|item| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    Some((expr, Role::Column))
                }
                _ => None,
            });
            let condition = select.selection.iter().map(|expr| (expr, Role::Condition));
            for (expr, role) in columns.chain(condition) {
                if self.fails(&select, expr, role).await {
                    let message = self.message;
                    let tried = async |part: &Expr| self.tried(&select, part, Role::Column).await;
                    return Some(smallest(expr.clone(), message, tried).await);
                }
            }
        }
        None
    }

    /// Whether an expression over the tables of a `SELECT` fails in the same way.
    async fn fails(&mut self, select: &Select, expr: &Expr, role: Role) -> bool {
        let error = self.tried(select, expr, role).await;
        error.is_some_and(|error| error.message == self.message)
    }

    /// How an expression over the tables of a `SELECT` fails, if it does.
    async fn tried(&mut self, select: &Select, expr: &Expr, role: Role) -> Option<PlanError> {
        self.left = self.left.checked_sub(1)?;
        let trial = trial(self.query, select, expr, role);
        let outcome = match self.planner.bind(&trial, self.parsed) {
            Ok(bound) => {
                let compiled = self.planner.compile(&bound, self.parsed, Output::Any).await;
                compiled.map(drop)
            }
            Err(error) => Err(error),
        };
        outcome.err()
    }
}

/// A query of one expression, with the tables of a `SELECT`.
fn trial(query: &Query, select: &Select, expr: &Expr, role: Role) -> Query {
    let (column, selection) = match role {
        Role::Column => (expr.clone(), None),
        Role::Condition => (Expr::value(Value::Null), Some(expr.clone())),
    };
    let projection = vec![SelectItem::ExprWithAlias {
        expr: column,
        alias: Ident::new("trial"),
    }];
    let select = Select {
        projection,
        selection,
        ..select.clone()
    };
    Query {
        body: Box::new(SetExpr::Select(Box::new(select))),
        ..query.clone()
    }
}

/// All `SELECT`s of a query, inner ones first.
fn selects(query: &Query) -> Vec<Select> {
    struct Selects(Vec<Select>);
    impl Visitor for Selects {
        type Break = Infallible;

        fn post_visit_select(&mut self, select: &Select) -> ControlFlow<Infallible> {
            self.0.push(select.clone());
            ControlFlow::Continue(())
        }
    }
    let mut selects = Selects(Vec::new());
    let ControlFlow::Continue(()) = query.visit(&mut selects);
    selects.0
}

/// The expressions of which an expression is made directly.
fn parts(expr: &Expr) -> Vec<Expr> {
    struct Parts {
        depth: usize,
        parts: Vec<Expr>,
    }
    impl Visitor for Parts {
        type Break = Infallible;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
            if self.depth == 1 {
                self.parts.push(expr.clone());
            }
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Infallible> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
    }
    let mut parts = Parts {
        depth: 0,
        parts: Vec::new(),
    };
    let ControlFlow::Continue(()) = expr.visit(&mut parts);
    parts.parts
}

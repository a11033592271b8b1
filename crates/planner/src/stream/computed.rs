//! Expressions of operators with state, made columns of the stream above them.
//!
//! A row on which an expression fails is bad data, which a chain drops or gives away as its source says. An operator with
//! state could not: its rows may be of many sources, on another worker, acknowledged. So keys, arguments and conditions are
//! computed above it, and above the exchange, and the operator sees columns and constants. What is computed twice by the text
//! (a key of the exchange and of the operator, `random()` among them) is computed once.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, HashSet, Result};
use datafusion::logical_expr::expr::{Alias, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, Projection, SortExpr};

use super::node::{columns, time_of};
use super::updating::change_of;

/// A stream whose columns become more.
pub(super) struct Computed {
    input: LogicalPlan,
    /// What is computed, and what it is called.
    added: Vec<(Expr, String)>,
    /// Names that are not free.
    taken: HashSet<String>,
}

impl Computed {
    pub(super) fn over(input: LogicalPlan) -> Self {
        let taken = names(&input).collect();
        Self {
            input,
            added: Vec::new(),
            taken,
        }
    }

    /// The same, whose columns will stand beside those of another stream.
    pub(super) fn beside(mut self, other: &LogicalPlan) -> Self {
        self.taken.extend(names(other));
        self
    }

    /// An expression that is a column, or stays what it is because it says the same of every row. It is called what it was
    /// called.
    pub(super) fn column(&mut self, expr: Expr) -> Expr {
        match expr {
            Expr::Alias(alias) => self.within(alias, Self::column),
            Expr::Column(_) => expr,
            expr if is_constant(&expr) => expr,
            expr => {
                let name = NamePreserver::new_for_projection().save(&expr);
                name.restore(Expr::Column(self.add(expr)))
            }
        }
    }

    /// A call of an aggregate whose parts are columns.
    pub(super) fn aggregate(&mut self, expr: Expr) -> Expr {
        let name = NamePreserver::new_for_projection().save(&expr);
        match expr {
            Expr::Alias(alias) => self.within(alias, Self::aggregate),
            Expr::AggregateFunction(mut call) => {
                let parts = &mut call.params;
                let filter = parts.filter.take().map(|filter| *filter);
                self.guarded(&mut parts.args, filter.as_ref());
                self.sorted(&mut parts.order_by, filter.as_ref());
                parts.filter = filter.map(|filter| Box::new(self.column(filter).unalias()));
                name.restore(Expr::AggregateFunction(call))
            }
            other => other,
        }
    }

    /// A call of a function `OVER` whose parts are columns.
    pub(super) fn function(&mut self, expr: Expr) -> Expr {
        let name = NamePreserver::new_for_projection().save(&expr);
        match expr {
            Expr::Alias(alias) => self.within(alias, Self::function),
            Expr::WindowFunction(mut call) => {
                let WindowFunction { params, .. } = call.as_mut();
                let filter = params.filter.take().map(|filter| *filter);
                self.guarded(&mut params.args, filter.as_ref());
                self.guarded(&mut params.partition_by, None);
                self.sorted(&mut params.order_by, None);
                params.filter = filter.map(|filter| Box::new(self.column(filter).unalias()));
                name.restore(Expr::WindowFunction(call))
            }
            other => other,
        }
    }

    /// The stream with these columns behind its own, before those that users do not see.
    pub(super) fn finish(self) -> Result<LogicalPlan> {
        if self.added.is_empty() {
            return Ok(self.input);
        }
        let hidden = change_of(&self.input).into_iter();
        let hidden: Vec<_> = hidden.chain([time_of(&self.input)?]).collect();
        let shown = columns(&self.input).filter(|column| !hidden.contains(column));
        let shown = shown.map(Expr::Column);
        let added = self.added.into_iter();
        let added = added.map(|(expr, name)| expr.alias(name));
        let all = shown.chain(added).collect::<Vec<_>>();
        let hidden = hidden.iter().cloned().map(Expr::Column);
        let all = all.into_iter().chain(hidden).collect();
        Projection::try_new(all, Arc::new(self.input)).map(LogicalPlan::Projection)
    }

    fn within(&mut self, alias: Alias, make: fn(&mut Self, Expr) -> Expr) -> Expr {
        let expr = Box::new(make(self, *alias.expr).unalias());
        Expr::Alias(Alias { expr, ..alias })
    }

    /// What is only computed of rows that a filter lets pass must not fail on others.
    fn guarded(&mut self, exprs: &mut [Expr], filter: Option<&Expr>) {
        for expr in exprs {
            let given = std::mem::take(expr);
            *expr = match filter {
                Some(filter) if !is_plain(&given) && !filter.is_volatile() => {
                    let passes = (Box::new(filter.clone()), Box::new(given));
                    let guarded = Expr::Case(Case::new(None, vec![passes], None));
                    Expr::Column(self.add(guarded))
                }
                _ => self.column(given).unalias(),
            };
        }
    }

    fn sorted(&mut self, sorts: &mut [SortExpr], filter: Option<&Expr>) {
        for sort in sorts {
            self.guarded(std::slice::from_mut(&mut sort.expr), filter);
        }
    }

    /// The column in which an expression is computed.
    fn add(&mut self, expr: Expr) -> Column {
        let same = self.added.iter().find(|(other, _)| *other == expr);
        let name = match same {
            Some((_, name)) if !expr.is_volatile() => name.clone(),
            _ => {
                let name = self.free_name(&expr);
                self.added.push((expr, name.clone()));
                name
            }
        };
        Column::new_unqualified(name)
    }

    /// As it is written, with a number behind it if there is such a column.
    fn free_name(&mut self, expr: &Expr) -> String {
        let written = written(expr);
        let mut name = written.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            name = format!("{written}:{number}");
            number += 1;
        }
        name
    }
}

fn names(stream: &LogicalPlan) -> impl Iterator<Item = String> {
    let fields = stream.schema().fields().iter();
    fields.map(|field| field.name().clone())
}

/// An expression without the names of tables.
fn written(expr: &Expr) -> String {
    let bare = expr.clone().transform(|part| match part {
        Expr::Column(column) => {
            let column = Column::new_unqualified(column.name);
            Ok(Transformed::yes(Expr::Column(column)))
        }
        part => Ok(Transformed::no(part)),
    });
    let bare = bare.map_or_else(|_none| expr.clone(), |bare| bare.data);
    bare.human_display().to_string()
}

/// Whether an expression is the same for all rows. Many functions take some arguments only as constants.
fn is_constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty() && !expr.is_volatile()
}

/// Whether there is nothing to compute for each row.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_plain(&alias.expr),
        expr => matches!(expr, Expr::Column(_)) || is_constant(expr),
    }
}

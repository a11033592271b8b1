//! Refuses what stands behind a function and has no meaning there: `round(avg(x), 1) FILTER (WHERE …)`, which is meant for
//! `avg`. DataFusion passes over it, so that the answer would be another one.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArguments, ObjectNamePart, Query, Spanned, Visit,
    Visitor,
};

use crate::error::PlanError;
use crate::names::normalised;
use crate::parse::place;

/// Refuses a clause behind a function that looks at one row, as `of_a_row` says by its name.
///
/// # Errors
/// The first such clause, with the place of the function.
pub(crate) fn check(query: &Query, of_a_row: impl Fn(&str) -> bool) -> Result<(), PlanError> {
    match query.visit(&mut Functions(of_a_row)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Functions<F>(F);

impl<F: Fn(&str) -> bool> Visitor for Functions<F> {
    type Break = PlanError;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<PlanError> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let name = normalised(name);
        match clause(function) {
            Some(clause) if (self.0)(&name) => ControlFlow::Break(
                PlanError::new(format!("'{name}' looks at one row and takes no {clause}"))
                    .at(place(expr.span().start))
                    .hint("put it behind the function within that looks at many: round(avg(x) FILTER (WHERE …))"),
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What an aggregate or a function `OVER` rows may have and this one has.
fn clause(function: &Function) -> Option<&'static str> {
    let (distinct, ordered) = match &function.args {
        FunctionArguments::List(args) => (
            args.duplicate_treatment == Some(DuplicateTreatment::Distinct),
            !args.clauses.is_empty(),
        ),
        _ => (false, false),
    };
    let clauses = [
        (distinct, "DISTINCT"),
        (ordered, "ORDER BY"),
        (!function.within_group.is_empty(), "WITHIN GROUP"),
        (function.filter.is_some(), "FILTER"),
        (function.null_treatment.is_some(), "IGNORE NULLS"),
        (function.over.is_some(), "OVER"),
    ];
    let found = clauses.into_iter().find(|(is_there, _)| *is_there);
    found.map(|(_, clause)| clause)
}

//! Windows by name, `OVER w` and `OVER (w ROWS 9 PRECEDING)` of `WINDOW w AS (…)`, written out before a query is bound.
//!
//! DataFusion knows the first in the list of what is selected alone, and passes over the name in the second, so that the
//! function would look at all keys together. What may be added to a window is as in PostgreSQL: an order if it has none, a
//! frame if it has none, and never a partition. A query inside has names of its own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, VisitMut, VisitorMut,
    WindowSpec, WindowType,
};

use crate::error::PlanError;
use crate::names::normalised;
use crate::parse::place;

/// Writes out the windows of a query that have a name.
///
/// # Errors
/// A name that no window has, and what cannot be added to a window.
pub(crate) fn write_out(query: &mut Query) -> Result<(), PlanError> {
    match query.visit(&mut Windows::default()) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Of each `SELECT` that the walk is in, the innermost last, its windows.
#[derive(Default)]
struct Windows {
    selects: Vec<Vec<(String, WindowSpec)>>,
}

impl VisitorMut for Windows {
    type Break = PlanError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<PlanError> {
        match defined(&select.named_window) {
            Ok(windows) => self.selects.push(windows),
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<PlanError> {
        self.selects.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<PlanError> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        let windows = self.selects.last().map_or(&[][..], Vec::as_slice);
        let written = match function.over.take() {
            Some(WindowType::NamedWindow(name)) => find(windows, &name).cloned(),
            Some(WindowType::WindowSpec(spec)) => extended(windows, spec),
            None => return ControlFlow::Continue(()),
        };
        match written {
            Ok(spec) => function.over = Some(WindowType::WindowSpec(spec)),
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

/// The windows of a `WINDOW` clause, each of which may build on those before it. (A name that stands there twice is
/// DataFusion's to refuse.)
fn defined(definitions: &[NamedWindowDefinition]) -> Result<Vec<(String, WindowSpec)>, PlanError> {
    let mut windows: Vec<(String, WindowSpec)> = Vec::with_capacity(definitions.len());
    for NamedWindowDefinition(name, window) in definitions {
        let spec = match window {
            NamedWindowExpr::NamedWindow(other) => find(&windows, other)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => extended(&windows, spec.clone())?,
        };
        windows.push((normalised(name), spec));
    }
    Ok(windows)
}

fn find<'a>(
    windows: &'a [(String, WindowSpec)],
    name: &Ident,
) -> Result<&'a WindowSpec, PlanError> {
    let wanted = normalised(name);
    let found = windows.iter().find(|(known, _)| *known == wanted);
    found.map(|(_, spec)| spec).ok_or_else(|| {
        let known = windows.iter().map(|(known, _)| known.as_str());
        PlanError::new(format!("there is no window '{wanted}'"))
            .at(place(name.span.start))
            .hint(format!(
                "define it behind FROM and WHERE: WINDOW {name} AS (PARTITION BY …)"
            ))
            .near(&wanted, known)
    })
}

/// `(w ROWS …)` with what `w` says.
fn extended(
    windows: &[(String, WindowSpec)],
    mut spec: WindowSpec,
) -> Result<WindowSpec, PlanError> {
    let Some(name) = spec.window_name.take() else {
        return Ok(spec);
    };
    let base = find(windows, &name)?.clone();
    let twice = |what: &str| {
        PlanError::new(format!("window '{}' has {what}", normalised(&name)))
            .at(place(name.span.start))
            .hint("write out the whole of the other one: OVER (PARTITION BY … ORDER BY …)")
    };
    if !spec.partition_by.is_empty() {
        return Err(twice("its partition, which stays"));
    }
    if !spec.order_by.is_empty() && !base.order_by.is_empty() {
        return Err(twice("an order already"));
    }
    if spec.window_frame.is_some() && base.window_frame.is_some() {
        return Err(twice("a frame already"));
    }
    Ok(WindowSpec {
        window_name: None,
        partition_by: base.partition_by,
        order_by: if spec.order_by.is_empty() {
            base.order_by
        } else {
            spec.order_by
        },
        window_frame: spec.window_frame.or(base.window_frame),
    })
}

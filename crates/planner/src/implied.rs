//! Names that users leave out and PostgreSQL knows: written into the syntax tree before it is bound.
//!
//! `n::INT` is called `n`; the elements of `unnest(items) AS item` in FROM are the column `item` of the relation
//! `item`, with or without the word `LATERAL`. `[a, b]` is `make_array(a, b)`: DataFusion forgets the row beside which
//! `unnest([a, b])` stands when it binds the former.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, TableAlias, TableAliasColumnDef,
    TableFactor, VisitMut, VisitorMut,
};

/// The query with these names.
pub(crate) fn named(query: &Query) -> Query {
    let mut query = query.clone();
    let ControlFlow::Continue(()) = query.visit(&mut Names);
    query
}

struct Names;

impl VisitorMut for Names {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let items = select.projection.iter();
        let taken: Option<Vec<_>> = items
            .map(|item| Some(item_name(item)?.value.clone()))
            .collect();
        // Beside a wildcard, or a column of the same name, the plain name would be ambiguous.
        let unique = |name: &Ident| {
            let same = |other: &&String| other.eq_ignore_ascii_case(&name.value);
            taken
                .as_ref()
                .is_some_and(|taken| taken.iter().filter(same).count() == 1)
        };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr @ Expr::Cast { .. }) = item
                && let Some(alias) = column_name(expr).filter(|name| unique(name)).cloned()
            {
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Array(array) = expr {
            *expr = make_array(std::mem::take(&mut array.elem));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let Some(unnest) = lateral_unnest(factor) {
            *factor = unnest;
        }
        if let TableFactor::UNNEST {
            alias, array_exprs, ..
        } = factor
            && array_exprs.len() == 1
        {
            let alias = alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::new("unnest"),
                columns: Vec::new(),
                at: None,
            });
            if alias.columns.is_empty() {
                let name = alias.name.clone();
                alias.columns.push(TableAliasColumnDef {
                    name,
                    data_type: None,
                });
            }
        }
        ControlFlow::Continue(())
    }
}

fn make_array(elements: Vec<Expr>) -> Expr {
    let args = elements.into_iter().map(FunctionArgExpr::Expr);
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("make_array")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.map(FunctionArg::Unnamed).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `LATERAL unnest(…)`, which sqlparser reads as any function, without the word `LATERAL`, which changes nothing.
pub(crate) fn lateral_unnest(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Function {
        lateral: true,
        name,
        args,
        with_ordinality,
        alias,
    } = factor
    else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
        return None;
    };
    let args = args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    name.value.eq_ignore_ascii_case("unnest").then_some(())?;
    Some(TableFactor::UNNEST {
        alias: alias.clone(),
        array_exprs: args.collect::<Option<_>>()?,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    })
}

/// The name of a `SELECT` item, if it can be told from the syntax: none for a wildcard, an empty one where nothing can
/// have the same.
fn item_name(item: &SelectItem) -> Option<Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        SelectItem::UnnamedExpr(expr) => {
            Some(column_name(expr).cloned().unwrap_or_else(|| Ident::new("")))
        }
        _ => None,
    }
}

/// The column that an expression is, whatever type it is cast to.
pub(crate) fn column_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => column_name(expr),
        _ => None,
    }
}

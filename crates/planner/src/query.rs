//! What is written where: a query's columns brought into the form of a sink's columns.

use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::sql::sqlparser::ast::{Ident, Query, Select, SelectItem, SetExpr, Spanned};
use datafusion_functions_json::udfs::json_union_to_text_udf;
use headwater_connector::Location;

use crate::error::PlanError;
use crate::functions::{SerializeJsonUnion, not_null};
use crate::implied::column_name;
use crate::names::{normalised, quoted};
use crate::parse::place;
use crate::type_name::sql_type;
use crate::types::{holds_json_union, is_json_text, is_json_union, json_text_metadata, plain};

/// The target of an `INSERT`.
pub(crate) struct Target<'a> {
    /// The sink's name.
    pub table: &'a str,
    /// The sink's columns.
    pub schema: &'a Schema,
    /// The names in `INSERT INTO t (…)`; empty for all columns in their order.
    pub names: &'a [Ident],
    /// Where the table's name stands.
    pub location: Option<Location>,
}

/// Casts the columns of a query to those of a sink, and names them so.
///
/// # Errors
/// Numbers of columns that differ, names that do not exist, types that cannot be cast.
pub(crate) fn into_sink(
    query: LogicalPlan,
    syntax: &Query,
    target: &Target,
) -> Result<LogicalPlan, PlanError> {
    let indices = target.indices()?;
    let outputs = outputs(&query);
    if outputs.len() != indices.len() {
        return Err(target.count_error(outputs.len(), indices.len(), syntax));
    }
    let input = projection_input(&query);
    let exprs = target
        .schema
        .fields()
        .iter()
        .enumerate()
        .map(
            |(column, field)| match indices.iter().position(|index| *index == column) {
                Some(output) => cast(outputs[output].clone(), input.schema(), field)
                    .and_then(|expr| target.held(expr, input.schema(), field))
                    .map(|expr| expr.alias(field.name()))
                    .map_err(|error| error.or_at(item_location(syntax, output))),
                None => target.missing(field),
            },
        );
    let exprs = exprs.collect::<Result<Vec<_>, _>>()?;
    project(input, exprs).map_err(|error| PlanError::new(error.strip_backtrace()))
}

/// The same query with columns of plain types, for a terminal or a sink without columns.
///
/// # Errors
/// What `->` gives, within a list or a struct.
pub(crate) fn into_plain(query: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    let fields = query.schema().fields().clone();
    if fields
        .iter()
        .all(|field| plain(field.data_type()) == *field.data_type())
    {
        return Ok(query);
    }
    let outputs = outputs(&query);
    let input = projection_input(&query);
    let exprs = outputs.into_iter().zip(&fields).map(|(expr, field)| {
        let plain = plain(field.data_type());
        if plain == *field.data_type() {
            return expr.alias_if_changed(field.name().clone());
        }
        if holds_json_union(field.data_type()) {
            return Err(json_within(field).into());
        }
        if is_json_union(field.data_type()) {
            let metadata = Some(FieldMetadata::from(json_text_metadata()));
            return Ok(serialized(expr.unalias()).alias_with_metadata(field.name(), metadata));
        }
        Ok(Expr::Cast(Cast::new(Box::new(expr.unalias()), plain)).alias(field.name()))
    });
    let exprs = exprs.collect::<DataFusionResult<Vec<_>>>()?;
    project(input, exprs)
}

/// The same query with a number for the name of each column, so that no two have the same one. A name that was given and is
/// the only one of its kind stays: `GROUP BY` and `HAVING` may speak of it.
pub(crate) fn numbered(syntax: &Query) -> Query {
    let mut query = syntax.clone();
    number(&mut query.body);
    query
}

fn number(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let names = item_names(&select.projection);
            let only = |alias: &Ident| {
                let same = |name: &&String| **name == normalised(alias);
                names
                    .as_ref()
                    .is_some_and(|names| names.iter().filter(same).count() == 1)
            };
            for (index, item) in select.projection.iter_mut().enumerate() {
                let expr = match item {
                    SelectItem::ExprWithAlias { alias, .. } if only(alias) => continue,
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
                    _ => continue,
                };
                let (expr, alias) = (expr.clone(), Ident::new(format!("#{index}")));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            number(left);
            number(right);
        }
        SetExpr::Query(query) => number(&mut query.body),
        _ => {}
    }
}

/// The names of the columns that have one, if all columns stand there by themselves.
fn item_names(items: &[SelectItem]) -> Option<Vec<String>> {
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => names.push(normalised(alias)),
            SelectItem::UnnamedExpr(expr) => names.extend(column_name(expr).map(normalised)),
            _ => return None,
        }
    }
    Some(names)
}

/// Whether a column is computed and not given a name, so that DataFusion would make one up.
pub(crate) fn has_unnamed(syntax: &Query) -> bool {
    let items = first_select(&syntax.body).map_or(&[][..], |select| &select.projection);
    let unnamed = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(expr) if column_name(expr).is_none());
    items.iter().any(unnamed)
}

/// What the columns of a query are called, though the query that was bound is [`numbered`].
pub(crate) fn shown_names(syntax: &Query, numbered: &LogicalPlan) -> Vec<String> {
    let items = first_select(&syntax.body).map_or(&[][..], |select| &select.projection);
    let shown = |name: &str| {
        let index = name.strip_prefix('#')?.parse::<usize>().ok()?;
        match items.get(index)? {
            SelectItem::ExprWithAlias { alias, .. } => Some(normalised(alias)),
            SelectItem::UnnamedExpr(expr) => {
                Some(column_name(expr).map_or_else(|| expr.to_string(), normalised))
            }
            _ => None,
        }
    };
    let fields = numbered.schema().fields().iter();
    let names = fields.map(|field| shown(field.name()).unwrap_or_else(|| field.name().clone()));
    names.collect()
}

/// The names, where what is computed in the same way has the same one: `(n + 1)` that of `n + 1`.
pub(crate) fn written_alike(names: &[String], numbered: &LogicalPlan) -> Vec<String> {
    let computed: Vec<_> = outputs(numbered).into_iter().map(Expr::unalias).collect();
    let first = |expr| computed.iter().position(|other| other == expr);
    let alike = computed
        .iter()
        .map(|expr| first(expr).and_then(|index| names.get(index)));
    alike.flatten().cloned().collect()
}

/// The names, with a number behind those that were there before: `n`, `n:1`, `n:2`.
pub(crate) fn distinct(names: Vec<String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::with_capacity(names.len());
    for name in &names {
        let mut candidates = (1..).map(|number| format!("{name}:{number}"));
        let mut free = name.clone();
        while distinct.contains(&free) {
            free = candidates.next().unwrap_or_default();
        }
        distinct.push(free);
    }
    distinct
}

/// The error for a query of which two columns have the same name, if two have.
pub(crate) fn duplicate(names: &[String], syntax: &Query) -> Option<PlanError> {
    let (second, name) = names
        .iter()
        .enumerate()
        .find(|(index, name)| names[..*index].contains(name))?;
    let first = names.iter().position(|other| other == name)?;
    let message = format!(
        "columns {} and {} of the query have the same name '{name}'",
        first + 1,
        second + 1
    );
    let hint = match item_location(syntax, first) {
        Some(Location { line, column }) => format!(
            "give one of them another with AS; the first stands at line {line}, column {column}"
        ),
        None => "give one of them another with AS".to_owned(),
    };
    Some(
        PlanError::new(message)
            .at(item_location(syntax, second))
            .hint(hint),
    )
}

/// The `SELECT` that names the columns.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        SetExpr::Query(query) => first_select(&query.body),
        _ => None,
    }
}

/// The expressions of a query's columns: those of its `SELECT` where it ends in one, so that a cast stands directly
/// around `a -> 'b'`, which then reads the wanted type from the document.
fn outputs(query: &LogicalPlan) -> Vec<Expr> {
    match query {
        LogicalPlan::Projection(projection) => projection.expr.clone(),
        other => {
            let columns = other.schema().iter();
            columns
                .map(|field| Expr::Column(Column::from(field)))
                .collect()
        }
    }
}

/// What the expressions of [`outputs`] are over.
fn projection_input(query: &LogicalPlan) -> LogicalPlan {
    match query {
        LogicalPlan::Projection(projection) => projection.input.as_ref().clone(),
        other => other.clone(),
    }
}

fn project(input: LogicalPlan, exprs: Vec<Expr>) -> DataFusionResult<LogicalPlan> {
    LogicalPlanBuilder::from(input).project(exprs)?.build()
}

/// One column of a query as one column of a sink.
fn cast(expr: Expr, input: &DFSchema, field: &Field) -> Result<Expr, PlanError> {
    let wanted = field.data_type();
    let given = expr
        .get_type(input)
        .map_err(|error| PlanError::new(error.strip_backtrace()))?;
    if given == *wanted {
        return Ok(expr.unalias());
    }
    if holds_json_union(&given) {
        Err(json_within(field))
    } else if is_json_union(&given) && is_json_text(field) {
        Ok(serialized(expr.unalias()))
    } else if is_json_union(&given) {
        Ok(cast_json(expr.unalias(), wanted))
    } else if can_cast_types(&given, wanted) {
        let expr = Box::new(expr.unalias());
        Ok(Expr::Cast(Cast::new(expr, wanted.clone())))
    } else {
        let message = format!(
            "column '{}' is {}, and a value of {} cannot be made one",
            field.name(),
            sql_type(field),
            sql_type(&Field::new("", given, true)),
        );
        Err(PlanError::new(message).hint("convert it in the SELECT"))
    }
}

/// Whether an expression is NULL, whatever its type.
fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// What `->` gives, as a wanted type. Written to text it is JSON text, as in PostgreSQL; a value of another JSON type
/// than the wanted one is null.
fn cast_json(expr: Expr, wanted: &DataType) -> Expr {
    let direct = matches!(&expr, Expr::ScalarFunction(call) if call.func.name() == "json_get");
    match wanted {
        DataType::Utf8 => Expr::Cast(Cast::new(Box::new(json_text(expr)), DataType::Utf8)),
        _ if direct => Expr::Cast(Cast::new(Box::new(expr), wanted.clone())),
        _ => Expr::TryCast(TryCast::new(Box::new(json_text(expr)), wanted.clone())),
    }
}

/// Parts of documents of no type of their own could be taken for text that they are not.
fn json_within(field: &Field) -> PlanError {
    let message = format!(
        "column '{}' has JSON within a list or a struct",
        field.name()
    );
    PlanError::new(message)
        .hint("say what it is there: (value -> 'a')::DOUBLE, or value ->> 'a' for text")
}

/// What `->` gives, as Arroyo writes it where no column says more.
fn serialized(expr: Expr) -> Expr {
    ScalarUDF::from(SerializeJsonUnion::default()).call(vec![expr])
}

fn json_text(expr: Expr) -> Expr {
    json_union_to_text_udf().call(vec![expr])
}

/// Where the n-th item of the `SELECT` list stands, if that can be counted.
fn item_location(syntax: &Query, index: usize) -> Option<Location> {
    let select = first_select(&syntax.body)?;
    let wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    if select.projection.iter().any(wildcard) {
        return None;
    }
    place(select.projection.get(index)?.span().start)
}

impl Target<'_> {
    /// For each column of the query, the sink's column it goes to.
    fn indices(&self) -> Result<Vec<usize>, PlanError> {
        if self.names.is_empty() {
            return Ok((0..self.schema.fields().len()).collect());
        }
        let mut indices = Vec::with_capacity(self.names.len());
        for ident in self.names {
            let name = normalised(ident);
            let location = place(ident.span.start);
            let Ok(index) = self.schema.index_of(&name) else {
                return Err(self.unknown_column(&name).at(location));
            };
            if indices.contains(&index) {
                let message = format!("column '{name}' is named twice");
                return Err(PlanError::new(message).at(location));
            }
            indices.push(index);
        }
        Ok(indices)
    }

    fn unknown_column(&self, name: &str) -> PlanError {
        let error = PlanError::new(format!("table '{}' has no column '{name}'", self.table));
        let known = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let hint = format!("there are {}", self.column_names());
        error.hint(hint).near(name, known)
    }

    /// The values of a column, of which none may be null if it is declared so.
    fn held(&self, expr: Expr, input: &DFSchema, field: &Field) -> Result<Expr, PlanError> {
        if field.is_nullable() {
            return Ok(expr);
        }
        if is_null(&expr) {
            let (column, table) = (field.name(), self.table);
            let message = format!("column '{column}' of '{table}' is NOT NULL, but is given NULL");
            return Err(PlanError::new(message));
        }
        let nullable = expr
            .nullable(input)
            .map_err(|error| PlanError::new(error.strip_backtrace()))?;
        Ok(match nullable {
            true => not_null(expr, self.table, field.name()),
            false => expr,
        })
    }

    /// A column that the column list leaves out.
    fn missing(&self, field: &Field) -> Result<Expr, PlanError> {
        if !field.is_nullable() {
            let message = format!(
                "column '{}' of '{}' is NOT NULL, but is given no value",
                field.name(),
                self.table
            );
            return Err(PlanError::new(message).at(self.location));
        }
        let null = Expr::Literal(ScalarValue::Null, None);
        let null = Expr::Cast(Cast::new(Box::new(null), field.data_type().clone()));
        Ok(null.alias(field.name()))
    }

    fn count_error(&self, given: usize, wanted: usize, syntax: &Query) -> PlanError {
        let message = format!(
            "the query gives {}, but '{}' takes {wanted}",
            columns(given),
            self.table
        );
        let surplus = (given > wanted)
            .then(|| item_location(syntax, wanted))
            .flatten();
        let hint = match self.names {
            [] => format!("the table has {}", self.column_names()),
            _ => "give one value for each name in the list".to_owned(),
        };
        PlanError::new(message)
            .at(surplus.or(self.location))
            .hint(hint)
    }

    fn column_names(&self) -> String {
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| quoted(field.name()));
        names.collect::<Vec<_>>().join(", ")
    }
}

fn columns(count: usize) -> String {
    match count {
        1 => "1 column".to_owned(),
        _ => format!("{count} columns"),
    }
}

/// A view's or a table's columns under new names.
///
/// # Errors
/// None: the numbers were compared before.
pub(crate) fn renamed(query: LogicalPlan, names: &[String]) -> DataFusionResult<LogicalPlan> {
    let columns: Vec<_> = query.schema().iter().map(Column::from).collect();
    let exprs = columns.into_iter().zip(names);
    let exprs = exprs.map(|(column, name)| Expr::Column(column).alias(name));
    project(query, exprs.collect())
}

/// The columns of a query as a sink without columns of its own takes them.
pub(crate) fn sink_schema(query: &LogicalPlan) -> Schema {
    let fields = query.schema().fields().iter();
    Schema::new(fields.map(Arc::clone).collect::<Vec<_>>())
}

//! DataFusion, set up for streams: names and types are bound, expressions compiled.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::utils::normalize_float_zero;
use datafusion::common::{DFSchema, DataFusionError, Result, TableReference, not_impl_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ContextProvider, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, DataType as SqlType, Expr as SqlExpr, Query, Statement,
};

use crate::catalog::Catalog;
use crate::comparison;
use crate::functions;
use crate::implied;
use crate::lateral;
use crate::misplaced;
use crate::named_windows;
use crate::planner::Settings;
use crate::stream::{self, Output, StreamPlanner};
use crate::types::{Types, map_of};

/// The part of DataFusion that plans. Holds functions and settings, no tables.
pub(crate) struct Session {
    state: SessionState,
}

impl Session {
    /// A session with all functions.
    ///
    /// # Errors
    /// A function cannot be registered, which is a bug.
    pub(crate) fn new() -> Result<Self> {
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_round_robin_repartition(false)
            .with_information_schema(false);
        // It would look up JSON fields of rows that the filter behind it drops.
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.enable_leaf_expression_pushdown = false;
        let sql = &mut config.options_mut().sql_parser;
        sql.collect_spans = true;
        sql.map_string_types_to_utf8view = false;
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_query_planner(Arc::new(StreamPlanner))
            .with_physical_optimizer_rules(optimizer_rules())
            .build();
        functions::register_all(&mut state)?;
        Ok(Self { state })
    }

    /// Binds a query to the tables of a catalog, and settles the types of all its expressions.
    ///
    /// # Errors
    /// Unknown names, types that do not fit.
    pub(crate) fn query(&self, catalog: &Catalog, query: &Query) -> Result<LogicalPlan> {
        let binder = self.binder(catalog);
        let mut query = implied::named(query);
        named_windows::write_out(&mut query)?;
        misplaced::check(&query, |name| self.looks_at_a_row(name))?;
        let statement = Statement::Query(Box::new(query));
        let bound = SqlToRel::new(&binder).sql_statement_to_plan(statement)?;
        let bound = stream::by_ends(lateral::unfold(bound)?)?;
        comparison::refuse_mixed(&bound)?;
        // Before it is known which types meet (in a CASE, a UNION), the type of a column is a guess.
        let options = self.state.config_options();
        self.state
            .analyzer()
            .execute_and_check(bound, options, |_, _| {})
    }

    fn looks_at_a_row(&self, name: &str) -> bool {
        let state = &self.state;
        state.scalar_functions().contains_key(name)
            && !state.aggregate_functions().contains_key(name)
            && !state.window_functions().contains_key(name)
    }

    /// Binds an expression over the columns of one table.
    ///
    /// # Errors
    /// Unknown names, types that do not fit; what looks at more than one row.
    pub(crate) fn expression(&self, expression: SqlExpr, columns: &DFSchema) -> Result<Expr> {
        let catalog = Catalog::default();
        let binder = self.binder(&catalog);
        let mut context = PlannerContext::new();
        let bound = SqlToRel::new(&binder).sql_to_expr(expression, columns, &mut context)?;
        stream::refuse_many_rows(&bound)?;
        comparison::refuse_mixed_in(&bound, columns)?;
        Ok(bound)
    }

    /// A declared column as an Arrow field.
    ///
    /// # Errors
    /// The type is not supported.
    pub(crate) fn field(&self, column: ColumnDef) -> Result<Field> {
        if let SqlType::Map(key, value) = &column.data_type {
            let part = |name: &str, data_type: &SqlType| {
                self.field(ColumnDef {
                    name: name.into(),
                    data_type: data_type.clone(),
                    options: Vec::new(),
                })
            };
            let map = map_of(part("key", key)?, part("value", value)?);
            // The type apart, the declaration is like that of any column.
            let data_type = SqlType::Boolean;
            let like = self.field(ColumnDef {
                data_type,
                ..column
            })?;
            return Ok(like.with_data_type(map));
        }
        let catalog = Catalog::default();
        let binder = self.binder(&catalog);
        let schema = SqlToRel::new(&binder).build_schema(vec![column])?;
        Ok(schema.field(0).clone())
    }

    /// Checks, simplifies and compiles a query.
    ///
    /// # Errors
    /// Types that do not fit, and what cannot be computed.
    pub(crate) async fn compile(
        &self,
        query: &LogicalPlan,
        settings: &Settings,
        output: Output<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.state
            .create_physical_plan(&stream::lower(query.clone(), settings, output)?)
            .await
    }

    /// A key that two rows of the text itself have, as text, if there is one. Rows without a whole key have none.
    ///
    /// # Errors
    /// A value that cannot be computed, and too many of them.
    pub(crate) async fn repeated(
        &self,
        values: &LogicalPlan,
        key: &[usize],
    ) -> Result<Option<String>> {
        let keys = stream::rows_of(values, &self.state).await?.project(key)?;
        let options = FormatOptions::default();
        let columns = keys.columns().iter();
        let shown = columns.map(|column| ArrayFormatter::try_new(column, &options));
        let shown = shown.collect::<Result<Vec<_>, _>>()?;
        let columns = keys.columns().iter().map(normalize_float_zero);
        let columns = columns.collect::<Vec<_>>();
        let fields = columns.iter();
        let fields = fields.map(|column| SortField::new(column.data_type().clone()));
        let encoded = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
        let mut known = HashSet::new();
        let repeated = (0..keys.num_rows()).find(|row| {
            let is_whole = columns.iter().all(|column| column.is_valid(*row));
            is_whole && !known.insert(encoded.row(*row))
        });
        Ok(repeated.map(|row| {
            let values = shown.iter().map(|column| column.value(row).to_string());
            values.collect::<Vec<_>>().join(", ")
        }))
    }

    /// The names of all functions: of one row, of many rows, of windows.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &str> {
        let scalar = self.state.scalar_functions().keys();
        let aggregate = self.state.aggregate_functions().keys();
        let window = self.state.window_functions().keys();
        scalar.chain(aggregate).chain(window).map(String::as_str)
    }

    fn binder<'a>(&'a self, catalog: &'a Catalog) -> Binder<'a> {
        let state = &self.state;
        Binder { state, catalog }
    }
}

/// DataFusion's rules but the check that a plan could be executed, which it is not.
fn optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| rule.name() != "SanityCheckPlan");
    rules
}

/// What DataFusion's SQL planner asks: functions of the session, tables of the catalog.
struct Binder<'a> {
    state: &'a SessionState,
    catalog: &'a Catalog,
}

impl ContextProvider for Binder<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match name {
            TableReference::Bare { table } => {
                self.catalog.readable(&table).map_err(DataFusionError::from)
            }
            other => not_impl_err!("table '{other}': names of tables have one part"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

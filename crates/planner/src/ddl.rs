//! `CREATE TABLE`: the declaration of a table, read but not yet made.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, GeneratedAs, Ident, ObjectNamePart, Spanned, SqlOption as OptionSyntax,
    TableConstraint, UnaryOperator, Value,
};
use headwater_connector::config::nearest;
use headwater_connector::{Column, ColumnOrigin, Location, Options, SqlOption, TableSchema};

use crate::dialect::metadata_name;
use crate::error::PlanError;
use crate::names::{normalised, quoted, single};
use crate::parse::{Parsed, place};
use crate::session::Session;
use crate::watermark_clause::WatermarkClause;

/// A table as it was declared.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of declaration.
    pub columns: Vec<DeclaredColumn>,
    /// The options.
    pub configuration: Configuration,
    /// What it says of event time.
    pub event_time: EventTimeOptions,
}

/// What the declaration of a table says of event time.
#[derive(Debug, Default)]
pub(crate) struct EventTimeOptions {
    /// `WATERMARK FOR …`.
    pub clause: Option<WatermarkClause>,
    /// `event_time_field = '…'`.
    pub time_field: Option<SqlOption>,
    /// `watermark_field = '…'`.
    pub watermark_field: Option<SqlOption>,
    /// `idle_micros = …`.
    pub idle_micros: Option<SqlOption>,
}

impl EventTimeOptions {
    fn take(parsed: &Parsed, options: &mut Options) -> Self {
        Self {
            clause: parsed.watermark.clone(),
            time_field: take(options, "event_time_field"),
            watermark_field: take(options, "watermark_field"),
            idle_micros: take(options, "idle_micros"),
        }
    }

    /// The place of the first thing it says, if it says anything.
    pub(crate) fn location(&self) -> Option<Location> {
        let options = [&self.time_field, &self.watermark_field, &self.idle_micros];
        let clause = self.clause.iter().filter_map(|clause| clause.location);
        let options = options.into_iter().flatten();
        clause
            .chain(options.filter_map(|option| option.location))
            .next()
    }
}

/// The options of a table as they were declared.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// `connector = '…'`.
    pub connector: SqlOption,
    /// `connection_profile = '…'`.
    pub profile: Option<SqlOption>,
    /// All other options.
    pub options: Options,
    /// Where the table's name stands.
    pub location: Location,
}

/// One column as it was declared.
#[derive(Debug)]
pub(crate) struct DeclaredColumn {
    /// Name, type and nullability.
    pub field: Field,
    /// Where its values come from.
    pub values: Values,
    /// Where its name stands.
    pub location: Option<Location>,
}

/// Where the values of a declared column come from.
#[derive(Debug)]
pub(crate) enum Values {
    /// The connector.
    Physical(ColumnOrigin),
    /// An expression over the physical columns.
    Generated(Box<Expr>),
}

impl Declaration {
    /// The columns that the connector reads or writes.
    pub(crate) fn physical(&self) -> TableSchema {
        let physical = self
            .columns
            .iter()
            .filter_map(|column| match &column.values {
                Values::Physical(origin) => Some(Column {
                    field: Arc::new(column.field.clone()),
                    origin: origin.clone(),
                }),
                Values::Generated(_) => None,
            });
        TableSchema {
            columns: physical.collect(),
        }
    }

    /// The first column that is computed.
    pub(crate) fn first_generated(&self) -> Option<&DeclaredColumn> {
        let mut columns = self.columns.iter();
        columns.find(|column| matches!(column.values, Values::Generated(_)))
    }
}

/// Reads the declaration of a table.
///
/// # Errors
/// Types, column options and clauses that are not supported; missing or repeated options.
pub(crate) fn declaration(
    create: CreateTable,
    parsed: &Parsed,
    session: &Session,
) -> Result<Declaration, PlanError> {
    check_clauses(&create, parsed)?;
    let (name, location) = single(&create.name)?;
    let location = location.unwrap_or(parsed.location);
    let columns = columns(create.columns, parsed, session)?;
    check_key(&create.constraints, &columns)?;
    let mut options = match create.table_options {
        CreateTableOptions::With(options) => read_options(options)?,
        _ => Options::default(),
    };
    let event_time = EventTimeOptions::take(parsed, &mut options);
    let Some(connector) = take(&mut options, "connector") else {
        return Err(no_connector(&name, location, &options));
    };
    Ok(Declaration {
        name,
        columns,
        configuration: Configuration {
            connector,
            profile: take(&mut options, "connection_profile"),
            options,
            location,
        },
        event_time,
    })
}

fn no_connector(table: &str, location: Location, options: &Options) -> PlanError {
    let keys = options.0.iter().map(|option| option.key.as_str());
    let error = PlanError::new(format!("table '{table}' has no connector")).at(location);
    match nearest("connector", keys) {
        Some(meant) => error.hint(format!("'{meant}' may be meant: write connector = '…'")),
        None => error.hint("add WITH (connector = '…', …)"),
    }
}

/// Whether a table has no connector, so that it is a stream within the job: it has columns, or is that of a query.
pub(crate) fn is_memory(create: &CreateTable) -> bool {
    let named = !create.columns.is_empty() || create.query.is_some();
    named && matches!(create.table_options, CreateTableOptions::None)
}

/// Reads the columns of a memory table, and which of them are its primary key.
///
/// # Errors
/// Types and clauses that are not supported, and what only a source has; two keys.
pub(crate) fn memory(
    create: &CreateTable,
    parsed: &Parsed,
    session: &Session,
) -> Result<(Schema, Vec<usize>), PlanError> {
    check_clauses(create, parsed)?;
    if create.temporary {
        let message = "CREATE TEMPORARY TABLE is for lookup tables, as in Arroyo";
        return Err(PlanError::new(message)
            .at(parsed.location)
            .hint("leave out TEMPORARY"));
    }
    let columns = columns(create.columns.clone(), parsed, session)?;
    check_key(&create.constraints, &columns)?;
    let mut columns_elsewhere = columns
        .iter()
        .filter(|column| !matches!(column.values, Values::Physical(ColumnOrigin::Payload)));
    let location = columns_elsewhere.next().map(|column| column.location);
    let watermark = parsed.watermark.as_ref().map(|clause| clause.location);
    if let Some(location) = location.or(watermark) {
        let message = "a memory table has plain columns, filled by INSERT, and the event time of what is written to it";
        return Err(PlanError::new(message)
            .at(location)
            .hint("or was a connector meant: WITH (connector = '…', …)?"));
    }
    let key = primary_key(create, &columns)?;
    let fields = columns.into_iter().map(|column| column.field);
    Ok((Schema::new(fields.collect::<Vec<_>>()), key))
}

/// The columns of the primary key, in the order of the table.
fn primary_key(create: &CreateTable, columns: &[DeclaredColumn]) -> Result<Vec<usize>, PlanError> {
    let is_key = |column: &&ColumnDef| {
        let mut options = column.options.iter();
        options.any(|option| matches!(option.option, ColumnOption::PrimaryKey(_)))
    };
    let own = create.columns.iter().filter(is_key);
    let own = own.map(|column| (vec![normalised(&column.name)], column.name.span.start));
    let constraints = create
        .constraints
        .iter()
        .filter_map(|constraint| match constraint {
            TableConstraint::PrimaryKey(key) => {
                let names = key
                    .columns
                    .iter()
                    .filter_map(|column| match &column.column.expr {
                        Expr::Identifier(ident) => Some(normalised(ident)),
                        _ => None,
                    });
                Some((names.collect(), constraint.span().start))
            }
            _ => None,
        });
    let mut keys = own.chain(constraints);
    let Some((names, _)) = keys.next() else {
        return Ok(Vec::new());
    };
    if let Some((_, second)) = keys.next() {
        let error = PlanError::new("a table has one primary key, and this is a second one");
        return Err(error
            .at(place(second))
            .hint("a key of several columns is written behind the columns: PRIMARY KEY (a, b)"));
    }
    let names_of = columns.iter().enumerate();
    let is_named = names_of.filter(|(_, column)| names.contains(column.field.name()));
    Ok(is_named.map(|(index, _)| index).collect())
}

fn columns(
    columns: Vec<ColumnDef>,
    parsed: &Parsed,
    session: &Session,
) -> Result<Vec<DeclaredColumn>, PlanError> {
    let columns = columns.into_iter();
    let columns = columns.map(|column| declared_column(column, parsed, session));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    check_unique(&columns)?;
    Ok(columns)
}

/// Refuses every clause that is not read here: what is left of the statement without them must be a bare one.
fn check_clauses(create: &CreateTable, parsed: &Parsed) -> Result<(), PlanError> {
    let refuse = |message: &str| Err(PlanError::new(message).at(parsed.location));
    if create.or_replace {
        return refuse("CREATE OR REPLACE TABLE is not understood");
    }
    let unknown =
        |constraint: &&TableConstraint| !matches!(constraint, TableConstraint::PrimaryKey(_));
    if let Some(constraint) = create.constraints.iter().find(unknown) {
        let message = "of table constraints only PRIMARY KEY is supported";
        let location = place(constraint.span().start).unwrap_or(parsed.location);
        return Err(PlanError::new(message).at(location));
    }
    let options = &create.table_options;
    if !matches!(
        options,
        CreateTableOptions::None | CreateTableOptions::With(_)
    ) {
        return refuse("the options of a table are written WITH (connector = '…', …)");
    }
    let rest = CreateTable {
        columns: Vec::new(),
        constraints: Vec::new(),
        temporary: false,
        query: None,
        if_not_exists: false,
        table_options: CreateTableOptions::None,
        ..create.clone()
    };
    if rest == CreateTableBuilder::new(create.name.clone()).build() {
        return Ok(());
    }
    refuse("CREATE TABLE takes columns and WITH (…), and no other clause")
}

fn declared_column(
    column: ColumnDef,
    parsed: &Parsed,
    session: &Session,
) -> Result<DeclaredColumn, PlanError> {
    let location = place(column.name.span.start);
    let mut values = Values::Physical(ColumnOrigin::Payload);
    for option in &column.options {
        match &option.option {
            // A key is what the other side says of its rows: nothing here relies on it.
            ColumnOption::PrimaryKey(_)
            | ColumnOption::NotNull
            | ColumnOption::Null
            | ColumnOption::Comment(_) => {}
            ColumnOption::Generated {
                generated_as: GeneratedAs::Always | GeneratedAs::ExpStored,
                generation_expr: Some(expr),
                sequence_options: None,
                ..
            } => {
                values = match metadata_call(expr) {
                    Some(name) => Values::Physical(ColumnOrigin::Metadata(name)),
                    None => Values::Generated(Box::new(expr.clone())),
                };
            }
            other => match metadata_name(other) {
                Some(name) => {
                    values = Values::Physical(ColumnOrigin::Metadata(name.to_owned()));
                }
                None => return Err(column_option_error(&column, other, location)),
            },
        }
    }
    let name = column.name.clone();
    let type_name = column.data_type.to_string();
    let field = session.field(column).map_err(|_unsupported| {
        let message = format!(
            "column '{}' has the unsupported type {type_name}",
            name.value
        );
        PlanError::new(message)
            .at(parsed.after(&name).or(location))
            .hint(TYPES)
    })?;
    Ok(DeclaredColumn {
        field,
        values,
        location,
    })
}

/// The name in `metadata('name')`: Arroyo's older way to write `METADATA FROM 'name'`.
fn metadata_call(expr: &Expr) -> Option<String> {
    let Expr::Function(call) = expr else {
        return None;
    };
    let [ObjectNamePart::Identifier(function)] = call.name.0.as_slice() else {
        return None;
    };
    let FunctionArguments::List(arguments) = &call.args else {
        return None;
    };
    match arguments.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(name)))]
            if normalised(function) == "metadata" =>
        {
            name.value.clone().into_string()
        }
        _ => None,
    }
}

/// What to write instead of an unsupported type.
const TYPES: &str = "there are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, each also UNSIGNED, FLOAT, DOUBLE, \
     DECIMAL(p, s), TEXT, BYTEA, JSON, DATE, TIME, TIMESTAMP, INTERVAL, STRUCT<…>, MAP<…, …> and T[]";

fn column_option_error(
    column: &ColumnDef,
    option: &ColumnOption,
    location: Option<Location>,
) -> PlanError {
    let message = format!(
        "column '{}' has the option {option}, which is not supported yet",
        column.name.value
    );
    PlanError::new(message)
        .at(location)
        .hint("there are NOT NULL, PRIMARY KEY, METADATA FROM '…' and GENERATED ALWAYS AS (…)")
}

fn check_unique(columns: &[DeclaredColumn]) -> Result<(), PlanError> {
    for (index, column) in columns.iter().enumerate() {
        let name = column.field.name();
        if columns[..index]
            .iter()
            .any(|earlier| earlier.field.name() == name)
        {
            let message = format!("column '{}' is declared twice", quoted(name));
            return Err(PlanError::new(message).at(column.location));
        }
    }
    Ok(())
}

/// Refuses a key of columns that there are not. Nothing else relies on a key.
fn check_key(constraints: &[TableConstraint], columns: &[DeclaredColumn]) -> Result<(), PlanError> {
    let names = || columns.iter().map(|column| column.field.name().as_str());
    let keys = constraints
        .iter()
        .filter_map(|constraint| match constraint {
            TableConstraint::PrimaryKey(key) => Some(&key.columns),
            _ => None,
        });
    for column in keys.flatten() {
        let location = place(column.span().start);
        let Expr::Identifier(ident) = &column.column.expr else {
            let message = format!("'{column}' is no column, and a key has columns");
            return Err(PlanError::new(message).at(location));
        };
        let name = normalised(ident);
        if !names().any(|known| known == name) {
            let error = PlanError::new(format!("column '{}' not found", quoted(&name)));
            return Err(error.at(location).near(&name, names()));
        }
    }
    Ok(())
}

fn read_options(options: Vec<OptionSyntax>) -> Result<Options, PlanError> {
    let mut read: Vec<SqlOption> = Vec::with_capacity(options.len());
    for option in options {
        let OptionSyntax::KeyValue { key, value } = option else {
            let message = format!("'{option}' is not an option; write key = 'value'");
            return Err(PlanError::new(message).at(place(option.span().start)));
        };
        let location = place(key.span.start);
        if read.iter().any(|earlier| earlier.key == key.value) {
            let message = format!("option '{}' is given twice", key.value);
            return Err(PlanError::new(message).at(location));
        }
        read.push(SqlOption {
            value: option_value(&key, &value)?,
            key: key.value,
            location,
        });
    }
    Ok(Options(read))
}

/// The text of an option's value: of a string, a number, a boolean or a bare word.
fn option_value(key: &Ident, value: &Expr) -> Result<String, PlanError> {
    let text = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            Value::EscapedStringLiteral(text) | Value::Number(text, _) => Some(text.clone()),
            Value::DollarQuotedString(quoted) => Some(quoted.value.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        Expr::Identifier(word) => Some(word.value.clone()),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => option_value(key, expr)
            .ok()
            .map(|number| format!("-{number}")),
        _ => None,
    };
    text.ok_or_else(|| {
        let message = format!("the value of option '{}' must be a string", key.value);
        let location = place(value.span().start).or(place(key.span.start));
        PlanError::new(message).at(location)
    })
}

fn take(options: &mut Options, key: &str) -> Option<SqlOption> {
    let index = options.0.iter().position(|option| option.key == key)?;
    Some(options.0.remove(index))
}

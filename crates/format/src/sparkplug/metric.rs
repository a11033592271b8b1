//! Rows to metrics: what a message of this type must say of a metric, must not say, or may leave out.
//!
//! * Births and data have the time of each metric (that of the message if the row has none); a command only if the row has.
//! * Births and commands tell datatypes. Data leaves them to the birth, as the specification asks. It would have commands
//!   do the same, but its own examples do not, and there are nodes that do not look the type up.
//! * Births name metrics, with their aliases. The others name them by the alias if the row has one, and then by it alone.
//!
//! The value is in any of the columns that a source has for it. Several may have it, as in rows that a source has read:
//! then they must agree.

use arrow::datatypes::{DataType, Fields, TimeUnit};

use super::payload::{Metric, Value, datatype_name, datatype_number};
use super::topic::Topic;
use super::{list, properties, value};
use crate::error::FormatError;
use crate::json::is_json;
use crate::rows::{Cell, Cells, timestamp_nanos};

/// The columns of a metric that are no value, and of what type they are.
const COLUMNS: [(&str, Kind); 9] = [
    ("name", Kind::Text),
    ("alias", Kind::Integer),
    ("timestamp", Kind::Timestamp),
    ("datatype", Kind::Text),
    ("quality", Kind::Text),
    ("is_historical", Kind::Boolean),
    ("is_transient", Kind::Boolean),
    ("is_null", Kind::Boolean),
    ("properties", Kind::Text),
];

/// The columns that may hold the value, those first that hold it exactly.
const VALUES: [&str; 7] = [
    "value_bytes",
    "value_boolean",
    "value_text",
    "value_bigint",
    "value_json",
    "value",
    "value_double",
];

/// Of what type a column must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Integer,
    Timestamp,
    Boolean,
}

impl Kind {
    /// # Errors
    /// A column of another type.
    pub(super) fn check(self, name: &str, data_type: &DataType) -> Result<(), FormatError> {
        let (fits, expected) = match self {
            Self::Text => {
                let is_text = matches!(
                    data_type,
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
                );
                (is_text, "TEXT")
            }
            Self::Integer => (data_type.is_integer(), "BIGINT"),
            Self::Timestamp => (matches!(data_type, DataType::Timestamp(..)), "TIMESTAMP"),
            Self::Boolean => (*data_type == DataType::Boolean, "BOOLEAN"),
        };
        if fits || *data_type == DataType::Null {
            return Ok(());
        }
        Err(FormatError::Option(format!(
            "column '{name}' has the type {data_type}; in the format 'sparkplug_b' it is {expected}"
        )))
    }
}

/// The names of all columns that a metric may have.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(name, _)| *name).chain(VALUES)
}

/// How the columns of one table, or the fields of its structs, become metrics.
#[derive(Debug)]
pub(super) struct MetricPlan {
    /// What the types of [`VALUES`] say, where there is no `datatype`.
    datatypes: [Option<u32>; VALUES.len()],
}

impl MetricPlan {
    /// # Errors
    /// A column of a type that it cannot have.
    pub(super) fn new(fields: &Fields) -> Result<Self, FormatError> {
        let mut datatypes = [None; VALUES.len()];
        for field in fields {
            let is_this = |(name, _): &&(&str, Kind)| name == field.name();
            if let Some((name, kind)) = COLUMNS.iter().find(is_this) {
                kind.check(name, field.data_type())?;
            }
            let value = VALUES.iter().position(|name| name == field.name());
            // A JSON column holds values of any type.
            if let Some(at) = value.filter(|_| !is_json(field)) {
                datatypes[at] = datatype(field.data_type());
            }
        }
        Ok(Self { datatypes })
    }

    /// The metric of a row, in a message on this topic that is sent at this time. A death may have none.
    ///
    /// # Errors
    /// What does not fit together, and in which column.
    pub(super) fn metric(
        &self,
        members: &[(&str, Cells<'_>)],
        row: usize,
        topic: &Topic<'_>,
        sent_millis: u64,
    ) -> Result<Option<Metric>, String> {
        let draft = Draft::of(members, row)?;
        if draft.name.is_none() && draft.alias.is_none() {
            return match topic.is_death() && draft.values.iter().all(is_null) {
                true => Ok(None),
                false => Err("a metric needs a 'name' or an 'alias'".to_owned()),
            };
        }
        if topic.is_birth() && draft.name.is_none() {
            return Err("a birth tells the name of every metric, and 'name' is null".to_owned());
        }
        let datatype = match draft.datatype {
            Some(name) => Some(named(name)?),
            None => self.datatype(&draft)?,
        };
        if topic.is_birth() && datatype.is_none() {
            return Err("a birth tells the type of every metric: give its 'datatype'".to_owned());
        }
        let value = draft.value(datatype)?;
        let timestamp = draft
            .timestamp
            .or((topic.is_birth() || topic.is_data()).then_some(sent_millis));
        let by_alias = draft.alias.is_some() && !topic.is_birth();
        Ok(Some(Metric {
            name: draft.name.filter(|_| !by_alias).map(str::to_owned),
            alias: draft.alias,
            timestamp,
            datatype: datatype.filter(|_| !topic.is_data()),
            is_historical: draft.is_historical.filter(|is| *is),
            is_transient: draft.is_transient.filter(|is| *is),
            is_null: value.is_none().then_some(true),
            properties: draft.properties()?,
            value,
        }))
    }

    /// What the type of the value's column says.
    fn datatype(&self, draft: &Draft<'_>) -> Result<Option<u32>, String> {
        let given = |at: &usize| !is_null(&draft.values[*at]);
        let given: Vec<_> = (0..VALUES.len()).filter(given).collect();
        match given[..] {
            // A table with one typed column for values tells the type of null, too.
            [] => {
                let mut known = self.datatypes.iter().flatten();
                Ok(known.next().copied().filter(|_| known.next().is_none()))
            }
            [at] if self.datatypes[at].is_some() => Ok(self.datatypes[at]),
            [at] => Err(format!(
                "the type of '{}' does not tell the datatype: give it as 'datatype'",
                VALUES[at]
            )),
            [first, second, ..] => Err(format!(
                "'{}' and '{}' both have a value: give the 'datatype', or one of them",
                VALUES[first], VALUES[second]
            )),
        }
    }
}

/// The datatype that holds exactly what an Arrow type does.
fn datatype(data_type: &DataType) -> Option<u32> {
    let name = match data_type {
        DataType::Int8 => "Int8",
        DataType::Int16 => "Int16",
        DataType::Int32 => "Int32",
        DataType::Int64 => "Int64",
        DataType::UInt8 => "UInt8",
        DataType::UInt16 => "UInt16",
        DataType::UInt32 => "UInt32",
        DataType::UInt64 => "UInt64",
        DataType::Float32 => "Float",
        DataType::Float64 => "Double",
        DataType::Boolean => "Boolean",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "String",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "Bytes",
        DataType::Timestamp(..) => "DateTime",
        _ => return None,
    };
    datatype_number(name)
}

/// A datatype by its name, however it is capitalised.
fn named(name: &str) -> Result<u32, String> {
    let number = datatype_number(name).ok_or_else(|| {
        let names: Vec<_> = (1..=15).map(datatype_name).collect();
        format!(
            "'{name}' is no datatype of Sparkplug; it has {}, Bytes, File, and Int8Array to DateTimeArray",
            names.join(", ")
        )
    })?;
    match number {
        1..=15 | 17 | 18 => Ok(number),
        _ if list::is_array(number) => Ok(number),
        _ => Err(format!("metrics of the datatype {name} are not written")),
    }
}

/// What a row says of its metric.
#[derive(Default)]
struct Draft<'a> {
    name: Option<&'a str>,
    alias: Option<u64>,
    timestamp: Option<u64>,
    datatype: Option<&'a str>,
    quality: Option<&'a str>,
    is_historical: Option<bool>,
    is_transient: Option<bool>,
    is_null: Option<bool>,
    properties: Option<&'a str>,
    /// In the order of [`VALUES`].
    values: [Cell<'a>; VALUES.len()],
}

impl<'a> Draft<'a> {
    fn of(members: &'a [(&'a str, Cells<'a>)], row: usize) -> Result<Self, String> {
        let mut draft = Self::default();
        for (name, cells) in members {
            let cell = cells.get(row);
            match *name {
                "name" => draft.name = text(&cell),
                "alias" => draft.alias = unsigned(name, &cell)?,
                "timestamp" => draft.timestamp = millis(name, &cell)?,
                "datatype" => draft.datatype = text(&cell),
                "quality" => draft.quality = text(&cell),
                "is_historical" => draft.is_historical = boolean(&cell),
                "is_transient" => draft.is_transient = boolean(&cell),
                "is_null" => draft.is_null = boolean(&cell),
                "properties" => draft.properties = text(&cell),
                _ => {
                    if let Some(at) = VALUES.iter().position(|value| value == name) {
                        draft.values[at] = cell;
                    }
                }
            }
        }
        Ok(draft)
    }

    /// The one value of all columns.
    fn value(&self, datatype: Option<u32>) -> Result<Option<Value>, String> {
        let mut found: Option<(&str, Value)> = None;
        // Without a datatype there is no value, or `MetricPlan::datatype` would have told one.
        let datatype = datatype.unwrap_or(0);
        for (name, cell) in VALUES.iter().zip(&self.values) {
            match &found {
                None => {
                    let value = value::value(datatype, cell);
                    let value = value.map_err(|reason| format!("field '{name}': {reason}"))?;
                    found = value.map(|value| (*name, value));
                }
                Some((first, value)) if !value::agree(value, cell, datatype) => {
                    return Err(format!("'{first}' and '{name}' have different values"));
                }
                Some(_) => {}
            }
        }
        match (self.is_null, &found) {
            (Some(true), Some((name, _))) => Err(format!("'is_null' is true, but '{name}' is not")),
            (Some(false), None) => Err("'is_null' is false, but there is no value".to_owned()),
            _ => Ok(found.map(|(_, value)| value)),
        }
    }

    fn properties(&self) -> Result<Option<super::payload::PropertySet>, String> {
        let mut set = self.properties.map(properties::parse).transpose()?;
        if let Some(quality) = self.quality {
            properties::set_quality(&mut set, quality)?;
        }
        Ok(set)
    }
}

fn is_null(cell: &Cell<'_>) -> bool {
    matches!(cell, Cell::Null)
}

fn text<'a>(cell: &Cell<'a>) -> Option<&'a str> {
    match cell {
        Cell::Text(text) | Cell::Json(text) => Some(text),
        _ => None,
    }
}

fn boolean(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Boolean(value) => Some(*value),
        _ => None,
    }
}

/// A number that a message has without a sign.
pub(super) fn unsigned(name: &str, cell: &Cell<'_>) -> Result<Option<u64>, String> {
    match cell {
        Cell::Unsigned(value) => Ok(Some(*value)),
        Cell::Integer(value) => match u64::try_from(*value) {
            Ok(value) => Ok(Some(value)),
            Err(_negative) => Err(format!("field '{name}': {value} is negative")),
        },
        _ => Ok(None),
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(name: &str, cell: &Cell<'_>) -> Result<Option<u64>, String> {
    let Cell::Timestamp(value, unit) = cell else {
        return Ok(None);
    };
    let unit_nanos = timestamp_nanos(1, TimeUnit::Millisecond);
    let millis = timestamp_nanos(*value, *unit).div_euclid(unit_nanos);
    match u64::try_from(millis) {
        Ok(millis) => Ok(Some(millis)),
        Err(_before) => Err(format!("field '{name}': {cell} is before 1970")),
    }
}

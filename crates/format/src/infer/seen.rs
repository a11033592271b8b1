//! What was seen of one member in all samples, and the type that takes all of it.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::InferredColumn;
use crate::config::TimestampFormat;
use crate::json::fault::Result;
use crate::json::{TYPE_KEY, time};
use crate::token::{Source, Token};

/// The units in which numbers may count since 1970, and what the year 2001 is in them.
const UNITS: [(TimestampFormat, f64); 4] = [
    (TimestampFormat::UnixSeconds, 1e9),
    (TimestampFormat::UnixMillis, 1e12),
    (TimestampFormat::UnixMicros, 1e15),
    (TimestampFormat::UnixNanos, 1e18),
];
/// The year 2100, as a multiple of the same.
const LATEST: f64 = 4.1;

/// All values of one member.
#[derive(Debug, Default)]
pub(super) struct Seen {
    values: usize,
    nulls: usize,
    booleans: usize,
    integers: usize,
    doubles: usize,
    /// The least and the greatest number.
    range: Option<(f64, f64)>,
    /// Whether an integer was beyond 64 bits with a sign, or a number beyond a double.
    is_wide: bool,
    is_infinite: bool,
    texts: usize,
    instants: usize,
    dates: usize,
    times: usize,
    binaries: usize,
    list: Option<Box<Seen>>,
    lists: usize,
    pub(super) map: Members,
    maps: usize,
}

/// The members of objects, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
}

impl Members {
    pub(super) fn member(&mut self, name: &str) -> &mut Seen {
        let next = self.all.len();
        let place = *self.places.entry(name.to_owned()).or_insert(next);
        if place == next {
            self.all.push((name.to_owned(), Seen::default()));
        }
        &mut self.all[place].1
    }

    /// The columns of `objects` objects that have these members.
    pub(super) fn columns(
        &self,
        objects: usize,
        unit: Option<TimestampFormat>,
    ) -> Vec<InferredColumn> {
        let column = |(name, seen): &(String, Seen)| InferredColumn {
            field: seen.field(name, unit),
            nullable: seen.nulls > 0 || seen.values < objects,
        };
        self.all.iter().map(column).collect()
    }

    /// The unit of the first member, at any depth, that counts time by its name and its values.
    pub(super) fn unit(&self) -> Option<TimestampFormat> {
        self.all.iter().find_map(|(name, seen)| {
            let nested = || seen.map.unit().or_else(|| seen.list.as_ref()?.map.unit());
            seen.unit(name).or_else(nested)
        })
    }
}

impl Seen {
    /// Looks at the value that comes next.
    pub(super) fn observe<'a>(&mut self, source: &mut impl Source<'a>) -> Result<()> {
        let token = source.token()?;
        match token {
            Token::List => {
                self.values += 1;
                self.lists += 1;
                let items = self.list.get_or_insert_default();
                while source.more()? {
                    items.observe(source)?;
                }
            }
            Token::Map => {
                self.values += 1;
                self.maps += 1;
                while source.more()? {
                    let name = source.name()?;
                    self.map.member(&name).observe(source)?;
                }
            }
            scalar => self.scalar(&scalar),
        }
        Ok(())
    }

    /// Whether `count` objects were seen and nothing else.
    pub(super) fn is_only_maps(&self, count: usize) -> bool {
        self.maps == count && self.values == count
    }

    /// Looks at one scalar.
    pub(super) fn scalar(&mut self, token: &Token<'_>) {
        self.values += 1;
        match token {
            Token::Null => self.nulls += 1,
            Token::Boolean(_) => self.booleans += 1,
            Token::Integer(value) => {
                self.integers += 1;
                self.is_wide |= i64::try_from(*value).is_err();
                self.number(*value as f64);
            }
            Token::Single(value) => {
                self.doubles += 1;
                self.number(f64::from(*value));
            }
            Token::Double(value) => {
                self.doubles += 1;
                self.number(*value);
            }
            Token::Decimal(..) => self.doubles += 1,
            Token::Timestamp(_) => self.instants += 1,
            Token::Date(_) => self.dates += 1,
            Token::Time(_) => self.times += 1,
            Token::Text(text) | Token::Json(text) => {
                let bytes = text.as_bytes();
                let is_date = time::parse_date(bytes).is_some();
                let is_instant = time::parse_timestamp(bytes, TimeUnit::Nanosecond).is_some();
                match (is_date && is_instant, is_instant) {
                    (true, _) => self.dates += 1,
                    (_, true) => self.instants += 1,
                    _ => self.texts += 1,
                }
            }
            Token::Binary(_) => self.binaries += 1,
            Token::List | Token::Map => {}
        }
    }

    fn number(&mut self, value: f64) {
        self.is_infinite |= !value.is_finite();
        let (least, greatest) = self.range.unwrap_or((value, value));
        self.range = Some((least.min(value), greatest.max(value)));
    }

    /// In which unit these numbers count since 1970, if their name says that they are times and they lie in our days.
    fn unit(&self, name: &str) -> Option<TimestampFormat> {
        let (least, greatest) = self.range.filter(|_| is_time(name))?;
        let only_numbers = self.integers + self.doubles + self.nulls == self.values;
        let unit = UNITS
            .iter()
            .find(|(_, early)| least >= *early && greatest <= early * LATEST);
        unit.filter(|_| only_numbers).map(|(unit, _)| *unit)
    }

    fn field(&self, name: &str, unit: Option<TimestampFormat>) -> Field {
        match self.data_type(name, unit) {
            Some(data_type) => Field::new(name, data_type, true),
            None => json_field(name),
        }
    }

    /// The type that takes all values; `None` if only JSON does.
    fn data_type(&self, name: &str, unit: Option<TimestampFormat>) -> Option<DataType> {
        let values = self.values - self.nulls;
        let numbers = self.integers + self.doubles;
        Some(match values {
            0 => DataType::Utf8,
            _ if self.booleans == values => DataType::Boolean,
            _ if numbers == values && unit.is_some() && self.unit(name) == unit => {
                DataType::Timestamp(TimeUnit::Nanosecond, None)
            }
            _ if self.integers == values && !self.is_wide => DataType::Int64,
            _ if self.integers == values => DataType::Decimal128(38, 0),
            _ if numbers == values && !self.is_infinite => DataType::Float64,
            _ if self.dates == values => DataType::Date32,
            _ if self.instants + self.dates == values => {
                DataType::Timestamp(TimeUnit::Nanosecond, None)
            }
            _ if self.texts + self.instants + self.dates == values => DataType::Utf8,
            _ if self.times == values => DataType::Time64(TimeUnit::Nanosecond),
            _ if self.binaries == values => DataType::Binary,
            _ if self.lists == values => {
                let items = self
                    .list
                    .as_ref()
                    .filter(|items| items.values > items.nulls)?;
                DataType::new_list(items.data_type(name, unit)?, true)
            }
            _ if self.maps == values && !self.map.all.is_empty() => {
                let member = |(name, seen): &(String, Self)| {
                    Some(Field::new(name, seen.data_type(name, unit)?, true))
                };
                let members: Option<Vec<_>> = self.map.all.iter().map(member).collect();
                DataType::Struct(Fields::from(members?))
            }
            _ => return None,
        })
    }
}

/// A column of any JSON.
pub(super) fn json_field(name: &str) -> Field {
    let metadata = HashMap::from([(TYPE_KEY.to_owned(), "json".to_owned())]);
    Field::new(name, DataType::Utf8, true).with_metadata(metadata)
}

/// Whether a name is one that people give to times.
fn is_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "ts",
        "time",
        "timestamp",
        "datetime",
        "date",
        "at",
        "epoch",
        "when",
    ];
    let mut parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts.any(|part| words.contains(&part))
        || ["time", "timestamp", "epoch"]
            .iter()
            .any(|word| name.ends_with(word) || name.starts_with(word))
}

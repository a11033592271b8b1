//! The latest message of each topic, as rows, found by any columns.
//!
//! Rows are kept in Arrow's row format, so that those of one topic hold nothing of others. By which columns they are asked for
//! is known with the first question; from then on an index leads from a key to its rows, those of several topics in the
//! order of the topics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use headwater_connector::Found;
use headwater_connector::lookup::with_one_zero;

/// What a row takes beside its bytes and those of its key: entries of tables and what the allocator adds.
const ROW_BYTES: usize = 160;

/// Rows by topic and by key.
pub(super) struct Shadows {
    schema: SchemaRef,
    of_rows: RowConverter,
    topics: BTreeMap<Arc<str>, Vec<Kept>>,
    index: Option<Index>,
    bytes: usize,
}

struct Kept {
    row: Box<[u8]>,
    key: Box<[u8]>,
}

/// Where the rows of a key are.
struct Index {
    /// The columns of the table that make keys.
    columns: Vec<usize>,
    of_keys: RowConverter,
    places: HashMap<Box<[u8]>, BTreeSet<Place>>,
}

/// A topic, and which of its rows.
type Place = (Arc<str>, usize);

impl Shadows {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self {
            of_rows: converter(
                schema
                    .fields()
                    .iter()
                    .map(|field| field.data_type().clone()),
            )?,
            schema,
            topics: BTreeMap::new(),
            index: None,
            bytes: 0,
        })
    }

    /// Takes the rows of messages, of which each replaces what its topic had.
    pub(super) fn put(
        &mut self,
        messages: &[(Arc<str>, Range<usize>)],
        batch: &RecordBatch,
    ) -> Result<(), ArrowError> {
        let rows = self.of_rows.convert_columns(batch.columns())?;
        let keys = self.index.as_ref().map(|index| index.keys(batch.columns()));
        let keys = keys.transpose()?;
        for (topic, range) in messages {
            self.remove(topic);
            let kept = range.clone().map(|row| Kept {
                row: rows.row(row).data().into(),
                key: match &keys {
                    Some(keys) => keys.row(row).data().into(),
                    None => Box::default(),
                },
            });
            self.insert(topic, kept.collect());
        }
        Ok(())
    }

    fn insert(&mut self, topic: &Arc<str>, kept: Vec<Kept>) {
        for (number, row) in kept.iter().enumerate() {
            self.bytes += row.bytes(topic);
            if let Some(index) = &mut self.index {
                let places = index.places.entry(row.key.clone()).or_default();
                places.insert((Arc::clone(topic), number));
            }
        }
        self.topics.insert(Arc::clone(topic), kept);
    }

    /// Forgets what a topic had.
    pub(super) fn remove(&mut self, topic: &str) {
        let Some((topic, kept)) = self.topics.remove_entry(topic) else {
            return;
        };
        for (number, row) in kept.iter().enumerate() {
            self.bytes -= row.bytes(&topic);
            if let Some(index) = &mut self.index
                && let Some(places) = index.places.get_mut(&row.key)
            {
                places.remove(&(Arc::clone(&topic), number));
                if places.is_empty() {
                    index.places.remove(&row.key);
                }
            }
        }
    }

    /// The rows of keys; the columns of these are named as those of the table.
    pub(super) fn find(&mut self, keys: &RecordBatch) -> Result<Found, ArrowError> {
        let names = keys.schema();
        let columns = names
            .fields()
            .iter()
            .map(|key| self.schema.index_of(key.name()));
        let columns: Vec<usize> = columns.collect::<Result<_, _>>()?;
        if self
            .index
            .as_ref()
            .is_none_or(|index| index.columns != columns)
        {
            self.reindex(columns)?;
        }
        let (mut found, mut of_key) = (Vec::new(), Vec::new());
        let parser = self.of_rows.parser();
        if let Some(index) = &self.index {
            let keys = index
                .of_keys
                .convert_columns(&with_one_zero(keys.columns()))?;
            for (number, key) in keys.iter().enumerate() {
                for (topic, row) in index.places.get(key.data()).into_iter().flatten() {
                    if let Some(kept) = self.topics.get(topic).and_then(|kept| kept.get(*row)) {
                        found.push(parser.parse(&kept.row));
                        // a batch has fewer rows than 2^32
                        of_key.push(number as u32);
                    }
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(found.len()));
        let columns = self.of_rows.convert_rows(found)?;
        let schema = Arc::clone(&self.schema);
        Ok(Found {
            rows: RecordBatch::try_new_with_options(schema, columns, &options)?,
            keys: of_key,
        })
    }

    fn reindex(&mut self, columns: Vec<usize>) -> Result<(), ArrowError> {
        let index = Index::new(&self.schema, columns)?;
        let parser = self.of_rows.parser();
        let mut keyed = Vec::with_capacity(self.topics.len());
        for (topic, kept) in &self.topics {
            let rows = kept.iter().map(|kept| parser.parse(&kept.row));
            let keys = index.keys(&self.of_rows.convert_rows(rows)?)?;
            let keys: Vec<Box<[u8]>> = keys.iter().map(|key| key.data().into()).collect();
            keyed.push((Arc::clone(topic), keys));
        }
        self.index = Some(index);
        self.bytes = 0;
        for (topic, keys) in keyed {
            let kept = self.topics.remove(&topic).unwrap_or_default();
            let kept = kept.into_iter().zip(keys);
            let kept = kept.map(|(kept, key)| Kept { key, ..kept }).collect();
            self.insert(&topic, kept);
        }
        Ok(())
    }

    /// How much it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Kept {
    fn bytes(&self, topic: &str) -> usize {
        // a key is kept here and in the index
        self.row.len() + 2 * self.key.len() + topic.len() + ROW_BYTES
    }
}

impl Index {
    fn new(schema: &Schema, columns: Vec<usize>) -> Result<Self, ArrowError> {
        let types = columns
            .iter()
            .map(|index| schema.field(*index).data_type().clone());
        Ok(Self {
            of_keys: converter(types)?,
            columns,
            places: HashMap::new(),
        })
    }

    fn keys(&self, rows: &[ArrayRef]) -> Result<arrow::row::Rows, ArrowError> {
        let columns = self.columns.iter().map(|index| Arc::clone(&rows[*index]));
        let columns = with_one_zero(&columns.collect::<Vec<_>>());
        self.of_keys.convert_columns(&columns)
    }
}

fn converter(
    types: impl Iterator<Item = arrow::datatypes::DataType>,
) -> Result<RowConverter, ArrowError> {
    RowConverter::new(types.map(SortField::new).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("device", DataType::Utf8, true),
            Field::new("v", DataType::Int64, true),
        ]))
    }

    /// Messages of topics, each with its rows.
    fn put(shadows: &mut Shadows, messages: &[(&str, &[(&str, i64)])]) {
        let (mut ranges, mut rows) = (Vec::new(), Vec::new());
        for (topic, of_topic) in messages {
            ranges.push((Arc::from(*topic), rows.len()..rows.len() + of_topic.len()));
            rows.extend_from_slice(of_topic);
        }
        let devices: StringArray = rows.iter().map(|row| Some(row.0)).collect();
        let values: Int64Array = rows.iter().map(|row| row.1).collect();
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(devices), Arc::new(values)]);
        shadows.put(&ranges, &batch.unwrap()).unwrap();
    }

    fn by_device(shadows: &mut Shadows, devices: &[&str]) -> Vec<(u32, i64)> {
        let field = Field::new("device", DataType::Utf8, true);
        let devices = Arc::new(StringArray::from(devices.to_vec()));
        let keys = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![devices]);
        let found = shadows.find(&keys.unwrap()).unwrap();
        let values = found.rows.column(1).as_primitive::<Int64Type>().values();
        found
            .keys
            .iter()
            .copied()
            .zip(values.iter().copied())
            .collect()
    }

    fn by_value(shadows: &mut Shadows, value: i64) -> usize {
        let field = Field::new("v", DataType::Int64, true);
        let values = Arc::new(Int64Array::from(vec![value]));
        let keys = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![values]);
        shadows.find(&keys.unwrap()).unwrap().keys.len()
    }

    #[test]
    fn a_topic_has_its_latest_message_and_is_found_by_any_column() {
        let mut shadows = Shadows::new(schema()).unwrap();
        put(
            &mut shadows,
            &[
                ("a", &[("x", 1), ("y", 2)]),
                ("b", &[("x", 3)]),
                ("a", &[("x", 4)]),
            ],
        );
        assert_eq!(by_device(&mut shadows, &["x", "y", "z"]), [(0, 4), (0, 3)]);
        put(&mut shadows, &[("b", &[("y", 5)]), ("c", &[("x", 4)])]);
        assert_eq!(
            by_device(&mut shadows, &["y", "x"]),
            [(0, 5), (1, 4), (1, 4)]
        );
        assert_eq!(by_value(&mut shadows, 4), 2);
        shadows.remove("a");
        assert_eq!(
            (by_value(&mut shadows, 4), by_value(&mut shadows, 1)),
            (1, 0)
        );
        assert_eq!(by_device(&mut shadows, &["x"]), [(0, 4)]);
    }

    #[test]
    fn what_is_replaced_and_forgotten_takes_nothing() {
        let mut shadows = Shadows::new(schema()).unwrap();
        put(&mut shadows, &[("a", &[("x", 1)])]);
        by_value(&mut shadows, 1);
        let one = shadows.bytes();
        for v in 0..100 {
            put(&mut shadows, &[("a", &[("x", v)]), ("b", &[("y", v)])]);
        }
        assert_eq!(shadows.bytes(), 2 * one);
        shadows.remove("a");
        shadows.remove("b");
        assert_eq!(shadows.bytes(), 0);
        assert!(shadows.index.unwrap().places.is_empty());
    }
}

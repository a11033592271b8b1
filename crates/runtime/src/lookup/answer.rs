//! Keys of batches → rows of batches, by the cache and the operator.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::{RowConverter, SortField};
use headwater_connector::{CacheOptions, Found, Metrics, OperatorError};
use tokio::time::Instant;

use super::cache::{Cache, Remembered};
use super::{Asking, KEYS_AT_ONCE};

/// Answers keys.
pub(super) struct Answers {
    keys: SchemaRef,
    schema: SchemaRef,
    /// Without a cache the operator is asked for everything.
    memory: Option<Memory>,
    metrics: Arc<Metrics>,
}

/// What is remembered, in Arrow's row format.
struct Memory {
    cache: Cache,
    of_keys: RowConverter,
    of_rows: RowConverter,
    bytes: u64,
}

impl Answers {
    pub(super) fn new(
        keys: &SchemaRef,
        schema: &SchemaRef,
        cache: Option<CacheOptions>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, OperatorError> {
        let memory = cache.map(|options| {
            Ok(Memory {
                cache: Cache::new(options),
                of_keys: converter(keys)?,
                of_rows: converter(schema)?,
                bytes: 0,
            })
        });
        Ok(Self {
            keys: Arc::clone(keys),
            schema: Arc::clone(schema),
            memory: memory.transpose().map_err(unfit)?,
            metrics: Arc::clone(metrics),
        })
    }

    /// The rows of the keys of some batches.
    pub(super) async fn of(
        &mut self,
        batches: Vec<RecordBatch>,
        table: &mut Asking,
    ) -> Result<Vec<Arc<Found>>, OperatorError> {
        if self.memory.is_some() {
            return self.remembered(batches, table).await;
        }
        let mut answers = Vec::with_capacity(batches.len());
        for keys in batches {
            answers.push(Arc::new(self.asked(&keys, table).await?));
        }
        Ok(answers)
    }

    /// The rows of keys, from the other side.
    async fn asked(&self, keys: &RecordBatch, table: &mut Asking) -> Result<Found, OperatorError> {
        let keys = RecordBatch::try_new(Arc::clone(&self.keys), keys.columns().to_vec());
        let keys = keys.map_err(unfit)?;
        let mut parts = Vec::new();
        let mut of_key = Vec::new();
        for first in (0..keys.num_rows()).step_by(KEYS_AT_ONCE) {
            let count = KEYS_AT_ONCE.min(keys.num_rows() - first);
            let found = table.lookup(&keys.slice(first, count)).await?;
            check(&found, count)?;
            // a batch has fewer rows than 2^32
            of_key.extend(found.keys.iter().map(|key| key + first as u32));
            parts.push(found.rows);
        }
        let rows = match parts.as_slice() {
            [only] => only.clone(),
            parts => arrow::compute::concat_batches(&self.schema, parts).map_err(unfit)?,
        };
        Ok(Found { rows, keys: of_key })
    }

    /// The same, where the cache does not know them.
    async fn remembered(
        &mut self,
        batches: Vec<RecordBatch>,
        table: &mut Asking,
    ) -> Result<Vec<Arc<Found>>, OperatorError> {
        let now = Instant::now();
        let mut wanted = Vec::with_capacity(batches.len());
        let mut missing = Missing::default();
        if let Some(memory) = &mut self.memory {
            for keys in &batches {
                wanted.push(memory.look(keys, now, &mut missing).map_err(unfit)?);
            }
        }
        let mut fresh = Vec::new();
        if let Some(keys) = missing.keys(&self.keys, &batches).map_err(unfit)? {
            self.metrics.add_messages(keys.num_rows() as u64, 0);
            let found = self.asked(&keys, table).await?;
            if let Some(memory) = &mut self.memory {
                fresh = memory
                    .keep(&found, &missing, Instant::now())
                    .map_err(unfit)?;
                let bytes = memory.cache.bytes();
                self.metrics.resize_state(memory.bytes, bytes);
                memory.bytes = bytes;
            }
        }
        let Some(memory) = &self.memory else {
            return Ok(Vec::new());
        };
        let answers = wanted.into_iter().map(|keys| {
            let rows = keys.into_iter().map(|key| match key {
                Wanted::Known(rows) => rows,
                Wanted::Missing(index) => Arc::clone(&fresh[index]),
            });
            memory.answer(rows, &self.schema).map(Arc::new)
        });
        answers.collect::<Result<_, _>>().map_err(unfit)
    }
}

/// A key of a batch.
enum Wanted {
    Known(Remembered),
    /// One of those that are asked for.
    Missing(usize),
}

/// Keys that are not known, each once.
#[derive(Default)]
struct Missing {
    /// In the row format, and its number.
    numbers: HashMap<Box<[u8]>, usize>,
    /// Of each the batch and the row in it.
    places: Vec<(usize, u32)>,
    batches: usize,
}

impl Missing {
    /// All of them as one batch, unless there is none.
    fn keys(
        &self,
        schema: &SchemaRef,
        batches: &[RecordBatch],
    ) -> Result<Option<RecordBatch>, ArrowError> {
        let mut parts = Vec::new();
        for same in self.places.chunk_by(|one, next| one.0 == next.0) {
            let rows = UInt32Array::from_iter_values(same.iter().map(|(_, row)| *row));
            let part = take_record_batch(&batches[same[0].0], &rows)?;
            parts.push(RecordBatch::try_new(
                Arc::clone(schema),
                part.columns().to_vec(),
            )?);
        }
        match parts.as_slice() {
            [] => Ok(None),
            parts => arrow::compute::concat_batches(schema, parts).map(Some),
        }
    }
}

impl Memory {
    /// What is known of the keys of the next batch.
    fn look(
        &mut self,
        keys: &RecordBatch,
        now: Instant,
        missing: &mut Missing,
    ) -> Result<Vec<Wanted>, ArrowError> {
        let batch = missing.batches;
        missing.batches += 1;
        let keys = self.of_keys.convert_columns(keys.columns())?;
        let wanted = keys.iter().enumerate().map(|(row, key)| {
            if let Some(rows) = self.cache.get(key.data(), now) {
                return Wanted::Known(rows);
            }
            let next = missing.places.len();
            let number = *missing.numbers.entry(key.data().into()).or_insert(next);
            if number == next {
                missing.places.push((batch, row as u32));
            }
            Wanted::Missing(number)
        });
        Ok(wanted.collect())
    }

    /// Remembers the rows of all keys that were missing, and tells them by their numbers.
    fn keep(
        &mut self,
        found: &Found,
        missing: &Missing,
        now: Instant,
    ) -> Result<Vec<Remembered>, ArrowError> {
        let rows = self.of_rows.convert_columns(found.rows.columns())?;
        let mut fresh: Vec<Vec<Box<[u8]>>> = vec![Vec::new(); missing.places.len()];
        for (row, key) in rows.iter().zip(&found.keys) {
            fresh[*key as usize].push(row.data().into());
        }
        let fresh: Vec<Remembered> = fresh.into_iter().map(Remembered::from).collect();
        for (key, number) in &missing.numbers {
            self.cache.put(key, Arc::clone(&fresh[*number]), now);
        }
        Ok(fresh)
    }

    /// The rows of some keys, one after the other.
    fn answer(
        &self,
        keys: impl Iterator<Item = Remembered>,
        schema: &SchemaRef,
    ) -> Result<Found, ArrowError> {
        let keys: Vec<_> = keys.collect();
        let parser = self.of_rows.parser();
        let mut of_key = Vec::new();
        let mut rows = Vec::new();
        for (key, remembered) in keys.iter().enumerate() {
            for row in remembered.iter() {
                of_key.push(key as u32);
                rows.push(parser.parse(row));
            }
        }
        let columns = self.of_rows.convert_rows(rows)?;
        Ok(Found {
            rows: batch(schema, columns, of_key.len())?,
            keys: of_key,
        })
    }
}

fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn converter(schema: &Schema) -> Result<RowConverter, ArrowError> {
    let fields = schema.fields().iter();
    RowConverter::new(
        fields
            .map(|field| SortField::new(field.data_type().clone()))
            .collect(),
    )
}

/// An operator that does not keep to its contract would give rows to the wrong keys.
fn check(found: &Found, keys: usize) -> Result<(), OperatorError> {
    let in_order = found.keys.is_sorted();
    let known = found.keys.last().is_none_or(|last| (*last as usize) < keys);
    match in_order && known && found.keys.len() == found.rows.num_rows() {
        true => Ok(()),
        false => Err(OperatorError::fatal(
            "the lookup table gave rows of keys that were not asked for; this is a bug of the connector",
        )),
    }
}

fn unfit(error: ArrowError) -> OperatorError {
    OperatorError::caused_by("the rows of the lookup table do not fit its columns", error)
}

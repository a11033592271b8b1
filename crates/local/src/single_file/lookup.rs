//! A file in which rows are looked up: all of it is in memory, and read again when it has changed.
//!
//! Whether it has is looked at before each batch, by its length, its time of change and its number on the disk, so that a
//! file that was replaced is noticed, too. Replace it in one go (write another, then rename it): a file that is caught
//! half written may not fit its format, which is tried again for a while, and could fit by chance.
//!
//! Memory: the rows and an index by key, at most `lookup.cache.max_bytes`, and twice that while it is read again. A file
//! that needs more fails the job.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use headwater_connector::{
    Found, LookupError, LookupOperator, Metrics, OperatorConfig, OperatorError, RowIndex,
    SourceOperator,
};

use super::{FileSource, SingleFileTable, SingleFileType, failed};

/// Looks rows up in a file.
pub(super) struct FileLookup {
    path: PathBuf,
    config: OperatorConfig,
    max_bytes: u64,
    loaded: Option<Loaded>,
}

/// The operator of a table in which rows are looked up; `None` for another.
pub(super) fn of(table: &SingleFileTable, config: &OperatorConfig) -> Option<FileLookup> {
    let SingleFileType::Lookup { cache } = &table.type_ else {
        return None;
    };
    let cache = cache.clone().unwrap_or_default();
    Some(FileLookup {
        path: PathBuf::from(table.path.as_str()),
        config: config.clone(),
        max_bytes: cache.max_bytes.get(),
        loaded: None,
    })
}

/// The file as it was.
struct Loaded {
    stamp: Stamp,
    rows: RecordBatch,
    index: Option<RowIndex>,
}

/// By which a file that has changed is known.
#[derive(PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
    number: u64,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            bytes: file.len(),
            changed: file.modified().ok(),
            number: file.ino(),
        }
    }
}

impl FileLookup {
    /// The file as it is now.
    async fn current(&mut self) -> Result<&mut Loaded, LookupError> {
        let file = tokio::fs::metadata(&self.path).await;
        let file = file.map_err(|e| LookupError::Passing(failed("read", &self.path, e)))?;
        let stamp = Stamp::of(&file);
        let loaded = match self.loaded.take() {
            Some(loaded) if loaded.stamp == stamp => loaded,
            _ => Loaded {
                rows: self.read().await?,
                stamp,
                index: None,
            },
        };
        Ok(self.loaded.insert(loaded))
    }

    async fn read(&self) -> Result<RecordBatch, LookupError> {
        let metrics = Arc::<Metrics>::default();
        let source = FileSource::new(self.path.clone(), &self.config, metrics);
        let mut source = source.map_err(|e| OperatorError::fatal(e.to_string()))?;
        let mut batches = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = source.next().await.map_err(LookupError::Passing)? {
            bytes += batch.rows.get_array_memory_size() as u64;
            self.check(bytes)?;
            batches.push(batch.rows);
        }
        let schema = self.config.schema.arrow_schema();
        Ok(concat_batches(&schema, &batches).map_err(unfit)?)
    }

    fn check(&self, bytes: u64) -> Result<(), OperatorError> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(OperatorError::fatal(format!(
            "'{}' takes more memory than the {} bytes of lookup.cache.max_bytes; raise it, or keep the rows in a database",
            self.path.display(),
            self.max_bytes
        )))
    }
}

#[async_trait]
impl LookupOperator for FileLookup {
    async fn open(&mut self) -> Result<(), LookupError> {
        self.current().await.map(drop)
    }

    async fn lookup(&mut self, keys: &RecordBatch) -> Result<Found, LookupError> {
        let loaded = self.current().await?;
        let index = match loaded.index.take() {
            Some(index) if index.is_by(&keys.schema()) => index,
            _ => RowIndex::new(&loaded.rows, &keys.schema()).map_err(unfit)?,
        };
        let found = index.find(&loaded.rows, keys).map_err(unfit);
        let bytes = loaded.rows.get_array_memory_size() as u64 + index.bytes();
        loaded.index = Some(index);
        self.check(bytes)?;
        Ok(found?)
    }
}

fn unfit(error: ArrowError) -> OperatorError {
    OperatorError::caused_by("the rows of the file do not fit its columns", error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

//! Files for state that is more than the memory it may take.
//!
//! A file has no name from the moment it is made: nothing is left of it, however the process ends. It is written at its end
//! and read anywhere, and is gone when the last piece in it is of no use.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use headwater_connector::Metrics;

use crate::ipc::{decode, encode};

/// A file that cannot be made, written or read.
#[derive(Debug, thiserror::Error)]
#[error("state cannot be {action} a file in '{folder}'")]
pub struct SpoolError {
    action: &'static str,
    folder: String,
    #[source]
    source: io::Error,
}

impl From<SpoolError> for DataFusionError {
    fn from(error: SpoolError) -> Self {
        Self::ResourcesExhausted(format!("{error}: {}", error.source))
    }
}

/// The folder in which one operator has such files.
#[derive(Clone)]
pub(crate) struct Spool {
    folder: Arc<Path>,
    metrics: Arc<Metrics>,
}

impl Spool {
    /// Files count at `metrics`.
    pub(crate) fn new(folder: &Path, metrics: &Arc<Metrics>) -> Self {
        Self {
            folder: folder.into(),
            metrics: Arc::clone(metrics),
        }
    }

    /// A file with nothing in it.
    pub(crate) fn file(&self) -> Result<Arc<SpoolFile>, SpoolError> {
        let made = tempfile::tempfile_in(&self.folder);
        let file = made.map_err(failed("written to", &self.folder))?;
        Ok(Arc::new(SpoolFile {
            open: Mutex::new(Open { file, bytes: 0 }),
            spool: self.clone(),
        }))
    }
}

/// A file.
pub(crate) struct SpoolFile {
    open: Mutex<Open>,
    spool: Spool,
}

struct Open {
    file: File,
    /// How long it is.
    bytes: u64,
}

/// A batch of rows in a file.
#[derive(Clone)]
pub(crate) struct Spilled {
    file: Arc<SpoolFile>,
    at: u64,
    bytes: usize,
}

impl SpoolFile {
    /// Puts rows behind those that it has.
    pub(crate) fn write(self: &Arc<Self>, rows: &RecordBatch) -> Result<Spilled, DataFusionError> {
        Ok(self.write_encoded(&encode(rows)?)?)
    }

    /// The same of rows that are encoded.
    pub(crate) fn write_encoded(self: &Arc<Self>, rows: &[u8]) -> Result<Spilled, SpoolError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.bytes;
        open.file
            .seek(SeekFrom::Start(at))
            .and_then(|_at| open.file.write_all(rows))
            .map_err(failed("written to", &self.spool.folder))?;
        open.bytes = at + rows.len() as u64;
        self.spool.metrics.resize_spilled(at, open.bytes);
        Ok(Spilled {
            file: Arc::clone(self),
            at,
            bytes: rows.len(),
        })
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.spool.metrics.resize_spilled(open.bytes, 0);
    }
}

impl Spilled {
    /// The rows, encoded.
    pub(crate) fn encoded(&self) -> Result<Vec<u8>, SpoolError> {
        let mut open = self
            .file
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut rows = vec![0; self.bytes];
        open.file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_at| open.file.read_exact(&mut rows))
            .map_err(failed("read from", &self.file.spool.folder))?;
        Ok(rows)
    }

    pub(crate) fn rows(&self) -> Result<RecordBatch, DataFusionError> {
        Ok(decode(&self.encoded()?)?)
    }

    /// Other rows, in the same file.
    pub(crate) fn beside(&self, rows: &RecordBatch) -> Result<Self, DataFusionError> {
        self.file.write(rows)
    }

    /// How long they are, encoded.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

impl std::fmt::Debug for Spilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {}", self.bytes, self.at)
    }
}

fn failed(action: &'static str, folder: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let folder = folder.display().to_string();
    move |source| SpoolError {
        action,
        folder,
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn rows(numbers: Vec<i64>) -> RecordBatch {
        let numbers = Arc::new(Int64Array::from(numbers)) as _;
        RecordBatch::try_from_iter([("n", numbers)]).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_gone_with_the_last_piece() {
        let folder = tempfile::TempDir::new().unwrap();
        let metrics: Arc<Metrics> = Arc::default();
        let spilled_bytes = || metrics.snapshot().spilled_bytes;
        let spool = Spool::new(folder.path(), &metrics);
        let file = spool.file().unwrap();
        let first = file.write(&rows(vec![1, 2])).unwrap();
        let second = file.write(&rows(vec![3])).unwrap();
        drop(file);
        assert_eq!(first.rows().unwrap(), rows(vec![1, 2]));
        let third = second.beside(&rows(vec![4])).unwrap();
        assert_eq!(second.rows().unwrap(), rows(vec![3]));
        let all = first.bytes() + second.bytes() + third.bytes();
        assert_eq!(spilled_bytes(), all);
        assert!(folder.path().read_dir().unwrap().next().is_none());
        drop((first, second));
        assert_eq!(spilled_bytes(), all, "a piece is left");
        assert_eq!(third.rows().unwrap(), rows(vec![4]));
        drop(third);
        assert_eq!(spilled_bytes(), 0);
    }

    #[test]
    fn a_folder_that_takes_nothing_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let gone = folder.path().join("gone");
        let spool = Spool::new(&gone, &Arc::default());
        let error = DataFusionError::from(spool.file().err().unwrap()).to_string();
        let says = format!(
            "state cannot be written to a file in '{}': ",
            gone.display()
        );
        assert!(error.contains(&says), "{error}");
    }
}

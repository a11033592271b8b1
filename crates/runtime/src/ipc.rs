//! Batches as bytes: an Arrow IPC stream of one batch, schema included. So go rows between processes, and to disk.

use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

/// # Errors
/// Types that Arrow IPC does not know.
pub(crate) fn encode(rows: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref())?;
    writer.write(rows)?;
    writer.into_inner()
}

/// # Errors
/// Bytes that are cut off, or something else.
pub(crate) fn decode(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let mut batches = StreamReader::try_new(bytes, None)?;
    batches.next().unwrap_or_else(|| Err(cut_off()))
}

/// The error of bytes that end too early.
pub(crate) fn cut_off() -> ArrowError {
    ArrowError::IpcError("rows are cut off".to_owned())
}

//! What waits at a job's sinks, and the bound of it; and what is on its way to other processes, likewise.
//!
//! The credit of a source bounds what it has read, counted before the chains; `unnest` or `repeat()` can make a thousand
//! times as much of it. So what waits in the queues of the sinks is counted, too, for the whole job. While it is above
//! the bound, no source of the job has credit and chains that make more of their rows pause; when it falls below, they
//! are woken.
//!
//! The bound is exceeded by what is between a source or a chain and the sinks at that moment: of each source at most one
//! epoch, of each growing chain a few pieces (see `operators::growing`).
//!
//! Where a job runs in several processes, each has a backlog, with its own sinks. What it has sent to others and they have
//! not confirmed is counted beside that, with the same bound ([`away`](crate::peers::away)).

use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Mutex, PoisonError};

use arrow::array::Array;
use arrow::record_batch::RecordBatch;

use crate::bridge::Waker;

/// How many rows may wait at the sinks of a job.
pub const BACKLOG_ROWS: u64 = 1 << 20;

/// How many bytes of Arrow memory may wait at the sinks of a job.
pub const BACKLOG_BYTES: u64 = 256 << 20;

/// Below this, the memory of a batch is not worth looking at closely.
const SMALL_BYTES: usize = 64 << 10;

/// How large some rows are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Size {
    /// The rows of a batch and their Arrow memory. Of buffers that a large batch shares with others, being a slice, only
    /// its own part counts.
    pub(crate) fn of(batch: &RecordBatch) -> Self {
        let whole = batch.get_array_memory_size();
        let part = |column: &dyn Array| {
            let size = column.to_data().get_slice_memory_size();
            // views cannot tell, and count in full
            size.unwrap_or_else(|_unknown| column.get_array_memory_size())
        };
        let bytes = match whole <= SMALL_BYTES {
            true => whole,
            false => batch.columns().iter().map(|column| part(column)).sum(),
        };
        Self {
            rows: batch.num_rows() as u64,
            bytes: bytes as u64,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// Rows that wait somewhere.
#[derive(Default)]
struct Count {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn has_room(&self) -> bool {
        self.rows.load(Acquire) < BACKLOG_ROWS && self.bytes.load(Acquire) < BACKLOG_BYTES
    }

    /// Counts rows that begin to wait; how many wait then.
    fn add(&self, size: Size) -> Size {
        Size {
            rows: self.rows.fetch_add(size.rows, AcqRel) + size.rows,
            bytes: self.bytes.fetch_add(size.bytes, AcqRel) + size.bytes,
        }
    }

    /// Counts rows that wait no more; true if there may be room now where there was none.
    fn remove(&self, size: Size) -> bool {
        let rows = self.rows.fetch_sub(size.rows, AcqRel);
        let bytes = self.bytes.fetch_sub(size.bytes, AcqRel);
        let fell = |before: u64, by: u64, bound| before >= bound && before - by < bound;
        fell(rows, size.rows, BACKLOG_ROWS) || fell(bytes, size.bytes, BACKLOG_BYTES)
    }
}

/// The rows that wait at the sinks of one job, in this process.
#[derive(Default)]
pub struct Backlog {
    at_sinks: Count,
    /// On the way to other processes.
    away: Count,
    peak_rows: AtomicU64,
    peak_bytes: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Backlog {
    /// Rows that wait now.
    pub fn rows(&self) -> u64 {
        self.at_sinks.rows.load(Acquire)
    }

    /// Their Arrow memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.at_sinks.bytes.load(Acquire)
    }

    /// The most rows that ever waited.
    pub fn peak_rows(&self) -> u64 {
        self.peak_rows.load(Acquire)
    }

    /// The most bytes that ever waited.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Acquire)
    }

    /// Whether more rows may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_at_sinks() && self.away.has_room()
    }

    /// Whether what waits at the sinks of this process is below the bound.
    pub(crate) fn has_room_at_sinks(&self) -> bool {
        self.at_sinks.has_room()
    }

    /// Adds an operator that is woken whenever there is room again.
    pub(crate) fn join(&self, waker: Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(waker);
    }

    /// Counts rows that begin to wait.
    pub(crate) fn add(&self, size: Size) {
        let waiting = self.at_sinks.add(size);
        self.peak_rows.fetch_max(waiting.rows, AcqRel);
        self.peak_bytes.fetch_max(waiting.bytes, AcqRel);
    }

    /// Counts rows that a sink has taken.
    pub(crate) fn remove(&self, size: Size) {
        if self.at_sinks.remove(size) {
            self.wake();
        }
    }

    /// Counts rows that are sent to another process.
    pub(crate) fn send(&self, size: Size) {
        self.away.add(size);
    }

    /// Counts rows whose arrival another process has confirmed.
    pub(crate) fn arrive(&self, size: Size) {
        if self.away.remove(size) {
            self.wake();
        }
    }

    /// Wakes all that wait for room.
    pub(crate) fn wake(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn slices_count_their_own_part_of_a_shared_buffer() {
        let numbers = Int64Array::from_iter_values(0..100_000);
        let texts = StringArray::from_iter_values((0..100_000).map(|n| n.to_string()));
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as _),
            ("text", Arc::new(texts) as _),
        ]);
        let batch = batch.unwrap();
        let mut parts = Size::default();
        for at in (0..100_000).step_by(10_000) {
            parts.add(Size::of(&batch.slice(at, 10_000)));
        }
        let whole = Size::of(&batch);
        assert_eq!(parts.rows, whole.rows);
        assert!(
            parts.bytes.abs_diff(whole.bytes) < 1000,
            "{parts:?} {whole:?}"
        );
    }

    #[test]
    fn what_is_on_its_way_to_others_takes_room_and_none_at_the_sinks() {
        let backlog = Backlog::default();
        let size = Size {
            rows: BACKLOG_ROWS,
            bytes: 1,
        };
        backlog.send(size);
        assert!(!backlog.has_room());
        // or else two processes could wait for each other
        assert!(backlog.has_room_at_sinks());
        assert_eq!(backlog.rows(), 0);
        backlog.arrive(size);
        assert!(backlog.has_room());
    }

    #[test]
    fn there_is_room_until_either_bound_is_reached() {
        let backlog = Backlog::default();
        let rows = Size {
            rows: BACKLOG_ROWS,
            bytes: 1,
        };
        let bytes = Size {
            rows: 1,
            bytes: BACKLOG_BYTES,
        };
        for size in [rows, bytes] {
            assert!(backlog.has_room());
            backlog.add(size);
            assert!(!backlog.has_room());
            backlog.remove(size);
        }
        assert!(backlog.has_room());
        assert_eq!(backlog.peak_rows(), BACKLOG_ROWS);
        assert_eq!(backlog.peak_bytes(), BACKLOG_BYTES);
    }
}

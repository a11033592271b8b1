//! What an operator counts. Read by the status line and, later, by the server.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::bad_data::DropLog;
use crate::cpu::thread_cpu_ns;

/// The counters of one operator; all only grow, save `in_flight`, `window`, `state_bytes` and
/// `spilled_bytes`.
#[derive(Debug, Default)]
pub struct Metrics {
    messages: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    batches: AtomicU64,
    bad_data: AtomicU64,
    dead_letters: AtomicU64,
    reconnects: AtomicU64,
    in_flight: AtomicU64,
    window: AtomicU64,
    cpu_ns: AtomicU64,
    batches_out: AtomicU64,
    rows_out: AtomicU64,
    late_rows: AtomicU64,
    state_bytes: AtomicU64,
    spilled_bytes: AtomicU64,
    watermark_ns: Rising,
    trouble: Mutex<Option<String>>,
    drops: DropLog,
}

/// A moment that only gets later; long ago at first.
#[derive(Debug)]
struct Rising(AtomicI64);

impl Default for Rising {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Messages received (source) or accepted for sending (sink).
    pub messages: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// Rows decoded (source), encoded (sink), or taken in (operator with state).
    pub rows: u64,
    /// Batches of them.
    pub batches: u64,
    /// Messages or rows that were bad data: dropped, or made dead letters.
    pub bad_data: u64,
    /// Those of them that became dead letters.
    pub dead_letters: u64,
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Messages not yet acknowledged: to the broker (source), by the broker (sink).
    pub in_flight: u64,
    /// How many the side that receives them lets be unacknowledged: as much as `in_flight` can become. 0 if that is not
    /// known, or not limited.
    pub window: u64,
    /// The CPU time that it has taken, in nanoseconds: of the tasks of a source or a sink, of the machines of an operator
    /// with state. What a source's or a sink's rows cost on their way is the workers'.
    pub cpu_ns: u64,
    /// Batches put out by an operator with state.
    pub batches_out: u64,
    /// Rows put out by an operator with state.
    pub rows_out: u64,
    /// Rows that came after the watermark had passed what they belong to: left out, or made dead letters.
    pub late_rows: u64,
    /// The memory that an operator's state takes.
    pub state_bytes: u64,
    /// How long the files are that hold state for which there was no memory.
    pub spilled_bytes: u64,
    /// How far event time has come at an operator, in nanoseconds since 1970, if it has begun.
    pub watermark_ns: Option<i64>,
}

/// Adds CPU time when it is dropped. Made by [`Metrics::stopwatch`]; must stay on its thread.
#[derive(Debug)]
pub struct Stopwatch<'a> {
    metrics: &'a Metrics,
    begun_ns: u64,
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let taken_ns = thread_cpu_ns().saturating_sub(self.begun_ns);
        self.metrics.cpu_ns.fetch_add(taken_ns, Relaxed);
    }
}

impl Metrics {
    /// The counters of a table, whose name is in what is logged about it.
    #[must_use]
    pub fn of(table: &str) -> Self {
        Self {
            drops: DropLog::new(table),
            ..Self::default()
        }
    }

    /// Counts messages with their payload bytes.
    pub fn add_messages(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts the rows of a batch.
    pub fn add_rows(&self, rows: u64) {
        self.batches.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
    }

    /// Counts messages or rows dropped as bad data, and logs from time to time why.
    pub fn drop_bad_data(&self, count: u64, reason: impl FnOnce() -> String) {
        if count > 0 {
            self.bad_data.fetch_add(count, Relaxed);
            self.drops.note(count, reason);
        }
    }

    /// Counts bad messages or rows that become dead letters.
    pub fn add_dead_letters(&self, count: u64) {
        self.bad_data.fetch_add(count, Relaxed);
        self.dead_letters.fetch_add(count, Relaxed);
    }

    /// Counts a connection made again.
    pub fn add_reconnect(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    /// States that other messages than before are unacknowledged on one connection of the table.
    pub fn resize_in_flight(&self, before: u64, after: u64) {
        self.in_flight.fetch_add(after, Relaxed);
        self.in_flight.fetch_sub(before, Relaxed);
    }

    /// States that as many messages may be unacknowledged on one connection of the table, instead of as many as before.
    pub fn resize_window(&self, before: u64, after: u64) {
        self.window.fetch_add(after, Relaxed);
        self.window.fetch_sub(before, Relaxed);
    }

    /// States what keeps the operator from the other side now, while it tries again; `None` once nothing does.
    pub fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What keeps the operator from the other side now, if anything does.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds the CPU time that this thread takes until the answer is dropped.
    pub fn stopwatch(&self) -> Stopwatch<'_> {
        Stopwatch {
            metrics: self,
            begun_ns: thread_cpu_ns(),
        }
    }

    /// Counts the rows of a batch that is put out.
    pub fn add_rows_out(&self, rows: u64) {
        self.batches_out.fetch_add(1, Relaxed);
        self.rows_out.fetch_add(rows, Relaxed);
    }

    /// Counts rows that came late.
    pub fn add_late_rows(&self, rows: u64) {
        self.late_rows.fetch_add(rows, Relaxed);
    }

    /// Counts rows left out because they came late, and logs from time to time why.
    pub fn drop_late_rows(&self, rows: u64, reason: impl FnOnce() -> String) {
        if rows > 0 {
            self.add_late_rows(rows);
            self.drops.note(rows, reason);
        }
    }

    /// States that one share of the operator's state has another size than before.
    pub fn resize_state(&self, before_bytes: u64, after_bytes: u64) {
        self.state_bytes.fetch_add(after_bytes, Relaxed);
        self.state_bytes.fetch_sub(before_bytes, Relaxed);
    }

    /// States that a file for state has another length than before.
    pub fn resize_spilled(&self, before_bytes: u64, after_bytes: u64) {
        self.spilled_bytes.fetch_add(after_bytes, Relaxed);
        self.spilled_bytes.fetch_sub(before_bytes, Relaxed);
    }

    /// States how far event time has come, in nanoseconds since 1970.
    pub fn set_watermark(&self, watermark_ns: i64) {
        self.watermark_ns.0.fetch_max(watermark_ns, Relaxed);
    }

    /// The counters now. Each is exact; together they need not be of one instant.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            rows: self.rows.load(Relaxed),
            batches: self.batches.load(Relaxed),
            bad_data: self.bad_data.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            window: self.window.load(Relaxed),
            cpu_ns: self.cpu_ns.load(Relaxed),
            batches_out: self.batches_out.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            late_rows: self.late_rows.load(Relaxed),
            state_bytes: self.state_bytes.load(Relaxed),
            spilled_bytes: self.spilled_bytes.load(Relaxed),
            watermark_ns: Some(self.watermark_ns.0.load(Relaxed)).filter(|at| *at != i64::MIN),
        }
    }
}

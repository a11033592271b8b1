//! What an operator counts. Read by the status line and, later, by the server.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::bad_data::DropLog;

/// The counters of one operator; all only grow, save `in_flight`.
#[derive(Debug, Default)]
pub struct Metrics {
    messages: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    bad_data: AtomicU64,
    dead_letters: AtomicU64,
    reconnects: AtomicU64,
    in_flight: AtomicU64,
    drops: DropLog,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Messages received (source) or accepted for sending (sink).
    pub messages: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// Rows decoded or encoded.
    pub rows: u64,
    /// Messages or rows that were bad data: dropped, or made dead letters.
    pub bad_data: u64,
    /// Those of them that became dead letters.
    pub dead_letters: u64,
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Messages not yet acknowledged: to the broker (source), by the broker (sink).
    pub in_flight: u64,
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

    /// Counts rows.
    pub fn add_rows(&self, rows: u64) {
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

    /// States how many messages are unacknowledged now.
    pub fn set_in_flight(&self, count: u64) {
        self.in_flight.store(count, Relaxed);
    }

    /// The counters now. Each is exact; together they need not be of one instant.
    pub fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            messages: self.messages.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bad_data: self.bad_data.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
        }
    }
}

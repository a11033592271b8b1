//! What is on its way to other processes, and the bound of it.
//!
//! Timely's queues between a worker and a connection have no bound. What goes into them is bounded by the credit of the
//! sources, but a chain can make a thousand rows of one, and a network may be slow. So what one process sends another
//! counts in the sender's [`Backlog`] until the other has opened it, and while that has reached its bound the sender makes
//! no more. The other says so only while there is room at its own sinks: what it has opened waits there, if anywhere.
//! Sinks write without waiting for any process, so this never stands still for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::Notify;

use super::Layout;
use crate::backlog::{Backlog, Size};
use crate::parcel::Parcel;

/// What has arrived from one process and was not confirmed yet.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    rows: AtomicU64,
    bytes: AtomicU64,
    pub(super) some: Notify,
}

impl Arrived {
    fn add(&self, size: Size) {
        self.rows.fetch_add(size.rows, AcqRel);
        self.bytes.fetch_add(size.bytes, AcqRel);
        self.some.notify_one();
    }

    /// Whether there is anything.
    pub(super) fn any(&self) -> bool {
        self.rows.load(Acquire) > 0
    }

    /// Takes all of it.
    pub(super) fn take(&self) -> Size {
        Size {
            rows: self.rows.swap(0, AcqRel),
            bytes: self.bytes.swap(0, AcqRel),
        }
    }
}

/// Counts what goes from this process to others and comes from them.
#[derive(Clone)]
pub(crate) struct Away {
    pub(crate) layout: Layout,
    pub(crate) backlog: Arc<Backlog>,
    /// One entry a process.
    pub(crate) arrived: Arc<[Arrived]>,
}

impl Away {
    /// Counts a parcel that is about to be sent.
    pub(crate) fn send(&self, parcel: &mut Parcel) {
        if self.layout.local(parcel.to()).is_none() {
            parcel.sign(self.layout.process);
            self.backlog.send(parcel.wire_size());
        }
    }

    /// Counts a parcel that is about to be opened.
    pub(crate) fn open(&self, parcel: &Parcel) {
        let from = parcel.sender();
        if let Some(arrived) = from.and_then(|process| self.arrived.get(process)) {
            arrived.add(parcel.wire_size());
        }
    }
}

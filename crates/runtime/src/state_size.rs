//! The memory that the state of a job takes, and the limit of it.
//!
//! Each operator with state says how large its state is whenever event time has come further, and about once a second.
//! State is never dropped, for the answers would be wrong. Above the limit the job fails; or what can be moved to disk is, and it
//! fails if the rest of it is above the limit alone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use datafusion::common::{Result, resources_err};

use crate::job::OverLimit;

/// Moving less than this part of the limit to disk does not pay.
const LEAST_PART: u64 = 16;

/// The state of all operators of one job together.
pub(crate) struct StateSize {
    all: Count,
    /// What cannot be moved to disk.
    fixed: Count,
    limit_bytes: u64,
    over_limit: OverLimit,
}

/// A number of bytes.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    /// Notes that one share has another size than before; all together.
    fn resize(&self, before_bytes: u64, after_bytes: u64) -> u64 {
        // added first, so that it is never below zero
        let grown = self.0.fetch_add(after_bytes, Relaxed) + after_bytes;
        self.0.fetch_sub(before_bytes, Relaxed);
        grown.saturating_sub(before_bytes)
    }
}

impl StateSize {
    /// Without a limit it is that of the address space.
    pub(crate) fn new(limit_bytes: Option<u64>, over_limit: OverLimit) -> Self {
        Self {
            all: Count::default(),
            fixed: Count::default(),
            limit_bytes: limit_bytes.unwrap_or(u64::MAX),
            over_limit,
        }
    }

    /// Notes that a share of the state that cannot be moved has another size than before; an error if all of that is too
    /// much.
    pub(crate) fn resize(&self, before_bytes: u64, after_bytes: u64) -> Result<()> {
        self.all.resize(before_bytes, after_bytes);
        let bytes = self.fixed.resize(before_bytes, after_bytes);
        if bytes <= self.limit_bytes || after_bytes <= before_bytes {
            return Ok(());
        }
        let limit_bytes = self.limit_bytes;
        match self.over_limit {
            OverLimit::Fail => resources_err!(
                "the state of the job takes {bytes} bytes, more than the limit of {limit_bytes}; make windows shorter or \
                 keys fewer, allow more with --state-limit-mib, or let windows go to disk with --state-over-limit spill \
                 (of a server: limits.state_bytes, limits.state_over_limit)"
            ),
            OverLimit::Spill => resources_err!(
                "the state of sessions, joins, memory tables, OVER and aggregates without windows takes {bytes} bytes, more than the limit \
                 of {limit_bytes}, and cannot go to disk as --state-over-limit spill lets other windows do; make it \
                 smaller, or allow more with --state-limit-mib (of a server: limits.state_bytes)"
            ),
        }
    }

    /// Notes the same of a share that can be moved to disk; if all state is too much, how much of it must be there for it
    /// to pay, in bytes.
    pub(crate) fn resize_movable(&self, before_bytes: u64, after_bytes: u64) -> Option<usize> {
        let bytes = self.all.resize(before_bytes, after_bytes);
        let least = usize::try_from(self.limit_bytes / LEAST_PART);
        (bytes > self.limit_bytes).then(|| least.unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_not_grow_beyond_the_limit() {
        let state = StateSize::new(Some(100), OverLimit::Fail);
        assert!(state.resize(0, 60).is_ok());
        assert!(state.resize(0, 40).is_ok());
        assert!(state.resize(40, 41).is_err());
        // on the way down it is no error
        assert!(state.resize(60, 59).is_ok());
        assert!(state.resize(41, 0).is_ok());
        assert!(state.resize(0, 41).is_ok());
        let unlimited = StateSize::new(None, OverLimit::Fail);
        assert!(unlimited.resize(0, 1 << 60).is_ok());
    }

    #[test]
    fn what_can_be_moved_makes_room_for_what_cannot() {
        let state = StateSize::new(Some(160), OverLimit::Spill);
        assert_eq!(state.resize_movable(0, 100), None);
        assert!(state.resize(0, 61).is_ok());
        assert_eq!(state.resize_movable(100, 100), Some(10));
        assert_eq!(state.resize_movable(100, 20), None);
        let error = state.resize(61, 161).expect_err("above the limit alone");
        assert!(error.to_string().contains("cannot go to disk"), "{error}");
    }
}

//! The memory that the state of a job takes, and the limit of it.
//!
//! Each operator with state says how large its state is whenever event time has come further, and about once a second.
//! Above the limit the job fails: state is neither dropped, for the answers would be wrong, nor written to disk.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use datafusion::common::{Result, resources_err};

/// The state of all operators of one job together.
pub(crate) struct StateSize {
    bytes: AtomicU64,
    limit_bytes: u64,
}

impl StateSize {
    /// Without a limit it is that of the address space.
    pub(crate) fn new(limit_bytes: Option<u64>) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            limit_bytes: limit_bytes.unwrap_or(u64::MAX),
        }
    }

    /// Notes that one share of the state has another size than before; an error if all together is too much.
    pub(crate) fn resize(&self, before_bytes: u64, after_bytes: u64) -> Result<()> {
        // added first, so that it is never below zero
        let grown = self.bytes.fetch_add(after_bytes, Relaxed) + after_bytes;
        self.bytes.fetch_sub(before_bytes, Relaxed);
        let (bytes, limit_bytes) = (grown.saturating_sub(before_bytes), self.limit_bytes);
        if bytes > limit_bytes && after_bytes > before_bytes {
            return resources_err!(
                "the state of the job takes {bytes} bytes, more than the limit of {limit_bytes}; \
                 make windows shorter or keys fewer, or allow more with --state-limit-mib"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_may_not_grow_beyond_the_limit() {
        let state = StateSize::new(Some(100));
        assert!(state.resize(0, 60).is_ok());
        assert!(state.resize(0, 40).is_ok());
        assert!(state.resize(40, 41).is_err());
        // on the way down it is no error
        assert!(state.resize(60, 59).is_ok());
        assert!(state.resize(41, 0).is_ok());
        assert!(state.resize(0, 41).is_ok());
        assert!(StateSize::new(None).resize(0, 1 << 60).is_ok());
    }
}

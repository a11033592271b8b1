//! Waiting for a condition instead of for a time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short beside anything a test waits for, long beside looking.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, at most for `deadline`; blocks the thread.
///
/// # Errors
/// The deadline passed first; the error quotes `what`.
pub fn wait_for(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Waits until `condition` holds, at most for `deadline`, within a tokio runtime whose time is not paused.
///
/// # Errors
/// The deadline passed first; the error quotes `what`.
pub async fn wait_for_async(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// A port of 127.0.0.1 on which nobody listens.
///
/// It lies below the range from which the system picks ports for outgoing connections (32768 on Linux): otherwise a
/// server that is killed could find its port taken by somebody's outgoing connection when it is started again.
/// Nothing keeps another process from taking the port before the caller binds it; the caller must then try again.
///
/// # Errors
/// Hundreds of ports in a row were taken.
pub fn free_port() -> Result<u16> {
    const FIRST: u64 = 10_240;
    const LAST: u64 = 32_000;
    for _ in 0..500 {
        // The standard library's only source of randomness; good enough to keep parallel tests apart.
        let random = RandomState::new().build_hasher().finish();
        let port = u16::try_from(FIRST + random % (LAST - FIRST))?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {FIRST} and {LAST}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn gives_up_with_the_reason() {
        let error = wait_for("the sun", Duration::from_millis(1), || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 1ms in vain for the sun");
    }

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        // Another process may have been quicker; two failures in a row mean that the ports are not free at all.
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())));
        assert!(bound.is_ok());
    }
}

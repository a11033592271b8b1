//! What the machine is, and whether it can be believed.
//!
//! Who shares a machine, or has a virtual one, does not have its processors all of the time, and is not told: what is counted as the
//! time of a process then, takes longer for nothing. A loop that only counts sees it.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// For how long it is looked at.
const LOOKED_AT_MS: usize = 2_000;

/// Where this is measured: processor, cores, load, kernel.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor".to_owned(), |(_, name)| {
            name.to_owned()
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    let kernel = read("/proc/sys/kernel/osrelease");
    let profile = match cfg!(debug_assertions) {
        true => "; a debug build: the numbers mean nothing",
        false => "",
    };
    let kernel = kernel.trim_end();
    let Slow { total, longest } = Slow::of(&counted());
    format!(
        "{cores} cores of {processor}, Linux {kernel}, load average {load} when it began{profile}; a loop that only counts \
         was below half of its median speed in {total} of {LOOKED_AT_MS} ms, for up to {longest} ms at a time"
    )
}

/// How many times a loop ran in each millisecond.
fn counted() -> Vec<u32> {
    let begun = Instant::now();
    let ends = (1..=LOOKED_AT_MS as u64).map(|ms| begun + Duration::from_millis(ms));
    let counts = ends.map(|end| {
        let mut count = 0;
        while Instant::now() < end {
            (0..1_000_u32).for_each(|number| {
                black_box(number);
            });
            count += 1;
        }
        count
    });
    counts.collect()
}

/// Milliseconds in which less than half of what is usual was done.
#[derive(Debug, PartialEq)]
struct Slow {
    total: usize,
    /// In a row.
    longest: usize,
}

impl Slow {
    fn of(counts: &[u32]) -> Self {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let slow = |count: &u32| *count < median / 2;
        let spells = counts.split(|count| !slow(count));
        Self {
            total: counts.iter().filter(|count| slow(count)).count(),
            longest: spells.map(<[u32]>::len).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_seen_in_what_was_done() {
        let mut counts = vec![100; 20];
        counts[3] = 49;
        counts[8..11].fill(0);
        counts[15] = 50;
        let slow = Slow {
            total: 4,
            longest: 3,
        };
        assert_eq!(Slow::of(&counts), slow);
    }
}

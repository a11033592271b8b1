//! How long messages took from publish to the arrival of their result.
//!
//! A virtual machine does not have its processors all of the time: there are spells of some tens of milliseconds in which
//! everything takes several times as long, with whatever client, and a hundredth of a run of five seconds is 50 ms. So beside the
//! 99th percentile of the whole run there is that of each tenth of a second by itself, of which the median says what a message
//! may expect while there is no such spell. Neither replaces the other.

/// Of one run, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The 99th percentile of each tenth of a second, of these the median.
    pub(crate) calm_p99_ms: f64,
}

impl Latency {
    /// Of latencies in the order of arrival, at a steady rate over so many tenths of a second; `None` if there are none.
    pub(crate) fn of(mut arrived_ns: Vec<u64>, tenths: usize) -> Option<Self> {
        let tenth = arrived_ns.len().div_ceil(tenths.max(1)).max(1);
        let mut p99s: Vec<u64> = arrived_ns
            .chunks_mut(tenth)
            .filter_map(|tenth| percentile(tenth, 99))
            .collect();
        let ms = |ns: u64| ns as f64 / 1e6;
        Some(Self {
            calm_p99_ms: ms(percentile(&mut p99s, 50)?),
            p50_ms: ms(percentile(&mut arrived_ns, 50)?),
            p99_ms: ms(percentile(&mut arrived_ns, 99)?),
        })
    }
}

/// Sorts.
fn percentile(values: &mut [u64], percent: usize) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() * percent / 100).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_decides_the_run_and_not_its_median_tenth() {
        let mut arrived = vec![1_000_000; 500];
        arrived[120..150].fill(90_000_000);
        let latency = Latency::of(arrived, 5).expect("there are some");
        let expected = Latency {
            p50_ms: 1.0,
            p99_ms: 90.0,
            calm_p99_ms: 1.0,
        };
        assert_eq!(latency, expected);
    }

    #[test]
    fn what_is_slow_in_most_tenths_is_slow_in_the_median_tenth() {
        let mut arrived = vec![1_000_000; 500];
        for tenth in [0, 2, 4] {
            arrived[tenth * 100..][..2].fill(20_000_000);
        }
        let latency = Latency::of(arrived, 5).expect("there are some");
        assert_eq!(latency.calm_p99_ms, 20.0);
    }

    #[test]
    fn nothing_that_arrived_is_no_latency() {
        assert_eq!(Latency::of(Vec::new(), 5), None);
    }
}

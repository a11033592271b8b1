//! How long messages took from publish to the arrival of their result.
//!
//! A hundredth of a run of five seconds is 50 ms: one pause of the machine or of the broker decides the 99th percentile of
//! the whole run. So there is also that of each second by itself, of which the median says what a message may expect in a
//! second without such a pause. Neither replaces the other.

/// Of one run, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The 99th percentile of each second, of these the median.
    pub(crate) calm_p99_ms: f64,
}

impl Latency {
    /// Of latencies in the order of arrival, at a steady rate over so many seconds; `None` if there are none.
    pub(crate) fn of(mut arrived_ns: Vec<u64>, seconds: usize) -> Option<Self> {
        let second = arrived_ns.len().div_ceil(seconds.max(1)).max(1);
        let mut p99s: Vec<u64> = arrived_ns
            .chunks_mut(second)
            .filter_map(|second| percentile(second, 99))
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
    fn a_pause_decides_the_run_and_not_its_median_second() {
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
    fn what_is_slow_in_most_seconds_is_slow_in_the_median_second() {
        let mut arrived = vec![1_000_000; 500];
        for second in [0, 2, 4] {
            arrived[second * 100..][..2].fill(20_000_000);
        }
        let latency = Latency::of(arrived, 5).expect("there are some");
        assert_eq!(latency.calm_p99_ms, 20.0);
    }

    #[test]
    fn nothing_that_arrived_is_no_latency() {
        assert_eq!(Latency::of(Vec::new(), 5), None);
    }
}

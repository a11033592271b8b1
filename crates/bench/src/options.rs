//! The command line.

use std::num::NonZeroU32;

use clap::{Args, Parser};

/// What to measure, and how often.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Run only the cases whose name contains one of these
    cases: Vec<String>,

    /// Run only the cases that are named exactly
    #[arg(long)]
    exact: bool,

    /// Little of everything, once each: does it work at all?
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often each run is repeated; the table shows medians
    #[arg(long, value_name = "COUNT")]
    pub(crate) repetitions: Option<NonZeroU32>,

    /// Given by `cargo bench`; changes nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// Measures what a message costs on its way through Headwater, beside bare clients, and prints a table in Markdown.
#[derive(Debug, Parser)]
#[command(name = "pipeline")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) filter: Filter,

    /// Messages per run against the fake broker
    #[arg(long, value_name = "COUNT")]
    messages: Option<u64>,

    /// Messages per run through Mosquitto at full speed
    #[arg(long, value_name = "COUNT")]
    mosquitto_messages: Option<u64>,

    /// Messages a second where latency is measured
    #[arg(long, value_name = "COUNT")]
    per_second: Option<NonZeroU32>,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    /// Messages against the fake broker.
    pub(crate) messages: u64,
    /// Messages through Mosquitto at full speed.
    pub(crate) mosquitto_messages: u64,
    /// Messages a second where latency is measured.
    pub(crate) per_second: u32,
    /// How long latency, and an idle pipeline, are measured.
    pub(crate) seconds: u32,
    pub(crate) repetitions: u32,
}

impl Sizes {
    pub(crate) fn full() -> Self {
        Self {
            messages: 2_000_000,
            mosquitto_messages: 200_000,
            per_second: 10_000,
            seconds: 5,
            repetitions: 3,
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            messages: 50_000,
            mosquitto_messages: 5_000,
            per_second: 2_000,
            seconds: 1,
            repetitions: 1,
        }
    }
}

impl Options {
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = if self.filter.quick {
            Sizes::quick()
        } else {
            Sizes::full()
        };
        sizes.messages = self.messages.unwrap_or(sizes.messages);
        sizes.mosquitto_messages = self.mosquitto_messages.unwrap_or(sizes.mosquitto_messages);
        sizes.per_second = self.per_second.map_or(sizes.per_second, NonZeroU32::get);
        let repetitions = self.filter.repetitions;
        sizes.repetitions = repetitions.map_or(sizes.repetitions, NonZeroU32::get);
        sizes
    }
}

impl Filter {
    pub(crate) fn wants(&self, case: &str) -> bool {
        let fits = |part: &String| match self.exact {
            true => case == part,
            false => case.contains(part.as_str()),
        };
        self.cases.is_empty() || self.cases.iter().any(fits)
    }
}

//! What a window costs: SQL over many rows, once with the window and once without, and the same in a batch.
//!
//! ```text
//!   no window    impulse or MQTT ──► key, value ───────────────► blackhole
//!   DataFusion   the same rows, all in memory ──► GROUP BY        (the least that grouping costs)
//!   Headwater    impulse or MQTT ──► key, value ──► window ────► blackhole
//!   state kept   the same, with a journal before the acknowledgement (of MQTT) and a checkpoint each second
//! ```
//!
//! `changes` has no window: its results change, and are told once a second; with state, what is told is on disk before.
//!
//! Each runs in a process of its own, in turn, so that all have the same share of the machine's noise. What Headwater takes
//! beyond `no window` is the window itself: watermarks, grouping, exchange, closing. All give as many results, which
//! [`quick_tests`](crate::quick_tests) compares.

mod case;
mod rows;
mod subject;
mod table;

use std::io::Write;
use std::num::NonZeroU32;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use headwater_testkit::fake_broker::FakeBroker;

pub(crate) use self::case::Case;
use self::case::{Contender, Input};
pub(crate) use self::subject::run_if_asked;
use self::subject::{Task, Usage, VARIABLE};
use self::table::Row;
use crate::case::INPUT_TOPIC;
use crate::options::Filter;
use crate::process::Subject;

/// Measures what windows and joins of windows cost, beside the same pipeline without them and beside DataFusion over the
/// same rows in a batch, and prints a table in Markdown.
#[derive(Debug, Parser)]
#[command(name = "window")]
struct Options {
    #[command(flatten)]
    filter: Filter,

    /// Rows per run
    #[arg(long, value_name = "COUNT")]
    rows: Option<u64>,

    /// Seconds between checkpoints: ten times as often as by default, so that short runs see some. Many, and none is taken
    #[arg(long, value_name = "SECONDS", default_value_t = CHECKPOINT_SECONDS)]
    checkpoint_interval_s: u64,
}

/// How many rows a run has.
const ROWS: u64 = 8_000_000;
/// The same if it is only to be seen whether it works.
pub(crate) const FEW_ROWS: u64 = 200_000;
const REPETITIONS: u32 = 3;
const CHECKPOINT_SECONDS: u64 = 1;

pub(crate) fn main() -> Result<()> {
    let options = Options::parse();
    let mut out = std::io::stdout();
    writeln!(out, "{}\n", crate::machine::machine())?;
    let quick = options.filter.quick;
    let rows = options.rows.unwrap_or(if quick { FEW_ROWS } else { ROWS });
    let default = if quick { 1 } else { REPETITIONS };
    let repetitions = options.filter.repetitions.map_or(default, NonZeroU32::get);
    let cases = Case::all(rows).into_iter();
    let mut table = Vec::new();
    for case in cases.filter(|case| options.filter.wants(&case.name())) {
        let runs = interleaved(&case, repetitions, options.checkpoint_interval_s)?;
        writeln!(std::io::stderr(), "{}", case.name())?;
        let medians = runs
            .iter()
            .map(|(who, runs)| Row::median(&case, *who, runs));
        table.extend(medians);
    }
    ensure!(!table.is_empty(), "no case has such a name");
    writeln!(out, "{}", table::markdown(&table))?;
    Ok(())
}

/// All contenders in turn, again and again.
fn interleaved(
    case: &Case,
    repetitions: u32,
    checkpoint_interval_s: u64,
) -> Result<Vec<(Contender, Vec<Usage>)>> {
    let contenders = case.contenders().iter();
    let mut runs: Vec<_> = contenders.map(|who| (*who, Vec::new())).collect();
    for _ in 0..repetitions {
        for (who, runs) in &mut runs {
            let usage = run(case, *who, checkpoint_interval_s);
            let usage = usage.with_context(|| format!("{} with {}", case.name(), who.name()))?;
            runs.push(usage);
        }
    }
    Ok(runs)
}

fn run(case: &Case, contender: Contender, checkpoint_interval_s: u64) -> Result<Usage> {
    let broker = match case.input {
        Input::Impulse => None,
        Input::Mqtt => {
            let broker = FakeBroker::builder().feed(INPUT_TOPIC, rows::feed(case));
            Some(broker.start()?)
        }
    };
    let task = Task {
        case: *case,
        contender,
        checkpoint_interval_s,
        addr: broker.as_ref().map(FakeBroker::addr),
    };
    Subject::start(VARIABLE, &task)?.finish()
}

/// Runs a case once with all contenders: all rows are taken, none is late, and there are as many results as in a batch.
pub(crate) fn quick_test(case: &Case) -> Result<()> {
    let mut results = None;
    for contender in case.contenders() {
        let usage = run(case, *contender, CHECKPOINT_SECONDS)?;
        let name = contender.name();
        ensure!(
            usage.rows == case.rows && usage.late == 0 && usage.cpu_ns > 0,
            "{name} did not take all rows: {usage:?}"
        );
        if case.has_one_answer() && *contender != Contender::NoWindow {
            let expected = *results.get_or_insert(usage.results);
            ensure!(
                usage.results == expected && expected > 0,
                "{name} gave {} results, not {expected}",
                usage.results
            );
        }
    }
    Ok(())
}

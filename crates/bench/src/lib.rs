//! What a message costs on its way from broker to broker, beside the least that it could cost.
//!
//! ```text
//! this process (driver)                                       child process (subject)
//!   FakeBroker, or Mosquitto + LoadClients ── messages ──►      bare client that counts
//!                                          ◄── results ───      bare bridge that copies
//!                                                               Headwater, SQL and all
//! ```
//!
//! - [`case`](self::case) says what is measured: which broker, which pipeline, which QoS, how fast.
//! - [`driver`](self::driver) runs one case with one subject: it starts the broker, executes this very program again as
//!   the subject, sends the messages, and gathers what arrives.
//! - [`subject`](self::subject) is the measured side. It takes its own CPU time (user and system) from its first
//!   message to its last; the child does nothing else, so no time of broker or driver is in it.
//! - [`latency`](self::latency) says how long messages took.
//! - [`machine`](self::machine) says on what, and whether that machine can be believed.
//! - [`table`](self::table) reports medians over repetitions.
//! - [`window`](self::window) is the other bench: what windows cost, row by row.
//!
//! Rates depend on what else the machine does; CPU time per message and the ratio to the bare client hold.

/// The allocator of the command.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod case;
mod driver;
mod latency;
mod machine;
mod options;
mod process;
mod subject;
mod table;
mod window;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use libtest_mimic::Trial;

use crate::case::{Case, Contender};
use crate::options::{Options, Sizes};
use crate::table::Row;

/// The bench of windows: likewise.
pub fn windows() -> ExitCode {
    exit(window::run_if_asked().unwrap_or_else(window::main))
}

/// The bench of messages: runs the cases that the command line asks for and prints their table.
pub fn main() -> ExitCode {
    exit(subject::run_if_asked().unwrap_or_else(|| run(&Options::parse())))
}

fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // nothing is left to tell it to if standard error is closed
            writeln!(std::io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}\n", machine::machine())?;
    let sizes = options.sizes();
    let mut rows = Vec::new();
    for case in Case::all(&sizes)
        .iter()
        .filter(|case| options.filter.wants(&case.name()))
    {
        let runs = interleaved(case, sizes.repetitions)?;
        writeln!(std::io::stderr(), "{}", case.name())?;
        let medians = runs.iter().map(|(who, runs)| Row::median(case, *who, runs));
        rows.extend(medians);
    }
    ensure!(!rows.is_empty(), "no case has such a name");
    writeln!(out, "{}", table::markdown(&rows))?;
    Ok(())
}

/// All contenders in turn, again and again, so that what else the machine does meets all of them.
fn interleaved(case: &Case, repetitions: u32) -> Result<Vec<(Contender, Vec<driver::Run>)>> {
    let contenders = case.contenders().iter();
    let mut runs: Vec<_> = contenders.map(|who| (*who, Vec::new())).collect();
    for _ in 0..repetitions {
        for (who, runs) in &mut runs {
            let run = driver::run(case, *who);
            runs.push(run.with_context(|| format!("{} with {}", case.name(), who.name()))?);
        }
    }
    Ok(runs)
}

/// The benches as tests: each case with a few messages, as one test each.
///
/// Nothing may be lost, at QoS 0 either: no connection breaks and no broker drops here. Windows give what a batch gives.
pub fn quick_tests() -> ExitCode {
    if let Some(outcome) = subject::run_if_asked().or_else(window::run_if_asked) {
        return exit(outcome);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let messages = Case::all(&Sizes::quick()).into_iter();
    let messages = messages.map(|case| Trial::test(case.name(), move || Ok(quick_test(&case)?)));
    let windows = window::Case::all(window::FEW_ROWS).into_iter();
    let windows =
        windows.map(|case| Trial::test(case.name(), move || Ok(window::quick_test(&case)?)));
    libtest_mimic::run(&arguments, messages.chain(windows).collect()).exit_code()
}

fn quick_test(case: &Case) -> Result<()> {
    for contender in case.contenders() {
        let run = driver::run(case, *contender)?;
        ensure!(
            run.lost == 0 && run.unacknowledged == 0 && run.misordered == 0,
            "{} lost something: {run:?}",
            contender.name()
        );
        ensure!(
            *contender != Contender::Headwater || run.usage.cpu_ns > 0,
            "no CPU time was measured"
        );
    }
    Ok(())
}

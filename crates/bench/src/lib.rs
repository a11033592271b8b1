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
//! - [`table`](self::table) reports medians over repetitions.
//!
//! Rates depend on what else the machine does; CPU time per message and the ratio to the bare client hold.

/// The allocator of the command.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod case;
mod driver;
mod options;
mod subject;
mod table;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::case::{Case, Contender};
use crate::options::{Options, Sizes};
use crate::table::Row;

/// The bench: runs the cases that the command line asks for and prints their table.
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
    writeln!(out, "{}\n", table::machine())?;
    let sizes = options.sizes();
    let mut rows = Vec::new();
    for case in Case::all(&sizes)
        .iter()
        .filter(|case| options.wants(&case.name()))
    {
        for contender in case.contenders() {
            let runs = (0..sizes.repetitions)
                .map(|_| driver::run(case, *contender))
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("{} with {}", case.name(), contender.name()))?;
            writeln!(std::io::stderr(), "{} {}", case.name(), contender.name())?;
            rows.push(Row::median(case, *contender, &runs));
        }
    }
    ensure!(!rows.is_empty(), "no case has such a name");
    writeln!(out, "{}", table::markdown(&rows))?;
    Ok(())
}

/// The bench as a test: each case with a few messages, as one test each.
///
/// Nothing may be lost, at QoS 0 either: no connection breaks and no broker drops here.
pub fn quick_tests() -> ExitCode {
    if let Some(outcome) = subject::run_if_asked() {
        return exit(outcome);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = Case::all(&Sizes::quick())
        .into_iter()
        .map(|case| libtest_mimic::Trial::test(case.name(), move || Ok(quick_test(&case)?)))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
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

//! The `headwater` command.
//!
//! `run` executes a SQL file until it ends or is interrupted; `check` plans it and runs nothing; `test-connection` tries
//! its tables; `serve` runs others' pipelines, `config` tells how it would, `profile` talks to it; `infer` listens and writes one; `connectors` tells what can stand in `WITH (…)`; `demo` shows all of it without anything installed.
//!
//! Results go to the standard output, everything else to standard error. Exit codes: see [`exit`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks through its standard streams"
)]

/// Prints a line to the standard output. A reader that has gone (`| head -1`) is no reason to panic, as `println!` does.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stdout(), $($text)*).ok();
    }};
}

/// Prints a line to standard error, likewise.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        writeln!(std::io::stderr(), $($text)*).ok();
    }};
}

/// Buffers and batches are allocated in one thread and freed in another, thousands a second. The system's allocator gives
/// their pages back and takes them anew; this one keeps them for a while (`docs/performance.md`).
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod check;
mod connectors;
#[cfg(feature = "demo")]
mod demo;
mod drain;
mod exit;
mod infer;
mod input;
mod logging;
mod processes;
mod profile;
mod run;
mod serve;
mod signals;
mod status;
mod test_connection;
mod variables;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Streaming SQL for MQTT.
///
/// Exit codes: 0 done, 1 the job or the test failed, 2 the command line, the SQL or a file that they name is wrong and
/// nothing was run, 130 interrupted twice.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Serve(serve::Serve),
    Config(serve::Config),
    Profile(profile::Profile),
    Check(check::Check),
    TestConnection(test_connection::TestConnection),
    Infer(infer::Infer),
    Connectors(connectors::Connectors),
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    for warning in variables::warnings() {
        complain!("warning: {warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(execute(arguments.command));
            // a task that hangs in a system call must not keep a command that has said its last word
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain!("error: {error:#}");
            Exit::from(&error).into()
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(run) => run.execute().await,
        Command::Serve(serve) => serve.execute().await,
        Command::Config(config) => config.execute(),
        Command::Profile(profile) => profile.execute().await,
        Command::Check(check) => check.execute().await,
        Command::TestConnection(test) => test.execute().await,
        Command::Infer(infer) => infer.execute().await,
        Command::Connectors(connectors) => connectors.execute(),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.execute().await,
    }
}

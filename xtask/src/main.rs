//! The repository's own commands: `cargo xtask <command>`.
//!
//! Written in Rust so that they need nothing but cargo, and light, so that they start at once. Each says what it runs.

mod brokers;
mod compose;
mod fuzz_api;
mod mosquitto;
mod process;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <command>

  test [cargo's arguments]   run all tests, after installing Mosquitto if it is missing;
                             arguments like `-p headwater-mqtt` select packages
  lint                       check formatting, clippy, and the repository's rules
  tidy                       check the repository's rules only
  brokers [NAME…] [-- FILTER]
                             run the conformance suite against these brokers, or against all, which writes
                             docs/brokers.md; `cargo xtask brokers help` says which there are and how to install them
  fuzz-api [schemathesis' arguments]
                             send a server whatever its OpenAPI document allows and what it does not
  compose                    check docker-compose.yml and the files that it mounts, as far as what that needs is installed
  ci                         lint, then test
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", selection @ ..] => test(selection),
        ["lint"] => lint(),
        ["tidy"] => tidy::check(&root()),
        ["brokers", names @ ..] => brokers::run(names),
        ["fuzz-api", arguments @ ..] => fuzz_api::run(arguments),
        ["compose"] => compose::run(),
        ["ci"] => {
            lint()?;
            test(&[])
        }
        [] | ["help" | "--help" | "-h"] => {
            eprint!("{USAGE}");
            Ok(())
        }
        _ => bail!("'{}' is no command\n{USAGE}", words.join(" ")),
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    // that of this run: checkouts that share a target folder may share the binary of another
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = manifest.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// All tests. With nextest, the documentation's examples run first, so that the last lines are nextest's summary.
fn test(selection: &[&str]) -> Result<()> {
    mosquitto::ensure_installed()?;
    let selection = match selection {
        [] => &["--workspace"],
        given => given,
    };
    if !process::succeeds("cargo", &["nextest", "--version"]) {
        return process::cargo(&["test", "--no-fail-fast"], selection);
    }
    if selection == ["--workspace"] {
        process::cargo(&["test", "--doc", "--no-fail-fast"], selection)?;
    }
    process::cargo(&["nextest", "run", "--no-fail-fast"], selection)
}

fn lint() -> Result<()> {
    if process::has_component("fmt", "rustfmt") {
        process::cargo(&["fmt", "--all", "--check"], &[])?;
    }
    if process::has_component("clippy", "clippy") {
        let arguments = ["--workspace", "--all-targets", "--", "-D", "warnings"];
        process::cargo(&["clippy"], &arguments)?;
    }
    tidy::check(&root())
}

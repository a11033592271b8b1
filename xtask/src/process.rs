//! Running other programs, telling which.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs cargo in the workspace's folder.
pub(crate) fn cargo(command: &[&str], arguments: &[&str]) -> Result<()> {
    let all: Vec<&str> = command.iter().chain(arguments).copied().collect();
    run("cargo", &all)
}

/// Runs a program in the workspace's folder, with this terminal.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    eprintln!("xtask: {line}");
    let status = Command::new(program)
        .args(arguments)
        .current_dir(crate::root())
        .status()
        .with_context(|| format!("'{program}' cannot be executed"))?;
    ensure!(status.success(), "'{line}' failed ({status})");
    Ok(())
}

/// Whether a program can be executed and succeeds, in silence.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether a component of the toolchain is there, after adding it if it can be added. Its check is left out otherwise,
/// loudly: a machine without it can still run the tests.
pub(crate) fn has_component(subcommand: &str, component: &str) -> bool {
    if succeeds("cargo", &[subcommand, "--version"]) {
        return true;
    }
    eprintln!("xtask: the component '{component}' is missing");
    if run("rustup", &["component", "add", component]).is_ok() {
        return true;
    }
    eprintln!(
        "xtask: WARNING: '{component}' cannot be installed, so `cargo {subcommand}` is NOT run"
    );
    false
}

//! Mosquitto, which the tests need and a Rust machine does not have.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process;

/// The broker, the program that makes its password files, and the client that the TLS tests use.
const PROGRAMS: [&str; 3] = ["mosquitto", "mosquitto_passwd", "mosquitto_pub"];
const BY_HAND: &str = "install 'mosquitto' and 'mosquitto-clients' by hand \
                       (https://mosquitto.org/download), then try again";

/// Installs Mosquitto through apt-get if it is not there.
pub(crate) fn ensure_installed() -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    eprintln!(
        "xtask: the tests need a real broker, and {} is missing; installing Mosquitto through apt-get",
        missing().join(", ")
    );
    ensure!(
        process::succeeds("apt-get", &["--version"]),
        "there is no apt-get here: {BY_HAND}"
    );
    let install = [
        "install",
        "-y",
        "--no-install-recommends",
        "mosquitto",
        "mosquitto-clients",
    ];
    // A fresh machine has no package lists; an old one need not fetch them again.
    if as_root("apt-get", &install).is_err() {
        as_root("apt-get", &["update"]).context(BY_HAND)?;
        as_root("apt-get", &install).context(BY_HAND)?;
    }
    ensure!(
        missing().is_empty(),
        "apt-get has installed Mosquitto, but {} is still not found",
        missing().join(", ")
    );
    Ok(())
}

fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    // Debian keeps the broker where users do not look.
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(Into::into));
    let is_missing = |name: &&str| !folders.iter().any(|dir: &PathBuf| dir.join(name).is_file());
    PROGRAMS.into_iter().filter(is_missing).collect()
}

/// Runs a program as root: directly, or through sudo, which asks for a password only at a terminal.
fn as_root(program: &str, arguments: &[&str]) -> Result<()> {
    if is_root() {
        return process::run(program, arguments);
    }
    ensure!(
        process::succeeds("sudo", &["--version"]),
        "this is not root and there is no sudo"
    );
    let mut all = match stdin().is_terminal() {
        true => vec![program],
        false => vec!["-n", program],
    };
    all.extend(arguments);
    process::run("sudo", &all)
}

fn is_root() -> bool {
    let id = std::process::Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

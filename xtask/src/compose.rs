//! `cargo xtask compose`: what can be known of `docker-compose.yml` and the files it mounts without starting them.
//!
//! Each check needs a program that a Rust machine does not have. Nothing is installed: a check whose program is missing is left
//! out, and what would install it is said. (That the dashboard asks for what `/metrics` has is a test of the server.)

use anyhow::{Result, ensure};

use crate::process;

/// A check of the set-up.
struct Check {
    /// What it holds to be right.
    what: &'static str,
    /// The program, with arguments that tell whether it is there.
    program: &'static [&'static str],
    /// What the program is called with to check.
    arguments: &'static [&'static str],
    /// How to come by the program.
    remedy: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        what: "docker-compose.yml by docker itself",
        program: &["docker", "compose", "version"],
        arguments: &["compose", "config", "--quiet"],
        remedy: "the plugin 'compose' of docker (https://docs.docker.com/compose/install)",
    },
    Check {
        what: "docker-compose.yml by the Compose specification",
        program: &["check-jsonschema", "--version"],
        arguments: &[
            "--builtin-schema",
            "vendor.compose-spec",
            "docker-compose.yml",
        ],
        remedy: "pip install check-jsonschema",
    },
    Check {
        what: "the configuration of Prometheus",
        program: &["promtool", "--version"],
        // the token that it names is within the container
        arguments: &[
            "check",
            "config",
            "--syntax-only",
            "examples/docker/prometheus.yml",
        ],
        remedy: "apt-get install prometheus",
    },
];

/// Runs the checks whose programs are there.
pub(crate) fn run() -> Result<()> {
    let mut checked = 0;
    for check in CHECKS {
        let [program, probe @ ..] = check.program else {
            continue;
        };
        if process::succeeds(program, probe) {
            process::run(program, check.arguments)?;
            checked += 1;
        } else {
            let Check { what, remedy, .. } = check;
            eprintln!("xtask: WARNING: {what} NOT checked, for want of '{program}': {remedy}");
        }
    }
    ensure!(checked > 0, "nothing was checked");
    Ok(())
}

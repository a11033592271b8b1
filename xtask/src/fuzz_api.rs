//! `cargo xtask fuzz-api`: requests that nobody thought of, made from the API's own description.
//!
//! Starts a server on a throw-away folder and lets schemathesis, which must be installed (`pip install schemathesis`),
//! send it whatever its OpenAPI document allows and what it does not. No answer may be a failure of the server, and every
//! answer must be as described.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process;

/// What is sent to each endpoint by default, in requests.
const EXAMPLES: &str = "50";

/// A check that does not hold: connectors have schemas of their own and SQL has none, so much that the document allows
/// is refused.
const EXCLUDED: &str = "positive_data_acceptance";

/// The server has a token, so that requests without it are tried, too.
const TOKEN: &str = "a-token-for-the-fuzzer-alone";

/// Runs it; `arguments` go to schemathesis.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    ensure!(
        process::succeeds("schemathesis", &["--version"]),
        "schemathesis is not installed: pip install schemathesis"
    );
    // that of the tests, with which cargo builds it: another selection would compile DataFusion anew
    let build = ["test", "--no-run", "--workspace", "--test", "command"];
    process::run("cargo", &build)?;
    let data = std::env::temp_dir().join(format!("headwater-fuzz-{}", std::process::id()));
    let (mut server, url) = serve(&data.to_string_lossy())?;
    let document = format!("{url}/api/v1/openapi.json");
    let header = format!("Authorization: Bearer {TOKEN}");
    let mut all = vec!["run", &document, "--header", &header];
    all.extend(["--max-examples", EXAMPLES, "--exclude-checks", EXCLUDED]);
    all.extend(arguments);
    let outcome = process::run("schemathesis", &all);
    let alive = server.try_wait()?.is_none();
    server.kill().context("the server cannot be ended")?;
    server.wait()?;
    std::fs::remove_dir_all(&data)?;
    ensure!(alive, "the server ended while it was asked");
    outcome
}

/// A server on a free port, and its address.
fn serve(data: &str) -> Result<(Child, String)> {
    // cargo puts all programs into one folder, this one, too
    let program = std::env::current_exe()?.with_file_name("headwater");
    let mut server = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data])
        .env("HEADWATER_TOKEN", TOKEN)
        .current_dir(crate::root())
        .stderr(Stdio::piped())
        .spawn()
        .context("the server cannot be started")?;
    let stderr = server.stderr.take().context("the server has no log")?;
    let mut lines = BufReader::new(stderr).lines();
    while let Some(line) = lines.next().transpose()? {
        if let Some((_, url)) = line.split_once("listening on ") {
            let url = url.trim().to_owned();
            // the log must be read on, or the server would wait
            std::thread::spawn(move || {
                lines
                    .map_while(Result::ok)
                    .for_each(|line| eprintln!("{line}"))
            });
            return Ok((server, url));
        }
    }
    anyhow::bail!("the server did not start")
}

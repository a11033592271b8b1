//! This program again, as the measured side: it is told by an environment variable what to do, and answers on its standard
//! output, the last line being what it took.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a subject says when messages may come.
const OPEN: &str = "open";

/// The measured process. Killed on drop if it still runs.
pub(crate) struct Subject {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Subject {
    /// Starts it with a task in this variable.
    pub(crate) fn start(variable: &str, task: &impl Serialize) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(variable, serde_json::to_string(task)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the subject could not be executed")?;
        let output = process.stdout.take().context("the subject has no output")?;
        Ok(Self {
            process,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the subject ended with {}", self.process.wait()?);
        }
        Ok(line)
    }

    /// Waits until it says that messages may come.
    pub(crate) fn await_open(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line.trim_end() == OPEN, "the subject said {line:?}");
        Ok(())
    }

    /// Waits for its end and what it took.
    pub(crate) fn finish<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        let usage =
            serde_json::from_str(&line).with_context(|| format!("the subject said {line:?}"))?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the subject ended with {status}");
        Ok(usage)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // both fail only if it has ended
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs as a subject if this process was started as one, by this variable.
pub(crate) fn asked<T: DeserializeOwned, U: Serialize>(
    variable: &str,
    run: impl FnOnce(T) -> Result<U>,
) -> Option<Result<()>> {
    let task = std::env::var(variable).ok()?;
    let task = serde_json::from_str(&task).context("a subject's task");
    Some(
        task.and_then(run)
            .and_then(|usage| say(&serde_json::to_string(&usage)?)),
    )
}

/// Says that messages may come.
pub(crate) fn say_open() -> Result<()> {
    say(OPEN)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// In nanoseconds.
pub(crate) fn nanos(time: Duration) -> u64 {
    // 584 years
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

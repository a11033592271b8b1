//! How a connection test tells what it does: one report a step, as it happens.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Where the connection test of a table may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbePlace {
    /// To a place of its own, where nobody is disturbed.
    #[default]
    Aside,
    /// Where the table writes, too. That proves more, and whoever reads there sees the probe.
    Table,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Done.
    Ok,
    /// Done, but the user should know something.
    Warning,
    /// Not done; the test ends here.
    Failed,
}

/// One step of a connection test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestStep {
    /// Its name: resolve, connect, proxy, tls, websocket, login, subscribe, publish, receive.
    pub step: &'static str,
    /// How it went.
    pub status: StepStatus,
    /// What happened, or why it failed.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Where steps are reported. A reader that has gone away does not stop the test.
#[derive(Debug, Clone)]
pub struct Progress {
    sender: mpsc::UnboundedSender<TestStep>,
}

impl Progress {
    /// A reporter and what it reports. Unbounded, but a test has few steps.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<TestStep>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    /// Reports a step that began at `started`.
    pub fn report(
        &self,
        step: &'static str,
        status: StepStatus,
        started: Instant,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        let elapsed = started.elapsed();
        let step = TestStep {
            step,
            status,
            message: message.into(),
            remedy,
            elapsed,
        };
        // Nobody listening is no reason to fail: the answer of the test still counts.
        self.sender.send(step).ok();
    }

    /// Reports a step that succeeded.
    pub fn ok(&self, step: &'static str, started: Instant, message: impl Into<String>) {
        self.report(step, StepStatus::Ok, started, message, None);
    }

    /// Reports a step that failed.
    pub fn failed(
        &self,
        step: &'static str,
        started: Instant,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.report(
            step,
            StepStatus::Failed,
            started,
            message,
            Some(remedy.into()),
        );
    }
}

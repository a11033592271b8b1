//! The binary as a user has it: a process with arguments, two streams and signals.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use headwater_server::client::{Client, Credentials};
use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// `headwater`, running; killed when dropped.
pub(crate) struct Headwater {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// What a finished command has said.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command with these arguments, without the environment's logging settings.
pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        // one that a server may use for `{{ NAME }}`
        .env("HEADWATER_VAR_USER", "somebody")
        .stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Finished {
    let output = command(args).output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Headwater {
    /// Starts the command in the background.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Runs a file and waits until its sources and sinks have reached the broker.
    pub(crate) fn running(args: &[&str]) -> Self {
        let mut headwater = Self::start(args);
        headwater.wait_for_line("all sources and sinks are connected");
        headwater
    }

    /// Starts a server on this folder and a free port; gives its address, too.
    pub(crate) fn serve(data: &Path, more: &[&str]) -> (Self, String) {
        let data = data.to_str().unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data];
        let mut server = Self::start(&[&serve, more].concat());
        let line = server.wait_for_line("listening on ");
        let (_, url) = line.split_once("listening on ").unwrap();
        (server, url.trim().to_owned())
    }

    /// Waits for a line of standard error that contains this.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!(
                    "no line with '{part}'; standard error:\n{}",
                    self.seen.join("\n")
                ),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < until,
                "it did not end; standard error:\n{}",
                self.seen.join("\n")
            );
            std::thread::park_timeout(Duration::from_millis(5));
        };
        let mut stdout = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        self.seen.extend(self.lines.iter());
        Finished {
            status,
            stdout,
            stderr: self.seen.join("\n"),
        }
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        // it may have ended by itself
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client of the server at this address.
pub(crate) fn api_of(url: &str) -> Client {
    Client::new(url, Credentials::default()).unwrap()
}

/// Waits until the job of a pipeline is in this state, and gives it.
pub(crate) async fn wait_for_state(api: &Client, jobs: &str, state: &str) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let answer = api.call(Method::GET, jobs, None).await.unwrap();
        let job = &answer["data"][0];
        if job["state"] == state {
            return job.clone();
        }
        assert!(Instant::now() < until, "{job}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for something to become true.
pub(crate) fn wait_until(what: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < until, "it did not become true");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Writes a file into a folder.
pub(crate) fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

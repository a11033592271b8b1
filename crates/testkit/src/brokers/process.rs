//! A broker's process: in a group of its own, so that what it starts ends with it, with a folder and a log.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long a broker may take to start. Those of Erlang take ten seconds on a machine that is not busy.
const DEADLINE: Duration = Duration::from_secs(240);
/// How often it is asked whether it runs.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One broker's process with its children, and its folder. All of it goes when this is dropped.
pub(super) struct Process {
    /// Dropped after the child has ended.
    child: Child,
    dir: TempDir,
}

/// A throw-away folder.
pub(super) fn folder(name: &str) -> Result<TempDir> {
    let prefix = format!("{name}-");
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// Writes a file into a folder and answers its path.
pub(super) fn write(dir: &TempDir, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.path().join(name);
    fs::write(&path, text)?;
    Ok(path)
}

impl Process {
    /// Executes `command` in its folder, with both of its outputs in a log there.
    pub(super) fn spawn(command: Command, dir: TempDir) -> Result<Self> {
        let log = File::create(dir.path().join(LOG))?;
        let mut guarded = Command::new("/bin/sh");
        guarded.args(["-c", GUARD]).arg(command.get_program());
        guarded.args(command.get_args());
        for (name, value) in command.get_envs() {
            guarded.env(name, value.unwrap_or_default());
        }
        let child = guarded
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{:?} cannot be executed", command.get_program()))?;
        Ok(Self { child, dir })
    }

    /// What the broker has said so far.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until somebody answers a login on this port, and the log holds `sign`: a port that somebody else has
    /// taken answers too.
    pub(super) fn await_login(&mut self, port: u16, sign: &str) -> Result<()> {
        let addr = (Ipv4Addr::LOCALHOST, port).into();
        let ready = |log: &str| log.contains(sign) && answers_login(addr).is_ok();
        self.await_ready(&format!("an answer on port {port}, and '{sign}'"), ready)
    }

    /// Waits until somebody listens on this port.
    pub(super) fn await_listener(&mut self, port: u16) -> Result<()> {
        let addr: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let what = format!("a listener on port {port}");
        self.await_ready(&what, |_log| TcpStream::connect(addr).is_ok())
    }

    fn await_ready(&mut self, what: &str, ready: impl Fn(&str) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            let log = self.log();
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}; its log:\n{log}");
            }
            if ready(&log) {
                return Ok(());
            }
            if started.elapsed() > DEADLINE {
                bail!("waited {DEADLINE:?} in vain for {what}; its log:\n{log}");
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The word in the log that follows `before`: most brokers say their version so.
    pub(super) fn logged_after(&self, before: &str) -> Result<String> {
        let log = self.log();
        let (_, rest) = log
            .split_once(before)
            .with_context(|| format!("'{before}' is not in its log:\n{log}"))?;
        let word = rest.split_whitespace().next().unwrap_or_default();
        Ok(word.trim_end_matches([',', '"']).to_owned())
    }
}

const LOG: &str = "broker.log";

/// Runs a program, and kills the whole process group when the standard input ends: that is when the test has died, by an
/// interrupt for one, which does not reach a group of its own.
const GUARD: &str = r#"
exec 3<&0
(read -r never <&3; kill -KILL 0) &
guard=$!
"$0" "$@" </dev/null 3<&-
status=$?
kill "$guard"
exit "$status"
"#;

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        let killed = killpg(group, Signal::SIGKILL).map_err(anyhow::Error::from);
        let ended = killed.and_then(|()| Ok(self.child.wait()?));
        if let Err(error) = ended {
            tracing::warn!(%error, "a broker could not be killed");
        }
    }
}

/// Sends a CONNECT of MQTT 3.1.1 and waits for any CONNACK, also one that refuses, or for the end of the connection that
/// some brokers have in its place.
fn answers_login(addr: SocketAddr) -> Result<()> {
    const CONNECT: &[u8] = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe";
    const CONNACK: u8 = 0x20;
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(CONNECT)?;
    let mut answer = [0; 4];
    match stream.read(&mut answer)? {
        0 => Ok(()),
        _ if answer[0] == CONNACK => Ok(()),
        _ => bail!("{addr} answered CONNECT with {answer:02x?}"),
    }
}

/// The first of these files that is there.
pub(super) fn installed(candidates: &[&Path]) -> Result<PathBuf> {
    let found = candidates.iter().find(|path| path.exists());
    let found = found.with_context(|| format!("it is not installed: there is no {candidates:?}"));
    Ok(found?.to_path_buf())
}

/// A program in the path, or where Debian keeps those of the system, which users do not have in theirs.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("there is no '{name}' in the path"))
}

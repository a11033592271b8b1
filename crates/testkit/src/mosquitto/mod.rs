//! A real Mosquitto for one test.
//!
//! [`Mosquitto`] owns one process and one throw-away folder with the generated configuration, certificates, password
//! file, persistence and log. It listens on 127.0.0.1 only. A broker with TLS has a second, plain listener, so that a
//! test can look on with a [`TestClient`](crate::TestClient) that knows nothing of TLS; so has one with WebSocket.
//!
//! `start` returns when a CONNECT has been answered *and* the process has said in its log that it runs: the answer
//! alone could come from somebody else's broker that took the port first.

mod config;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::certificates::Certificates;
pub use config::MosquittoBuilder;

/// How long a broker may take to start or to stop before a test fails. Generous: test machines are slow and shared.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a start is tried on another port when somebody else was quicker.
const PORT_ATTEMPTS: usize = 10;

/// A running (or stopped, or killed) broker. Its process is killed and its folder removed on drop.
#[derive(Debug)]
pub struct Mosquitto {
    dir: TempDir,
    certificates: Option<Certificates>,
    port: u16,
    plain_port: u16,
    websocket_port: Option<u16>,
    process: Option<Child>,
    /// Where in the log file the present process began to write.
    log_start: usize,
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

impl Mosquitto {
    /// A broker without password, TLS or persistence and without limits on queues.
    ///
    /// # Errors
    /// Mosquitto is not installed, or did not start; the error holds its log.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// A broker to be configured.
    pub fn builder() -> MosquittoBuilder {
        MosquittoBuilder::default()
    }

    fn launch(builder: &MosquittoBuilder) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("mosquitto-").tempdir()?;
        let certificates = builder
            .server_certificate()
            .map(|certificate| Certificates::for_server(dir.path(), certificate))
            .transpose()?;
        builder.write_files(dir.path())?;
        let mut broker = Self {
            dir,
            certificates,
            port: 0,
            plain_port: 0,
            websocket_port: None,
            process: None,
            log_start: 0,
        };
        for _ in 0..PORT_ATTEMPTS {
            broker.plain_port = crate::free_port()?;
            broker.port = match broker.certificates.is_some() {
                true => crate::free_port()?,
                false => broker.plain_port,
            };
            broker.websocket_port = match builder.has_websockets() {
                true => Some(crate::free_port()?),
                false => None,
            };
            builder.write_config(&broker)?;
            if broker.spawn()? {
                return Ok(broker);
            }
        }
        bail!("mosquitto found its port taken {PORT_ATTEMPTS} times in a row")
    }

    /// Starts the process; false if its port was taken.
    fn spawn(&mut self) -> Result<bool> {
        self.log_start = self.log().len();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(find_binary("mosquitto")?)
            .arg("-c")
            .arg(self.dir.path().join(config::CONFIG_FILE))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("mosquitto could not be executed")?;
        self.process = Some(child);
        self.await_ready()
    }

    fn await_ready(&mut self) -> Result<bool> {
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.process
                && let Some(status) = child.try_wait()?
            {
                self.process = None;
                let log = self.log_of_this_run();
                let taken = [
                    "Address already in use",
                    "Unable to create websockets listener",
                ];
                if taken.iter().any(|message| log.contains(message)) {
                    return Ok(false);
                }
                bail!("mosquitto ended with {status}; its log:\n{log}");
            }
            if self.log_of_this_run().contains(" running") && probe(self.plain_addr()).is_ok() {
                return Ok(true);
            }
            if started.elapsed() > DEADLINE {
                bail!(
                    "mosquitto did not answer on {} within {DEADLINE:?}; its log:\n{}",
                    self.plain_addr(),
                    self.log_of_this_run()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `mqtt://127.0.0.1:<port>`, or `mqtts://…` if the broker has TLS.
    pub fn url(&self) -> String {
        let scheme = match self.certificates {
            Some(_) => "mqtts",
            None => "mqtt",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The port of [`url`](Self::url).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `ws://127.0.0.1:<port>/mqtt`, or `wss://…` if the broker has TLS; `None` if it was built without
    /// [`websockets`](MosquittoBuilder::websockets).
    pub fn websocket_url(&self) -> Option<String> {
        let scheme = match self.certificates {
            Some(_) => "wss",
            None => "ws",
        };
        let port = self.websocket_port?;
        Some(format!("{scheme}://127.0.0.1:{port}/mqtt"))
    }

    /// The address of the listener without TLS, which every broker has.
    pub fn plain_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.plain_port).into()
    }

    /// The certificates, if the broker has TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The broker's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The id of the process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Everything the broker has logged so far, in all its runs.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_of_this_run(&self) -> String {
        self.log()
            .get(self.log_start..)
            .unwrap_or_default()
            .to_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("mosquitto.log")
    }

    /// Ends the broker in good order (SIGTERM): clients are disconnected and the persistence is written. Does nothing
    /// if it does not run.
    ///
    /// # Errors
    /// It did not end in time; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.process.take() else {
            return Ok(());
        };
        kill(pid_of(&child), Signal::SIGTERM)?;
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            if started.elapsed() > DEADLINE {
                child.kill()?;
                child.wait()?;
                bail!("mosquitto did not stop within {DEADLINE:?} of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the broker without warning (SIGKILL). Does nothing if it does not run.
    ///
    /// # Errors
    /// The system refused.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.process.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts the broker again on the same ports with the same folder, after stopping it if it still runs.
    ///
    /// # Errors
    /// It did not start, or somebody else keeps its port.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let started = Instant::now();
        while !self.spawn()? {
            if started.elapsed() > DEADLINE {
                bail!("port {} stayed taken for {DEADLINE:?}", self.port);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Freezes the broker (SIGSTOP): connections stay open, nobody answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen broker go on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self
            .process
            .as_ref()
            .context("the broker does not run: it was stopped or killed")?;
        Ok(kill(pid_of(child), signal)?)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a test's mosquitto could not be killed");
        }
    }
}

/// Sends an MQTT 3.1.1 CONNECT and waits for any CONNACK, also one that refuses: a broker lives there.
fn probe(addr: SocketAddr) -> Result<()> {
    const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
    const CONNACK: u8 = 0x20;
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(CONNECT)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer[0] != CONNACK {
        bail!("{addr} answered CONNECT with {answer:02x?}");
    }
    Ok(())
}

/// Finds one of Mosquitto's programs; Debian keeps the broker in `/usr/sbin`, which users do not have in `PATH`.
pub(crate) fn find_binary(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];
    std::env::split_paths(&path)
        .chain(extra.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| File::open(file).is_ok())
        .with_context(|| {
            format!(
                "'{name}' is not installed, and the tests need a real broker: run `cargo xtask test`, which \
                 installs it, or `apt-get install mosquitto mosquitto-clients` (`brew install mosquitto`)"
            )
        })
}

#[cfg(test)]
mod tests;

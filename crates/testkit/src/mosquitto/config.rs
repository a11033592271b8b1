//! What a test's broker is like, and the files that say so to Mosquitto.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Mosquitto, find_binary};
use crate::certificates::ServerCertificate;

pub(super) const CONFIG_FILE: &str = "mosquitto.conf";
const PASSWORD_FILE: &str = "passwords";
const ACL_FILE: &str = "acl";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Tls {
    #[default]
    Off,
    /// The server shows a certificate.
    Server,
    /// The client must show one too.
    Mutual,
}

/// A broker to be started. By default: anonymous, plain, nothing kept across restarts, and nothing dropped when a
/// subscriber is slow (`max_queued_messages 0`; Mosquitto's own default drops all but 1,000).
#[derive(Debug, Clone, Default)]
pub struct MosquittoBuilder {
    users: Vec<(String, String)>,
    tls: Tls,
    server_certificate: ServerCertificate,
    websockets: bool,
    persistence: bool,
    debug_log: bool,
    max_queued_messages: usize,
    acl: Option<String>,
    lines: Vec<String>,
}

impl MosquittoBuilder {
    /// Lets this user in, and anonymous clients no longer. May be called for several users.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// TLS with a certificate for `localhost` and `127.0.0.1`; see [`Mosquitto::certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Tls::Server;
        self
    }

    /// TLS in which clients must show a certificate of the same authority.
    #[must_use]
    pub fn mutual_tls(mut self) -> Self {
        self.tls = Tls::Mutual;
        self
    }

    /// TLS with a certificate whose time has passed.
    #[must_use]
    pub fn expired_tls(mut self) -> Self {
        self.server_certificate.expired = true;
        self.tls()
    }

    /// TLS with a certificate for these names and addresses and no others.
    #[must_use]
    pub fn tls_for(mut self, names: &[&str]) -> Self {
        self.server_certificate.names = names.iter().map(|&name| name.to_owned()).collect();
        self.tls()
    }

    /// A listener for MQTT over WebSocket beside the others, with TLS if they have it; see
    /// [`Mosquitto::websocket_url`].
    #[must_use]
    pub fn websockets(mut self) -> Self {
        self.websockets = true;
        self
    }

    /// Sessions, queued and retained messages outlive `stop` and `restart`. They are written at every change, so that
    /// they outlive `kill` too.
    #[must_use]
    pub fn persistence(mut self) -> Self {
        self.persistence = true;
        self
    }

    /// How many messages at QoS 1 and 2 may be in flight to one client (Mosquitto: 20; 0 is no limit). To a client
    /// of MQTT 5, its own receive maximum applies instead; from such a client, the broker announces this number.
    #[must_use]
    pub fn max_inflight_messages(self, count: u16) -> Self {
        self.line(&format!("max_inflight_messages {count}"))
    }

    /// How many messages may wait for one client before the broker drops them; 0, the default here, is no limit.
    #[must_use]
    pub fn max_queued_messages(mut self, count: usize) -> Self {
        self.max_queued_messages = count;
        self
    }

    /// The text of an ACL file: see `acl_file` in mosquitto.conf(5).
    #[must_use]
    pub fn acl(mut self, text: &str) -> Self {
        self.acl = Some(text.to_owned());
        self
    }

    /// Logs every packet, so that a test can look for it in [`Mosquitto::log`]. Slow.
    #[must_use]
    pub fn debug_log(mut self) -> Self {
        self.debug_log = true;
        self
    }

    /// Adds a line to the configuration.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Starts the broker and waits until it answers.
    ///
    /// # Errors
    /// Mosquitto is not installed, or did not start; the error holds its log.
    pub fn start(self) -> Result<Mosquitto> {
        Mosquitto::launch(&self)
    }

    pub(super) fn has_websockets(&self) -> bool {
        self.websockets
    }

    /// The certificate to show, if there is TLS.
    pub(super) fn server_certificate(&self) -> Option<&ServerCertificate> {
        match self.tls {
            Tls::Off => None,
            Tls::Server | Tls::Mutual => Some(&self.server_certificate),
        }
    }

    /// Writes the files that do not depend on the port.
    pub(super) fn write_files(&self, dir: &Path) -> Result<()> {
        if let Some(acl) = &self.acl {
            write_private(&dir.join(ACL_FILE), acl)?;
        }
        if self.users.is_empty() {
            return Ok(());
        }
        let passwords = dir.join(PASSWORD_FILE);
        write_private(&passwords, "")?;
        for (name, password) in &self.users {
            let output = Command::new(find_binary("mosquitto_passwd")?)
                .arg("-b")
                .arg(&passwords)
                .args([name, password])
                .output()
                .context("mosquitto_passwd could not be executed")?;
            if !output.status.success() {
                bail!(
                    "mosquitto_passwd refused user '{name}': {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        Ok(())
    }

    pub(super) fn write_config(&self, broker: &Mosquitto) -> Result<()> {
        let path = broker.dir().join(CONFIG_FILE);
        fs::write(&path, self.config(broker)?)
            .with_context(|| format!("'{}' could not be written", path.display()))
    }

    fn config(&self, broker: &Mosquitto) -> Result<String> {
        let dir = broker.dir().display();
        let mut text = String::new();
        // Without this line a broker that is started by root becomes the user `mosquitto`, who may not read the folder.
        writeln!(text, "user root")?;
        writeln!(text, "log_dest stderr")?;
        match self.debug_log {
            true => writeln!(text, "log_type all")?,
            false => writeln!(
                text,
                "log_type error\nlog_type warning\nlog_type notice\nlog_type information"
            )?,
        }
        writeln!(text, "max_queued_messages {}", self.max_queued_messages)?;
        writeln!(text, "allow_anonymous {}", self.users.is_empty())?;
        if !self.users.is_empty() {
            writeln!(text, "password_file {dir}/{PASSWORD_FILE}")?;
        }
        if self.acl.is_some() {
            writeln!(text, "acl_file {dir}/{ACL_FILE}")?;
        }
        if self.persistence {
            writeln!(text, "persistence true\npersistence_location {dir}/")?;
            writeln!(text, "autosave_on_changes true\nautosave_interval 1")?;
        }
        for line in &self.lines {
            writeln!(text, "{line}")?;
        }
        writeln!(text, "listener {} 127.0.0.1", broker.plain_addr().port())?;
        if broker.certificates().is_some() {
            writeln!(text, "listener {} 127.0.0.1", broker.port())?;
            self.write_tls(&mut text, broker)?;
        }
        if let Some(port) = broker.websocket_port {
            writeln!(text, "listener {port} 127.0.0.1\nprotocol websockets")?;
            self.write_tls(&mut text, broker)?;
        }
        Ok(text)
    }

    /// The TLS of the listener above, if there is any.
    fn write_tls(&self, text: &mut String, broker: &Mosquitto) -> Result<()> {
        let Some(certificates) = broker.certificates() else {
            return Ok(());
        };
        writeln!(text, "cafile {}", certificates.ca.display())?;
        writeln!(text, "certfile {}", certificates.server_cert.display())?;
        writeln!(text, "keyfile {}", certificates.server_key.display())?;
        writeln!(text, "require_certificate {}", self.tls == Tls::Mutual)?;
        Ok(())
    }
}

/// Mosquitto warns about password and ACL files that others may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

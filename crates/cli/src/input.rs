//! The SQL that a command is given, and the engine that will read it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use headwater_engine::connector::ConnectionProfile;
use headwater_engine::{Engine, Script};

/// A SQL text and the profiles that it may name.
#[derive(Args)]
pub(crate) struct Input {
    /// The SQL file; `-` for standard input.
    pub(crate) file: PathBuf,

    /// A connection profile in JSON: {"name": "plant", "connector": "mqtt", "config": {"url": "mqtt://…"}}. Tables refer
    /// to it by connection_profile = 'plant'. May be given several times.
    #[arg(long = "profile", value_name = "FILE.json")]
    profiles: Vec<PathBuf>,
}

impl Input {
    /// The SQL text.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        if self.file == Path::new("-") {
            let mut sql = String::new();
            std::io::stdin()
                .read_to_string(&mut sql)
                .context("standard input cannot be read")?;
            return Ok(sql);
        }
        std::fs::read_to_string(&self.file)
            .with_context(|| format!("'{}' cannot be read", self.file.display()))
    }

    /// An engine that knows the profiles.
    pub(crate) async fn engine(&self) -> anyhow::Result<Engine> {
        let engine = Engine::default();
        for file in &self.profiles {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("profile '{}' cannot be read", file.display()))?;
            let profile: ConnectionProfile = serde_json::from_str(&text)
                .with_context(|| format!("profile '{}' is no profile", file.display()))?;
            engine.add_profile(profile).await;
        }
        Ok(engine)
    }

    /// Plans the text; what is wrong with it is printed, with its place, and answered by `None`.
    pub(crate) async fn plan(&self, engine: &Engine) -> anyhow::Result<Option<Script>> {
        let sql = self.read()?;
        match engine.plan(&sql).await {
            Ok(script) => Ok(Some(script)),
            Err(error) => {
                eprint!("{}", error.render(&self.name(), &sql));
                Ok(None)
            }
        }
    }

    /// The file's name, for messages.
    pub(crate) fn name(&self) -> String {
        match self.file.to_str() {
            Some("-") => "<stdin>".to_owned(),
            _ => self.file.display().to_string(),
        }
    }

    /// A job id that is the same whenever this file is run on this machine, so that its MQTT sessions are found again,
    /// and that differs from that of another file or machine, so that they do not take each other's sessions over.
    pub(crate) fn job_id(&self) -> String {
        let stem = self
            .file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("job");
        let stem = if stem == "-" { "stdin" } else { stem };
        let name: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        // the standard library's hasher with its fixed keys; a change of it costs one session, not data
        let mut hasher = DefaultHasher::new();
        std::fs::canonicalize(&self.file)
            .unwrap_or_else(|_| self.file.clone())
            .hash(&mut hasher);
        std::fs::read_to_string("/etc/machine-id")
            .unwrap_or_default()
            .hash(&mut hasher);
        std::fs::read_to_string("/etc/hostname")
            .unwrap_or_default()
            .hash(&mut hasher);
        format!("{name}-{:08x}", hasher.finish() & 0xffff_ffff)
    }
}

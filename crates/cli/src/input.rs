//! The SQL that a command is given, and the engine that will read it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use headwater_engine::connector::ConnectionProfile;
use headwater_engine::{Engine, Script};

use crate::exit::Mistake;

/// A SQL text and the profiles that it may name.
#[derive(Args)]
pub(crate) struct Input {
    /// The SQL file; `-` for standard input.
    pub(crate) file: PathBuf,

    /// A connection profile in JSON: {"name": "plant", "connector": "mqtt", "config": {"url": "mqtt://…"}}, or a list of
    /// them. Tables refer to it by connection_profile = 'plant'. May be given several times.
    #[arg(long = "profile", visible_alias = "profiles", value_name = "FILE.json")]
    profiles: Vec<PathBuf>,
}

impl Input {
    /// The SQL text.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        if self.file == Path::new("-") {
            let mut sql = String::new();
            std::io::stdin()
                .read_to_string(&mut sql)
                .with_context(|| Mistake("standard input cannot be read".to_owned()))?;
            return Ok(without_mark(sql));
        }
        let sql = std::fs::read_to_string(&self.file).map_err(not_text);
        let sql =
            sql.with_context(|| Mistake(format!("'{}' cannot be read", self.file.display())))?;
        Ok(without_mark(sql))
    }

    /// An engine that knows the profiles.
    pub(crate) async fn engine(&self) -> anyhow::Result<Engine> {
        let engine = Engine::default();
        for file in &self.profiles {
            for profile in profiles_of(file)? {
                engine.add_profile(profile).await;
            }
        }
        Ok(engine)
    }

    /// Plans the text; what is wrong with it is printed, with its place, and answered by `None`.
    pub(crate) async fn plan(&self, engine: &Engine) -> anyhow::Result<Option<Script>> {
        self.plan_text(engine, &self.read()?).await
    }

    /// The same for a text that was read already.
    pub(crate) async fn plan_text(
        &self,
        engine: &Engine,
        sql: &str,
    ) -> anyhow::Result<Option<Script>> {
        match engine.plan(sql).await {
            Ok(script) => Ok(Some(script)),
            Err(error) => {
                complain!("{}", error.render(&self.name(), sql).trim_end());
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

    /// A job id for several processes at these addresses: the same in all of them, and whenever they run this file.
    pub(crate) fn job_id_at(&self, addresses: &[String]) -> String {
        let mut hasher = DefaultHasher::new();
        addresses.hash(&mut hasher);
        format!("{}-{:08x}", self.stem(), hasher.finish() & 0xffff_ffff)
    }

    /// A job id that is the same whenever this file is run on this machine, so that its MQTT sessions are found again,
    /// and that differs from that of another file or machine, so that they do not take each other's sessions over. A
    /// text from standard input is known by itself.
    pub(crate) fn job_id(&self, sql: &str) -> String {
        // the standard library's hasher with its fixed keys; a change of it costs one session, not data
        let mut hasher = DefaultHasher::new();
        match std::fs::canonicalize(&self.file) {
            Ok(path) => path.hash(&mut hasher),
            Err(_) => sql.hash(&mut hasher),
        }
        std::fs::read_to_string("/etc/machine-id")
            .unwrap_or_default()
            .hash(&mut hasher);
        std::fs::read_to_string("/etc/hostname")
            .unwrap_or_default()
            .hash(&mut hasher);
        format!("{}-{:08x}", self.stem(), hasher.finish() & 0xffff_ffff)
    }

    /// The file's name as a part of a job id.
    fn stem(&self) -> String {
        let stem = self.file.file_stem().and_then(|stem| stem.to_str());
        let stem = match stem.unwrap_or("job") {
            "-" => "stdin",
            stem => stem,
        };
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        stem.chars().map(allowed).collect()
    }
}

/// The profiles of a file.
pub(crate) fn profiles_of(file: &Path) -> anyhow::Result<Vec<ConnectionProfile>> {
    let text = std::fs::read_to_string(file)
        .map_err(not_text)
        .with_context(|| Mistake(format!("profile '{}' cannot be read", file.display())))?;
    parse_profiles(&text)
        .with_context(|| Mistake(format!("profile '{}' is no profile", file.display())))
}

/// One profile, or a list of them.
pub(crate) fn parse_profiles(text: &str) -> serde_json::Result<Vec<ConnectionProfile>> {
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text),
        false => Ok(vec![serde_json::from_str(text)?]),
    }
}

/// The error of reading a file; what is no UTF-8 is said so that people know what to do.
fn not_text(error: std::io::Error) -> std::io::Error {
    match error.kind() {
        ErrorKind::InvalidData => std::io::Error::new(
            ErrorKind::InvalidData,
            "it is no text in UTF-8; save it in that encoding",
        ),
        _ => error,
    }
}

/// Without the byte order mark that some editors put in front.
fn without_mark(sql: String) -> String {
    sql.strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(sql)
}

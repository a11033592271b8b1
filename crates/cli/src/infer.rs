//! `headwater infer`: listens to a topic and prints a table for what it hears.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use headwater_engine::connector::{Listening, SampleRequest};
use headwater_engine::{Engine, InferError, Inferred, Profile};
use indicatif::MultiProgress;

use crate::exit::{Exit, Mistake};
use crate::logging;
use crate::signals::Interrupts;

/// The connector of profiles that do not name one.
const CONNECTOR: &str = "mqtt";
/// How many bytes of payloads are looked at.
const BYTES_MAX: usize = 4 << 20;

/// Listen to a topic and print a CREATE TABLE for what is published there.
///
/// The table goes to the standard output, what there is to say of it to standard error. Listening disturbs nobody: QoS 0,
/// a client id and a session of its own, and a shared filter is listened to without its group. It ends after --seconds,
/// after --count messages or 4 MiB, or with Ctrl-C; what was heard until then counts. Exits with 1 if nothing was.
#[derive(Args)]
pub(crate) struct Infer {
    /// The broker: its URL (mqtt://user@host:1883), or a JSON file with the options of a connection profile, with or
    /// without a name. A URL's password is taken from the environment variable MQTT_PASSWORD.
    #[arg(long, value_name = "URL|FILE.json")]
    profile: String,

    /// The topic filter. Levels in braces keep their names ('sensors/{device}/#'), those of '+' get one.
    #[arg(long, value_name = "FILTER")]
    topic: String,

    /// How long to listen, in seconds.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// How many messages to look at.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
}

impl Infer {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        logging::init(&MultiProgress::new());
        let mut interrupts = Interrupts::listen()?;
        let engine = Engine::default();
        let profile = self.profile(&engine)?;
        let (topic, seconds) = (self.topic.clone(), self.seconds);
        let request = SampleRequest {
            place: self.topic.clone(),
            messages_max: self.count as usize,
            bytes_max: BYTES_MAX,
            duration: Duration::from_secs(self.seconds.into()),
            stop: Box::pin(async move { interrupts.next().await }),
            progress: Box::new(move |listening| match listening {
                Listening::Begun => {
                    complain!("listening to '{topic}' for {seconds} s; Ctrl-C ends it earlier");
                }
                Listening::Heard => complain!("the first message has come"),
            }),
        };
        match engine.infer(&profile, request).await {
            Ok(inferred) => print(&inferred),
            Err(InferError::Silence { place }) => {
                complain!("error: nothing was published to '{place}' while it was listened to");
                let wider = wider(&place).map_or_else(String::new, |wider| {
                    format!(", widen the topic ('{wider}')")
                });
                complain!(
                    "  listen longer (--seconds){wider}, or ask the broker's operator whether this user may read it"
                );
                return Ok(Exit::Failed);
            }
            Err(InferError::Config(error)) => return Err(error.into()),
            Err(other) => return Err(other.into()),
        }
        Ok(Exit::Done)
    }

    fn profile(&self, engine: &Engine) -> anyhow::Result<Profile> {
        let registry = engine.registry();
        if self.profile.contains("://") {
            return Ok(Profile::from_url(registry, CONNECTOR, &self.profile)?);
        }
        let file = PathBuf::from(&self.profile);
        let json = read(&file)?;
        let profile = Profile::from_json(registry, CONNECTOR, json);
        profile.with_context(|| Mistake(format!("profile '{}'", file.display())))
    }
}

fn read(file: &Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(file).with_context(|| {
        Mistake(format!(
            "profile '{}' cannot be read (and is no URL, which would begin with mqtt://)",
            file.display()
        ))
    })?;
    serde_json::from_str(&text)
        .with_context(|| Mistake(format!("profile '{}' is no JSON", file.display())))
}

fn print(inferred: &Inferred) {
    say!("{}", inferred.sql.trim_end());
    complain!(
        "from {} messages on {} topics",
        inferred.messages,
        inferred.places
    );
    for note in &inferred.notes {
        complain!("note: {note}");
    }
}

/// The filter with everything behind its first level, if that is more.
fn wider(place: &str) -> Option<String> {
    let wider = match place.split_once('/') {
        Some((first, _)) if !first.starts_with('$') && !first.is_empty() => format!("{first}/#"),
        _ => "#".to_owned(),
    };
    (wider != place).then_some(wider)
}

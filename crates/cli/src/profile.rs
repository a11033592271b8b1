//! `headwater profile`: the connection profiles of a server.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use headwater_engine::connector::ConnectionProfile;
use headwater_server::client::{Client, ClientError, Credentials};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::exit::{Exit, Mistake};
use crate::input::profiles_of;

const PATH: &str = "/api/v1/connection_profiles";

/// Create, list, test or delete the connection profiles of a server.
#[derive(Args)]
pub(crate) struct Profile {
    #[command(flatten)]
    server: Remote,

    #[command(subcommand)]
    command: Command,
}

/// Which server, and how to be let in.
#[derive(Args)]
struct Remote {
    /// The server.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HEADWATER_SERVER",
        default_value = "http://127.0.0.1:5115"
    )]
    server: String,

    /// A file that holds the server's token. (HEADWATER_TOKEN is the token itself.)
    #[arg(long, global = true, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// The authority, in PEM, that issued the server's certificate, where it is none of the system's.
    #[arg(long, global = true, value_name = "FILE.pem")]
    ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the profiles of a file: {"name": …, "connector": …, "config": …}, or a list of them.
    Create {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
    /// Show what is kept. Secrets are ********.
    List,
    /// Try whether the server can connect by the profiles of a file.
    Test {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
    /// Forget a profile that nothing uses.
    Delete {
        /// Its name.
        name: String,
    },
}

impl Profile {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let client = self.server.client()?;
        let done = match self.command {
            Command::Create { file } => create(&client, &file).await,
            Command::List => list(&client).await,
            Command::Test { file } => test(&client, &file).await,
            Command::Delete { name } => delete(&client, &name).await,
        };
        done.map_err(with_remedy)
    }
}

/// What a server says of tokens is for programs.
fn with_remedy(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(ClientError::Refused { status, .. }) if *status == StatusCode::UNAUTHORIZED => {
            let remedy = "say the server's token by --token-file or HEADWATER_TOKEN";
            error.context(Mistake(remedy.to_owned()))
        }
        _ => error,
    }
}

impl Remote {
    fn client(&self) -> anyhow::Result<Client> {
        let token = match &self.token_file {
            Some(path) => {
                let token = std::fs::read_to_string(path);
                let mistake = || Mistake(format!("token '{}' cannot be read", path.display()));
                Some(token.with_context(mistake)?.trim().to_owned())
            }
            None => std::env::var("HEADWATER_TOKEN").ok(),
        };
        let credentials = Credentials {
            token,
            ca: self.ca.as_deref(),
            certificate: None,
        };
        Ok(Client::new(&self.server, credentials)?)
    }
}

async fn create(client: &Client, file: &Path) -> anyhow::Result<Exit> {
    for profile in read(file)? {
        client
            .call(Method::POST, PATH, Some(&post(&profile)))
            .await?;
        say!("profile '{}' is kept", profile.name);
    }
    Ok(Exit::Done)
}

async fn list(client: &Client) -> anyhow::Result<Exit> {
    for profile in kept(client).await? {
        let text = |key: &str| profile[key].as_str().unwrap_or_default().to_owned();
        say!(
            "{:<16} {:<12} {}",
            text("name"),
            text("connector"),
            profile["config"]
        );
    }
    Ok(Exit::Done)
}

async fn test(client: &Client, file: &Path) -> anyhow::Result<Exit> {
    let mut passed = true;
    for profile in read(file)? {
        let path = format!("{PATH}/test");
        let result = client
            .call(Method::POST, &path, Some(&post(&profile)))
            .await?;
        say!("{}", profile.name);
        for line in result["message"].as_str().unwrap_or_default().lines() {
            say!("  {line}");
        }
        let failed = result["error"] == true;
        say!("  {}", if failed { "failed" } else { "passed" });
        passed &= !failed;
    }
    Ok(if passed { Exit::Done } else { Exit::Failed })
}

async fn delete(client: &Client, name: &str) -> anyhow::Result<Exit> {
    let kept = kept(client).await?;
    let found = kept.iter().find(|profile| profile["name"] == name);
    let Some(id) = found.and_then(|profile| profile["id"].as_str()) else {
        return Err(Mistake(format!("the server keeps no profile '{name}'")).into());
    };
    client
        .call(Method::DELETE, &format!("{PATH}/{id}"), None)
        .await?;
    say!("profile '{name}' is forgotten");
    Ok(Exit::Done)
}

async fn kept(client: &Client) -> anyhow::Result<Vec<Value>> {
    let answer = client.call(Method::GET, PATH, None).await?;
    Ok(answer["data"].as_array().cloned().unwrap_or_default())
}

fn read(file: &Path) -> anyhow::Result<Vec<ConnectionProfile>> {
    if file == Path::new("-") {
        let mut text = String::new();
        let mistake = || Mistake("standard input cannot be read".to_owned());
        std::io::stdin()
            .read_to_string(&mut text)
            .with_context(mistake)?;
        return crate::input::parse_profiles(&text)
            .with_context(|| Mistake("standard input holds no profiles".to_owned()));
    }
    profiles_of(file)
}

fn post(profile: &ConnectionProfile) -> Value {
    json!({ "name": profile.name, "connector": profile.connector, "config": profile.config })
}

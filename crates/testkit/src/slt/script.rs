//! The statements that stand in the place of SQL. `sql-tests/README.md` is their reference.

use anyhow::{Context, Result, bail, ensure};

use crate::wire::Properties;

/// Asks whether a job has failed; appended to every file by the driver.
pub(super) const CHECK_JOBS: &str = "check jobs";

/// What one record of a script asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Command<'a> {
    Sql(&'a str),
    Publish(Vec<Publish<'a>>),
    Messages {
        /// All that there are, if not given.
        count: Option<usize>,
        filter: &'a str,
        show: Vec<Show>,
    },
    Retained {
        filter: &'a str,
        show: Vec<Show>,
    },
    Write {
        path: &'a str,
        text: &'a str,
    },
    File(&'a str),
    /// Statements for an SQLite database, which is made if it is not there.
    Sqlite {
        path: &'a str,
        sql: &'a str,
    },
    Metric {
        table: &'a str,
        name: &'a str,
    },
    Await {
        table: &'a str,
        name: &'a str,
        value: u64,
    },
    Wait,
    Stop,
    CheckJobs,
}

#[derive(Debug, PartialEq)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) properties: Properties,
    pub(super) payload: Payload<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Payload<'a> {
    Text(&'a str),
    Bytes(Vec<u8>),
}

/// A column of the answer about messages.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(super) enum Show {
    Topic,
    Payload,
    Hex,
    Qos,
    Retain,
    ContentType,
    ResponseTopic,
    CorrelationData,
    Format,
    Expiry,
    User,
}

/// Reads the text of a record. What begins with none of our words is SQL.
pub(super) fn parse(text: &str) -> Result<Command<'_>> {
    let (first_line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let words: Vec<&str> = first_line.split_whitespace().collect();
    let command = match *words.as_slice() {
        ["publish", ..] => {
            return Ok(Command::Publish(
                text.lines().map(parse_publish).collect::<Result<_>>()?,
            ));
        }
        ["write", path] => return Ok(Command::Write { path, text: rest }),
        ["sqlite", path] => return Ok(Command::Sqlite { path, sql: rest }),
        ["messages", count, "from", filter, ref show @ ..] => Command::Messages {
            count: match count {
                "all" => None,
                count => Some(count.parse().with_context(|| {
                    format!("'messages {count}': a number or 'all' was expected")
                })?),
            },
            filter,
            show: parse_show(show)?,
        },
        ["retained", filter, ref show @ ..] => Command::Retained {
            filter,
            show: parse_show(show)?,
        },
        ["file", path] => Command::File(path),
        ["metric", table, name] => Command::Metric { table, name },
        ["await", table, name, value] => Command::Await {
            table,
            name,
            value: value.parse().context("'await': a number was expected")?,
        },
        ["wait"] => Command::Wait,
        ["stop"] => Command::Stop,
        ["check", "jobs"] => Command::CheckJobs,
        [
            word @ ("write" | "sqlite" | "messages" | "retained" | "file" | "metric" | "await"
            | "wait" | "stop"),
            ..,
        ] => bail!("'{first_line}' is not how '{word}' is written; see sql-tests/README.md"),
        _ => return Ok(Command::Sql(text)),
    };
    ensure!(rest.is_empty(), "'{first_line}' takes one line only");
    Ok(command)
}

fn parse_publish(line: &str) -> Result<Publish<'_>> {
    let rest = line
        .strip_prefix("publish ")
        .with_context(|| format!("'{line}': every line must be 'publish <topic> … <payload>'"))?;
    let (topic, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (mut qos, mut retain, mut hex) = (1, false, false);
    let mut properties = Properties::default();
    loop {
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "qos=0" => qos = 0,
            "qos=1" => qos = 1,
            "qos=2" => qos = 2,
            "retain" => retain = true,
            "hex" => hex = true,
            word if parse_property(word, &mut properties)? => {}
            _ => break,
        }
        rest = tail;
    }
    let payload = match hex {
        true => Payload::Bytes(parse_hex(rest)?),
        false => Payload::Text(rest),
    };
    Ok(Publish {
        topic,
        qos,
        retain,
        properties,
        payload,
    })
}

/// `name=value`, if the name is that of a property.
fn parse_property(word: &str, properties: &mut Properties) -> Result<bool> {
    let Some((name, value)) = word.split_once('=') else {
        return Ok(false);
    };
    match name {
        "content_type" => properties.content_type = Some(value.to_owned()),
        "response_topic" => properties.response_topic = Some(value.to_owned()),
        "correlation_data" => {
            properties.correlation_data = Some(value.as_bytes().to_vec().into());
        }
        "expiry" => {
            let seconds = value
                .parse()
                .with_context(|| format!("'{word}': seconds were expected"))?;
            properties.message_expiry_interval = Some(seconds);
        }
        "format" => {
            let format = value
                .parse()
                .with_context(|| format!("'{word}': 0 or 1 was expected"))?;
            properties.payload_format = Some(format);
        }
        name => {
            let Some(key) = name.strip_prefix("user.") else {
                return Ok(false);
            };
            properties
                .user_properties
                .push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(true)
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    ensure!(digits.len().is_multiple_of(2), "'{text}': half a byte");
    let byte = |pair: &[char]| {
        let pair: String = pair.iter().collect();
        u8::from_str_radix(&pair, 16).with_context(|| format!("'{pair}' is no hexadecimal byte"))
    };
    digits.chunks(2).map(byte).collect()
}

fn parse_show(words: &[&str]) -> Result<Vec<Show>> {
    let columns = match words {
        [] => return Ok(vec![Show::Payload]),
        ["show", columns @ ..] if !columns.is_empty() => columns,
        _ => bail!("'{}': 'show' and columns were expected", words.join(" ")),
    };
    let column = |word: &&str| match *word {
        "topic" => Ok(Show::Topic),
        "payload" => Ok(Show::Payload),
        "hex" => Ok(Show::Hex),
        "qos" => Ok(Show::Qos),
        "retain" => Ok(Show::Retain),
        "content_type" => Ok(Show::ContentType),
        "response_topic" => Ok(Show::ResponseTopic),
        "correlation_data" => Ok(Show::CorrelationData),
        "format" => Ok(Show::Format),
        "expiry" => Ok(Show::Expiry),
        "user" => Ok(Show::User),
        other => bail!(
            "'show {other}': one of topic, payload, hex, qos, retain, content_type, response_topic, correlation_data, format, expiry, user was expected"
        ),
    };
    columns.iter().map(column).collect()
}

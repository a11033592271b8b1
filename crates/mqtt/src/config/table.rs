//! What the options of a table mean together: its topics, its client id, its session.

use std::time::Duration;

use headwater_connector::TaskContext;
use headwater_connector::config::{ConfigError, VarStr, duration};

use super::{MqttProfile, MqttTable, SourceOptions, TopicQos, client_id, connect_options, resolve};
use crate::options::{ConnectOptions, QoS};
use crate::topic::{TopicError, TopicPattern};

/// How long the broker keeps the session of a source at QoS 1 or 2 that is away, unless the table says otherwise.
const SESSION_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

impl From<TopicQos> for QoS {
    fn from(qos: TopicQos) -> Self {
        match qos {
            TopicQos::AtMostOnce => Self::AtMostOnce,
            TopicQos::AtLeastOnce => Self::AtLeastOnce,
            TopicQos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

/// The topic patterns of a source in the order in which they were given, each with its QoS, shared if the table says
/// so. At least one.
///
/// # Errors
/// No topic or two options with topics, patterns that are none, a `topics_qos` of another length.
pub fn patterns(
    table: &MqttTable,
    source: &SourceOptions,
) -> Result<Vec<(TopicPattern, QoS)>, ConfigError> {
    let (option, texts) = match (&table.topic, source.topics.as_slice()) {
        (Some(topic), []) => ("topic", std::slice::from_ref(topic)),
        (None, topics @ [_, ..]) => ("source.topics", topics),
        (Some(_), _) => {
            let message = "options 'topic' and 'topics' are both given; leave one of them out";
            return Err(ConfigError::new(Some("source.topics"), message));
        }
        (None, []) => {
            let message =
                "missing option 'topic': the topic filter to subscribe to; or 'topics' for several";
            return Err(ConfigError::new(Some("topic"), message));
        }
    };
    let short = option.trim_start_matches("source.");
    let wrong = |e: TopicError| ConfigError::new(Some(option), format!("option '{short}': {e}"));
    let qos = all_qos(table, source, texts.len())?;
    let mut patterns = Vec::with_capacity(texts.len());
    for (text, qos) in texts.iter().zip(qos) {
        let mut pattern = TopicPattern::parse(text).map_err(wrong)?;
        if let Some(group) = &source.shared_group {
            let option = "source.shared_group";
            let wrong = |e| ConfigError::new(Some(option), format!("option 'shared_group': {e}"));
            pattern = pattern.share(group).map_err(wrong)?;
        }
        patterns.push((pattern, qos));
    }
    Ok(patterns)
}

/// The QoS of each of so many topics.
fn all_qos(
    table: &MqttTable,
    source: &SourceOptions,
    topics: usize,
) -> Result<Vec<QoS>, ConfigError> {
    let given = &source.topics_qos;
    if given.is_empty() {
        return Ok(vec![table.qos.into(); topics]);
    }
    if given.len() != topics || source.topics.is_empty() {
        let message = format!(
            "option 'topics_qos': {} values for {} topics; give one for each of 'topics'",
            given.len(),
            source.topics.len()
        );
        return Err(ConfigError::new(Some("source.topics_qos"), message));
    }
    Ok(given.iter().map(|qos| QoS::from(*qos)).collect())
}

/// Refuses a client id that is none, as far as that can be told before the environment is known.
///
/// # Errors
/// An empty id.
pub fn check_table(table: &MqttTable) -> Result<(), ConfigError> {
    match table.client_id.as_ref().map(VarStr::resolve) {
        Some(Ok(id)) => check_client_id(&id),
        _ => Ok(()),
    }
}

fn check_client_id(id: &str) -> Result<(), ConfigError> {
    if id.is_empty() {
        let message = "option 'client_id': must not be empty; leave it out for an id of its own";
        return Err(ConfigError::new(Some("client_id"), message));
    }
    Ok(())
}

/// Under which id a subtask of a table connects.
///
/// # Errors
/// Environment variables that are not set.
pub fn table_client_id(
    profile: &MqttProfile,
    table: &MqttTable,
    context: &TaskContext,
) -> Result<String, ConfigError> {
    let subtask = context.subtask;
    let Some(own) = &table.client_id else {
        let (job, operator) = (&context.job_id, &context.operator_id);
        return Ok(client_id(profile, job, operator, subtask));
    };
    let id = resolve("client_id", own)?;
    check_client_id(&id)?;
    Ok(match subtask {
        0 => id,
        // Two connections under one id would throw each other out.
        subtask => format!("{id}_{subtask}"),
    })
}

/// The connection of a source: at QoS 1 and 2 its session outlives it, so that what was not acknowledged comes again.
///
/// # Errors
/// As [`connect_options`], and a session expiry that is no time.
pub fn source_options(
    profile: &MqttProfile,
    qos: QoS,
    source: &SourceOptions,
    client_id: String,
) -> Result<ConnectOptions, ConfigError> {
    let mut options = connect_options(profile, client_id)?;
    options.session_expiry = session_expiry(source, qos)?;
    options.clean_start = source
        .clean_start
        .unwrap_or(options.session_expiry.is_zero());
    options.receive_maximum = source.receive_maximum.get();
    Ok(options)
}

/// How long the broker keeps the session of a source.
///
/// # Errors
/// Text that is no time, or more of it than can be said to a broker.
pub fn session_expiry(source: &SourceOptions, qos: QoS) -> Result<Duration, ConfigError> {
    let option = "source.session_expiry";
    let expiry = match &source.session_expiry {
        Some(text) => duration(option, text)?,
        None if qos == QoS::AtMostOnce => Duration::ZERO,
        None => SESSION_EXPIRY,
    };
    // Less than a second is not nothing, and nothing is what the broker would hear.
    let seconds = expiry.as_secs() + u64::from(expiry.subsec_nanos() > 0);
    if seconds > u64::from(u32::MAX) {
        let message = format!("option '{option}': more than {} seconds", u32::MAX);
        return Err(ConfigError::new(Some(option), message));
    }
    Ok(Duration::from_secs(seconds))
}

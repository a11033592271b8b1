//! Listening to a topic filter, for the inference of a table: at QoS 0, under a client id of its own, with a session that
//! ends with the connection.
//!
//! A shared filter is listened to without its group, since a member of the group would take messages from the others.
//! Probes of connection tests are passed over. Wildcard levels get names ([`names`]).

mod names;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use headwater_connector::config::ConfigError;
use headwater_connector::{
    Listening, MetadataColumn, OperatorError, SampleRequest, Sampled, SqlOption,
};
use tokio::time::{sleep, timeout};

use crate::config::{self, MqttProfile};
use crate::dial;
use crate::error::MqttError;
use crate::options::{ConnectOptions, QoS, Subscription};
use crate::packet::Inbound;
use crate::probe;
use crate::subscriber::Subscriber;
use crate::topic::TopicPattern;

/// How many different topics are counted.
const TOPICS_MAX: usize = 10_000;

/// Listens.
///
/// # Errors
/// A topic filter or a profile that is none. The future fails if the broker cannot be reached or refuses.
pub(crate) fn listen(
    profile: &MqttProfile,
    request: SampleRequest,
) -> Result<impl Future<Output = Result<Sampled, OperatorError>> + Send + 'static, ConfigError> {
    let pattern = TopicPattern::parse(&request.place)
        .map_err(|e| ConfigError::new(Some("topic"), format!("option 'topic': {e}")))?;
    let client_id = probe::own_client_id(profile, "infer");
    let options = config::connect_options(profile, client_id)?;
    Ok(run(options, pattern, request))
}

async fn run(
    options: ConnectOptions,
    pattern: TopicPattern,
    mut request: SampleRequest,
) -> Result<Sampled, OperatorError> {
    let filter = pattern.unshared().to_owned();
    let failed =
        |reason: String| OperatorError::fatal(format!("cannot listen to '{filter}': {reason}"));
    let patience = options.connect_timeout;
    let address = options.address();
    let subscription = Subscription::new(filter.clone(), QoS::AtMostOnce);
    let listening = async {
        reach(&options).await.map_err(|e| failed(e.chain()))?;
        let mut subscriber = Subscriber::start(options, vec![subscription], Arc::default());
        match timeout(patience, subscriber.subscribed()).await {
            Ok(Ok(())) => Ok(subscriber),
            Ok(Err(error)) => Err(failed(error.chain())),
            Err(_elapsed) => Err(failed(silent(&address, patience))),
        }
    };
    let mut subscriber = tokio::select! {
        subscriber = listening => subscriber?,
        () = &mut request.stop => return Ok(Found::default().sampled(&request.place, &pattern)),
    };
    (request.progress)(Listening::Begun);
    let mut found = Found::default();
    let end = sleep(request.duration);
    tokio::pin!(end);
    while !found.is_enough(request.messages_max, request.bytes_max) {
        tokio::select! {
            received = subscriber.recv() => {
                let inbound = received.map_err(|e| failed(e.chain()))?;
                let silent = found.payloads.is_empty();
                found.take(&inbound, request.messages_max, request.bytes_max);
                if silent && !found.payloads.is_empty() {
                    (request.progress)(Listening::Heard);
                }
            }
            () = &mut end => break,
            () = &mut request.stop => break,
        }
    }
    // what it has heard is worth more than a farewell in good order
    subscriber.close().await.ok();
    Ok(found.sampled(&request.place, &pattern))
}

/// Tries the broker once: who waits for an answer wants to hear of a fault, where a [`Subscriber`] tries again.
async fn reach(options: &ConnectOptions) -> Result<(), MqttError> {
    let mut stream = dial::dial(options).await?;
    dial::login(options, &mut stream).await?;
    // it was only to be known that it works
    dial::logout(options, &mut stream).await.ok();
    Ok(())
}

fn silent(address: &str, patience: Duration) -> String {
    format!("{address} did not grant it within {} s", patience.as_secs())
}

/// What has been heard.
#[derive(Default)]
struct Found {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    topics: BTreeSet<String>,
}

impl Found {
    fn is_enough(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.payloads.len() >= messages_max || self.bytes >= bytes_max
    }

    fn take(&mut self, inbound: &Inbound, messages_max: usize, bytes_max: usize) {
        for message in inbound.iter() {
            // an empty retained message only clears what was kept
            if probe::is_probe(&message) || message.payload.is_empty() {
                continue;
            }
            if self.is_enough(messages_max, bytes_max) {
                return;
            }
            self.bytes += message.payload.len();
            self.payloads.push(message.payload.to_vec());
            if self.topics.len() < TOPICS_MAX && !self.topics.contains(message.topic()) {
                self.topics.insert(message.topic().to_owned());
            }
        }
    }

    fn sampled(self, place: &str, pattern: &TopicPattern) -> Sampled {
        let share = &pattern.filter()[..pattern.filter().len() - pattern.unshared().len()];
        let named = names::name_levels(place.strip_prefix(share).unwrap_or(place));
        let topic = format!("{share}{}", named.pattern);
        let mut metadata: Vec<_> = named
            .names
            .iter()
            .map(|name| column(name, &format!("topic.{name}")))
            .collect();
        // the levels of '#' have no names
        if pattern.unshared().ends_with('#') {
            metadata.push(column("topic", "topic"));
        }
        Sampled {
            payloads: self.payloads,
            places: self.topics.len(),
            options: vec![
                SqlOption::new("topic", topic),
                SqlOption::new("type", "source"),
            ],
            metadata,
        }
    }
}

fn column(name: &str, metadata: &str) -> MetadataColumn {
    MetadataColumn {
        name: name.to_lowercase(),
        metadata: metadata.to_owned(),
        data_type: DataType::Utf8,
    }
}

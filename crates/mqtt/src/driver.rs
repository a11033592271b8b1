//! Joins the sessions to tokio.

use std::sync::Arc;

use headwater_connector::Metrics;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::MqttError;
use crate::options::{ConnectOptions, Subscription};
use crate::packet::{Inbound, Publish};
use crate::publisher::{Progress, Refusals};
use crate::subscriber::Acks;

/// What a subscriber's task needs.
pub(crate) struct SubscriberDriver {
    pub(crate) inbox: mpsc::Sender<Result<Inbound, MqttError>>,
    pub(crate) acks: Arc<Acks>,
    pub(crate) subscribed: watch::Sender<bool>,
    pub(crate) close: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

impl SubscriberDriver {
    pub(crate) async fn run(self, _options: ConnectOptions, _subscriptions: Vec<Subscription>) {
        self.close.cancelled().await;
    }
}

/// What a publisher's task needs.
pub(crate) struct PublisherDriver {
    pub(crate) queue: mpsc::Receiver<Vec<Publish>>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) close: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

impl PublisherDriver {
    pub(crate) async fn run(self, _options: ConnectOptions) {
        self.close.cancelled().await;
    }
}

//! What a check is, and on which brokers it is expected to pass.

use anyhow::Result;
use futures::future::BoxFuture;
use headwater_mqtt::{ProtocolVersion, QoS};
use headwater_testkit::brokers::Feature;

use crate::scene::Scene;

/// Every QoS that the client offers.
pub(crate) const SERVICES: &[QoS] = &[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Every version of MQTT that the client speaks, in the order of their numbers.
pub(crate) const VERSIONS: [ProtocolVersion; 3] = [
    ProtocolVersion::V31,
    ProtocolVersion::V311,
    ProtocolVersion::V5,
];

/// One promise, checked on one broker.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What the table says.
    pub(crate) title: &'static str,
    /// In which versions of MQTT it makes sense.
    pub(crate) versions: Versions,
    /// With which QoS it is run.
    pub(crate) services: Services,
    /// What the broker must offer.
    pub(crate) needs: &'static [Feature],
    /// The check itself.
    pub(crate) run: Run,
}

/// Fails with what happened in place of what was promised.
pub(crate) type Run = fn(Scene) -> BoxFuture<'static, Result<()>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versions {
    /// 3.1.1 and 5.
    Both,
    /// Those, and 3.1: of that version only what a pipeline stands on is checked.
    All,
    V5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// Each is a check of its own.
    Each,
    /// Each that is acknowledged.
    EachAcknowledged,
    /// At least once; the check is about something else.
    One,
}

/// A check with what it is run with: a row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    pub(crate) check: Check,
    pub(crate) protocol: ProtocolVersion,
    pub(crate) qos: QoS,
}

impl Check {
    /// A check in versions 3.1.1 and 5, at one QoS, that needs nothing special.
    pub(crate) const fn new(name: &'static str, title: &'static str, run: Run) -> Self {
        Self {
            name,
            title,
            versions: Versions::Both,
            services: Services::One,
            needs: &[],
            run,
        }
    }

    /// Of MQTT 3.1 too.
    pub(crate) const fn v31(mut self) -> Self {
        self.versions = Versions::All;
        self
    }

    /// Of MQTT 5 only.
    pub(crate) const fn v5(mut self) -> Self {
        self.versions = Versions::V5;
        self
    }

    /// One check for each QoS.
    pub(crate) const fn each(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// Needs these features.
    pub(crate) const fn needs(mut self, features: &'static [Feature]) -> Self {
        self.needs = features;
        self
    }

    /// The check in one version, with each QoS that it is about.
    pub(crate) fn variants(self, protocol: ProtocolVersion) -> Vec<Variant> {
        let has_it = match protocol {
            ProtocolVersion::V31 => self.versions == Versions::All,
            ProtocolVersion::V311 => self.versions != Versions::V5,
            ProtocolVersion::V5 => true,
        };
        if !has_it {
            return Vec::new();
        }
        let variant = |qos: &QoS| Variant {
            check: self,
            protocol,
            qos: *qos,
        };
        match self.services {
            Services::Each => SERVICES.iter().map(variant).collect(),
            Services::EachAcknowledged => SERVICES[1..].iter().map(variant).collect(),
            Services::One => vec![variant(&QoS::AtLeastOnce)],
        }
    }
}

impl Variant {
    /// `retained`, or `session-qos-1`.
    pub(crate) fn name(&self) -> String {
        match self.check.services {
            Services::One => self.check.name.to_owned(),
            _ => format!("{}-qos-{}", self.check.name, self.qos.level()),
        }
    }

    /// What the table says.
    pub(crate) fn title(&self) -> String {
        match self.check.services {
            Services::One => self.check.title.to_owned(),
            _ => format!("{}, QoS {}", self.check.title, self.qos.level()),
        }
    }

    /// Everything that the broker must offer.
    pub(crate) fn needs(&self) -> Vec<Feature> {
        let mut needs = self.check.needs.to_vec();
        needs.extend(version_feature(self.protocol));
        if self.qos.level() == 2 {
            needs.push(Feature::ExactlyOnce);
        }
        needs
    }
}

/// What a broker must offer for a version, if not every broker does.
pub(crate) fn version_feature(protocol: ProtocolVersion) -> Option<Feature> {
    match protocol {
        ProtocolVersion::V31 => Some(Feature::V31),
        ProtocolVersion::V311 => None,
        ProtocolVersion::V5 => Some(Feature::V5),
    }
}

/// How a version is called on the command line.
pub(crate) fn version_name(protocol: ProtocolVersion) -> &'static str {
    match protocol {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5",
    }
}

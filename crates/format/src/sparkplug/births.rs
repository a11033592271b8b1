//! What births have told: the names and types behind aliases.
//!
//! A node's birth starts anew for it and all its devices, because theirs follow; a death ends what it is about. Aliases
//! belong to the node or device whose birth told them; data of a device may also use one that the node's birth told.
//! Bounded by [`METRICS_MAX`].
//!
//! Births are sent once, so what they told must outlive the process: each is a [`Birth`] under a name of its own, which
//! whoever has a place for it keeps ([`Births::changes`]) and gives to the next run.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::payload::{Metric, Payload};

/// How many metrics are remembered over all nodes. A birth beyond them is bad data.
const METRICS_MAX: usize = 1_000_000;

/// The metric that numbers births and the deaths that belong to them.
const BIRTH_SEQUENCE: &str = "bdSeq";

/// What a topic is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) node: &'a str,
    pub(super) device: Option<&'a str>,
}

/// A metric, as its birth told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) name: Box<str>,
    pub(super) alias: Option<u64>,
    pub(super) datatype: u32,
}

/// One birth, to be kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Birth {
    group: String,
    node: String,
    device: Option<String>,
    birth_sequence: Option<u64>,
    metrics: Vec<Known>,
}

/// All births.
#[derive(Debug, Default)]
pub(super) struct Births {
    nodes: HashMap<(String, String), Node>,
    /// Over all nodes.
    metrics: usize,
    /// Group, node and device of births that are not what is kept of them.
    changed: BTreeSet<(String, String, Option<String>)>,
}

/// One edge node and its devices.
#[derive(Debug, Default)]
struct Node {
    own: Table,
    devices: HashMap<String, Table>,
    birth_sequence: Option<u64>,
}

/// The metrics of one birth.
#[derive(Debug, Default)]
struct Table {
    metrics: Vec<Known>,
    by_alias: HashMap<u64, usize>,
    by_name: HashMap<Box<str>, usize>,
}

impl Births {
    fn node(&self, place: &Place<'_>) -> Option<&Node> {
        self.nodes
            .get(&(place.group.to_owned(), place.node.to_owned()))
    }

    /// Remembers a birth.
    ///
    /// # Errors
    /// More metrics than are remembered.
    pub(super) fn learn(&mut self, place: &Place<'_>, message: &Payload) -> Result<(), String> {
        let table = Table::of(message);
        self.put(place, table, birth_sequence(message))
    }

    fn put(
        &mut self,
        place: &Place<'_>,
        table: Table,
        birth_sequence: Option<u64>,
    ) -> Result<(), String> {
        // A device is born again without news, as often as its node is asked to.
        let device = place.device;
        let known = self.node(place).and_then(|node| node.devices.get(device?));
        if known.is_some_and(|known| known.metrics == table.metrics) {
            return Ok(());
        }
        self.drop_tables(place);
        if self.metrics + table.metrics.len() > METRICS_MAX {
            return Err(format!(
                "births of more than {METRICS_MAX} metrics are not remembered"
            ));
        }
        self.metrics += table.metrics.len();
        let key = (place.group.to_owned(), place.node.to_owned());
        let node = self.nodes.entry(key).or_default();
        match device {
            Some(device) => drop(node.devices.insert(device.to_owned(), table)),
            None => (node.own, node.birth_sequence) = (table, birth_sequence),
        }
        self.changed.insert(place.key());
        Ok(())
    }

    /// Takes up what was kept of an earlier run.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub(super) fn restore(&mut self, mut births: Vec<Birth>) -> Result<(), String> {
        // A node first, since its birth ends its devices.
        births.sort_by(|a, b| a.device.cmp(&b.device));
        for birth in births {
            let place = Place {
                group: &birth.group,
                node: &birth.node,
                device: birth.device.as_deref(),
            };
            self.put(&place, Table::new(birth.metrics), birth.birth_sequence)?;
        }
        self.changed.clear();
        Ok(())
    }

    /// What has changed since the last call: the name under which a birth is kept, and the birth, if it is known still.
    pub(super) fn changes(&mut self) -> Vec<(String, Option<Birth>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let change = |(group, node, device): (String, String, Option<String>)| {
            let name = match &device {
                // Neither a group nor a node has a slash in its name.
                Some(device) => format!("{group}/{node}/{device}"),
                None => format!("{group}/{node}"),
            };
            (name, self.birth(group, node, device))
        };
        changed.map(change).collect()
    }

    fn birth(&self, group: String, node: String, device: Option<String>) -> Option<Birth> {
        let of_node = self.nodes.get(&(group.clone(), node.clone()))?;
        let table = match &device {
            Some(device) => of_node.devices.get(device)?,
            None => &of_node.own,
        };
        Some(Birth {
            birth_sequence: of_node.birth_sequence.filter(|_| device.is_none()),
            metrics: table.metrics.clone(),
            group,
            node,
            device,
        })
    }

    /// What is known of a metric, by its alias or its name.
    pub(super) fn find(&self, place: &Place<'_>, metric: &Metric) -> Option<&Known> {
        let node = self.node(place)?;
        let device = place.device.and_then(|device| node.devices.get(device));
        let found = device.and_then(|table| table.find(metric));
        found.or_else(|| node.own.find(metric))
    }

    /// All metrics that a death makes stale, with their devices, save those that the message itself has.
    pub(super) fn stale<'a>(
        &'a self,
        place: &Place<'_>,
        message: &Payload,
    ) -> Vec<(Option<&'a str>, &'a Known)> {
        let Some(node) = self.node(place).filter(|node| node.dies_by(place, message)) else {
            return Vec::new();
        };
        let of_message = |known: &&Known| {
            let named = |metric: &Metric| metric.name.as_deref() == Some(&*known.name);
            !message.metrics.iter().any(named)
        };
        let own = node.own.metrics.iter().map(|known| (None, known));
        let own = own.filter(|(_, known)| place.device.is_none() && of_message(known));
        let devices = node
            .devices
            .iter()
            .filter(|(device, _)| place.device.is_none_or(|dead| dead == *device));
        let of_devices = devices.flat_map(|(device, table)| {
            let device = Some(device.as_str());
            table.metrics.iter().map(move |known| (device, known))
        });
        own.chain(of_devices).collect()
    }

    /// Forgets what a death is about.
    pub(super) fn forget(&mut self, place: &Place<'_>, message: &Payload) {
        if self
            .node(place)
            .is_some_and(|node| node.dies_by(place, message))
        {
            self.drop_tables(place);
        }
    }

    fn drop_tables(&mut self, place: &Place<'_>) {
        let key = (place.group.to_owned(), place.node.to_owned());
        let gone = match (place.device, self.nodes.get_mut(&key)) {
            (_, None) => 0,
            (Some(device), Some(node)) => {
                let table = node.devices.remove(device);
                table.map_or(0, |table| table.metrics.len())
            }
            (None, Some(node)) => {
                let gone = node.len();
                let devices = std::mem::take(&mut node.devices).into_keys().map(Some);
                let changed = devices.map(|device| (key.0.clone(), key.1.clone(), device));
                self.changed.extend(changed);
                self.nodes.remove(&key);
                gone
            }
        };
        self.metrics -= gone;
        if gone > 0 {
            self.changed.insert(place.key());
        }
    }
}

impl Place<'_> {
    fn key(&self) -> (String, String, Option<String>) {
        let device = self.device.map(str::to_owned);
        (self.group.to_owned(), self.node.to_owned(), device)
    }
}

impl Node {
    fn len(&self) -> usize {
        let devices = self.devices.values().map(|table| table.metrics.len());
        self.own.metrics.len() + devices.sum::<usize>()
    }

    /// Whether a death belongs to the birth that is known, and not to an earlier one that the broker tells late.
    fn dies_by(&self, place: &Place<'_>, message: &Payload) -> bool {
        match (place.device, self.birth_sequence, birth_sequence(message)) {
            (None, Some(born), Some(died)) => born == died,
            _ => true,
        }
    }
}

impl Table {
    fn of(message: &Payload) -> Self {
        let known = |metric: &Metric| {
            Some(Known {
                name: metric.name.as_deref()?.into(),
                alias: metric.alias,
                datatype: metric.datatype.unwrap_or(0),
            })
        };
        Self::new(message.metrics.iter().filter_map(known).collect())
    }

    fn new(metrics: Vec<Known>) -> Self {
        let numbered = || metrics.iter().enumerate();
        let aliases = numbered().filter_map(|(at, known)| Some((known.alias?, at)));
        Self {
            by_alias: aliases.collect(),
            by_name: numbered()
                .map(|(at, known)| (known.name.clone(), at))
                .collect(),
            metrics,
        }
    }

    fn find(&self, metric: &Metric) -> Option<&Known> {
        let by_name = metric
            .name
            .as_deref()
            .and_then(|name| self.by_name.get(name));
        let by_alias = || metric.alias.and_then(|alias| self.by_alias.get(&alias));
        self.metrics.get(*by_name.or_else(by_alias)?)
    }
}

fn birth_sequence(message: &Payload) -> Option<u64> {
    let is_sequence = |metric: &&Metric| metric.name.as_deref() == Some(BIRTH_SEQUENCE);
    let metric = message.metrics.iter().find(is_sequence)?;
    match metric.value(metric.datatype) {
        Ok(crate::token::Token::Integer(value)) => u64::try_from(value).ok(),
        _ => None,
    }
}

//! What births have told: the names and types behind aliases.
//!
//! A node's birth starts anew for it and all its devices, because theirs follow; a death ends what it is about. Aliases
//! belong to the node or device whose birth told them; data of a device may also use one that the node's birth told.
//! Bounded by [`METRICS_MAX`].

use std::collections::HashMap;

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
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: Box<str>,
    pub(super) alias: Option<u64>,
    pub(super) datatype: u32,
}

/// All births.
#[derive(Debug, Default)]
pub(super) struct Births {
    nodes: HashMap<(String, String), Node>,
    /// Over all nodes.
    metrics: usize,
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
        self.drop_tables(place);
        if self.metrics + message.metrics.len() > METRICS_MAX {
            return Err(format!(
                "births of more than {METRICS_MAX} metrics are not remembered"
            ));
        }
        let table = Table::new(message);
        self.metrics += table.metrics.len();
        let key = (place.group.to_owned(), place.node.to_owned());
        let node = self.nodes.entry(key).or_default();
        match place.device {
            Some(device) => drop(node.devices.insert(device.to_owned(), table)),
            None => {
                node.own = table;
                node.birth_sequence = birth_sequence(message);
            }
        }
        Ok(())
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
                self.nodes.remove(&key);
                gone
            }
        };
        self.metrics -= gone;
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
    fn new(message: &Payload) -> Self {
        let mut table = Self::default();
        for metric in &message.metrics {
            let Some(name) = &metric.name else { continue };
            let index = table.metrics.len();
            table.by_name.insert(name.as_str().into(), index);
            if let Some(alias) = metric.alias {
                table.by_alias.insert(alias, index);
            }
            table.metrics.push(Known {
                name: name.as_str().into(),
                alias: metric.alias,
                datatype: metric.datatype.unwrap_or(0),
            });
        }
        table
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
        crate::token::Token::Integer(value) => u64::try_from(value).ok(),
        _ => None,
    }
}

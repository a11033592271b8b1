//! What a message is about, which stands in its topic.

use super::births::Place;

/// `spBv1.0/<group>/<type>/<node>[/<device>]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Topic<'a> {
    pub(super) group: &'a str,
    /// `NBIRTH`, `DDATA`, …
    pub(super) kind: &'a str,
    pub(super) node: &'a str,
    pub(super) device: Option<&'a str>,
}

impl<'a> Topic<'a> {
    /// What the topic says; `None` for the state of a host, which has no metrics.
    pub(super) fn parse(topic: &'a str) -> std::result::Result<Option<Self>, String> {
        let mut levels = topic.splitn(5, '/');
        let mut level = || levels.next();
        let parsed = match (level(), level(), level(), level(), level()) {
            (Some("spBv1.0"), Some("STATE"), Some(_), None, None) => return Ok(None),
            (Some("spBv1.0"), Some(group), Some(kind), Some(node), device) => Self {
                group,
                kind,
                node,
                device,
            },
            _ => return Err(not_sparkplug(topic)),
        };
        let of_node = matches!(parsed.kind, "NBIRTH" | "NDATA" | "NDEATH" | "NCMD");
        let of_device = matches!(parsed.kind, "DBIRTH" | "DDATA" | "DDEATH" | "DCMD");
        match (of_node, of_device, parsed.device) {
            (true, _, None) | (_, true, Some(_)) => Ok(Some(parsed)),
            _ => Err(not_sparkplug(topic)),
        }
    }

    pub(super) fn is_birth(&self) -> bool {
        self.kind.ends_with("BIRTH")
    }

    pub(super) fn is_death(&self) -> bool {
        self.kind.ends_with("DEATH")
    }

    /// Data, which says of a metric only what is new.
    pub(super) fn is_data(&self) -> bool {
        self.kind.ends_with("DATA")
    }

    /// What a host sends to a node or device.
    pub(super) fn is_command(&self) -> bool {
        self.kind.ends_with("CMD")
    }

    pub(super) fn place(&self) -> Place<'a> {
        Place {
            group: self.group,
            node: self.node,
            device: self.device,
        }
    }
}

/// Of messages without topics.
pub(crate) const TOPIC_NEEDED: &str =
    "format 'sparkplug_b' needs the topic of a message, which this connector does not have";

fn not_sparkplug(topic: &str) -> String {
    match topic.is_empty() {
        true => TOPIC_NEEDED.to_owned(),
        false => format!(
            "the topic '{topic}' is not Sparkplug's (spBv1.0/<group>/<type>/<node>[/<device>])"
        ),
    }
}

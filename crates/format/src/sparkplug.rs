//! The format `sparkplug_b` (Eclipse Sparkplug 3.0): one metric a row.
//!
//! ```text
//! spBv1.0/<group>/NBIRTH/<node>            names, aliases, types ──► Births
//! spBv1.0/<group>/DDATA/<node>/<device>    alias 7 = 21.5 ──────────► name 'temperature', value 21.5
//! spBv1.0/<group>/NDEATH/<node>            every metric of the node ─► rows with quality 'STALE'
//! name 'Node Control/Rebirth', value true ─► spBv1.0/<group>/NCMD/<node>
//! ```
//!
//! What a message is about stands in its topic ([`topic`]), so this is the one format that needs to be told the topic, both
//! ways. Births tell the names and types of aliases; they are remembered for each edge node ([`births`]). A metric whose alias
//! no birth has told yet is a row without a name: births are sent once, and the stream must not end because it was
//! joined late. (With `name TEXT NOT NULL` it is bad data.) Arrays and data sets are JSON ([`list`]), and so are properties
//! and the parameters of templates ([`properties`]); the members of a template are rows behind its own ([`template`]).
//!
//! Written is one message a row, of one metric or of a list of them ([`metric`]): what the specification asks of a *message*.
//! What it asks of an edge node's *session* (the will that is its death, births at every connection) is not the format's.

mod births;
mod list;
mod metric;
mod payload;
mod properties;
mod read;
mod template;
mod topic;
mod value;
mod write;

pub(crate) use read::SparkplugDecoder;
pub(crate) use topic::TOPIC_NEEDED;
pub(crate) use write::SparkplugEncoder;

/// The columns that a source may have, each of them or none.
const COLUMNS: [&str; 24] = [
    "group_id",
    "node_id",
    "device_id",
    "message_type",
    "seq",
    "message_timestamp",
    "name",
    "alias",
    "timestamp",
    "datatype",
    "quality",
    "is_historical",
    "is_transient",
    "is_null",
    "properties",
    "template_ref",
    "template_parameters",
    "value",
    "value_double",
    "value_bigint",
    "value_boolean",
    "value_text",
    "value_bytes",
    "value_json",
];

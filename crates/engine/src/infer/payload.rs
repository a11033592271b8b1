//! Which format payloads have, and which columns: what [`headwater_format::infer`] says, and what to do when a few
//! payloads are not like the others.

use arrow::datatypes::SchemaRef;
use headwater_connector::SqlOption;
use headwater_format::Format;
use headwater_format::infer::{Inference, infer as read_all};

/// How many of a hundred payloads must be JSON objects for the others to be bad data.
const MOST: usize = 90;

/// What payloads look like.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) schema: SchemaRef,
    /// `format`, and what else there is to say of it.
    pub(super) options: Vec<SqlOption>,
    pub(super) notes: Vec<String>,
}

/// The format and the columns; `None` if no payload holds anything.
pub(super) fn infer(payloads: &[Vec<u8>]) -> Option<Payloads> {
    let all = read_all(payloads)?;
    let is_raw = matches!(
        all.config().format,
        Some(Format::RawString | Format::RawBytes)
    );
    let found = match is_raw {
        true => most(payloads).unwrap_or(all),
        false => all,
    };
    let mut notes = Vec::new();
    if found.config().format == Some(Format::RawString)
        && payloads.iter().all(|payload| is_number(payload))
    {
        notes.push("the payloads are numbers as text: CAST(value AS DOUBLE) in a query".to_owned());
    }
    let options = found.options.iter();
    Some(Payloads {
        schema: found.schema(),
        options: options
            .map(|(key, value)| SqlOption::new(*key, value.as_str()))
            .collect(),
        notes,
    })
}

/// What reads the JSON objects among the payloads, if most of them are.
fn most(payloads: &[Vec<u8>]) -> Option<Inference> {
    let is_object = |payload: &&Vec<u8>| {
        serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(payload).is_ok()
    };
    let objects: Vec<_> = payloads.iter().filter(is_object).collect();
    let enough = objects.len() * 100 >= payloads.len() * MOST;
    enough.then(|| read_all(&objects)).flatten()
}

fn is_number(payload: &[u8]) -> bool {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    text.trim().parse::<f64>().is_ok()
}

//! Which format payloads have, and which columns.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_connector::SqlOption;
use headwater_format::{Compression, Decoder, Format, FormatConfig};
use serde_json::{Map, Value};

use super::json;

/// How many of a hundred payloads must be of a format for it to be that of all.
const MOST: usize = 90;

/// What payloads look like.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) schema: SchemaRef,
    /// `format`, and what else there is to say of it.
    pub(super) options: Vec<SqlOption>,
    pub(super) notes: Vec<String>,
}

impl Payloads {
    fn new(format: Format, schema: Schema) -> Self {
        Self {
            schema: Arc::new(schema),
            options: vec![SqlOption::new("format", format.name())],
            notes: Vec::new(),
        }
    }
}

/// The format and the columns of at least one payload.
pub(super) fn infer(payloads: &[Vec<u8>]) -> Payloads {
    let Some((name, compression)) = compression(payloads) else {
        return plain(payloads);
    };
    let Some(decompressed) = decompress(payloads, compression) else {
        return plain(payloads);
    };
    let mut found = plain(&decompressed);
    found.options.push(SqlOption::new("compression", name));
    found
}

fn compression(payloads: &[Vec<u8>]) -> Option<(&'static str, Compression)> {
    let all = |magic: &[u8]| payloads.iter().all(|payload| payload.starts_with(magic));
    if all(&[0x1F, 0x8B]) {
        return Some(("gzip", Compression::Gzip));
    }
    all(&[0x28, 0xB5, 0x2F, 0xFD]).then_some(("zstd", Compression::Zstd))
}

/// What the payloads hold, if all of them can be decompressed.
fn decompress(payloads: &[Vec<u8>], compression: Compression) -> Option<Vec<Vec<u8>>> {
    let config = FormatConfig {
        format: Some(Format::RawBytes),
        compression: Some(compression),
        ..FormatConfig::default()
    };
    let schema = Schema::new(vec![Field::new("value", DataType::Binary, true)]);
    let mut decoder = Decoder::new(&config, Arc::new(schema)).ok()?;
    for payload in payloads {
        decoder.push(payload).ok()?;
    }
    let columns = decoder.finish().ok()?;
    let values = columns.first()?.as_binary_opt::<i32>()?;
    Some(values.iter().flatten().map(<[u8]>::to_vec).collect())
}

fn plain(payloads: &[Vec<u8>]) -> Payloads {
    if let Some(objects) = objects(payloads.iter().map(Vec::as_slice), payloads.len()) {
        return json::infer(&objects);
    }
    let lines: Vec<&[u8]> = payloads.iter().flat_map(|payload| lines(payload)).collect();
    if let Some(objects) = objects(lines.iter().copied(), lines.len()) {
        let mut found = json::infer(&objects);
        found.options.push(SqlOption::new("framing", "newline"));
        return found;
    }
    let value = |data_type| Schema::new(vec![Field::new("value", data_type, true)]);
    let is_document = |payload: &Vec<u8>| {
        matches!(
            serde_json::from_slice(payload),
            Ok(Value::Object(_) | Value::Array(_))
        )
    };
    if payloads.iter().all(is_document) {
        return json::document();
    }
    if payloads
        .iter()
        .any(|payload| std::str::from_utf8(payload).is_err())
    {
        return Payloads::new(Format::RawBytes, value(DataType::Binary));
    }
    let mut text = Payloads::new(Format::RawString, value(DataType::Utf8));
    let is_number = |payload: &Vec<u8>| {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        text.trim().parse::<f64>().is_ok()
    };
    if payloads.iter().all(is_number) {
        let note = "the payloads are numbers as text: CAST(value AS DOUBLE) in a query";
        text.notes.push(note.to_owned());
    }
    text
}

fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = payload.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.trim_ascii().is_empty())
}

/// Those that are JSON objects, if most are.
fn objects<'a>(
    payloads: impl Iterator<Item = &'a [u8]>,
    count: usize,
) -> Option<Vec<Map<String, Value>>> {
    let objects: Vec<_> = payloads
        .filter_map(|payload| serde_json::from_slice(payload).ok())
        .collect();
    (!objects.is_empty() && objects.len() * 100 >= count * MOST).then_some(objects)
}

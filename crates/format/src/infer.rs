//! From sample payloads to a table that reads them.
//!
//! ```text
//! samples ─► compression? ─► json, lines of json, cbor, msgpack, csv, text or bytes ─► types of members ─► columns
//! ```
//!
//! **Promise.** The columns and options of an [`Inference`] decode every sample: that is tried before it is returned, and
//! whatever a guess cannot read is read by a humbler one, in the end as bytes. Samples without bytes are not looked at,
//! because MQTT uses them to delete retained messages.

mod document;
mod guess;
mod seen;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::compression::Decompressor;
use crate::config::{Compression, Format, FormatConfig, Framing, TimestampFormat};
use crate::decoder::Decoder;

/// How many lines of one payload are enough to tell that it has several.
const LINES_MIN: usize = 2;

/// A table that reads all samples.
#[derive(Debug, Clone)]
pub struct Inference {
    /// The options of the table's `WITH` that are not the defaults, `format` first: names and values as in SQL.
    pub options: Vec<(&'static str, String)>,
    /// The columns, in the order in which they were first seen.
    pub columns: Vec<InferredColumn>,
    config: FormatConfig,
}

/// One column.
#[derive(Debug, Clone)]
pub struct InferredColumn {
    field: Field,
    /// Whether it was null or missing in any sample; others may still lack it.
    pub nullable: bool,
}

impl InferredColumn {
    /// Its name as it is in the messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field.name()
    }
}

impl Inference {
    /// How payloads are read.
    #[must_use]
    pub fn config(&self) -> &FormatConfig {
        &self.config
    }

    /// The columns in Arrow's terms, all of them nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| column.field.clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn new(config: FormatConfig, columns: Vec<InferredColumn>) -> Self {
        Self {
            options: options(&config),
            columns,
            config,
        }
    }

    /// Whether all samples are read.
    fn reads(&self, samples: &[&[u8]]) -> bool {
        let Ok(mut decoder) = Decoder::new(&self.config, self.schema()) else {
            return false;
        };
        samples.iter().all(|sample| {
            // Finished each time, so that the samples together may be larger than a batch.
            decoder.push(sample).is_ok() && decoder.finish().is_ok()
        })
    }
}

/// The table that reads these samples; `None` if there are none that have bytes.
#[must_use]
pub fn infer<S: AsRef<[u8]>>(samples: &[S]) -> Option<Inference> {
    let samples = samples.iter().map(AsRef::as_ref);
    let samples: Vec<&[u8]> = samples
        .filter(|sample: &&[u8]| !sample.is_empty())
        .collect();
    if samples.is_empty() {
        return None;
    }
    let (compression, plain) = decompressed(&samples);
    let plain: Vec<&[u8]> = match &plain {
        Some(plain) => plain.iter().map(Vec::as_slice).collect(),
        None => samples.clone(),
    };
    let guesses = [
        guess::json,
        guess::json_lines,
        guess::cbor,
        guess::msgpack,
        guess::csv,
        guess::document,
        guess::text,
    ];
    for guess in guesses {
        let Some((mut config, columns)) = guess(&plain) else {
            continue;
        };
        config.compression = compression;
        let inference = Inference::new(config, columns);
        if inference.reads(&samples) {
            return Some(inference);
        }
    }
    let (config, columns) = guess::bytes();
    Some(Inference::new(config, columns))
}

/// What all samples are compressed with, and what they hold.
fn decompressed(samples: &[&[u8]]) -> (Option<Compression>, Option<Vec<Vec<u8>>>) {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let config = FormatConfig {
            compression: Some(compression),
            ..FormatConfig::default()
        };
        let Ok(Some(mut decompressor)) = Decompressor::new(&config) else {
            continue;
        };
        let plain = samples
            .iter()
            .map(|sample| decompressor.decompress(sample).map(<[u8]>::to_vec));
        if let Ok(plain) = plain.collect::<Result<Vec<_>, _>>()
            && plain.iter().all(|plain| !plain.is_empty())
        {
            return (Some(compression), Some(plain));
        }
    }
    (None, None)
}

/// What differs from the defaults, as SQL spells it.
fn options(config: &FormatConfig) -> Vec<(&'static str, String)> {
    let format = config.format.map_or("", Format::name);
    let mut options = vec![("format", format.to_owned())];
    let mut add = |given: bool, name, value: &str| {
        options.extend(given.then(|| (name, value.to_owned())));
    };
    add(config.json.unstructured, "json.unstructured", "true");
    add(
        config.framing == Some(Framing::Newline),
        "framing",
        "newline",
    );
    add(
        config.compression == Some(Compression::Gzip),
        "compression",
        "gzip",
    );
    add(
        config.compression == Some(Compression::Zstd),
        "compression",
        "zstd",
    );
    add(
        config.csv.delimiter != ",",
        "csv.delimiter",
        &config.csv.delimiter,
    );
    add(config.csv.header, "csv.header", "true");
    for (name, format) in [
        ("json.timestamp_format", config.json.timestamp_format),
        ("csv.timestamp_format", config.csv.timestamp_format),
        ("msgpack.timestamp_format", config.msgpack.timestamp_format),
        ("cbor.timestamp_format", config.cbor.timestamp_format),
    ] {
        let value = match format {
            TimestampFormat::Rfc3339 | TimestampFormat::Iso8601 => continue,
            TimestampFormat::UnixSeconds => "unix_seconds",
            TimestampFormat::UnixMillis => "unix_millis",
            TimestampFormat::UnixMicros => "unix_micros",
            TimestampFormat::UnixNanos => "unix_nanos",
        };
        add(true, name, value);
    }
    options
}

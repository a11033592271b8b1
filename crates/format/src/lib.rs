//! Payload bytes ↔ Arrow, without I/O.
//!
//! ```text
//! payload ── Decoder::push ──► rows ── Decoder::finish ──► columns ──► … ──► batch ── Encoder::encode ──► Payloads
//!                 │
//!                 └── Rejected: that one message, or some of its frames, do not fit; nothing of them stays behind
//! ```
//!
//! A connector makes a [`Decoder`] or an [`Encoder`] out of a table's [`FormatConfig`] and the columns of its payload
//! (metadata columns are the connector's own affair), pushes messages, and takes columns. Around every
//! format lie two layers of their own, compression and framing. The formats:
//!
//! * `json`: one object a message, one member a column; see the module `json` for its strictness and `json::value` for
//!   what each type takes. With `json.unstructured`, the whole document is the only column.
//! * `debezium_json`: changes of rows in `json`; see the module `debezium`.
//! * `raw_string`: the message is the text of the only column.
//! * `raw_bytes`: the message is the bytes of the only column.
//! * `csv`, `msgpack`, `cbor`, `avro`, `protobuf`: one file each. They take payloads apart into tokens, which go straight
//!   into the columns of `json` by the same rules; see the module `token`.
//! * `sparkplug_b`: one metric a row; the one format that must be told topics. See the module `sparkplug`.
//!
//! [`infer`](infer::infer) goes the other way: from samples to the format and the columns that read them.
//!
//! **Promises.** No bytes make a decoder panic, exhaust the stack or allocate more than a small multiple of their
//! length. A bad payload leaves the rows around it whole. What was read is what was sent: numbers are exact or rounded
//! once, never wrapped; strings are valid UTF-8. What was written is always valid JSON.
//!
//! **Cost.** Decoding is the largest part of a pipeline's CPU time, so JSON goes straight from bytes into the vectors
//! that become Arrow buffers: no tree, no tape, no allocation per message. `benches/` measures it beside others.

mod avro;
mod cbor;
mod compression;
pub mod config;
mod convert;
mod csv;
mod debezium;
mod decoder;
mod encoder;
mod error;
mod framing;
pub mod infer;
mod json;
mod msgpack;
mod payloads;
mod protobuf;
mod raw;
mod rows;
mod sparkplug;
mod strings;
mod token;
mod varlen;

pub use config::{
    AvroOptions, BadData, CborOptions, Compression, CsvOptions, DeadLetterOptions, DecimalEncoding,
    Format, FormatConfig, Framing, JsonOptions, MsgpackOptions, ProtobufOptions, TimestampFormat,
};
pub use debezium::CHANGE;
pub use decoder::{Decoder, Learnt};
pub use encoder::{Encoder, Topics};
pub use error::{BadPayload, FormatError, Rejected};
pub use json::is_json;
pub use payloads::Payloads;

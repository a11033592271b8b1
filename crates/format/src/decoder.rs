//! Payload bytes to Arrow columns, whatever the format.

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};

use crate::avro::AvroDecoder;
use crate::cbor;
use crate::compression::Decompressor;
use crate::config::{Format, FormatConfig};
use crate::csv::CsvDecoder;
use crate::debezium::DebeziumDecoder;
use crate::error::{BadPayload, FormatError, Rejected};
use crate::framing::Framer;
use crate::json::decode::JsonDecoder;
use crate::msgpack;
use crate::protobuf::ProtobufDecoder;
use crate::raw::{Content, RawDecoder};
use crate::sparkplug::SparkplugDecoder;
use crate::token::TokenDecoder;

/// Turns payloads into rows, one after the other, and all of them into columns.
///
/// A payload that is bad leaves nothing behind: the rows before it stay as they are, and the next ones follow them.
/// Memory grows with the rows until [`Decoder::finish`]; the caller bounds rows and bytes (see [`Decoder::bytes`]).
#[derive(Debug)]
pub struct Decoder {
    inner: Inner,
    /// What lies around the format, if there is anything.
    layers: Option<Box<Layers>>,
    bytes: usize,
}

/// A piece of what a decoder knows beyond the payload at hand: names that a message told once, for all that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// What tells it from other pieces.
    pub name: String,
    /// What it is now; nothing if it holds no longer.
    pub value: Option<serde_json::Value>,
}

/// ```text
/// payload ── Decompressor ──► plain bytes ── Framer ──► frames ──► format
/// ```
#[derive(Debug)]
struct Layers {
    decompressor: Option<Decompressor>,
    framer: Option<Framer>,
}

#[derive(Debug)]
enum Inner {
    Json(JsonDecoder),
    Debezium(Box<DebeziumDecoder>),
    Raw(RawDecoder),
    Csv(Box<CsvDecoder>),
    Msgpack(TokenDecoder),
    Cbor(TokenDecoder),
    Avro(Box<AvroDecoder>),
    Protobuf(Box<ProtobufDecoder>),
    Sparkplug(Box<SparkplugDecoder>),
}

impl Decoder {
    /// A decoder without rows. `schema` holds the columns that come out of the payload, and no others.
    ///
    /// # Errors
    /// No format, a column type that the format cannot read, or not the one column that an unstructured format needs.
    pub fn new(config: &FormatConfig, schema: SchemaRef) -> Result<Self, FormatError> {
        let format = config.format.ok_or(FormatError::MissingFormat)?;
        Ok(Self {
            inner: Inner::new(format, config, &schema)?,
            layers: Layers::new(config, format)?.map(Box::new),
            bytes: 0,
        })
    }

    /// Appends what one payload holds; answers the number of rows: 1, unless `framing` or the format makes several
    /// of one payload, or none.
    ///
    /// # Errors
    /// A payload that does not fit, of which nothing was appended; with `framing`, the frames that do not fit.
    #[inline]
    pub fn push(&mut self, payload: &[u8]) -> Result<usize, Rejected> {
        self.push_from(payload, None)
    }

    /// The same, of a message on a topic, for formats that [need](Self::needs_topic) to know it.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    #[inline]
    pub fn push_from(&mut self, payload: &[u8], topic: Option<&str>) -> Result<usize, Rejected> {
        match &mut self.layers {
            None => {
                let rows = self.inner.push(payload, topic)?;
                self.bytes += payload.len();
                Ok(rows)
            }
            Some(layers) => {
                let pushed = layers.push(payload, topic, &mut self.inner);
                if !matches!(&pushed, Err(rejected) if rejected.rows == 0) {
                    self.bytes += layers.bytes(payload);
                }
                pushed
            }
        }
    }

    /// Whether the meaning of a payload depends on the topic of its message.
    #[must_use]
    pub fn needs_topic(&self) -> bool {
        matches!(self.inner, Inner::Sparkplug(_))
    }

    /// Takes up what an earlier decoder of the same format has [learnt](Self::learnt): the last value under each name.
    /// Most formats learn nothing.
    ///
    /// # Errors
    /// A value that this version does not understand.
    pub fn remember(&mut self, memory: Vec<serde_json::Value>) -> Result<(), FormatError> {
        match &mut self.inner {
            Inner::Sparkplug(decoder) => decoder.remember(memory),
            _ => Ok(()),
        }
    }

    /// What has been learnt since the last call, each name once.
    pub fn learnt(&mut self) -> Vec<Learnt> {
        match &mut self.inner {
            Inner::Sparkplug(decoder) => decoder.learnt(),
            _ => Vec::new(),
        }
    }

    /// The number of rows since the last [`Decoder::finish`].
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.inner {
            Inner::Json(decoder) => decoder.rows(),
            Inner::Debezium(decoder) => decoder.rows(),
            Inner::Raw(decoder) => decoder.rows(),
            Inner::Csv(decoder) => decoder.rows(),
            Inner::Msgpack(decoder) | Inner::Cbor(decoder) => decoder.rows(),
            Inner::Avro(decoder) => decoder.rows(),
            Inner::Protobuf(decoder) => decoder.rows(),
            Inner::Sparkplug(decoder) => decoder.rows(),
        }
    }

    /// The bytes of the payloads that those rows came from, decompressed. A column of one batch holds at most 2 GiB of text; finish
    /// long before that, or the payloads that no longer fit are refused.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns of all rows, in the order of the schema and of the same length; the decoder is then without rows
    /// and keeps as much room as was used.
    ///
    /// # Errors
    /// Arrow refuses the columns; that would be a bug in this crate.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, FormatError> {
        self.bytes = 0;
        Ok(match &mut self.inner {
            Inner::Json(decoder) => decoder.finish()?,
            Inner::Debezium(decoder) => decoder.finish()?,
            Inner::Raw(decoder) => decoder.finish()?,
            Inner::Csv(decoder) => decoder.finish()?,
            Inner::Msgpack(decoder) | Inner::Cbor(decoder) => decoder.finish()?,
            Inner::Avro(decoder) => decoder.finish()?,
            Inner::Protobuf(decoder) => decoder.finish()?,
            Inner::Sparkplug(decoder) => decoder.finish()?,
        })
    }
}

impl Inner {
    fn new(format: Format, config: &FormatConfig, schema: &Schema) -> Result<Self, FormatError> {
        if let Some(content) = Content::of(format, config) {
            return Ok(Self::Raw(RawDecoder::new(content, schema)?));
        }
        let tokens = |timestamps| TokenDecoder::new(format.name(), timestamps, schema);
        Ok(match format {
            Format::Json | Format::RawString | Format::RawBytes => {
                Self::Json(JsonDecoder::new(&config.json, schema)?)
            }
            Format::DebeziumJson => {
                Self::Debezium(Box::new(DebeziumDecoder::new(&config.json, schema)?))
            }
            Format::Csv => Self::Csv(Box::new(CsvDecoder::new(&config.csv, schema)?)),
            Format::Msgpack => Self::Msgpack(tokens(config.msgpack.timestamp_format)?),
            Format::Cbor => Self::Cbor(tokens(config.cbor.timestamp_format)?),
            Format::Avro => Self::Avro(Box::new(AvroDecoder::new(&config.avro, schema)?)),
            Format::Protobuf => {
                Self::Protobuf(Box::new(ProtobufDecoder::new(&config.protobuf, schema)?))
            }
            Format::SparkplugB => Self::Sparkplug(Box::new(SparkplugDecoder::new(schema)?)),
        })
    }

    #[inline]
    fn push(&mut self, message: &[u8], topic: Option<&str>) -> Result<usize, BadPayload> {
        match self {
            Self::Json(decoder) => decoder.push(message),
            Self::Debezium(decoder) => decoder.push(message),
            Self::Raw(decoder) => decoder.push(message),
            Self::Csv(decoder) => decoder.push(message),
            Self::Msgpack(decoder) => decoder
                .push(message, &mut msgpack::Scanner::new(message))
                .map_err(|bad| bad.in_hex(message)),
            Self::Cbor(decoder) => decoder
                .push(message, &mut cbor::Scanner::new(message))
                .map_err(|bad| bad.in_hex(message)),
            Self::Avro(decoder) => decoder.push(message).map_err(|bad| bad.in_hex(message)),
            Self::Protobuf(decoder) => decoder.push(message).map_err(|bad| bad.in_hex(message)),
            Self::Sparkplug(decoder) => decoder
                .push(message, topic)
                .map_err(|bad| bad.in_hex(message)),
        }
    }
}

impl Layers {
    fn new(config: &FormatConfig, format: Format) -> Result<Option<Self>, FormatError> {
        let layers = Self {
            decompressor: Decompressor::new(config)?,
            framer: Framer::new(config, format)?,
        };
        let any = layers.decompressor.is_some() || layers.framer.is_some();
        Ok(any.then_some(layers))
    }

    fn push(
        &mut self,
        payload: &[u8],
        topic: Option<&str>,
        inner: &mut Inner,
    ) -> Result<usize, Rejected> {
        let plain = match &mut self.decompressor {
            Some(decompressor) => decompressor.decompress(payload)?,
            None => payload,
        };
        match &self.framer {
            Some(framer) => framer.each(plain, |frame| inner.push(frame, topic)),
            None => Ok(inner.push(plain, topic)?),
        }
    }

    /// How many plain bytes the payload that was pushed last has.
    fn bytes(&self, payload: &[u8]) -> usize {
        let plain = self.decompressor.as_ref().map(Decompressor::plain_bytes);
        plain.unwrap_or(payload.len())
    }
}

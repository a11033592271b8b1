//! Arrow batches to payload bytes, whatever the format.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use crate::avro::AvroEncoder;
use crate::cbor;
use crate::compression::Compressor;
use crate::config::{Format, FormatConfig, TimestampFormat};
use crate::csv::CsvEncoder;
use crate::debezium::DebeziumEncoder;
use crate::error::FormatError;
use crate::json::encode::JsonEncoder;
use crate::msgpack;
use crate::payloads::Payloads;
use crate::protobuf::ProtobufEncoder;
use crate::raw::{Content, RawEncoder};
use crate::rows::{self, Rows};
use crate::sparkplug::{SparkplugEncoder, TOPIC_NEEDED};

/// Tells the topic to which the message of a row goes, or why there is none.
pub type Topics<'a> = dyn FnMut(usize) -> Result<String, String> + 'a;

/// Turns every row of a batch into one payload.
#[derive(Debug)]
pub struct Encoder {
    schema: SchemaRef,
    inner: Inner,
    compressor: Option<Compressor>,
}

#[derive(Debug)]
enum Inner {
    Json(JsonEncoder),
    Debezium(DebeziumEncoder),
    Raw(RawEncoder),
    Csv(CsvEncoder),
    Msgpack(TimestampFormat),
    Cbor(TimestampFormat),
    Avro(Box<AvroEncoder>),
    Protobuf(Box<ProtobufEncoder>),
    Sparkplug(Box<SparkplugEncoder>),
}

impl Inner {
    fn new(format: Format, config: &FormatConfig, schema: &Schema) -> Result<Self, FormatError> {
        if let Some(content) = Content::of(format, config) {
            return Ok(Self::Raw(RawEncoder::new(content, schema)?));
        }
        Ok(match format {
            Format::Json | Format::RawString | Format::RawBytes => {
                Self::Json(JsonEncoder::new(&config.json, schema)?)
            }
            Format::DebeziumJson => Self::Debezium(DebeziumEncoder::new(&config.json, schema)?),
            Format::Csv => Self::Csv(CsvEncoder::new(&config.csv, schema)?),
            Format::Msgpack => {
                rows::check(format.name(), schema)?;
                Self::Msgpack(config.msgpack.timestamp_format)
            }
            Format::Cbor => {
                rows::check(format.name(), schema)?;
                Self::Cbor(config.cbor.timestamp_format)
            }
            Format::Avro => Self::Avro(Box::new(AvroEncoder::new(&config.avro, schema)?)),
            Format::Protobuf => {
                Self::Protobuf(Box::new(ProtobufEncoder::new(&config.protobuf, schema)?))
            }
            Format::SparkplugB => Self::Sparkplug(Box::new(SparkplugEncoder::new(schema)?)),
        })
    }

    fn encode(
        &mut self,
        schema: &Schema,
        batch: &RecordBatch,
        topics: &mut Topics<'_>,
        out: &mut Payloads,
    ) -> Result<(), FormatError> {
        match self {
            Self::Json(encoder) => encoder.encode(batch, out),
            Self::Debezium(encoder) => encoder.encode(batch, out),
            Self::Raw(encoder) => encoder.encode(batch.column(0), out),
            Self::Csv(encoder) => encoder.encode(schema, batch, out),
            Self::Msgpack(timestamps) => {
                let rows = Rows::new(schema, batch);
                for row in 0..batch.num_rows() {
                    let sink = &mut msgpack::Writer(&mut out.buffer);
                    rows::write_row(&rows.0, row, *timestamps, sink);
                    out.end();
                }
            }
            Self::Cbor(timestamps) => {
                let rows = Rows::new(schema, batch);
                for row in 0..batch.num_rows() {
                    let sink = &mut cbor::Writer(&mut out.buffer);
                    rows::write_row(&rows.0, row, *timestamps, sink);
                    out.end();
                }
            }
            Self::Avro(encoder) => encoder.encode(schema, batch, out)?,
            Self::Protobuf(encoder) => encoder.encode(schema, batch, out)?,
            Self::Sparkplug(encoder) => encoder.encode(schema, batch, topics, out)?,
        }
        Ok(())
    }
}

impl Encoder {
    /// An encoder for batches of this schema, which holds the columns that go into the payload, and no others.
    ///
    /// # Errors
    /// No format, a column type that the format cannot write, or not the one column that an unstructured format needs.
    pub fn new(config: &FormatConfig, schema: SchemaRef) -> Result<Self, FormatError> {
        let format = config.format.ok_or(FormatError::MissingFormat)?;
        if config.framing.is_some() {
            return Err(FormatError::Option(
                "option 'framing' is for sources: a sink writes one message a row; leave it out"
                    .to_owned(),
            ));
        }
        Ok(Self {
            inner: Inner::new(format, config, &schema)?,
            schema,
            compressor: Compressor::new(config)?,
        })
    }

    /// Whether messages of the format may go to a topic.
    ///
    /// # Errors
    /// One that the format, which is bound to topics of its own, does not have.
    pub fn check_topic(&self, topic: &str) -> Result<(), FormatError> {
        match self.inner {
            Inner::Sparkplug(_) => {
                SparkplugEncoder::check_topic(topic).map_err(FormatError::Option)
            }
            _ => Ok(()),
        }
    }

    /// Whether all payloads are UTF-8 text, whatever the rows.
    #[must_use]
    pub fn writes_text(&self) -> bool {
        let is_text = match &self.inner {
            Inner::Json(_) | Inner::Debezium(_) | Inner::Csv(_) => true,
            Inner::Raw(encoder) => encoder.writes_text(&self.schema),
            Inner::Msgpack(_)
            | Inner::Cbor(_)
            | Inner::Avro(_)
            | Inner::Protobuf(_)
            | Inner::Sparkplug(_) => false,
        };
        is_text && self.compressor.is_none()
    }

    /// For each row of a batch whether it has a payload of its own; `None` if all have. In `debezium_json` the row in whose
    /// place another comes is told in the record of that.
    pub fn has_record(&self, batch: &RecordBatch) -> Option<Vec<bool>> {
        match &self.inner {
            Inner::Debezium(encoder) => encoder.has_record(batch),
            _ => None,
        }
    }

    /// Appends one payload for each row that [has one](Self::has_record), in their order.
    ///
    /// # Errors
    /// A batch with columns of other types than those of the encoder's schema; nothing was appended then. A row that a
    /// format with a schema of its own cannot express ([`FormatError::Row`]); the rows before it were appended then.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Payloads) -> Result<(), FormatError> {
        self.encode_to(batch, &mut |_| Err(TOPIC_NEEDED.to_owned()), out)
    }

    /// The same, of messages to topics, for a format whose payloads depend on them; the others do not ask.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); what `topics` answers for a row is the fault of that row.
    pub fn encode_to(
        &mut self,
        batch: &RecordBatch,
        topics: &mut Topics<'_>,
        out: &mut Payloads,
    ) -> Result<(), FormatError> {
        self.check(batch)?;
        let (inner, schema) = (&mut self.inner, &self.schema);
        let Some(compressor) = &mut self.compressor else {
            let encoded = inner.encode(schema, batch, topics, out);
            return encoded.inspect_err(|_| out.drop_unfinished());
        };
        let encoded = inner.encode(schema, batch, topics, &mut compressor.plain);
        compressor.compress(out)?;
        encoded
    }

    /// Columns are matched by place, as SQL's `INSERT` does; their names are those of the table.
    fn check(&self, batch: &RecordBatch) -> Result<(), FormatError> {
        let found = batch.schema_ref();
        let types = |schema: &Schema| {
            let types = schema.fields().iter().map(|f| f.data_type().to_string());
            types.collect::<Vec<_>>().join(", ")
        };
        let alike = found.fields().len() == self.schema.fields().len()
            && found
                .fields()
                .iter()
                .zip(self.schema.fields())
                .all(|(found, expected)| found.data_type().equals_datatype(expected.data_type()));
        if alike {
            return Ok(());
        }
        Err(FormatError::SchemaMismatch {
            expected: types(&self.schema),
            found: types(found),
        })
    }
}

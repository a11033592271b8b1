//! Messages to rows: the payload by the table's format, what is around the payload by the connector.
//!
//! ```text
//! message ─┬─ payload ──► headwater_format::Decoder ─┐
//!          └─ topic, … ─► MetadataColumns ───────────┴─► RecordBatch, in the order of the table's columns
//! ```
//!
//! A bad payload never takes the messages around it down: with `bad_data = 'fail'` it ends the job with an error that
//! names the message, with `'drop'` it is counted and left out, with `'dead_letter'` it is counted and leaves beside the
//! rows.

mod memory;

use std::cell::LazyCell;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use headwater_format::{BadData, BadPayload, Decoder, Rejected};

use crate::dead_letter::{DeadLetters, Rejection};
use crate::metrics::Metrics;
use crate::operator::{OperatorConfig, OperatorError, Position, SourceBatch};
use crate::state::State;
use memory::Memory;

/// The metadata columns that a table declares, growing message by message.
pub trait MetadataColumns: Send {
    /// What a connector knows of a message beside its payload.
    type Message<'a>;

    /// Appends this message's values `rows` times, once for every row that its payload held.
    fn append(&mut self, message: &Self::Message<'_>, rows: usize);

    /// The message's topic, for formats in which it says what a payload means; `None` where there is none.
    fn topic<'m>(_message: &'m Self::Message<'_>) -> Option<&'m str> {
        None
    }

    /// One array for each declared metadata column, in the order of the declaration, with all that was appended since
    /// the last call.
    fn finish(&mut self) -> Vec<ArrayRef>;
}

/// The metadata of connectors that have none. Its message is the place that errors name.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetadata;

impl MetadataColumns for NoMetadata {
    type Message<'a> = ();

    fn append(&mut self, (): &(), _rows: usize) {}

    fn finish(&mut self) -> Vec<ArrayRef> {
        Vec::new()
    }
}

/// Where a message comes from; asked for only when it is bad.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// For the error of a job that fails: `message on topic 'a/b'`.
    pub description: String,
    /// The topic, or what the connector has in its place, for a dead letter.
    pub topic: Option<String>,
    /// The message's number, for a dead letter.
    pub position: Option<u64>,
}

/// Collects messages into a batch of a table's physical columns. Bounded by its caller, through [`rows`](Self::rows)
/// and [`bytes`](Self::bytes).
#[derive(Debug)]
pub struct RowDecoder<M> {
    decoder: Decoder,
    needs_topic: bool,
    /// Where what the format learns is kept, if it is.
    memory: Option<Memory>,
    metadata: M,
    /// Whether there is any metadata column: most tables have none, and then it costs nothing.
    has_metadata: bool,
    /// For every column of the table whether it is metadata; both kinds keep their order.
    is_metadata: Vec<bool>,
    schema: SchemaRef,
    bad_data: BadData,
    rejected: DeadLetters,
    metrics: Arc<Metrics>,
}

impl<M: MetadataColumns> RowDecoder<M> {
    /// A decoder for the rows of a table. `metadata` builds the table's metadata columns; where the table declares
    /// another type than it builds, the values are cast.
    ///
    /// # Errors
    /// A payload that the format cannot read into the columns, and a type that metadata cannot be cast to.
    pub fn new(
        config: &OperatorConfig,
        mut metadata: M,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OperatorError> {
        let decoder = Decoder::new(&config.format, config.schema.payload_schema())
            .map_err(|e| OperatorError::fatal(e.to_string()))?;
        let built = metadata.finish();
        let declared: Vec<_> = config.schema.metadata().collect();
        if built.len() != declared.len() {
            return Err(OperatorError::fatal("a metadata column is unknown"));
        }
        let mut is_metadata = vec![false; config.schema.columns.len()];
        for (array, (index, _, field)) in built.iter().zip(&declared) {
            check_type(field.name(), array.data_type(), field.data_type())?;
            is_metadata[*index] = true;
        }
        Ok(Self {
            needs_topic: decoder.needs_topic(),
            decoder,
            memory: None,
            metadata,
            has_metadata: !declared.is_empty(),
            is_metadata,
            schema: config.schema.arrow_schema(),
            bad_data: config.format.bad_data,
            rejected: DeadLetters::default(),
            metrics,
        })
    }

    /// Takes up what the format has learnt from messages of earlier runs, and keeps in this place what it learns now. For
    /// formats in which a message says what later ones mean.
    ///
    /// # Errors
    /// A state folder that cannot be used, or holds what this version does not understand.
    pub fn remembering(mut self, state: &State) -> Result<Self, OperatorError> {
        if self.needs_topic {
            self.memory = Memory::begin(state, &mut self.decoder)?;
        }
        Ok(self)
    }

    /// All batches up to this position are durable, and are about to be acknowledged: stores what they have taught.
    ///
    /// # Errors
    /// A state folder that cannot be used.
    #[inline]
    pub fn committed(&mut self, position: Position) -> Result<(), OperatorError> {
        match &mut self.memory {
            Some(memory) => memory.committed(position),
            None => Ok(()),
        }
    }

    /// Appends the rows of one message, or its dead letter. `place` tells where the message comes from.
    ///
    /// # Errors
    /// [`OperatorError::BadData`] for a payload that does not fit, in a table with `bad_data = 'fail'`.
    #[inline]
    pub fn push(
        &mut self,
        payload: &[u8],
        message: &M::Message<'_>,
        place: impl FnOnce() -> Place,
    ) -> Result<(), OperatorError> {
        let pushed = if self.needs_topic {
            self.decoder.push_from(payload, M::topic(message))
        } else {
            self.decoder.push(payload)
        };
        match pushed {
            Ok(rows) => {
                if self.has_metadata {
                    self.metadata.append(message, rows);
                }
                Ok(())
            }
            Err(rejected) => self.reject_all(payload, message, &rejected, place),
        }
    }

    /// What of one message does not fit; with `framing`, some of its frames may.
    #[cold]
    fn reject_all(
        &mut self,
        payload: &[u8],
        message: &M::Message<'_>,
        rejected: &Rejected,
        place: impl FnOnce() -> Place,
    ) -> Result<(), OperatorError> {
        if self.has_metadata {
            self.metadata.append(message, rejected.rows);
        }
        // Nobody asks for it when rows are dropped, unless the drop is told.
        let place = LazyCell::new(place);
        for bad in &rejected.bad {
            self.reject(bad.part().unwrap_or(payload), bad, &place)?;
        }
        Ok(())
    }

    fn reject(
        &mut self,
        payload: &[u8],
        bad: &BadPayload,
        place: &LazyCell<Place, impl FnOnce() -> Place>,
    ) -> Result<(), OperatorError> {
        match self.bad_data {
            BadData::Fail => Err(OperatorError::BadData(format!(
                "{}: {bad}; with bad_data = 'drop' such messages are counted and left out, \
                 with 'dead_letter' they are kept elsewhere",
                place.description
            ))),
            BadData::Drop => {
                let reason = || format!("{}: {bad}", place.description);
                self.metrics.drop_bad_data(1, reason);
                Ok(())
            }
            BadData::DeadLetter => {
                self.rejected.push(&Rejection {
                    payload,
                    topic: place.topic.as_deref(),
                    error: bad.reason(),
                    position: place.position,
                });
                self.metrics.add_dead_letters(1);
                Ok(())
            }
        }
    }

    /// Rows and dead letters since the last [`finish`](Self::finish).
    pub fn rows(&self) -> usize {
        self.decoder.rows() + self.rejected.rows()
    }

    /// Payload bytes of those.
    pub fn bytes(&self) -> usize {
        self.decoder.bytes() + self.rejected.bytes()
    }

    /// All rows since the last call, which may be none, and the dead letters among them; `position` is that of the last
    /// message. Counts the rows.
    ///
    /// # Errors
    /// Arrow refuses the columns, which would be a bug.
    pub fn finish(&mut self, position: Position) -> Result<SourceBatch, OperatorError> {
        if let Some(memory) = &mut self.memory {
            memory.note(position, &mut self.decoder);
        }
        let rejected = self.rejected.finish();
        let rejected =
            rejected.map_err(|e| OperatorError::caused_by("cannot build dead letters", e))?;
        Ok(SourceBatch {
            rows: self.finish_rows()?,
            rejected,
            position,
        })
    }

    fn finish_rows(&mut self) -> Result<RecordBatch, OperatorError> {
        let rows = self.decoder.rows();
        let refused = |e| OperatorError::caused_by("cannot build a batch", e);
        let mut payload = self.decoder.finish().map_err(refused)?.into_iter();
        let mut metadata = self.metadata.finish().into_iter();
        let mut columns = Vec::with_capacity(self.is_metadata.len());
        for (is_metadata, field) in self.is_metadata.iter().zip(self.schema.fields()) {
            let column = if *is_metadata {
                metadata.next()
            } else {
                payload.next()
            };
            let column = column.ok_or_else(|| OperatorError::fatal("a column is missing"))?;
            columns.push(fit(column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| OperatorError::caused_by("cannot build a batch", e))?;
        self.metrics.add_rows(rows as u64);
        Ok(batch)
    }
}

fn check_type(column: &str, from: &DataType, to: &DataType) -> Result<(), OperatorError> {
    if from == to || can_cast_types(from, to) {
        return Ok(());
    }
    let message = format!("column '{column}' has the type {to}, but its metadata is {from}");
    Err(OperatorError::fatal(message))
}

fn fit(column: ArrayRef, to: &DataType) -> Result<ArrayRef, OperatorError> {
    if column.data_type() == to {
        return Ok(column);
    }
    cast(&column, to).map_err(|e| OperatorError::caused_by("cannot cast metadata", e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{Field, Fields};
    use headwater_format::{Format, FormatConfig};

    use super::*;
    use crate::table::{Column, ColumnOrigin, TableSchema};

    /// A single column, `topic`.
    #[derive(Default)]
    struct Topics(Vec<String>);

    impl MetadataColumns for Topics {
        type Message<'a> = &'a str;

        fn append(&mut self, topic: &&str, rows: usize) {
            self.0
                .extend(std::iter::repeat_n((*topic).to_owned(), rows));
        }

        fn finish(&mut self) -> Vec<ArrayRef> {
            vec![Arc::new(StringArray::from(std::mem::take(&mut self.0)))]
        }
    }

    fn config(topic: DataType, bad_data: BadData) -> OperatorConfig {
        let column = |name, data_type, origin| Column {
            field: Arc::new(Field::new(name, data_type, true)),
            origin,
        };
        OperatorConfig {
            schema: TableSchema {
                columns: vec![
                    column("topic", topic, ColumnOrigin::Metadata("topic".to_owned())),
                    column("v", DataType::Int64, ColumnOrigin::Payload),
                ],
            },
            format: FormatConfig {
                format: Some(Format::Json),
                bad_data,
                ..FormatConfig::default()
            },
        }
    }

    #[test]
    fn columns_come_in_the_order_of_the_table_and_bad_payloads_are_dropped() {
        let metrics = Arc::new(Metrics::default());
        let config = config(DataType::LargeUtf8, BadData::Drop);
        let mut decoder =
            RowDecoder::new(&config, Topics::default(), Arc::clone(&metrics)).unwrap();
        for (topic, payload) in [
            ("a", r#"{"v": 1}"#),
            ("b", "nonsense"),
            ("c", r#"{"v": 3}"#),
        ] {
            decoder
                .push(payload.as_bytes(), &topic, Place::default)
                .unwrap();
        }
        assert_eq!(decoder.rows(), 2);
        let batch = decoder.finish(Position(3)).unwrap().rows;
        let topics = cast(batch.column(0), &DataType::Utf8).unwrap();
        assert_eq!(batch.column(0).data_type(), &DataType::LargeUtf8);
        assert_eq!(
            topics.as_ref(),
            &StringArray::from(vec!["a", "c"]) as &dyn arrow::array::Array
        );
        assert_eq!(
            batch.column(1).as_ref(),
            &Int64Array::from(vec![1, 3]) as &dyn arrow::array::Array
        );
        assert_eq!(decoder.finish(Position(3)).unwrap().rows.num_rows(), 0);
        let counted = metrics.snapshot();
        assert_eq!((counted.rows, counted.bad_data), (2, 1));
    }

    #[test]
    fn a_bad_payload_fails_with_its_place_and_a_remedy() {
        let config = config(DataType::Utf8, BadData::Fail);
        let mut decoder = RowDecoder::new(&config, Topics::default(), Arc::default()).unwrap();
        let place = || Place {
            description: "topic 'a'".to_owned(),
            ..Place::default()
        };
        let error = decoder
            .push(b"nonsense", &"a", place)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("bad data: topic 'a': "), "{error}");
        assert!(error.contains("bad_data = 'drop'"), "{error}");
    }

    #[test]
    fn a_bad_payload_becomes_a_dead_letter_beside_the_rows() {
        let metrics = Arc::new(Metrics::default());
        let config = config(DataType::Utf8, BadData::DeadLetter);
        let mut decoder =
            RowDecoder::new(&config, Topics::default(), Arc::clone(&metrics)).unwrap();
        let payloads: [&[u8]; 3] = [br#"{"v": 1}"#, b"\xFFsense", br#"{"v": 3}"#];
        for (position, payload) in (0..).zip(payloads) {
            let place = || Place {
                topic: Some("a".to_owned()),
                position: Some(position),
                ..Place::default()
            };
            decoder.push(payload, &"a", place).unwrap();
        }
        assert_eq!(decoder.rows(), 3);
        let batch = decoder.finish(Position(2)).unwrap();
        assert_eq!((batch.rows.num_rows(), batch.position), (2, Position(2)));
        let rejected = batch.rejected.unwrap();
        assert_eq!(rejected.num_rows(), 1);
        assert_eq!(rejected.column(0).as_binary::<i32>().value(0), b"\xFFsense");
        assert_eq!(
            rejected
                .column(4)
                .as_primitive::<arrow::datatypes::Int64Type>()
                .value(0),
            1
        );
        let counted = metrics.snapshot();
        assert_eq!(
            (counted.rows, counted.bad_data, counted.dead_letters),
            (2, 1, 1)
        );
        assert!(decoder.finish(Position(2)).unwrap().rejected.is_none());
    }

    #[test]
    fn a_type_that_metadata_cannot_have_is_refused() {
        let config = config(DataType::Struct(Fields::empty()), BadData::Fail);
        let error = RowDecoder::new(&config, Topics::default(), Arc::default());
        insta::assert_snapshot!(error.err().unwrap(), @"column 'topic' has the type Struct(), but its metadata is Utf8");
    }
}

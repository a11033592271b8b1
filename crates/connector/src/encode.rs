//! Rows to payloads, for sinks: the mirror of [`decode`](crate::decode).
//!
//! A row that the format cannot express (a null for an Avro field that takes none) is bad data of that row: it is
//! rejected as the JSON object that it would have been, and the others go on.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use headwater_format::{Encoder, FormatConfig, FormatError, Payloads};

use crate::dead_letter::{Documents, Rejection, Rejects};
use crate::operator::OperatorError;

/// Encodes the payloads of a table's rows, and follows `bad_data`.
#[derive(Debug)]
pub struct RowEncoder {
    encoder: Encoder,
    payloads: Payloads,
    rejects: Rejects,
}

impl RowEncoder {
    /// An encoder for the columns that go into the payload.
    ///
    /// # Errors
    /// What the format cannot write.
    pub fn new(
        format: &FormatConfig,
        schema: SchemaRef,
        rejects: Rejects,
    ) -> Result<Self, FormatError> {
        Ok(Self {
            encoder: Encoder::new(format, schema)?,
            payloads: Payloads::new(),
            rejects,
        })
    }

    /// Encodes the payload columns of a batch. The payloads are those of the rows that could be encoded and that have one of
    /// their own; unless all have, the answer tells which these are. `topic` tells where the message of a row goes, or why
    /// nowhere: few rows are asked for it, unless the format's payloads depend on it.
    ///
    /// # Errors
    /// [`OperatorError::BadData`] in a table with `bad_data = 'fail'`; columns that are not the table's.
    pub fn encode(
        &mut self,
        columns: &RecordBatch,
        mut topic: impl FnMut(usize) -> Result<String, String>,
    ) -> Result<Option<Kept>, OperatorError> {
        self.payloads.clear();
        let rows = columns.num_rows();
        let mut bad: Vec<(usize, String)> = Vec::new();
        let mut from = 0;
        while from < rows {
            let rest = columns.slice(from, rows - from);
            let mut topics = |row| topic(from + row);
            match self
                .encoder
                .encode_to(&rest, &mut topics, &mut self.payloads)
            {
                Ok(()) => break,
                Err(FormatError::Row { row, reason }) => {
                    bad.push((from + row, reason));
                    from += row + 1;
                }
                Err(other) => {
                    return Err(OperatorError::caused_by("rows cannot be encoded", other));
                }
            }
        }
        if bad.is_empty() {
            return Ok(self.encoder.has_record(columns).map(|own| Kept(own.into())));
        }
        self.reject(columns, &bad, topic)?;
        Ok(Some(Kept::without(&bad, rows)))
    }

    #[cold]
    fn reject(
        &self,
        columns: &RecordBatch,
        bad: &[(usize, String)],
        mut topic: impl FnMut(usize) -> Result<String, String>,
    ) -> Result<(), OperatorError> {
        let broken = |e| OperatorError::caused_by("cannot write a row as a dead letter", e);
        let mut documents = Documents::new(columns).map_err(broken)?;
        for (row, reason) in bad {
            self.rejects.reject(&Rejection {
                payload: &documents.row(*row).map_err(broken)?,
                topic: topic(*row).ok().as_deref(),
                error: reason,
                position: None,
            })?;
        }
        Ok(())
    }

    /// What encodes, to be asked about its format.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What was encoded last.
    pub fn payloads(&mut self) -> &mut Payloads {
        &mut self.payloads
    }
}

/// Which rows of a batch have a payload.
#[derive(Debug)]
pub struct Kept(BooleanArray);

impl Kept {
    fn without(bad: &[(usize, String)], rows: usize) -> Self {
        let mut kept = vec![true; rows];
        for (row, _) in bad {
            kept[*row] = false;
        }
        Self(kept.into())
    }

    /// These rows of the batch, or of another with columns of the same rows.
    ///
    /// # Errors
    /// A batch with another number of rows.
    pub fn of(&self, batch: &RecordBatch) -> Result<RecordBatch, OperatorError> {
        filter_record_batch(batch, &self.0)
            .map_err(|e| OperatorError::caused_by("cannot leave rows out", e))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use headwater_format::{BadData, Compression, Format};

    use super::*;

    const AVRO: &str =
        r#"{"type": "record", "name": "r", "fields": [{"name": "v", "type": "int"}]}"#;

    fn encoder(bad_data: BadData, compression: Option<Compression>) -> (RowEncoder, RecordBatch) {
        let values = [Some(1), None, Some(3), Some(1 << 40), None];
        let field = Field::new("v", DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field]));
        let column = Arc::new(Int64Array::from(values.to_vec()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        let mut config = FormatConfig {
            format: Some(Format::Avro),
            bad_data,
            compression,
            ..FormatConfig::default()
        };
        config.avro.schema = Some(AVRO.to_owned());
        let rejects = Rejects::new(bad_data, Arc::default());
        let encoder = RowEncoder::new(&config, schema, rejects).unwrap();
        (encoder, batch)
    }

    #[test]
    fn rows_that_cannot_be_expressed_are_left_out_and_kept_as_letters() {
        for compression in [None, Some(Compression::Gzip)] {
            let (mut encoder, batch) = encoder(BadData::DeadLetter, compression);
            let topic = |row| Ok(format!("t/{row}"));
            let kept = encoder.encode(&batch, topic).unwrap().unwrap();
            let values = kept.of(&batch).unwrap();
            let values = values.column(0).as_primitive::<Int64Type>().values();
            assert_eq!(values.as_ref(), [1, 3]);
            assert_eq!(encoder.payloads().len(), 2);
            let letters = encoder.rejects.take().unwrap();
            let text = |column: &str| -> Vec<_> {
                let column = letters[0].column_by_name(column).unwrap();
                let bytes = arrow::compute::cast(column, &DataType::Binary).unwrap();
                let bytes = bytes.as_binary::<i32>().iter().flatten();
                bytes
                    .map(|b| String::from_utf8(b.to_vec()).unwrap())
                    .collect()
            };
            let payloads = [r#"{"v":null}"#, r#"{"v":1099511627776}"#, r#"{"v":null}"#];
            assert_eq!(text("payload"), payloads);
            assert_eq!(text("topic"), ["t/1", "t/3", "t/4"]);
            assert_eq!(
                text("error")[1],
                "field 'v': 1099511627776 is beyond an int"
            );
        }
    }

    #[test]
    fn with_fail_the_first_of_them_is_the_error() {
        let (mut encoder, batch) = encoder(BadData::Fail, None);
        let error = encoder
            .encode(&batch, |_| Err(String::new()))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("bad data: field 'v': expected an integer, found null; with"),
            "{error}"
        );
        assert!(
            encoder
                .encode(&batch.slice(2, 1), |_| Err(String::new()))
                .unwrap()
                .is_none()
        );
        assert_eq!(encoder.payloads().len(), 1);
    }
}

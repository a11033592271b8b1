//! The format `avro` (specification 1.12): one datum a payload, by the schema that the table names.
//!
//! A message is in the single-object encoding (two marker bytes, the fingerprint of the schema, the datum) or, with
//! `avro.raw_datums`, the datum alone. The schema is a record; its fields are columns by name. Logical types have their
//! meaning; enums are text, fixed are bytes, maps are objects.
//!
//! The datum is read here, token by token, and not by a library: those at hand build a tree of every message and recurse
//! as deep as the bytes tell them to, or lose the rows around a bad one. The tests hold this against `arrow-avro`.

mod read;
mod schema;
mod write;

pub(crate) use read::AvroDecoder;
pub(crate) use write::AvroEncoder;

use crate::config::AvroOptions;
use crate::error::FormatError;
use schema::Schema;

/// What single objects begin with.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// The schema that the options name.
///
/// # Errors
/// None or two of them, a file that cannot be read, or no schema of a record.
fn schema_of(options: &AvroOptions) -> Result<Schema, FormatError> {
    let (option, text) = match (&options.schema, &options.schema_file) {
        (Some(text), None) => ("avro.schema", text.clone()),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|e| {
                FormatError::Option(format!(
                    "option 'avro.schema_file': '{path}' cannot be read: {e}"
                ))
            })?;
            ("avro.schema_file", text)
        }
        _ => {
            return Err(FormatError::Option(
                "format 'avro' needs one of the options 'avro.schema' and 'avro.schema_file'"
                    .to_owned(),
            ));
        }
    };
    Schema::parse(&text).map_err(|e| FormatError::Option(format!("option '{option}': {e}")))
}

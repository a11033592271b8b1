//! The format `protobuf` (proto2, proto3 and editions): one message a payload, of a type that the table names.
//!
//! The type comes from a `.proto` file, which is compiled here (no `protoc` is needed), or from a compiled descriptor
//! set. Fields are columns by their name in the `.proto`. As everywhere in Protocol Buffers, a field without presence
//! that is not there has its default (0, empty); one with presence is null. Enums are text, maps are objects,
//! `google.protobuf.Timestamp` is a timestamp, and its wrappers (`DoubleValue`, …) are what they wrap or null.

mod read;
mod write;

use std::path::Path;

pub(crate) use read::ProtobufDecoder;
pub(crate) use write::ProtobufEncoder;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::config::ProtobufOptions;
use crate::error::FormatError;
use crate::token::check_columns;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Whether a message only wraps a scalar, to tell null from its default.
fn is_wrapper(message: &MessageDescriptor) -> bool {
    let name = message.full_name().strip_prefix("google.protobuf.");
    let wrapped = name.and_then(|name| name.strip_suffix("Value"));
    let scalars = [
        "Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes",
    ];
    wrapped.is_some_and(|wrapped| scalars.contains(&wrapped))
}

/// The message type that the options name, which has the table's columns.
///
/// # Errors
/// None or two descriptions, a file that cannot be read or compiled, an unknown message, a column that is no field.
fn message_of(
    options: &ProtobufOptions,
    schema: &arrow::datatypes::Schema,
) -> Result<MessageDescriptor, FormatError> {
    let pool = match (&options.file, &options.descriptor_set) {
        (Some(file), None) => compile(file, &options.include)?,
        (None, Some(file)) => load(file)?,
        _ => {
            return Err(FormatError::Option(
                "format 'protobuf' needs one of the options 'protobuf.file' and 'protobuf.descriptor_set'"
                    .to_owned(),
            ));
        }
    };
    let message = find(&pool, options)?;
    let fields: Vec<_> = message.fields().map(|f| f.name().to_owned()).collect();
    let names: Vec<_> = fields.iter().map(String::as_str).collect();
    let what = format!("message '{}'", message.full_name());
    check_columns(&what, schema, &names)?;
    Ok(message)
}

fn compile(file: &str, include: &[String]) -> Result<DescriptorPool, FormatError> {
    let path = Path::new(file);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut folders = vec![folder.unwrap_or(Path::new("."))];
    if !include.is_empty() {
        folders = include.iter().map(Path::new).collect();
    }
    let failed = |e: protox::Error| {
        FormatError::Option(format!(
            "option 'protobuf.file': '{file}' cannot be compiled: {e}"
        ))
    };
    let mut compiler = protox::Compiler::new(folders).map_err(failed)?;
    compiler.include_imports(true);
    compiler.open_file(path).map_err(failed)?;
    Ok(compiler.descriptor_pool())
}

fn load(file: &str) -> Result<DescriptorPool, FormatError> {
    let failed =
        |e: String| FormatError::Option(format!("option 'protobuf.descriptor_set': '{file}' {e}"));
    let bytes = std::fs::read(file).map_err(|e| failed(format!("cannot be read: {e}")))?;
    DescriptorPool::decode(&bytes[..]).map_err(|e| failed(format!("is no descriptor set: {e}")))
}

fn find(
    pool: &DescriptorPool,
    options: &ProtobufOptions,
) -> Result<MessageDescriptor, FormatError> {
    // Imports of the specification's own types are not what somebody looks for.
    let messages = pool.all_messages().filter(|message| {
        !message.full_name().starts_with("google.protobuf.") && !message.is_map_entry()
    });
    let mut messages: Vec<_> = messages.collect();
    let names = |messages: &[MessageDescriptor]| {
        let names: Vec<_> = messages
            .iter()
            .map(|m| format!("'{}'", m.full_name()))
            .collect();
        names.join(", ")
    };
    let Some(name) = &options.message_name else {
        return match (messages.len(), messages.pop()) {
            (1, Some(only)) => Ok(only),
            (_, last) => {
                messages.extend(last);
                Err(FormatError::Option(format!(
                    "missing option 'protobuf.message_name'; one of {}",
                    names(&messages)
                )))
            }
        };
    };
    let known = pool.get_message_by_name(name);
    let by_short_name = || {
        messages
            .iter()
            .find(|message| message.name() == name)
            .cloned()
    };
    known.or_else(by_short_name).ok_or_else(|| {
        FormatError::Option(format!(
            "option 'protobuf.message_name': there is no message '{name}'; one of {}",
            names(&messages)
        ))
    })
}

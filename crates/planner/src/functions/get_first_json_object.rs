//! `get_first_json_object(json, path)`: the first match of a JSONPath, as JSON text.

use arrow::datatypes::DataType;

use super::json_path::{JsonPathFunction, texts};

/// The first match as JSON text (a string in its quotes); null if there is none.
pub(super) fn function() -> JsonPathFunction {
    JsonPathFunction::new("get_first_json_object", DataType::Utf8, |lookup| {
        texts(lookup.map(|matches| matches.first().map(ToString::to_string)))
    })
}

//! `extract_json_string(json, path)`: the first match of a JSONPath, if it is a string.

use arrow::datatypes::DataType;

use super::json_path::{JsonPathFunction, texts};

/// The first match without its quotes and escapes; null if there is none or it is not a string.
pub(super) fn function() -> JsonPathFunction {
    JsonPathFunction::new("extract_json_string", DataType::Utf8, |lookup| {
        texts(lookup.map(|matches| {
            let text = matches.first().and_then(|value| value.as_str());
            text.map(str::to_owned)
        }))
    })
}

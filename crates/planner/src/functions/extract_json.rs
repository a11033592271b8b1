//! `extract_json(json, path)`: all matches of a JSONPath, as JSON texts.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::DataType;

use super::json_path::{JsonPathFunction, Lookup};

/// All matches, each as JSON text, as a list; an empty list if there are none, null if the document is no JSON.
pub(super) fn function() -> JsonPathFunction {
    let texts = DataType::new_list(DataType::Utf8, true);
    JsonPathFunction::new("extract_json", texts, lists)
}

fn lists(lookup: &Lookup) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for matches in lookup.map(|matches| {
        let texts = matches.iter().map(ToString::to_string);
        Some(texts.collect::<Vec<_>>())
    }) {
        let valid = matches.is_some();
        for text in matches.into_iter().flatten() {
            lists.values().append_value(text);
        }
        lists.append(valid);
    }
    Arc::new(lists.finish())
}

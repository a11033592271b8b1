//! `extract_json(json, path)`: all matches of a JSONPath, as JSON texts.

use std::sync::Arc;

use arrow::array::{ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};

use super::json_path::{self, Lookup};

/// All matches, each as JSON text, as a list; an empty list if there are none, null if the document is no JSON.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExtractJson {
    signature: Signature,
}

impl Default for ExtractJson {
    fn default() -> Self {
        Self {
            signature: json_path::signature(),
        }
    }
}

impl ScalarUDFImpl for ExtractJson {
    fn name(&self) -> &'static str {
        "extract_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Utf8, true))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        json_path::check_path(self.name(), &args)?;
        let data_type = self.return_type(&[])?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lookup = Lookup::new(self.name(), &args)?;
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
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

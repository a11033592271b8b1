//! `extract_json_string(json, path)`: the first match of a JSONPath, if it is a string.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};

use super::json_path::{self, Lookup};

/// The first match without its quotes and escapes; null if there is none or it is not a string.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExtractJsonString {
    signature: Signature,
}

impl Default for ExtractJsonString {
    fn default() -> Self {
        Self {
            signature: json_path::signature(),
        }
    }
}

impl ScalarUDFImpl for ExtractJsonString {
    fn name(&self) -> &'static str {
        "extract_json_string"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        json_path::check_path(self.name(), &args)?;
        let data_type = self.return_type(&[])?;
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lookup = Lookup::new(self.name(), &args)?;
        let first = lookup.map(|matches| {
            let text = matches.first().and_then(|value| value.as_str());
            text.map(str::to_owned)
        });
        Ok(ColumnarValue::Array(json_path::texts(first)))
    }
}

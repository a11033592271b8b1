//! `get_first_json_object(json, path)`: the first match of a JSONPath, as JSON text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
};

use super::json_path::{self, Lookup};

/// The first match as JSON text (a string in its quotes); null if there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct GetFirstJsonObject {
    signature: Signature,
}

impl Default for GetFirstJsonObject {
    fn default() -> Self {
        Self {
            signature: json_path::signature(),
        }
    }
}

impl ScalarUDFImpl for GetFirstJsonObject {
    fn name(&self) -> &'static str {
        "get_first_json_object"
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
        let first = lookup.map(|matches| matches.first().map(ToString::to_string));
        Ok(ColumnarValue::Array(json_path::texts(first)))
    }
}

//! `serialize_json_union(data -> 'a')`: what `->` gives, as the JSON text that Arroyo writes.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{StringBuilder, UnionArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_functions_json::{JSON_UNION_DATA_TYPE, JsonUnionEncoder, JsonUnionValue};

/// JSON text: a string in its quotes, a number in the fewest digits (`7` for `7.0`), and `null` for what is null or missing.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SerializeJsonUnion {
    signature: Signature,
}

impl Default for SerializeJsonUnion {
    fn default() -> Self {
        let union = JSON_UNION_DATA_TYPE.clone();
        Self {
            signature: Signature::exact(vec![union], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for SerializeJsonUnion {
    fn name(&self) -> &'static str {
        "serialize_json_union"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("'{}' takes one argument", self.name());
        };
        let array = value.to_array(args.number_rows)?;
        let values = array.as_any().downcast_ref::<UnionArray>().cloned();
        let Some(values) = values.and_then(JsonUnionEncoder::from_union) else {
            return exec_err!("'{}' takes what -> gives", self.name());
        };
        let mut texts = StringBuilder::with_capacity(values.len(), 8 * values.len());
        for row in 0..values.len() {
            write(&mut texts, values.get_value(row))
                .map_err(|error| exec_datafusion_err!("cannot write JSON: {error}"))?;
            texts.append_value("");
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

/// Writes into the row that has not been appended yet.
fn write(text: &mut StringBuilder, value: JsonUnionValue<'_>) -> std::fmt::Result {
    match value {
        JsonUnionValue::JsonNull => text.write_str("null"),
        JsonUnionValue::Bool(value) => write!(text, "{value}"),
        JsonUnionValue::Int(value) => write!(text, "{value}"),
        JsonUnionValue::Float(value) => write!(text, "{value}"),
        JsonUnionValue::Str(value) => write!(text, "{}", serde_json::Value::from(value)),
        JsonUnionValue::Array(value) | JsonUnionValue::Object(value) => text.write_str(value),
    }
}

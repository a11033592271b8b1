//! `now()`: the moment at which a batch is computed, in UTC.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use chrono::Utc;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// `now()`, with the aliases `current_timestamp`, and `wallclock` as in Arroyo.
///
/// DataFusion's own is replaced by a constant when a query is planned; a query that runs for ever needs the moment of
/// each batch. Volatile, so that nothing folds it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    signature: Signature,
    aliases: [String; 2],
}

impl Default for Now {
    fn default() -> Self {
        Self {
            signature: Signature::nullary(Volatility::Volatile),
            aliases: ["current_timestamp", "wallclock"].map(str::to_owned),
        }
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &'static str {
        "now"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = DataType::Timestamp(TimeUnit::Nanosecond, None);
        Ok(Arc::new(Field::new(self.name(), data_type, false)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let nanos = Utc::now().timestamp_nanos_opt();
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(
            nanos, None,
        )))
    }
}

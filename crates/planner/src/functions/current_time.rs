//! `current_time()`: the time of day at which a batch is computed, in UTC.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use chrono::Utc;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Without leap seconds, as Unix time counts.
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// `current_time()`, with the alias `localtime`.
///
/// DataFusion's own is replaced by a constant when a query is planned; a query that runs for ever needs the time of
/// each batch. Volatile, so that nothing folds it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CurrentTime {
    signature: Signature,
    aliases: [String; 1],
}

impl Default for CurrentTime {
    fn default() -> Self {
        Self {
            signature: Signature::nullary(Volatility::Volatile),
            aliases: ["localtime".to_owned()],
        }
    }
}

impl ScalarUDFImpl for CurrentTime {
    fn name(&self) -> &'static str {
        "current_time"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Time64(TimeUnit::Nanosecond))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = DataType::Time64(TimeUnit::Nanosecond);
        Ok(Arc::new(Field::new(self.name(), data_type, false)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let nanos = Utc::now().timestamp_nanos_opt();
        let nanos = nanos.map(|nanos| nanos.rem_euclid(NANOS_PER_DAY));
        Ok(ColumnarValue::Scalar(ScalarValue::Time64Nanosecond(nanos)))
    }
}

//! The functions that SQL can call, beyond DataFusion's own.
//!
//! To add one: a file here, a line in [`register_all`], a case in `sql-tests/function/`.

mod current_date;
mod current_time;
mod exact;
mod extract_json;
mod extract_json_string;
mod get_first_json_object;
mod json_path;
mod not_null;
mod now;
mod serialize_json_union;
mod window;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

pub(crate) use self::exact::exact;
pub(crate) use self::not_null::not_null;
pub(crate) use self::serialize_json_union::SerializeJsonUnion;
pub(crate) use self::window::{WindowFunction, interval, length, window_type};

/// Functions of DataFusion that speak of files, of which a stream has none.
const WITHOUT_MEANING: [&str; 2] = ["input_file_name", "file_row_index"];

/// Aggregates of DataFusion that are known by another name, too.
const ALIASES: [(&str, &str); 1] = [("var_samp", "variance")];

/// Adds our functions to DataFusion's, replacing those that would be computed once for ever.
///
/// # Errors
/// The registry refuses one, which is a bug.
pub(crate) fn register_all(registry: &mut dyn FunctionRegistry) -> Result<()> {
    datafusion_functions_json::register_all(registry)?;
    for function in [
        ScalarUDF::from(current_date::CurrentDate::default()),
        ScalarUDF::from(current_time::CurrentTime::default()),
        ScalarUDF::from(extract_json::function()),
        ScalarUDF::from(extract_json_string::function()),
        ScalarUDF::from(get_first_json_object::function()),
        ScalarUDF::from(now::Now::default()),
        ScalarUDF::from(SerializeJsonUnion::default()),
    ] {
        registry.register_udf(Arc::new(function))?;
    }
    for function in WindowFunction::all() {
        registry.register_udf(Arc::new(ScalarUDF::from(function)))?;
    }
    for (name, alias) in ALIASES {
        let function = registry.udaf(name)?.as_ref().clone();
        registry.register_udaf(Arc::new(function.with_aliases([alias])))?;
    }
    for name in WITHOUT_MEANING {
        registry.deregister_udf(name)?;
    }
    Ok(())
}

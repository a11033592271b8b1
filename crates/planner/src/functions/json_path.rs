//! What the functions over JSONPath (RFC 9535) have in common: a column of documents and one constant path.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};
use serde_json::Value;
use serde_json_path::JsonPath;

/// `function(json TEXT, path TEXT)`.
pub(super) fn signature() -> Signature {
    Signature::string(2, Volatility::Immutable)
}

/// Checks when a query is planned that the path is a constant and well formed.
///
/// # Errors
/// It is not.
pub(super) fn check_path(function: &str, args: &ReturnFieldArgs) -> Result<()> {
    match args.scalar_arguments.get(1).copied().flatten() {
        Some(path) => parse(function, path).map(|_| ()),
        None => plan_err!("the path of '{function}' must be a constant"),
    }
}

/// The documents of a batch and the path to look up in each.
pub(super) struct Lookup {
    documents: StringArray,
    path: Option<JsonPath>,
}

impl Lookup {
    /// Takes the arguments of a call.
    ///
    /// # Errors
    /// The path is not a constant or not well formed, both of which [`check_path`] has refused before.
    pub(super) fn new(function: &str, args: &ScalarFunctionArgs) -> Result<Self> {
        let arrays = args.args.first().zip(args.args.get(1));
        let Some((documents, path)) = arrays else {
            return exec_err!("'{function}' takes a document and a path");
        };
        let path = match path {
            datafusion::logical_expr::ColumnarValue::Scalar(path) => parse(function, path)?,
            datafusion::logical_expr::ColumnarValue::Array(_) => {
                return exec_err!("the path of '{function}' must be a constant");
            }
        };
        let documents = documents.to_array(args.number_rows)?;
        let documents = cast(&documents, &DataType::Utf8)?;
        Ok(Self {
            documents: documents.as_string::<i32>().clone(),
            path,
        })
    }

    /// What `select` makes of the matches in each document. Null where there is no document or it is no JSON: one bad
    /// message must not end the stream.
    pub(super) fn map<'a, T: 'a>(
        &'a self,
        select: impl Fn(Vec<&Value>) -> Option<T> + 'a,
    ) -> impl Iterator<Item = Option<T>> + 'a {
        (0..self.documents.len()).map(move |row| {
            let path = self
                .path
                .as_ref()
                .filter(|_| self.documents.is_valid(row))?;
            let document: Value = serde_json::from_str(self.documents.value(row)).ok()?;
            select(path.query(&document).all())
        })
    }
}

/// A path; none if it is null.
fn parse(function: &str, path: &ScalarValue) -> Result<Option<JsonPath>> {
    let Some(Some(path)) = path.try_as_str() else {
        return Ok(None);
    };
    JsonPath::parse(path).map(Some).map_err(|error| {
        plan_datafusion_err!("'{path}' is not a JSONPath that '{function}' understands: {error}")
    })
}

/// Text columns as the answer of a function.
pub(super) fn texts(texts: impl Iterator<Item = Option<String>>) -> Arc<StringArray> {
    Arc::new(texts.collect())
}

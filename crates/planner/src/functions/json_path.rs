//! What the functions over JSONPath (RFC 9535) have in common: a column of documents and one constant path.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::Value;
use serde_json_path::JsonPath;

/// `function(json TEXT, path TEXT)`.
pub(super) struct JsonPathFunction {
    name: &'static str,
    data_type: DataType,
    answer: fn(&Lookup) -> ArrayRef,
    signature: Signature,
}

impl JsonPathFunction {
    /// The function of this name, whose answer, a value of this type for each document, is made of what the path finds.
    pub(super) fn new(
        name: &'static str,
        data_type: DataType,
        answer: fn(&Lookup) -> ArrayRef,
    ) -> Self {
        Self {
            name,
            data_type,
            answer,
            signature: Signature::string(2, Volatility::Immutable),
        }
    }
}

impl fmt::Debug for JsonPathFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

// a name stands for one function
impl PartialEq for JsonPathFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for JsonPathFunction {}

impl Hash for JsonPathFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for JsonPathFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        check_path(self.name, &args)?;
        Ok(Arc::new(Field::new(
            self.name,
            self.data_type.clone(),
            true,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lookup = Lookup::new(self.name, &args)?;
        Ok(ColumnarValue::Array((self.answer)(&lookup)))
    }
}

/// Checks when a query is planned that the path is a constant and well formed.
///
/// # Errors
/// It is not.
fn check_path(function: &str, args: &ReturnFieldArgs) -> Result<()> {
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
    fn new(function: &str, args: &ScalarFunctionArgs) -> Result<Self> {
        let arrays = args.args.first().zip(args.args.get(1));
        let Some((documents, path)) = arrays else {
            return exec_err!("'{function}' takes a document and a path");
        };
        let path = match path {
            ColumnarValue::Scalar(path) => parse(function, path)?,
            ColumnarValue::Array(_) => {
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
pub(super) fn texts(texts: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(texts.collect::<StringArray>())
}

//! The OpenAPI document, put together from what the endpoints say of themselves.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Endpoint;
use crate::problem::ErrorResp;

/// Where parameters stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
}

/// Collects what one endpoint takes and answers.
pub(crate) struct Describe<'a> {
    generator: &'a mut SchemaGenerator,
    parameters: Vec<Value>,
    body: Option<Value>,
    answer: Value,
}

impl<'a> Describe<'a> {
    fn new(generator: &'a mut SchemaGenerator) -> Self {
        Self {
            generator,
            parameters: Vec::new(),
            body: None,
            answer: Value::Null,
        }
    }

    /// The members of `T` as parameters.
    pub(super) fn parameters<T: JsonSchema>(&mut self, place: Place) {
        let schema = T::json_schema(self.generator).to_value();
        let members = schema["properties"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, mut schema) in members {
            let description = schema.as_object_mut().and_then(|s| s.remove("description"));
            self.parameters.push(json!({
                "name": name,
                "in": if place == Place::Path { "path" } else { "query" },
                "required": place == Place::Path,
                "description": description,
                "schema": schema,
            }));
        }
    }

    pub(super) fn body<T: JsonSchema>(&mut self) {
        let schema = self.generator.subschema_for::<T>();
        let content = json!({ "application/json": { "schema": schema } });
        self.body = Some(json!({ "required": true, "content": content }));
    }

    pub(super) fn answer<T: JsonSchema>(&mut self, media_type: &str) {
        let schema = self.generator.subschema_for::<T>();
        let content = json!({ media_type: { "schema": schema } });
        self.answer = json!({ "description": "Done", "content": content });
    }

    /// Server-sent events, each of which has a `T` as its data.
    pub(super) fn events<T: JsonSchema>(&mut self) {
        let schema = self.generator.subschema_for::<T>();
        let data = json!({
            "type": "string", "contentMediaType": "application/json", "contentSchema": schema,
        });
        let event = json!({
            "type": "object", "required": ["data"], "properties": { "data": data },
        });
        let content = json!({ "text/event-stream": { "schema": event } });
        self.answer = json!({ "description": "Done", "content": content });
    }

    /// Where the answer leads.
    pub(super) fn links(&mut self, links: Map<String, Value>) {
        if let (Value::Object(answer), false) = (&mut self.answer, links.is_empty()) {
            answer.insert("links".to_owned(), Value::Object(links));
        }
    }

    pub(super) fn empty_answer(&mut self) {
        self.answer = json!({ "description": "Done" });
    }

    /// The operation.
    pub(super) fn finish(&mut self, id: &str, summary: &str, tag: &str) -> Map<String, Value> {
        let problem = self.generator.subschema_for::<ErrorResp>();
        let problem = json!({
            "description": "What is wrong",
            "content": { "application/json": { "schema": problem } },
        });
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), json!(id));
        operation.insert("summary".to_owned(), json!(summary));
        operation.insert("tags".to_owned(), json!([tag]));
        if !self.parameters.is_empty() {
            operation.insert("parameters".to_owned(), json!(self.parameters));
        }
        if let Some(body) = &self.body {
            operation.insert("requestBody".to_owned(), body.clone());
        }
        let responses = json!({ "200": self.answer, "4XX": problem, "5XX": problem });
        operation.insert("responses".to_owned(), responses);
        operation
    }
}

/// The document of all endpoints, which stand under `base`.
pub(crate) fn document(endpoints: &[Endpoint], base: &str) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let settings = settings.with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operation = endpoint.operation(&mut Describe::new(&mut generator), endpoints);
        let path = paths.entry(format!("{base}{}", endpoint.path));
        if let Value::Object(methods) = path.or_insert_with(|| json!({})) {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            methods.insert(method, Value::Object(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater",
            "description": "Streaming SQL for MQTT. Paths, methods and JSON are those of Arroyo's API where the same \
                thing exists.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

//! Where an id that was answered can be used: the links of the OpenAPI document, from the paths alone.
//!
//! ```text
//! POST /pipelines           {"id": …}            ─► GET /pipelines/{id}, DELETE /pipelines/{id}, …
//! GET /pipelines/{id}/jobs  {"data": [{"id": …}]} ─► GET /pipelines/{pipeline_id}/jobs/{job_id}/errors, …
//! ```
//!
//! Whoever walks the API by its document, a person or a fuzzer, finds its way from one endpoint to the next.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::Endpoint;

/// The links of an endpoint's answer: to all endpoints below an item of its collection.
pub(super) fn links(from: &Endpoint, endpoints: &[Endpoint]) -> Map<String, Value> {
    let id = match from.method {
        Method::POST => "$response.body#/id",
        Method::GET => "$response.body#/data/0/id",
        _ => return Map::new(),
    };
    let links = endpoints.iter().filter_map(|to| {
        let parameters = parameters(from.path, to.path, id)?;
        let link = json!({ "operationId": to.id, "parameters": parameters });
        Some((to.id.to_owned(), link))
    });
    links.collect()
}

/// What the path `to` needs, if it begins with `from` and goes on with the id of one of its items, and no other.
fn parameters(from: &str, to: &str, id: &str) -> Option<Map<String, Value>> {
    let mut rest = to.split('/');
    let mut parameters = Map::new();
    for part in from.split('/') {
        let beside = rest.next()?;
        match (parameter(part), parameter(beside)) {
            (Some(given), Some(wanted)) => {
                let given = format!("$request.path.{given}");
                parameters.insert(wanted.to_owned(), json!(given));
            }
            _ if part == beside => {}
            _ => return None,
        }
    }
    parameters.insert(parameter(rest.next()?)?.to_owned(), json!(id));
    rest.all(|part| parameter(part).is_none())
        .then_some(parameters)
}

/// `{id}` → `id`.
fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_a_collection_is_linked_and_nothing_else() {
        let check = |from: &str, to: &str, expect: Option<Value>| {
            let found = parameters(from, to, "ID").map(Value::Object);
            assert_eq!(found, expect, "{from} {to}");
        };
        check("/a", "/a/{id}", Some(json!({ "id": "ID" })));
        check("/a", "/a/{id}/b", Some(json!({ "id": "ID" })));
        check("/a", "/a", None);
        check("/a", "/a/test", None);
        check("/a", "/b/{id}", None);
        check("/a", "/a/{id}/b/{b}", None);
        check("/a/test", "/a/{id}", None);
        let both = json!({ "a": "$request.path.id", "b": "ID" });
        check("/a/{id}/b", "/a/{a}/b/{b}/c", Some(both));
        check("/a/{id}/b", "/a/{a}/c/{b}", None);
    }
}

//! What describes the server itself.

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use crate::support::Running;

#[test]
fn openapi_is_golden() {
    let document = headwater_server::openapi();
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
    let document = headwater_server::openapi();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let mut ids: Vec<_> = operations
        .map(|one| one["operationId"].as_str().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn what_the_document_gives_as_an_example_is_accepted() {
    let server = Running::start().await;
    let document = headwater_server::openapi();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let reference =
            &methods["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        // those below an item need one, and no broker of this machine is to be probed
        let tried_here = !path.contains('{') && !path.ends_with("connection_profiles/test");
        let Some(reference) = reference.as_str().filter(|_| tried_here) else {
            continue;
        };
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        for example in schema["examples"].as_array().unwrap() {
            let answer = server.client.send(Method::POST, path, Some(example)).await;
            let answer = answer.unwrap();
            let status = answer.status();
            let body = match path.ends_with("/test") {
                true => "".into(),
                false => answer.into_body().collect().await.unwrap().to_bytes(),
            };
            assert_eq!(status, 200, "{path} {example}: {body:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 7);
}

#[tokio::test]
async fn documents_are_served_and_need_nothing_from_elsewhere() {
    let server = Running::start().await;
    assert_eq!(
        server.get("/api/v1/openapi.json").await,
        headwater_server::openapi()
    );
    let page = server
        .client
        .send(Method::GET, "/api/v1/docs", None)
        .await
        .unwrap();
    let page = page.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("/api/v1/pipelines/{id}"), "{page}");
    for foreign in ["<script", "<img", "src=", "http://", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[tokio::test]
async fn ping_and_connectors() {
    let server = Running::start().await;
    assert_eq!(server.get("/api/v1/ping").await, "Pong");
    let connectors = server.get("/api/v1/connectors").await;
    let mqtt = connectors["data"].as_array().unwrap().iter();
    let mqtt = mqtt
        .clone()
        .find(|connector| connector["id"] == "mqtt")
        .unwrap();
    assert_eq!(
        (&mqtt["source"], &mqtt["sink"], &mqtt["testing"]),
        (&true.into(), &true.into(), &true.into())
    );
    let schema: Value = serde_json::from_str(mqtt["connectionConfig"].as_str().unwrap()).unwrap();
    assert_eq!(schema["title"], "MqttProfile");
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_json() {
    let server = Running::start().await;
    let check = async |method: Method, path: &str| server.refused(method, path, None).await;
    insta::assert_snapshot!(check(Method::GET, "/api/v1/nothing").await, @"404: there is no such path; /api/v1/docs tells which there are");
    insta::assert_snapshot!(check(Method::GET, "/").await, @"303: 303 See Other");
    insta::assert_snapshot!(check(Method::PUT, "/api/v1/ping").await, @"405: method not allowed");
}

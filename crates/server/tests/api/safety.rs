//! Who may not, and what nobody may.

use std::path::Path;

use headwater_server::client::{Client, Credentials};
use headwater_server::settings::{Limits, TlsSettings};
use headwater_server::{Server, Settings};
use headwater_testkit::Certificates;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Running, settings};

const TOKEN: &str = "a token that is long enough";

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let configured = Settings {
        token: Some(TOKEN.to_owned()),
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    assert_eq!(server.get("/api/v1/ping").await, "Pong");
    let document = headwater_server::openapi();
    let paths = document["paths"].as_object().unwrap();
    let endpoints = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    let others = [
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/docs",
        "/nothing",
    ];
    let others = others.map(|path| ("GET".to_owned(), path.to_owned()));
    for token in [None, Some("another token of a good length")] {
        let credentials = Credentials {
            token: token.map(str::to_owned),
            ..Credentials::default()
        };
        let stranger = Client::new(&server.url, credentials).unwrap();
        for (method, path) in endpoints.clone().chain(others.clone()) {
            let method: Method = method.parse().unwrap();
            let answer = stranger.send(method.clone(), &path, None).await.unwrap();
            assert_eq!(answer.status(), 401, "{method} {path}");
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
        for path in ["/health", "/ready"] {
            let answer = stranger.send(Method::GET, path, None).await.unwrap();
            assert_ne!(answer.status(), 401, "{path}");
        }
    }
}

#[tokio::test]
async fn beyond_this_machine_a_token_is_demanded() {
    let dir = tempfile::tempdir().unwrap();
    let refused = async |change: fn(&mut Settings)| {
        let mut configured = settings(dir.path());
        change(&mut configured);
        format!("{:#}", Server::bind(configured).await.err().unwrap())
    };
    insta::assert_snapshot!(refused(|s| s.listen = "0.0.0.0:0".parse().unwrap()).await, @"listening on 0.0.0.0:0 lets others in: set token_file (or HEADWATER_TOKEN), or tls.client_ca");
    insta::assert_snapshot!(refused(|s| s.token = Some("short".to_owned())).await, @"the token is too short to keep anybody out: it must have 16 characters or more");
    insta::assert_snapshot!(refused(|s| s.tls.client_ca = Some("ca.pem".into())).await, @"tls.cert and tls.key belong together; tls.client_ca needs both");
    insta::assert_snapshot!(refused(|s| s.allow_path = vec!["/not/there".into()]).await, @"allow_path '/not/there' cannot be used: No such file or directory (os error 2)");
}

#[tokio::test]
async fn without_a_token_the_server_has_no_other_names() {
    let server = Running::start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let ask = async |host: &str| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /api/v1/ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    };
    for (host, status) in [
        ("127.0.0.1", "200"),
        ("localhost:5115", "200"),
        ("[::1]:5115", "200"),
        ("evil.example", "421"),
        ("192.168.0.1", "421"),
    ] {
        assert_eq!(ask(host).await, status, "{host}");
    }
}

#[tokio::test]
async fn tls_and_the_certificates_of_clients() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::generate(dir.path()).unwrap();
    let configured = Settings {
        tls: TlsSettings {
            cert: Some(certificates.server_cert.clone()),
            key: Some(certificates.server_key.clone()),
            client_ca: Some(certificates.ca.clone()),
        },
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    let ask = async |certificate: Option<(&Path, &Path)>| {
        let credentials = Credentials {
            ca: Some(&certificates.ca),
            certificate,
            ..Credentials::default()
        };
        let client = Client::new(&url, credentials).unwrap();
        client.call(Method::GET, "/api/v1/ping", None).await
    };
    let own = Some((
        certificates.client_cert.as_path(),
        certificates.client_key.as_path(),
    ));
    assert_eq!(ask(own).await.unwrap(), "Pong");
    ask(None).await.unwrap_err();
    server
        .client
        .call(Method::GET, "/api/v1/ping", None)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn bodies_and_rates_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        body_bytes: 1024,
        requests_per_second: 20,
        ..Limits::default()
    };
    let configured = Settings {
        limits,
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    let path = "/api/v1/pipelines/validate_query";
    let large = json!({ "query": "x".repeat(2000) });
    insta::assert_snapshot!(server.refused(Method::POST, path, Some(large)).await, @"413: the body must come whole and have at most 1024 bytes");
    let form = server.client.send(Method::POST, path, None).await.unwrap();
    assert_eq!(form.status(), 415);
    let mut refused = 0;
    for _ in 0..200 {
        let answer = server
            .client
            .send(Method::GET, "/health", None)
            .await
            .unwrap();
        refused += u32::from(answer.status() == 429);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn the_servers_environment_is_out_of_reach_unless_it_is_allowed() {
    // cargo sets both for every test
    const OTHER: &str = "CARGO_PKG_NAME";
    const ALLOWED: &str = "CARGO_MANIFEST_DIR";
    let dir = tempfile::tempdir().unwrap();
    let configured = Settings {
        allow_env: vec!["HEADWATER_VAR_*".to_owned(), ALLOWED.to_owned()],
        ..settings(dir.path())
    };
    let server = Running::with(dir, configured).await;
    let config = |name: &str| json!({ "url": "mqtt://127.0.0.1:1", "username": "u", "password": format!("{{{{ {name} }}}}") });
    let profile = |name: &str| json!({ "name": "p", "connector": "mqtt", "config": config(name) });
    let profiles = "/api/v1/connection_profiles";
    insta::assert_snapshot!(server.refused(Method::POST, profiles, Some(profile(OTHER))).await, @"400: option 'password': the server may not use the environment variable 'CARGO_PKG_NAME' (allowed are HEADWATER_VAR_*, CARGO_MANIFEST_DIR); whoever runs it can allow more with --allow-env");
    insta::assert_snapshot!(server.refused(Method::POST, profiles, Some(profile("NOT_SET_AT_ALL"))).await, @"400: option 'password': the server may not use the environment variable 'NOT_SET_AT_ALL' (allowed are HEADWATER_VAR_*, CARGO_MANIFEST_DIR); whoever runs it can allow more with --allow-env");
    let test = format!("{profiles}/test");
    let refused = server
        .refused(Method::POST, &test, Some(profile(OTHER)))
        .await;
    assert!(refused.contains(OTHER), "{refused}");
    let query = |with: &str| {
        let with =
            format!("connector = 'mqtt', type = 'source', format = 'json', topic = 'a', {with}");
        json!({ "name": "p", "query": format!("CREATE TABLE t (a INT) WITH ({with}); SELECT a FROM t") })
    };
    for with in [
        format!("url = 'mqtt://{{{{ {OTHER} }}}}'"),
        format!("url = 'mqtt://h', client_id = '{{{{{OTHER}}}}}'"),
        format!("url = 'ws://h', websocket.headers = 'a: {{{{ {OTHER} }}}}'"),
        format!("url = 'mqtts://h', tls.ca = '{{{{ {OTHER} }}}}'"),
    ] {
        let pipelines = "/api/v1/pipelines";
        let refused = server
            .refused(Method::POST, pipelines, Some(query(&with)))
            .await;
        assert!(
            refused.contains("may not use the environment variable"),
            "{with}: {refused}"
        );
    }
    // what is allowed is used: nobody listens there, which is found out only by trying
    let tested = server.post(&test, profile(ALLOWED)).await;
    let message = tested["message"].as_str().unwrap();
    assert!(message.contains("127.0.0.1:1"), "{message}");
    assert!(!message.contains(env!("CARGO_MANIFEST_DIR")), "{message}");
    let kept = server.post(profiles, profile(ALLOWED)).await;
    assert_eq!(kept["config"]["password"], "{{ CARGO_MANIFEST_DIR }}");
}

#[tokio::test]
async fn files_of_the_server_are_out_of_reach() {
    let server = Running::start().await;
    server.profile("plant", "mqtt://127.0.0.1:1").await;
    let secret = server.dir.path().join("secret");
    std::fs::write(&secret, "geheim").unwrap();
    let secret = secret.to_str().unwrap();
    let mqtt = "connector = 'mqtt', connection_profile = 'plant', topic = 'a', type = 'source'";
    for with in [
        format!("connector = 'single_file', path = '{secret}', type = 'source', format = 'json'"),
        format!("{mqtt}, format = 'avro', 'avro.schema_file' = '{secret}'"),
        format!("{mqtt}, format = 'protobuf', 'protobuf.file' = '{secret}'"),
        format!("{mqtt}, format = 'protobuf', 'protobuf.descriptor_set' = '{secret}'"),
        format!(
            "connector = 'mqtt', url = 'mqtts://h', 'tls.ca' = '{secret}', topic = 'a', type = 'source', format = 'json'"
        ),
    ] {
        let query = format!("CREATE TABLE t (a INT) WITH ({with}); SELECT a FROM t");
        for (path, body) in [
            ("validate_query", json!({ "query": query })),
            ("preview", json!({ "query": query })),
            ("", json!({ "name": "p", "query": query, "parallelism": 1 })),
        ] {
            let path = format!("/api/v1/pipelines/{path}");
            let path = path.trim_end_matches('/');
            let answer = match server.client.call(Method::POST, path, Some(&body)).await {
                Ok(answer) => answer["errors"][0].to_string(),
                Err(refused) => refused.to_string(),
            };
            assert!(
                answer.contains("the server may not use the file"),
                "{with}: {answer}"
            );
        }
    }
    let profile = json!({ "name": "p", "connector": "mqtt", "config": { "url": "mqtts://127.0.0.1:1", "tls": { "ca": secret } } });
    let tested = server
        .refused(
            Method::POST,
            "/api/v1/connection_profiles/test",
            Some(profile),
        )
        .await;
    assert!(
        tested.contains("the server may not use the file"),
        "{tested}"
    );
    let table = json!({ "name": "t", "connector": "single_file", "config": { "path": secret, "type": { "source": {} } },
        "schema": { "format": { "type": "json" }, "fields": [{ "name": "a", "type": "int32" }] } });
    for path in ["", "/test"] {
        let path = format!("/api/v1/connection_tables{path}");
        let refused = server
            .refused(Method::POST, &path, Some(table.clone()))
            .await;
        assert!(
            refused.contains("the server may not use the file"),
            "{refused}"
        );
    }
    assert_eq!(
        server.get("/api/v1/pipelines").await["data"],
        Value::Array(Vec::new())
    );
}

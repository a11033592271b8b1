#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use super::*;
use crate::client::TestClient;
use crate::wire::Properties;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn carries_messages_in_both_protocols_at_every_qos() {
    let broker = Mosquitto::start().unwrap();
    for v311 in [true, false] {
        let builder = || match v311 {
            true => TestClient::builder().v311(),
            false => TestClient::builder(),
        };
        let addr = broker.plain_addr();
        let mut subscriber = builder().connect(addr).await.unwrap();
        let publisher = builder().connect(addr).await.unwrap();
        for qos in 0..=2 {
            let filter = format!("{v311}/{qos}/+");
            subscriber.subscribe(&filter, qos).await.unwrap();
            let topic = format!("{v311}/{qos}/x");
            let payloads = (0..3_000).map(|i| i.to_string());
            publisher.publish_many(&topic, payloads, qos).await.unwrap();
            let messages = subscriber.collect(3_000, SOON).await.unwrap();
            for (i, message) in messages.iter().enumerate() {
                assert_eq!(message.text(), i.to_string());
                assert_eq!((message.qos, message.topic.as_str()), (qos, topic.as_str()));
            }
        }
    }
}

#[tokio::test]
async fn properties_travel_with_mqtt_5() {
    let broker = Mosquitto::start().unwrap();
    let mut client = TestClient::connect(&broker).await.unwrap();
    client.subscribe("t", 1).await.unwrap();
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some("7".into()),
        user_properties: vec![("unit".to_owned(), "°C".to_owned())],
        payload_format: Some(1),
        message_expiry_interval: None,
    };
    client
        .publish_with("t", "{}", 1, false, properties.clone())
        .await
        .unwrap();
    assert_eq!(client.recv(SOON).await.unwrap().properties, properties);
}

#[tokio::test]
async fn passwords_and_acls_are_enforced() {
    let broker = Mosquitto::builder()
        .user("anna", "secret")
        .acl("user anna\ntopic readwrite mine/#\n")
        .start()
        .unwrap();
    let addr = broker.plain_addr();
    let refused = TestClient::builder().connect(addr).await.unwrap_err();
    assert!(refused.to_string().contains("refused CONNECT"), "{refused}");
    let wrong = TestClient::builder().login("anna", "Secret").connect(addr);
    assert!(wrong.await.is_err());

    let login = || TestClient::builder().login("anna", "secret");
    let mut client = login().connect(addr).await.unwrap();
    client.subscribe("mine/a", 1).await.unwrap();
    client.publish("mine/a", "1", 1, false).await.unwrap();
    assert_eq!(client.recv(SOON).await.unwrap().text(), "1");
    let refused = client.publish("yours/a", "1", 1, false).await.unwrap_err();
    assert!(refused.to_string().contains("0x87"), "{refused}");
}

#[tokio::test]
async fn a_persistent_broker_keeps_sessions_and_messages() {
    let mut broker = Mosquitto::builder().persistence().start().unwrap();
    let (port, url) = (broker.port(), broker.url());
    let session = || TestClient::builder().session("keeper");
    let client = session().connect(broker.plain_addr()).await.unwrap();
    assert!(!client.session_present());
    client.subscribe("t", 1).await.unwrap();
    client.disconnect().await.unwrap();

    let publisher = TestClient::connect(&broker).await.unwrap();
    publisher.publish("t", "kept", 1, false).await.unwrap();
    broker.restart().unwrap();
    assert_eq!((broker.port(), broker.url()), (port, url));

    let mut client = session().connect(broker.plain_addr()).await.unwrap();
    assert!(client.session_present());
    assert_eq!(client.recv(SOON).await.unwrap().text(), "kept");
}

#[tokio::test]
async fn a_killed_broker_is_gone_and_comes_back() {
    let mut broker = Mosquitto::start().unwrap();
    let mut client = TestClient::connect(&broker).await.unwrap();
    broker.kill().unwrap();
    assert_eq!(broker.pid(), None);
    let lost = client.recv(SOON).await.unwrap_err();
    assert!(lost.to_string().contains("connection"), "{lost}");
    assert!(client.publish("t", "x", 1, false).await.is_err());
    broker.restart().unwrap();
    TestClient::connect(&broker).await.unwrap();
}

#[test]
fn tls_brokers_have_certificates_and_a_plain_listener() {
    for builder in [
        Mosquitto::builder().tls(),
        Mosquitto::builder().mutual_tls(),
    ] {
        let broker = builder.start().unwrap();
        assert_eq!(broker.url(), format!("mqtts://127.0.0.1:{}", broker.port()));
        assert_ne!(broker.port(), broker.plain_addr().port());
        let ca = fs::read_to_string(&broker.certificates().unwrap().ca).unwrap();
        assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));
    }
}

#[test]
fn mutual_tls_asks_for_the_clients_certificate() {
    let broker = Mosquitto::builder().mutual_tls().start().unwrap();
    let files = broker.certificates().unwrap();
    let publish = |with_certificate: bool| {
        let mut command = Command::new(find_binary("mosquitto_pub").unwrap());
        command
            .args(["-h", "127.0.0.1", "-t", "t", "-m", "x", "-q", "1", "-p"])
            .arg(broker.port().to_string())
            .arg("--cafile")
            .arg(&files.ca);
        if with_certificate {
            command.arg("--cert").arg(&files.client_cert);
            command.arg("--key").arg(&files.client_key);
        }
        command.output().unwrap()
    };
    let accepted = publish(true);
    assert!(accepted.status.success(), "{accepted:?}\n{}", broker.log());
    assert!(!publish(false).status.success());
}

#[test]
fn a_broker_that_cannot_start_shows_its_log() {
    let error = Mosquitto::builder().line("no_such_option 1").start();
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("no_such_option"), "{error}");
}

#[test]
fn many_start_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(|| Mosquitto::start().unwrap()))
        .collect();
    let brokers: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    let ports: std::collections::HashSet<_> = brokers.iter().map(Mosquitto::port).collect();
    assert_eq!(ports.len(), 8);
}

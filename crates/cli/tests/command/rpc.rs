//! `examples/rpc.sql` as it stands, against a real broker: answering a caller, and calling a device.

use std::path::Path;

use headwater_testkit::{Message, Mosquitto, Properties, TestClient};

use crate::support::{DEADLINE, Headwater};

const EXAMPLE: &str = include_str!("../../../../examples/rpc.sql");

async fn running(broker: &Mosquitto, dir: &Path) -> Headwater {
    let sql = EXAMPLE.replace("mqtt://127.0.0.1:1883", &broker.url());
    assert_ne!(sql, EXAMPLE, "the example's broker is replaced");
    let file = dir.join("rpc.sql");
    std::fs::write(&file, sql).unwrap();
    Headwater::running(&["run", file.to_str().unwrap()])
}

fn correlation(message: &Message) -> &[u8] {
    message.properties.correlation_data.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_where_it_asks_for_it() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let _headwater = running(&broker, dir.path()).await;
    let mut caller = TestClient::connect(&broker).await.unwrap();
    caller.subscribe("caller/7", 1).await.unwrap();
    let requests: [(&str, &[u8], &str); 2] = [
        ("rpc/pump/upper", b"\x00\xff", "PLEASE"),
        ("rpc/valve/fly", b"second", "unknown method fly"),
    ];
    for (topic, id, result) in requests {
        let properties = Properties {
            response_topic: Some("caller/7".to_owned()),
            correlation_data: Some(id.to_vec().into()),
            ..Properties::default()
        };
        let payload = r#"{"argument": "please"}"#;
        let published = caller.publish_with(topic, payload, 1, false, properties);
        published.await.unwrap();
        let answer = caller.recv(DEADLINE).await.unwrap();
        let device = topic.split('/').nth(1).unwrap();
        assert_eq!(
            answer.text(),
            format!(r#"{{"device":"{device}","result":"{result}"}}"#)
        );
        assert_eq!(correlation(&answer), id);
        let content_type = answer.properties.content_type.as_deref();
        assert_eq!(content_type, Some("application/json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_called_and_its_answer_is_a_row() {
    let broker = Mosquitto::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let _headwater = running(&broker, dir.path()).await;
    let mut device = TestClient::connect(&broker).await.unwrap();
    let commands = device.subscribe("devices/pump/commands", 1);
    commands.await.unwrap();
    let mut results = TestClient::connect(&broker).await.unwrap();
    results.subscribe("outcomes", 1).await.unwrap();
    for (seq, temperature) in [(1, 20.5), (2, 95.0)] {
        let reading = format!(r#"{{"seq": {seq}, "temperature": {temperature:?}}}"#);
        let published = device.publish("sensors/pump/temperature", reading, 1, false);
        published.await.unwrap();
    }

    let call = device.recv(DEADLINE).await.unwrap();
    assert_eq!(call.text(), r#"{"command":"cool"}"#);
    assert!(call.properties.message_expiry_interval.unwrap() <= 60);
    let reply_to = call.properties.response_topic.clone().unwrap();
    assert_eq!(
        (reply_to.as_str(), correlation(&call)),
        ("replies/pump", b"2".as_slice())
    );
    let properties = Properties {
        correlation_data: call.properties.correlation_data,
        ..Properties::default()
    };
    let answered = device.publish_with(&reply_to, r#"{"ok": true}"#, 1, false, properties);
    answered.await.unwrap();

    let outcome = results.recv(DEADLINE).await.unwrap();
    assert_eq!(outcome.text(), r#"{"device":"pump","seq":2,"ok":true}"#);
}

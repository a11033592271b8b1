//! Profiles become connections.

#![allow(clippy::unwrap_used, reason = "tests")]

use headwater_connector::Connector;
use headwater_connector::config::{OptionDoc, Part, describe, redact};
use serde_json::{Value, json};

use super::*;
use crate::MqttConnector;

fn profile(value: Value) -> MqttProfile {
    serde_json::from_value(value).unwrap()
}

fn error(value: Value) -> String {
    let result = connect_options(&profile(value), "id".to_owned());
    result.err().unwrap().to_string()
}

#[test]
fn defaults_come_from_the_schema() {
    let options = connect_options(&profile(json!({"url": "mqtt://h"})), "id".to_owned()).unwrap();
    assert_eq!((options.host.as_str(), options.port), ("h", 1883));
    assert_eq!(options.protocol, crate::options::ProtocolVersion::V5);
    assert_eq!(options.keep_alive, Duration::from_secs(30));
    assert_eq!(options.max_packet_size, 268_435_460);
    assert!(options.clean_start && options.tls.is_none());
}

#[test]
fn a_source_keeps_its_session_at_qos_1_only() {
    let profile = profile(json!({"url": "mqtt://h", "protocol_version": "3.1.1"}));
    let of = |qos, source: Value| {
        let source: SourceOptions = serde_json::from_value(source).unwrap();
        let options = source_options(&profile, qos, &source, "id".to_owned()).unwrap();
        (
            options.clean_start,
            options.session_expiry.as_secs(),
            options.receive_maximum,
        )
    };
    assert_eq!(of(QoS::AtMostOnce, json!({})), (true, 0, 65_535));
    assert_eq!(of(QoS::AtLeastOnce, json!({})), (false, 86_400, 65_535));
    let short = json!({"session_expiry": "0", "receive_maximum": 7});
    assert_eq!(of(QoS::AtLeastOnce, short), (true, 0, 7));
    let long = json!({"session_expiry": "1 hour", "clean_start": true});
    assert_eq!(of(QoS::AtMostOnce, long), (true, 3600, 65_535));
    let fraction = json!({"session_expiry": "0.2"});
    assert_eq!(of(QoS::AtMostOnce, fraction), (false, 1, 65_535));
}

#[test]
fn the_login_stands_in_the_url_or_beside_it() {
    let options = |value| connect_options(&profile(value), "id".to_owned()).unwrap();
    let in_url = options(json!({"url": "mqtt://u:p@h"}));
    let beside = options(json!({"url": "mqtt://h", "username": "u", "password": "p"}));
    assert_eq!(in_url.username.as_deref(), Some("u"));
    assert_eq!(in_url.password, beside.password);
    assert_eq!(in_url.username, beside.username);
}

#[test]
fn what_is_wrong_is_told_by_option_and_without_secrets() {
    insta::assert_snapshot!(error(json!({"url": "mqtt://u:geheim@h", "password": "p"})), @"option 'password' is also given within 'url'; remove one of them");
    insta::assert_snapshot!(error(json!({"url": "mqtt://u:gehe/im@h"})), @"option 'url': 'mqtt://u:********@h' is no valid URL: invalid port number; in a password, write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40");
    insta::assert_snapshot!(error(json!({"url": "u:geheim@h"})), @"option 'url': '***' has no scheme; write mqtt://host:1883");
    insta::assert_snapshot!(error(json!({"url": "mqtt://h", "password": "{{ HEADWATER_NOT_SET }}"})), @"option 'password': the environment variable 'HEADWATER_NOT_SET' is not set; set it before starting headwater");
    insta::assert_snapshot!(error(json!({"url": "mqtt://h", "tls": {"ca": "x"}})), @"tls.* is given, but the scheme of 'url' means no TLS; use mqtts://");
    insta::assert_snapshot!(error(json!({"url": "mqtts://h", "tls": {"ca": "/does/not/exist"}})), @"tls.ca: cannot read '/does/not/exist': No such file or directory (os error 2)");
    insta::assert_snapshot!(error(json!({"url": "mqtts://h", "tls": {"key": "-----BEGIN x", "cert": "-----BEGIN y", "insecure_skip_verify": true}})), @"tls.cert is not valid PEM: illegal section start: [45, 45, 45, 45, 45, 66, 69, 71, 73, 78, 32, 121]");
}

#[test]
fn client_ids_are_plain_stable_and_distinct() {
    let hw = profile(json!({"url": "mqtt://h", "client_prefix": "hw"}));
    assert_eq!(
        client_id(&hw, "job-1", "readings", 0),
        "hw_job-1_readings_0"
    );
    let dotted = client_id(&hw, "j", "a.b", 0);
    assert_eq!(dotted, client_id(&hw, "j", "a.b", 0));
    assert!(dotted.starts_with("hw_j_a-b_0_"), "{dotted}");
    assert_ne!(dotted, client_id(&hw, "j", "a/b", 0));
}

#[test]
fn client_ids_of_3_1_are_short() {
    let old = |prefix| {
        profile(json!({"url": "mqtt://h", "protocol_version": "3.1", "client_prefix": prefix}))
    };
    let (hw, long) = (old("hw"), old("größtes.prefix"));
    assert_eq!(client_id(&hw, "job", "readings", 0), "hw_job_readings_0");
    let id = client_id(&long, "job", "readings", 0);
    assert!(id.starts_with("gr--te_") && id.len() == 23, "{id}");
    assert_eq!(id, client_id(&long, "job", "readings", 0));
    assert_ne!(id, client_id(&long, "job", "readings", 1));
}

fn options() -> Vec<OptionDoc> {
    describe(&Connector::metadata(&MqttConnector)).unwrap()
}

#[test]
fn every_option_has_one_place_a_description_and_a_type() {
    let mut names: Vec<_> = options().into_iter().map(|option| option.name).collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "profile, table and format share no name");
    for option in options() {
        assert!(!option.description.is_empty(), "{}", option.name);
    }
}

#[test]
fn the_options_at_a_glance() {
    let line = |option: &OptionDoc| {
        let default = option
            .default
            .as_ref()
            .map(|default| format!(" = {default}"));
        let mark = if option.required { " (required)" } else { "" };
        let secret = if option.sensitive { " (secret)" } else { "" };
        format!(
            "{}: {}{}{mark}{secret}",
            option.name,
            option.kind,
            default.unwrap_or_default()
        )
    };
    let ours = options()
        .into_iter()
        .filter(|option| option.part != Part::Format);
    let lines: Vec<_> = ours.map(|option| line(&option)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    url: text (required)
    username: text
    password: text (secret)
    tls.ca: text
    tls.cert: text
    tls.key: text (secret)
    tls.server_name: text
    tls.alpn: list of texts
    tls.insecure_skip_verify: boolean = false
    websocket.headers: list of texts (secret)
    proxy: text
    client_prefix: text = headwater
    protocol_version: '3.1' | '3.1.1' | '5' = 5
    connect_user_properties: list of texts (secret)
    max_packet_size: integer = 268435460
    keep_alive_seconds: integer = 30
    connect_timeout_seconds: integer = 10
    operation_timeout_seconds: integer = 60
    will.topic: text
    will.payload: text = offline
    will.qos: 'AtMostOnce' | 'AtLeastOnce' | 'ExactlyOnce' = AtMostOnce
    will.retain: boolean = false
    will.delay_seconds: integer = 0
    birth.topic: text
    birth.payload: text = online
    birth.qos: 'AtMostOnce' | 'AtLeastOnce' = AtMostOnce
    birth.retain: boolean = false
    topic: text
    qos: 'AtMostOnce' | 'AtLeastOnce' | 'ExactlyOnce' = AtMostOnce
    client_id: text
    type: 'source' | 'sink' | 'lookup' (required)
    source.topics: list of texts
    source.topics_qos: list of 'AtMostOnce' | 'AtLeastOnce' | 'ExactlyOnce'
    source.shared_group: text
    source.retained: 'all' | 'new' | 'none' = all
    source.no_local: boolean = false
    source.retain_as_published: boolean = false
    source.clean_start: boolean
    source.session_expiry: text
    source.receive_maximum: integer = 65535
    source.rate_limit.messages_per_second: number
    sink.retain: boolean = false
    sink.message_expiry: text
    sink.content_type: text
    sink.payload_format_indicator: boolean = false
    sink.response_topic: text
    sink.user_properties: list of texts
    lookup.settle: text = 500 milliseconds
    lookup.cache.max_bytes: integer = 268435456
    ");
}

#[test]
fn secrets_are_masked_and_never_debugged() {
    let value = json!({"url": "mqtt://u:geheim@h", "password": "geheim", "tls": {"key": "geheim"}});
    let shown = redact(PROFILE_SCHEMA, &value).to_string();
    assert!(!shown.contains("geheim"), "{shown}");
    let debugged = format!("{:?}", profile(value));
    assert!(!debugged.contains("geheim"), "{debugged}");
}

#[test]
fn will_and_birth_tell_whose_they_are() {
    let profile = profile(json!({
        "url": "mqtt://h",
        "operation_timeout_seconds": 5,
        "will": {"topic": "status/{client_id}", "qos": "AtLeastOnce", "retain": true, "delay_seconds": 7},
        "birth": {"topic": "status/{client_id}", "payload": "{client_id} is here"},
    }));
    let options = connect_options(&profile, "plant_1".to_owned()).unwrap();
    assert_eq!(options.operation_timeout, Duration::from_secs(5));
    let will = options.will.unwrap();
    assert_eq!(
        (&will.message.topic[..], &will.message.payload[..]),
        (&b"status/plant_1"[..], &b"offline"[..])
    );
    assert!(will.message.retain && will.message.qos == QoS::AtLeastOnce);
    assert_eq!(will.delay, Duration::from_secs(7));
    let birth = options.birth.unwrap();
    assert_eq!(&birth.payload[..], b"plant_1 is here");
    assert!(!birth.retain && birth.qos == QoS::AtMostOnce);
}

#[test]
fn a_will_needs_a_topic_without_wildcards() {
    let error = error(json!({"url": "mqtt://h", "will": {"topic": "status/#"}}));
    assert!(error.contains("will") && error.contains('#'), "{error}");
}

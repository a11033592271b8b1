//! Passwords, TLS and client certificates.

use anyhow::Result;
use headwater_testkit::{Mosquitto, TestClient};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::*;

fn tls(broker: &Mosquitto) -> With {
    let ca = broker.certificates().unwrap().ca.to_str().unwrap();
    With::source(broker, "a").qos_1().and("tls.ca", ca)
}

#[tokio::test]
async fn a_login_by_password() -> Result<()> {
    let broker = Mosquitto::builder().user("ada", "sesame").start()?;
    let with = With::source(&broker, "a").qos_1();
    for version in ["5", "3.1.1"] {
        let with = with.clone().and("protocol_version", version);
        let login = with
            .clone()
            .and("username", "ada")
            .and("password", "sesame");
        works(&format!("login-{version}"), login).await?;
        let error = fails(with.and("username", "ada").and("password", "geheim")).await?;
        assert!(error.contains("check username and password"), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
    let in_url = broker.url().replace("mqtt://", "mqtt://ada:sesame@");
    works("in-url", with.and("url", &in_url)).await
}

#[tokio::test]
async fn a_token_is_a_password_and_may_stand_alone() -> Result<()> {
    let token = "ey.".repeat(1_000);
    let broker = Mosquitto::builder().user("device", "sesame").start()?;
    let with = With::source(&broker, "a").qos_1();
    let login = with
        .clone()
        .and("username", "device")
        .and("password", &token);
    let error = fails(login).await?;
    assert!(!error.contains(&token), "{error}");
    let alone = with.clone().and("password", &token);
    let error = fails(alone).await?;
    assert!(error.contains("check username and password"), "{error}");
    let old = with
        .and("password", &token)
        .and("protocol_version", "3.1.1");
    let error = make_source("old", old, one_column()).err().unwrap();
    assert!(
        error.to_string().contains("give a username or use MQTT 5"),
        "{error}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("mqtt://{}", listener.local_addr()?);
    let with = With::url(&url).and("type", "source").and("topic", "a");
    let (_source, _) = make_source("token", with.and("password", &token), one_column())?;
    let (mut stream, _) = timeout(DEADLINE, listener.accept()).await??;
    let mut connect = Vec::new();
    while !connect.ends_with(token.as_bytes()) {
        let read = timeout(DEADLINE, stream.read_buf(&mut connect)).await??;
        assert!(read > 0, "no token in {connect:?}");
    }
    // The flags follow the fixed header (three bytes), the protocol's name and its level: a password, and no username.
    assert_eq!((&connect[5..9], connect[10] & 0xC0), (&b"MQTT"[..], 0x40));
    Ok(())
}

#[tokio::test]
async fn tls_with_an_authority_of_its_own() -> Result<()> {
    let broker = Mosquitto::builder().tls().start()?;
    works("tls", tls(&broker)).await?;
    let pem = std::fs::read_to_string(&broker.certificates().unwrap().ca)?;
    works("tls-pem", tls(&broker).and("tls.ca", &pem)).await?;
    let careless = With::source(&broker, "a")
        .and("tls.insecure_skip_verify", "true")
        .qos_1();
    works("tls-careless", careless).await?;

    let other = Mosquitto::builder().tls().start()?;
    let stranger = other.certificates().unwrap().ca.to_str().unwrap();
    let error = fails(tls(&broker).and("tls.ca", stranger)).await?;
    assert!(error.contains("certificate is not trusted"), "{error}");
    assert!(error.contains("tls.ca"), "{error}");
    let error = fails(tls(&broker).and("tls.server_name", "elsewhere.example")).await?;
    assert!(
        error.contains("by a name that the certificate carries"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn mutual_tls() -> Result<()> {
    let broker = Mosquitto::builder().mutual_tls().start()?;
    let certificates = broker.certificates().unwrap();
    let with = tls(&broker)
        .and("tls.cert", certificates.client_cert.to_str().unwrap())
        .and("tls.key", certificates.client_key.to_str().unwrap());
    works("mutual", with).await?;
    let error = fails(tls(&broker)).await?;
    assert!(error.contains("client certificate"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_listener_without_tls_serves_beside_one_with_it() -> Result<()> {
    let broker = Mosquitto::builder().tls().start()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("a", 1).await?;
    let (mut sink, _) = make_sink("tls-sink", tls(&broker).and("type", "sink"))?;
    sink.write(batch([1])).await?;
    timeout(DEADLINE, sink.flush()).await??;
    assert_eq!(client.recv(DEADLINE).await?.text(), payload(1));
    Ok(())
}

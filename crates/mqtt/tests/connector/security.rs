//! Passwords, TLS and client certificates.

use anyhow::Result;
use headwater_testkit::{Mosquitto, TestClient};
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

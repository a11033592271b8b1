//! Connection tests: what they report when all is well, and for every way in which it is not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_connector::{ErasedConnector, ProbePlace, Progress, StepStatus, TestStep};
use headwater_mqtt::MqttConnector;
use headwater_testkit::{Mosquitto, TestClient, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::*;

async fn steps(
    run: futures::future::BoxFuture<'static, bool>,
    progress: Steps,
) -> Result<(bool, Vec<TestStep>)> {
    let started = Instant::now();
    let passed = run.await;
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "a test takes at most ten seconds"
    );
    let mut progress = progress;
    let mut steps = Vec::new();
    while let Some(step) = progress.recv().await {
        steps.push(step);
    }
    Ok((passed, steps))
}

type Steps = tokio::sync::mpsc::UnboundedReceiver<TestStep>;

pub(crate) async fn test_table(with: With) -> Result<(bool, Vec<TestStep>)> {
    test_table_at(with, ProbePlace::Aside).await
}

async fn test_table_at(with: With, place: ProbePlace) -> Result<(bool, Vec<TestStep>)> {
    let connector: &dyn ErasedConnector = &MqttConnector;
    let connection = with.connection(one_column())?;
    let (progress, reported) = Progress::channel();
    let run = connector
        .test(&connection, place, progress)?
        .context("a test")?;
    steps(run, reported).await
}

pub(crate) async fn test_profile(with: With) -> Result<(bool, Vec<TestStep>)> {
    let connector: &dyn ErasedConnector = &MqttConnector;
    let connection = with
        .and("type", "source")
        .and("topic", "x")
        .connection(one_column())?;
    let (progress, reported) = Progress::channel();
    let run = connector
        .test_profile(&connection.profile, progress)?
        .context("a test")?;
    steps(run, reported).await
}

fn names(steps: &[TestStep]) -> Vec<&'static str> {
    steps.iter().map(|step| step.step).collect()
}

/// The last step, with what differs from run to run made equal.
pub(crate) fn last(steps: &[TestStep], port: u16) -> String {
    let step = steps.last().unwrap();
    let remedy = step.remedy.as_deref().unwrap_or_default();
    let text = format!(
        "{} {:?}: {}\nremedy: {remedy}",
        step.step, step.status, step.message
    );
    let text = text.replace(&port.to_string(), "PORT");
    let mut words = text.split_inclusive([' ', '\'', '\n']);
    words
        .by_ref()
        .map(|word| match word.find("headwater_probe_") {
            Some(at) => format!(
                "{}headwater_probe_ID_0{}",
                &word[..at],
                if word.ends_with('\'') { "'" } else { "" }
            ),
            None => word.to_owned(),
        })
        .collect()
}

#[tokio::test]
async fn a_good_connection_passes_every_step() -> Result<()> {
    let broker = Mosquitto::builder().tls().start()?;
    let ca = broker.certificates().unwrap().ca.to_str().unwrap();
    for version in ["5", "3.1.1"] {
        let with = With::source(&broker, "a/{b}")
            .qos_1()
            .and("tls.ca", ca)
            .and("protocol_version", version);
        let all = [
            "resolve",
            "connect",
            "tls",
            "login",
            "subscribe",
            "publish",
            "receive",
        ];
        let fine = |steps: &[TestStep]| steps.iter().all(|step| step.status == StepStatus::Ok);

        let (passed, steps) = test_profile(with.clone()).await?;
        assert!(passed && fine(&steps), "{steps:?}");
        assert_eq!(names(&steps), all);

        let (passed, steps) =
            test_table(with.clone().and("type", "sink").and("topic", "b")).await?;
        assert!(passed && fine(&steps), "{steps:?}");
        assert_eq!(names(&steps), all);

        let (passed, steps) = test_table(with).await?;
        assert!(passed && fine(&steps), "{steps:?}");
        assert_eq!(
            names(&steps),
            [
                "resolve",
                "connect",
                "tls",
                "login",
                "subscribe",
                "subscribe",
                "publish",
                "receive"
            ]
        );
        assert!(steps[4].message.contains("'a/+'"), "{steps:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_test_leaves_nothing_behind_and_touches_no_other_topic() -> Result<()> {
    let broker = Mosquitto::start()?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("#", 1).await?;
    let (passed, _) = test_table(With::sink(&broker, "alerts").qos_1()).await?;
    assert!(passed);
    let probe = client.recv(DEADLINE).await?;
    assert!(
        probe.topic.starts_with("headwater/probe/headwater_probe_"),
        "{}",
        probe.topic
    );
    assert!(!probe.retain);
    assert_eq!(probe.properties.user_properties[0].0, "headwater-probe");
    let mut later = TestClient::connect(&broker).await?;
    later.subscribe("#", 1).await?;
    client.publish("end", "", 1, false).await?;
    assert_eq!(
        client.recv(DEADLINE).await?.topic,
        "end",
        "one probe and nothing else"
    );
    assert_eq!(
        later.recv(DEADLINE).await?.topic,
        "end",
        "nothing was retained"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_listens() -> Result<()> {
    let port = free_port()?;
    let (passed, steps) = test_profile(With::url(&format!("mqtt://127.0.0.1:{port}"))).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, port), @r"
    connect Failed: cannot connect to 127.0.0.1:PORT: Connection refused (os error 111)
    remedy: nothing listens on port PORT: check that the broker runs, and the port in 'url' (usually 1883, with TLS 8883)
    ");
    Ok(())
}

#[tokio::test]
async fn the_host_does_not_exist() -> Result<()> {
    // A label of more than 63 characters: no resolver needs to be asked.
    let host = "x".repeat(64);
    let (passed, steps) = test_profile(With::url(&format!("mqtt://{host}"))).await?;
    assert!(!passed);
    let step = steps.last().unwrap();
    assert_eq!((step.step, step.status), ("resolve", StepStatus::Failed));
    assert!(step.message.contains(&host), "{step:?}");
    assert!(
        step.remedy
            .as_ref()
            .is_some_and(|remedy| remedy.contains("'url'")),
        "{step:?}"
    );
    Ok(())
}

#[tokio::test]
async fn certificates_that_are_not_trusted() -> Result<()> {
    let broker = Mosquitto::builder().mutual_tls().start()?;
    let other = Mosquitto::builder().tls().start()?;
    let ca = |broker: &Mosquitto| {
        broker
            .certificates()
            .unwrap()
            .ca
            .to_str()
            .unwrap()
            .to_owned()
    };
    let with = With::broker(&broker);
    let (passed, steps) = test_profile(with.clone().and("tls.ca", &ca(&other))).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    tls Failed: 127.0.0.1:PORT: the broker's certificate is not trusted: no trusted authority issued it
    remedy: give the authority that did as tls.ca in the connection profile (without it those of the system are trusted, with it no others)
    ");
    let named = with
        .clone()
        .and("tls.ca", &ca(&broker))
        .and("tls.server_name", "elsewhere.example");
    let (passed, steps) = test_profile(named).await?;
    assert!(!passed);
    let step = steps.last().unwrap();
    assert_eq!((step.step, step.status), ("tls", StepStatus::Failed));
    assert!(step.message.contains("elsewhere.example"), "{step:?}");
    let (passed, steps) = test_profile(with.and("tls.ca", &ca(&broker))).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    login Failed: 127.0.0.1:PORT: the broker wants a client certificate
    remedy: give tls.cert and tls.key in the connection profile
    ");
    Ok(())
}

#[tokio::test]
async fn tls_on_one_side_only() -> Result<()> {
    let plain = Mosquitto::builder().websockets().start()?;
    let url = plain.url().replace("mqtt://", "mqtts://");
    let careless = |url: &str| With::url(url).and("tls.insecure_skip_verify", "true");
    let (passed, steps) = test_profile(careless(&url)).await?;
    assert!(!passed);
    let told = last(&steps, plain.port());
    assert!(
        told.starts_with("tls Failed: the TLS handshake with 127.0.0.1:PORT failed: "),
        "{told}"
    );
    assert!(
        told.contains("if it has no TLS, write mqtt:// in 'url'"),
        "{told}"
    );
    let url = plain.websocket_url().unwrap().replace("ws://", "wss://");
    let (passed, steps) = test_profile(careless(&url)).await?;
    assert!(!passed);
    let told = last(&steps, plain.port());
    assert!(told.starts_with("tls Failed: "), "{told}");
    assert!(
        told.contains("if it has no TLS, write ws:// in 'url'"),
        "{told}"
    );

    let secured = Mosquitto::builder().tls().websockets().start()?;
    let url = secured.url().replace("mqtts://", "mqtt://");
    let (passed, steps) = test_profile(With::url(&url)).await?;
    assert!(!passed);
    let told = last(&steps, secured.port());
    assert!(
        told.starts_with("login Failed: 127.0.0.1:PORT did not answer the login: "),
        "{told}"
    );
    assert!(
        told.contains("if it expects TLS, write mqtts:// in 'url'"),
        "{told}"
    );
    let url = secured.websocket_url().unwrap().replace("wss://", "ws://");
    let (passed, steps) = test_profile(With::url(&url)).await?;
    assert!(!passed);
    let told = last(&steps, secured.port());
    assert!(
        told.starts_with("websocket Failed: no WebSocket to 127.0.0.1:"),
        "{told}"
    );
    assert!(told.contains("with TLS wss://"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_time_or_name() -> Result<()> {
    let trusting = |broker: &Mosquitto| {
        let ca = broker.certificates().unwrap().ca.to_str().unwrap();
        With::broker(broker).and("tls.ca", ca)
    };
    let expired = Mosquitto::builder().expired_tls().start()?;
    let (passed, steps) = test_profile(trusting(&expired)).await?;
    assert!(!passed);
    let told = last(&steps, expired.port());
    assert!(
        told.starts_with(
            "tls Failed: 127.0.0.1:PORT: the broker's certificate is not trusted: it expired "
        ),
        "{told}"
    );
    assert!(
        told.ends_with(" days ago\nremedy: renew it, or check this machine's clock"),
        "{told}"
    );

    let elsewhere = Mosquitto::builder()
        .tls_for(&["broker.example.com"])
        .start()?;
    let (passed, steps) = test_profile(trusting(&elsewhere)).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, elsewhere.port()), @r"
    tls Failed: 127.0.0.1:PORT: the broker's certificate is not trusted: it is for 'broker.example.com', not for '127.0.0.1'
    remedy: connect by a name that the certificate carries: in 'url', or as tls.server_name
    ");
    // What the message says helps.
    let named = trusting(&elsewhere).and("tls.server_name", "broker.example.com");
    let (passed, steps) = test_profile(named).await?;
    assert!(passed, "{steps:?}");

    let (passed, steps) =
        test_profile(With::broker(&elsewhere).and("tls.insecure_skip_verify", "true")).await?;
    assert!(passed, "{steps:?}");
    let tls = steps.iter().find(|step| step.step == "tls").unwrap();
    assert_eq!(tls.status, StepStatus::Warning);
    Ok(())
}

/// Answers every CONNECT with these bytes, or hangs up if there are none.
async fn answer_connect(listener: TcpListener, answer: &'static [u8]) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut packet = [0; 1024];
        anyhow::ensure!(stream.read(&mut packet).await? > 0, "no CONNECT");
        stream.write_all(answer).await?;
        stream.shutdown().await?;
    }
}

#[tokio::test]
async fn a_broker_of_another_version() -> Result<()> {
    // MQTT 5's own refusal, that of a broker which answers in 3.1.1, and of one that does not answer.
    let answers: [&[u8]; 3] = [&[0x20, 3, 0, 0x84, 0], &[0x20, 2, 0, 1], &[]];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let broker = tokio::spawn(answer_connect(listener, answer));
        let with = With::url(&format!("mqtt://127.0.0.1:{port}"));
        let (passed, steps) = test_profile(with.clone()).await?;
        assert!(!passed);
        let told = last(&steps, port);
        assert!(told.starts_with("login Failed: "), "{told}");
        assert!(told.contains("set protocol_version "), "{told}");
        let (passed, steps) = test_profile(with.and("protocol_version", "3.1.1")).await?;
        assert!(!passed);
        let told = last(&steps, port);
        assert!(!told.contains("protocol_version to '3.1.1'"), "{told}");
        broker.abort();
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password() -> Result<()> {
    let broker = Mosquitto::builder().user("ada", "sesame").start()?;
    for version in ["5", "3.1.1"] {
        let with = With::broker(&broker)
            .and("username", "ada")
            .and("password", "geheim");
        let (passed, steps) = test_profile(with.and("protocol_version", version)).await?;
        assert!(!passed);
        assert!(
            steps
                .iter()
                .all(|step| !format!("{step:?}").contains("geheim")),
            "{steps:?}"
        );
        if version == "5" {
            insta::assert_snapshot!(last(&steps, broker.port()), @r"
            login Failed: 127.0.0.1:PORT refused client 'headwater_probe_ID_0': not authorized (0x87)
            remedy: check username and password in the connection profile, and the broker's access rules
            ");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_probe_that_may_not_be_written() -> Result<()> {
    let broker = Mosquitto::builder()
        .acl("topic read #\ntopic write alerts\n")
        .start()?;
    let (passed, steps) = test_profile(With::broker(&broker)).await?;
    assert!(passed, "the login works: {steps:?}");
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    publish Warning: the broker refused a probe on 'headwater/probe/headwater_probe_ID_0': not authorized (0x87)
    remedy: connection and login are proven; the test proves more if 'headwater/probe/#' may be written (ACL)
    ");
    let (passed, steps) = test_table(With::sink(&broker, "alerts")).await?;
    assert!(passed, "the sink would work: {steps:?}");
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    publish Warning: the broker refused a probe on 'headwater/probe/headwater_probe_ID_0': not authorized (0x87)
    remedy: connection and login are proven, but not that 'alerts' may be written: allow 'headwater/probe/#' (ACL), or try 'alerts' itself with test-connection --own-topics
    ");
    let (passed, steps) = test_table(With::source(&broker, "sensors/#")).await?;
    assert!(passed, "a source need not write: {steps:?}");
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    publish Warning: the broker refused a probe on 'headwater/probe/headwater_probe_ID_0': not authorized (0x87)
    remedy: not needed to read; the test proves more if 'headwater/probe/#' may be written (ACL)
    ");
    let old = With::source(&broker, "sensors/#").and("protocol_version", "3.1.1");
    let (passed, steps) = test_table(old).await?;
    assert!(passed, "3.1.1 cannot refuse: {steps:?}");
    insta::assert_snapshot!(last(&steps, broker.port()), @r"
    receive Warning: the broker closed the connection after a probe on 'headwater/probe/headwater_probe_ID_0', as if the user may not write there
    remedy: not needed to read; the test proves more if 'headwater/probe/#' may be written (ACL)
    ");
    Ok(())
}

#[tokio::test]
async fn a_probe_to_the_sinks_own_topic_decides() -> Result<()> {
    let broker = Mosquitto::builder()
        .acl("topic read #\ntopic write alerts\n")
        .start()?;
    let mut reader = TestClient::connect(&broker).await?;
    reader.subscribe("#", 1).await?;
    for version in ["5", "3.1.1"] {
        let sink = |topic| With::sink(&broker, topic).and("protocol_version", version);
        let (passed, steps) = test_table_at(sink("alerts"), ProbePlace::Table).await?;
        assert!(passed, "{steps:?}");
        let published = steps.iter().find(|step| step.step == "publish").unwrap();
        assert_eq!(published.message, "the broker took a probe on 'alerts'");
        let probe = reader.recv(DEADLINE).await?;
        assert_eq!((probe.topic.as_str(), probe.retain), ("alerts", false));
        let (passed, steps) = test_table_at(sink("secrets"), ProbePlace::Table).await?;
        assert!(!passed, "{steps:?}");
        match version {
            "5" => insta::assert_snapshot!(last(&steps, broker.port()), @r"
            publish Failed: the broker refused a probe on 'secrets': not authorized (0x87)
            remedy: let the user write 'secrets' (ACL)
            "),
            _ => insta::assert_snapshot!(last(&steps, broker.port()), @r"
            publish Failed: the broker refused a probe on 'secrets': it closed the connection
            remedy: let the user write 'secrets' (ACL)
            "),
        }
    }
    Ok(())
}

/// A broker of few words: answers CONNECT, and refuses every filter. Mosquitto's ACL never does that.
async fn refuse_filters(listener: TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut packet = [0; 1024];
    let connect = stream.read(&mut packet).await?;
    assert!(connect > 0);
    stream.write_all(&[0x20, 3, 0, 0, 0]).await?;
    let subscribe = stream.read(&mut packet).await?;
    assert!(subscribe > 4 && packet[0] == 0x82);
    stream
        .write_all(&[0x90, 4, packet[2], packet[3], 0, 0x87])
        .await?;
    while stream.read(&mut packet).await? > 0 {}
    Ok(())
}

#[tokio::test]
async fn a_filter_that_is_refused() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let broker = tokio::spawn(refuse_filters(listener));
    let with = With::url(&format!("mqtt://127.0.0.1:{port}"))
        .and("type", "source")
        .and("topic", "sensors/#");
    let (passed, steps) = test_table(with).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, port), @r"
    subscribe Failed: the broker refused the filter 'sensors/#': not authorized (0x87)
    remedy: check the option 'topic', and that the user may read it (ACL)
    ");
    broker.await??;
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let with = With::url(&format!("mqtt://127.0.0.1:{port}")).and("connect_timeout_seconds", "1");
    let (passed, steps) = test_profile(with).await?;
    assert!(!passed);
    insta::assert_snapshot!(last(&steps, port), @r"
    login Failed: no CONNACK within 1000 ms
    remedy: check that this is the broker's port for plain MQTT; if it expects TLS, write mqtts:// in 'url'; if it is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'
    ");
    drop(listener);
    Ok(())
}

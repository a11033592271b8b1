//! Brokers behind an HTTP proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use headwater_testkit::{Mosquitto, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::probe::{last, test_profile};
use crate::support::*;

/// `user:password` in Base64.
const LOGIN: &str = "dXNlcjpwYXNzd29yZA==";

/// A proxy that wants a login if it is told so, and counts the tunnels it has made.
struct Proxy {
    port: u16,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(wants_login: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tunnels);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, wants_login, Arc::clone(&count)));
            }
        });
        Ok(Self { port, tunnels })
    }
}

async fn tunnel(mut client: TcpStream, wants_login: bool, tunnels: Arc<AtomicUsize>) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(client.read_buf(&mut request).await? > 0);
    }
    let request = String::from_utf8(request)?;
    let target = request.split(' ').nth(1).unwrap_or_default();
    ensure!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n")));
    let login = format!("Proxy-Authorization: Basic {LOGIN}\r\n");
    let answer = match TcpStream::connect(target).await {
        _ if wants_login && !request.contains(&login) => "407 Proxy Authentication Required",
        Err(_refused) => "502 Bad Gateway",
        Ok(mut broker) => {
            client
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            tunnels.fetch_add(1, Ordering::Relaxed);
            copy_bidirectional(&mut client, &mut broker).await?;
            return Ok(());
        }
    };
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    client.write_all(answer.as_bytes()).await?;
    Ok(())
}

#[tokio::test]
async fn every_transport_goes_through_it() -> Result<()> {
    let proxy = Proxy::start(true).await?;
    let url = format!("http://user:password@localhost:{}", proxy.port);
    let broker = Mosquitto::builder().tls().websockets().start()?;
    let ca = broker.certificates().unwrap().ca.to_str().unwrap();
    let plain = format!("mqtt://{}", broker.plain_addr());
    let secured = [broker.url(), broker.websocket_url().unwrap()];
    let with = |broker: &str| {
        let with = With::url(broker).and("proxy", &url).qos_1();
        with.and("type", "source").and("topic", "a")
    };
    works("plain", with(&plain)).await?;
    assert_eq!(proxy.tunnels.load(Ordering::Relaxed), 2);
    for url in secured {
        works(&url, with(&url).and("tls.ca", ca)).await?;
    }
    assert_eq!(proxy.tunnels.load(Ordering::Relaxed), 6);
    Ok(())
}

/// How a test of a broker at this port fails through this proxy.
async fn failure(broker: u16, proxy: &str) -> Result<String> {
    let with = With::url(&format!("mqtt://127.0.0.1:{broker}")).and("proxy", proxy);
    let (passed, steps) = test_profile(with).await?;
    assert!(!passed, "{steps:?}");
    assert!(!format!("{steps:?}").contains("geheim"), "{steps:?}");
    Ok(last(&steps, broker))
}

#[tokio::test]
async fn faults_name_the_proxy() -> Result<()> {
    let broker = Mosquitto::start()?;
    let proxy = Proxy::start(true).await?;
    let at = |login: &str, port: u16| format!("http://{login}127.0.0.1:{port}");
    let text = failure(broker.port(), &at("user:geheim@", proxy.port)).await?;
    insta::assert_snapshot!(text.replace(&proxy.port.to_string(), "PROXY"), @r"
    proxy Failed: the proxy 127.0.0.1:PROXY made no tunnel to 127.0.0.1:PORT: 407 Proxy Authentication Required
    remedy: check user and password in 'proxy': http://user:password@host:port
    ");
    let unused = free_port()?;
    let text = failure(unused, &at("user:password@", proxy.port)).await?;
    insta::assert_snapshot!(text.replace(&proxy.port.to_string(), "PROXY"), @r"
    proxy Failed: the proxy 127.0.0.1:PROXY made no tunnel to 127.0.0.1:PORT: 502 Bad Gateway
    remedy: it cannot reach the broker: check the host and the port in 'url'
    ");
    let text = failure(broker.port(), &at("", unused)).await?;
    insta::assert_snapshot!(text.replace(&unused.to_string(), "PROXY"), @r"
    connect Failed: cannot connect to the proxy 127.0.0.1:PROXY: Connection refused (os error 111)
    remedy: check the host and the port in 'proxy', and that the proxy runs
    ");
    // A broker is no proxy: Mosquitto hangs up on what is not MQTT.
    let text = failure(broker.port(), &at("", broker.port())).await?;
    assert!(
        text.contains("remedy: check that 'proxy' is the address of an HTTP proxy"),
        "{text}"
    );
    let host = "x".repeat(64);
    let text = failure(broker.port(), &format!("http://{host}:1")).await?;
    assert!(
        text.contains(&format!("cannot resolve the proxy '{host}'")),
        "{text}"
    );
    assert!(text.contains("in 'proxy'"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_steps_of_a_test_show_it() -> Result<()> {
    let broker = Mosquitto::builder().websockets().start()?;
    let proxy = Proxy::start(false).await?;
    let with = With::url(&broker.websocket_url().unwrap())
        .and("proxy", &format!("http://127.0.0.1:{}", proxy.port));
    let (passed, steps) = test_profile(with).await?;
    assert!(passed, "{steps:?}");
    let names: Vec<_> = steps.iter().map(|step| step.step).collect();
    let expect = [
        "resolve",
        "connect",
        "proxy",
        "websocket",
        "login",
        "subscribe",
        "publish",
        "receive",
    ];
    assert_eq!(names, expect);
    Ok(())
}

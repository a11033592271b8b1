//! MQTT over WebSocket: against Mosquitto, and against servers that do it wrong.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use headwater_testkit::Mosquitto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::*;

fn source(url: &str) -> With {
    let with = With::url(url).and("type", "source").and("topic", "a");
    with.qos_1()
}

#[tokio::test]
async fn plain_with_tls_and_with_a_client_certificate() -> Result<()> {
    for builder in [
        Mosquitto::builder(),
        Mosquitto::builder().tls(),
        Mosquitto::builder().mutual_tls(),
    ] {
        let broker = builder.websockets().start()?;
        let mut with = source(&broker.websocket_url().unwrap());
        if let Some(files) = broker.certificates() {
            with = with
                .and("tls.ca", files.ca.to_str().unwrap())
                .and("tls.cert", files.client_cert.to_str().unwrap())
                .and("tls.key", files.client_key.to_str().unwrap());
        }
        for version in ["5", "3.1.1"] {
            works(version, with.clone().and("protocol_version", version)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn many_messages_and_large_ones_cross_frames() -> Result<()> {
    const ROWS: i64 = 20_000;
    let broker = Mosquitto::builder().websockets().start()?;
    let with = source(&broker.websocket_url().unwrap());
    let (mut source, _) = open_source("many", with.clone(), one_column()).await?;
    let (mut sink, _) = make_sink("many-sink", with.clone().and("type", "sink"))?;
    let reading = tokio::spawn(async move {
        let (values, position) = read(&mut *source, ROWS as usize).await?;
        anyhow::Ok((values, position, source))
    });
    for start in (0..ROWS).step_by(1_000) {
        sink.write(batch(start..start + 1_000)).await?;
    }
    timeout(DEADLINE, sink.flush()).await??;
    let (values, _, mut source) = reading.await??;
    assert_eq!(values, Vec::from_iter(0..ROWS));

    // Longer than a frame of Mosquitto's, which holds 4 KiB; it sends ten in a second.
    let text = format!(r#"{{"v":7,"padding":"{}"}}"#, "x".repeat(20_000));
    let publisher = headwater_testkit::TestClient::connect(&broker).await?;
    publisher.publish("a", text, 1, false).await?;
    assert_eq!(read(&mut *source, 1).await?.0, [7]);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_restarts_is_found_again() -> Result<()> {
    let mut broker = Mosquitto::builder().websockets().persistence().start()?;
    let with = source(&broker.websocket_url().unwrap());
    let (mut source, metrics) = open_source("again", with.clone(), one_column()).await?;
    let (mut sink, _) = make_sink("again-sink", with.and("type", "sink"))?;
    broker.kill()?;
    broker.restart()?;
    sink.write(batch([1])).await?;
    timeout(DEADLINE, sink.flush()).await??;
    assert_eq!(read(&mut *source, 1).await?.0, [1]);
    assert_eq!(metrics.snapshot().reconnects, 1);
    Ok(())
}

/// A server on a free port that treats every connection like this.
async fn serve<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> Result<SocketAddr>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that has seen enough may go away.
            tokio::spawn(treat(stream));
        }
    });
    Ok(address)
}

/// Reads the request, and gives this answer.
async fn answer(mut stream: TcpStream, text: &'static str) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(stream.read_buf(&mut request).await? > 0);
    }
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn refused_with(text: &'static str) -> Result<String> {
    let address = serve(move |stream| answer(stream, text)).await?;
    let error = fails(source(&format!("ws://{address}/broker?token=geheim"))).await?;
    assert!(!error.contains("geheim"), "{error}");
    Ok(error.replace(&address.to_string(), "HOST"))
}

#[tokio::test]
async fn an_upgrade_that_is_refused() -> Result<()> {
    let moved = "HTTP/1.1 301 Moved\r\nLocation: wss://elsewhere/mqtt?x=y\r\n\r\n";
    insta::assert_snapshot!(refused_with(moved).await?, @"source on 'a': no WebSocket to HOST: it refused the WebSocket at '/broker': 301 Moved; it is to be found at 'wss://elsewhere/mqtt'; change 'url'");
    let denied = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    insta::assert_snapshot!(refused_with(denied).await?, @"source on 'a': no WebSocket to HOST: it refused the WebSocket at '/broker': 401 Unauthorized; check what the gateway asks for: a header (websocket.headers), or another path in 'url'");
    let other = "HTTP/1.1 200 OK\r\n\r\n<html>";
    insta::assert_snapshot!(refused_with(other).await?, @"source on 'a': no WebSocket to HOST: it refused the WebSocket at '/broker': 200 OK; check the path in 'url'; brokers mostly use /mqtt");
    insta::assert_snapshot!(refused_with("SSH-2.0-OpenSSH\r\n").await?, @"source on 'a': no WebSocket to HOST: its answer is not HTTP; check that this is the broker's port for ws://; for plain MQTT write mqtt:// in 'url', with TLS wss:// or mqtts://");
    let unsigned =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    insta::assert_snapshot!(refused_with(unsigned).await?, @"source on 'a': no WebSocket to HOST: its answer to the upgrade is not that of a WebSocket server; check the host and the port in 'url'");
    Ok(())
}

/// Accepts an upgrade, with the subprotocol `mqtt` or without it.
#[allow(clippy::result_large_err, reason = "tungstenite's signature")]
async fn accept(
    stream: TcpStream,
    subprotocol: bool,
    seen: mpsc::UnboundedSender<Request>,
) -> Result<WebSocketStream<TcpStream>> {
    let callback = move |request: &Request, mut response: Response| {
        if subprotocol {
            let mqtt = HeaderValue::from_static("mqtt");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", mqtt);
        }
        seen.send(request.clone()).ok();
        Ok(response)
    };
    Ok(accept_hdr_async(stream, callback).await?)
}

#[tokio::test]
async fn a_websocket_that_is_not_for_mqtt() -> Result<()> {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = serve(move |stream| {
        let seen = seen.clone();
        async move {
            accept(stream, false, seen).await?;
            Ok(())
        }
    })
    .await?;
    let with = source(&format!("ws://{address}")).and(
        "websocket.headers",
        "X-Tenant: plant-7, Authorization: Bearer geheim",
    );
    let error = fails(with).await?;
    insta::assert_snapshot!(error.replace(&address.to_string(), "HOST"), @"source on 'a': no WebSocket to HOST: it opened a WebSocket at '/mqtt', but not one for MQTT (no subprotocol 'mqtt'); check the path in 'url'");
    let request = requests.recv().await.context("a request")?;
    assert_eq!(request.uri(), "/mqtt");
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    assert_eq!(header("host"), address.to_string());
    assert_eq!(header("sec-websocket-protocol"), "mqtt");
    assert_eq!(header("x-tenant"), "plant-7");
    assert_eq!(header("authorization"), "Bearer geheim");
    Ok(())
}

/// What is reported about a server that sends this after the upgrade.
async fn after_upgrade(message: Message) -> Result<String> {
    let address = serve(move |stream| {
        let message = message.clone();
        async move {
            let (seen, _requests) = mpsc::unbounded_channel();
            let mut socket = accept(stream, true, seen).await?;
            socket.send(message).await?;
            // Until the client has gone away.
            socket.get_mut().read_to_end(&mut Vec::new()).await?;
            Ok(())
        }
    })
    .await?;
    let (passed, steps) = crate::probe::test_profile(With::url(&format!("ws://{address}"))).await?;
    assert!(!passed);
    Ok(crate::probe::last(&steps, address.port()))
}

#[tokio::test]
async fn a_server_that_speaks_something_else_after_the_upgrade() -> Result<()> {
    insta::assert_snapshot!(after_upgrade(Message::text("hello")).await?, @r"
    login Failed: 127.0.0.1:PORT did not answer the login: the server sent a text frame, and MQTT is binary (MQTT-6.0.0-1): is there another service at this path?
    remedy: check the path in 'url'; if the broker is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'
    ");
    let policy = CloseFrame {
        code: 1008.into(),
        reason: "no such tenant".into(),
    };
    insta::assert_snapshot!(after_upgrade(Message::Close(Some(policy))).await?, @r"
    login Failed: 127.0.0.1:PORT did not answer the login: the broker closed the WebSocket: 1008 no such tenant
    remedy: check the path in 'url'; if the broker is old and speaks MQTT 3.1.1 only, set protocol_version = '3.1.1'
    ");
    Ok(())
}

#[tokio::test]
async fn a_frame_that_is_announced_larger_than_any_packet_may_be() -> Result<()> {
    let address = serve(|stream| async move {
        let (seen, _requests) = mpsc::unbounded_channel();
        let mut socket = accept(stream, true, seen).await?;
        // The head of a binary frame of 16 MiB and a byte.
        let head = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1];
        socket.get_mut().write_all(&head).await?;
        socket.get_mut().read_to_end(&mut Vec::new()).await?;
        Ok(())
    })
    .await?;
    let with = source(&format!("ws://{address}")).and("max_packet_size", "1024");
    let error = fails(with).await?;
    assert!(error.contains("raise max_packet_size"), "{error}");
    Ok(())
}

#[tokio::test]
async fn pings_are_answered_and_frames_of_any_cut_are_packets() -> Result<()> {
    let (done, mut outcome) = mpsc::unbounded_channel();
    let address = serve(move |stream| {
        let done = done.clone();
        async move {
            let (seen, _requests) = mpsc::unbounded_channel();
            let mut socket = accept(stream, true, seen).await?;
            let connect = socket.next().await.context("CONNECT")??;
            assert!(connect.is_binary());
            socket.send(Message::Ping("?".into())).await?;
            let pong = socket.next().await.context("a pong")??;
            // CONNACK in two frames, with an empty one between them.
            for part in [&[0x20, 3, 0][..], &[], &[0, 0]] {
                socket.send(Message::binary(part.to_vec())).await?;
            }
            let subscribe = socket.next().await.context("SUBSCRIBE")??.into_data();
            done.send((pong, subscribe[0])).ok();
            Ok(())
        }
    })
    .await?;
    let (_source, _) = make_source("cut", source(&format!("ws://{address}")), one_column())?;
    let (pong, subscribe) = timeout(DEADLINE, outcome.recv())
        .await?
        .context("an answer")?;
    assert_eq!(pong, Message::Pong("?".into()));
    assert_eq!(subscribe, 0x82);
    Ok(())
}

#[tokio::test]
async fn the_plain_port_of_a_broker() -> Result<()> {
    let broker = Mosquitto::start()?;
    let url = broker.url().replace("mqtt://", "ws://");
    let (passed, steps) = crate::probe::test_profile(With::url(&url)).await?;
    assert!(!passed);
    let step = crate::probe::last(&steps, broker.port());
    assert!(
        step.starts_with("websocket Failed: no WebSocket to 127.0.0.1:PORT: "),
        "{step}"
    );
    assert!(
        step.contains("for plain MQTT write mqtt:// in 'url'"),
        "{step}"
    );
    Ok(())
}

//! The few packets of a test, one after the other, on a connection that is logged in.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{USER_PROPERTY, is_probe};
use crate::dial::{self, Stream};
use crate::error::{MqttError, ReasonCode};
use crate::options::{ConnectOptions, ProtocolVersion, QoS, Subscription};
use crate::packet::{self, Control, Decoder, Inbound, Publish, ReadBuffer};

/// What the broker says to a request.
pub(super) enum Answer {
    /// Granted; for a subscription, with this QoS.
    Yes(u8),
    /// Refused, and why.
    No(String),
}

/// A connection, and what has come over it.
pub(super) struct Wire {
    pub(super) stream: Stream,
    options: ConnectOptions,
    max_qos: QoS,
    decoder: Decoder,
    input: ReadBuffer,
    next_id: u16,
    answers: Vec<(u16, Answer)>,
    probe_arrived: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream, options: &ConnectOptions, max_qos: QoS) -> Self {
        Self {
            stream,
            options: options.clone(),
            // A probe that comes twice does no harm.
            max_qos: max_qos.min(QoS::AtLeastOnce),
            decoder: Decoder::new(options.protocol, options.max_packet_size),
            input: ReadBuffer::default(),
            next_id: 1,
            answers: Vec::new(),
            probe_arrived: false,
        }
    }

    /// SUBSCRIBE, and the broker's answer.
    pub(super) async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<Answer, MqttError> {
        let id = self.id();
        let subscription = Subscription::new(filter, qos);
        let mut out = BytesMut::new();
        packet::subscribe(self.options.protocol, id, &[subscription], &mut out)?;
        self.send(&out).await?;
        self.answer(id).await
    }

    /// PUBLISH of a probe, at QoS 1 if the broker knows it, and its answer.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        payload: &'static [u8],
    ) -> Result<Answer, MqttError> {
        let id = self.id();
        let publish = Publish::new(
            Bytes::copy_from_slice(topic.as_bytes()),
            Bytes::from_static(payload),
            self.max_qos,
        );
        let mut out = BytesMut::new();
        match self.options.protocol {
            ProtocolVersion::V31 | ProtocolVersion::V311 => {
                publish.encode(self.options.protocol, id, false, &mut out);
            }
            ProtocolVersion::V5 => marked(topic, &publish, id, &mut out)?,
        }
        self.send(&out).await?;
        match self.max_qos {
            QoS::AtMostOnce => Ok(Answer::Yes(0)),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.answer(id).await,
        }
    }

    /// Waits for a probe.
    pub(super) async fn receive_probe(&mut self) -> Result<(), MqttError> {
        while !self.probe_arrived {
            self.read().await?;
        }
        Ok(())
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), MqttError> {
        let options = &self.options;
        let lost = |error| dial::lost(options, error);
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn answer(&mut self, id: u16) -> Result<Answer, MqttError> {
        loop {
            if let Some(at) = self.answers.iter().position(|(of, _)| *of == id) {
                return Ok(self.answers.swap_remove(at).1);
            }
            self.read().await?;
        }
    }

    /// Reads once and takes note of all whole packets.
    async fn read(&mut self) -> Result<(), MqttError> {
        let room = self.input.for_read(0);
        let read = self.stream.read_buf(room).await;
        if read.map_err(|error| dial::lost(&self.options, error))? == 0 {
            return Err(MqttError::ClosedByBroker {
                address: self.options.address(),
            });
        }
        let decoded = self.decoder.decode(&mut self.input)?;
        for ack in decoded.acks {
            self.answers
                .push((ack.packet_id, answer(ack.reason, ack.message)));
        }
        for control in decoded.control {
            match control {
                Control::SubAck(id, reasons, message) => {
                    let reason = reasons.first().copied().unwrap_or(ReasonCode::UNSPECIFIED);
                    self.answers.push((id, answer(reason, message)));
                }
                Control::Disconnect(reason, message) => {
                    return Err(MqttError::Disconnected { reason, message });
                }
                Control::ConnAck(_) | Control::UnsubAck(..) | Control::PingResp => {}
            }
        }
        if let Some(batch) = decoded.batch {
            self.probe_arrived |= Inbound::new(1, 1, batch).iter().any(|m| is_probe(&m));
        }
        Ok(())
    }
}

fn answer(reason: ReasonCode, message: Option<String>) -> Answer {
    if !reason.is_error() {
        return Answer::Yes(reason.0);
    }
    Answer::No(match message {
        Some(message) => format!("{reason} ({message})"),
        None => reason.to_string(),
    })
}

/// The probe with the user property that marks it.
fn marked(topic: &str, publish: &Publish, id: u16, out: &mut BytesMut) -> Result<(), MqttError> {
    let qos = match publish.qos {
        QoS::AtMostOnce => rumqttc::v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
    };
    let properties = v5::PublishProperties {
        user_properties: vec![(
            USER_PROPERTY.to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        )],
        ..Default::default()
    };
    let mut packet = v5::Publish::new(topic, qos, publish.payload.clone(), Some(properties));
    packet.pkid = id;
    let written = packet.write(out);
    written.map_err(|e| MqttError::options(format!("cannot write the probe: {e}")))?;
    Ok(())
}

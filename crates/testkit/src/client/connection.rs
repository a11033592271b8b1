//! The connection behind a test client: who waits for what, and the task that reads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{ANSWER_DEADLINE, Message};
use crate::wire::{self, Ack, Packet, Publish};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) v5: bool,
    pub(super) writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pub(super) state: Mutex<State>,
    pub(super) window: Arc<Semaphore>,
    pub(super) window_size: u32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    next_packet_id: u16,
    waiting: HashMap<u16, Waiting>,
    /// QoS 2 messages that were delivered and not yet released.
    unreleased: HashSet<u16>,
    /// Why the connection ended, or a publish was refused.
    failure: Option<String>,
}

/// Someone who waits for an acknowledgement.
#[derive(Debug)]
struct Waiting {
    done: Option<oneshot::Sender<Vec<u8>>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Shared {
    pub(super) async fn write(&self, buffer: &mut BytesMut) -> Result<()> {
        let mut writer = self.writer.lock().await;
        let result = writer.write_all_buf(buffer).await;
        if result.is_err() {
            self.lock().check()?;
        }
        Ok(result?)
    }

    pub(super) async fn slots(&self, count: u32) -> Result<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.window).acquire_many_owned(count);
        match timeout(ANSWER_DEADLINE, slots).await {
            Ok(Ok(slots)) => Ok(slots),
            Ok(Err(_closed)) => {
                self.lock().check()?;
                bail!("the connection ended before all publishes were acknowledged")
            }
            Err(_elapsed) => bail!("the broker acknowledged nothing for {ANSWER_DEADLINE:?}"),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is one assignment, so a panic elsewhere leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, reason: String) {
        let mut state = self.lock();
        state.failure.get_or_insert(reason);
        state.waiting.clear();
        self.window.close();
    }
}

impl State {
    /// Finds a free packet id and remembers who waits for its acknowledgement.
    pub(super) fn enlist(
        &mut self,
        done: Option<oneshot::Sender<Vec<u8>>>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<u16> {
        self.check()?;
        loop {
            self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
            if !self.waiting.contains_key(&self.next_packet_id) {
                break;
            }
        }
        let waiting = Waiting { done, _slot: slot };
        self.waiting.insert(self.next_packet_id, waiting);
        Ok(self.next_packet_id)
    }

    pub(super) fn check(&self) -> Result<()> {
        match &self.failure {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }
}

/// Reads until the connection ends, and then lets everyone know who waits.
pub(super) async fn read_loop(
    mut stream: OwnedReadHalf,
    mut buffer: BytesMut,
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedSender<Message>,
) {
    let reason = loop {
        if let Err(error) = handle_all(&mut buffer, &shared, &inbox).await {
            break format!("{error:#}");
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) => break "the broker closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => break format!("the connection was lost: {error}"),
        }
    };
    shared.fail(reason);
}

async fn handle_all(
    buffer: &mut BytesMut,
    shared: &Shared,
    inbox: &mpsc::UnboundedSender<Message>,
) -> Result<()> {
    let mut answers = BytesMut::new();
    while let Some(packet) = wire::read(buffer, shared.v5)? {
        handle(packet, &mut shared.lock(), &mut answers, inbox)?;
    }
    if answers.is_empty() {
        return Ok(());
    }
    shared.write(&mut answers).await
}

fn handle(
    packet: Packet,
    state: &mut State,
    answers: &mut BytesMut,
    inbox: &mpsc::UnboundedSender<Message>,
) -> Result<()> {
    match packet {
        Packet::Publish(publish) => receive(publish, state, answers, inbox),
        Packet::Ack {
            ack,
            packet_id,
            code,
        } => {
            if code >= 0x80 {
                let reason = format!("the broker refused a publish with code {code:#04x}");
                state.failure.get_or_insert(reason);
                state.waiting.remove(&packet_id);
                return Ok(());
            }
            match ack {
                Ack::PubAck | Ack::PubComp => drop(state.waiting.remove(&packet_id)),
                Ack::PubRec => wire::write_ack(answers, Ack::PubRel, packet_id),
                Ack::PubRel => {
                    state.unreleased.remove(&packet_id);
                    wire::write_ack(answers, Ack::PubComp, packet_id);
                }
            }
        }
        Packet::SubAck { packet_id, codes } => {
            let waiting = state.waiting.remove(&packet_id);
            if let Some(done) = waiting.and_then(|waiting| waiting.done) {
                // A subscriber that has given up has reported its own error.
                done.send(codes).ok();
            }
        }
        Packet::PingResp | Packet::ConnAck { .. } => {}
        Packet::Disconnect { code } => bail!("the broker disconnected us with code {code:#04x}"),
    }
    Ok(())
}

fn receive(
    publish: Publish,
    state: &mut State,
    answers: &mut BytesMut,
    inbox: &mpsc::UnboundedSender<Message>,
) {
    match publish.qos {
        0 => {}
        1 => wire::write_ack(answers, Ack::PubAck, publish.packet_id),
        _ => {
            wire::write_ack(answers, Ack::PubRec, publish.packet_id);
            if !state.unreleased.insert(publish.packet_id) {
                return;
            }
        }
    }
    let message = Message {
        topic: publish.topic,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        properties: publish.properties,
    };
    // The client was dropped: nobody wants the message any more.
    inbox.send(message).ok();
}

//! The two data channels of a connection: a task each for sending, and one for receiving.
//!
//! Sending has tasks of its own so that messages that wait for a dead path never hold up the negotiation that
//! mends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use sotto_peer_core::{Channel, LinkEvent};
use sotto_protocol::limits::MAX_LINK_MESSAGE;
use sotto_protocol::link::{MSG_CHANNEL, PROBE_CHANNEL};
use tokio::sync::{mpsc, watch};
use tracing::debug;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};

use super::connection::{Reporter, Signal};
use super::runtime::SottoRuntime;

/// Bytes handed to SCTP and not yet acknowledged, a channel. What is in there stands before the next probe; the
/// rest waits here, where probes pass it. Enough for 2.5 MB/s over 100 ms, and four of the longest messages.
pub(super) const SEND_BUFFER: usize = 256 * 1024;

/// Unacknowledged bytes on the probe channel above which it counts as busy: some forty probes and answers.
/// Their acknowledgement may be delayed by 200 ms, and a lost one stays until a retransmission timer ends.
const PROBE_BACKLOG: usize = 1024;

/// Label and options of a channel: negotiated out of band, the same at both ends.
pub fn channel_options(channel: Channel) -> (&'static str, RTCDataChannelInit) {
    let ((id, label), max_retransmits) = match channel {
        Channel::Msg => (MSG_CHANNEL, None),
        Channel::Probe => (PROBE_CHANNEL, Some(0)),
    };
    let options =
        RTCDataChannelInit { ordered: false, max_retransmits, negotiated: Some(id), ..Default::default() };
    (label, options)
}

/// Sends messages one after another, each once there is room; none is dropped while the connection lives.
pub(super) async fn send_messages(
    channel: Arc<dyn DataChannel>,
    mut open: watch::Receiver<bool>,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
    signals: mpsc::UnboundedSender<Signal>,
) {
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    while let Some(message) = queue.recv().await {
        let length = message.len();
        let sent = channel.send(BytesMut::from(message)).await;
        queued.fetch_sub(length, Ordering::Relaxed);
        if let Err(error) = sent {
            debug!(%error, length, "not sent");
            let _ = signals.send(Signal::Failed("a message could not be sent"));
            return;
        }
    }
}

/// Sends probes while the channel is free, and drops them while it is not.
pub(super) async fn send_probes(
    channel: Arc<dyn DataChannel>,
    mut open: watch::Receiver<bool>,
    mut queue: mpsc::Receiver<Bytes>,
) {
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    while let Some(probe) = queue.recv().await {
        match channel.outstanding_bytes().await {
            Ok(waiting) if waiting + probe.len() <= PROBE_BACKLOG => {}
            Ok(_) => continue,
            Err(_) => return,
        }
        if let Err(error) = channel.try_send(BytesMut::from(probe)).await {
            debug!(%error, "probe not sent");
        }
    }
}

/// Reports what happens on a channel until it is closed.
pub(super) async fn receive(
    which: Channel,
    channel: Arc<dyn DataChannel>,
    open: watch::Sender<bool>,
    runtime: SottoRuntime,
    mut reporter: Reporter,
    signals: mpsc::UnboundedSender<Signal>,
) {
    while let Some(event) = channel.poll().await {
        let report = match event {
            DataChannelEvent::OnOpen => {
                // Both are opened together.
                runtime.settle();
                open.send_replace(true);
                LinkEvent::ChannelOpen(which)
            }
            DataChannelEvent::OnMessage(message) if message.data.len() > MAX_LINK_MESSAGE => {
                let _ = signals.send(Signal::Failed("the peer sent a message longer than allowed"));
                return;
            }
            DataChannelEvent::OnMessage(message) => {
                LinkEvent::Message { channel: which, message: message.data.freeze() }
            }
            DataChannelEvent::OnClose => break,
            // Errors are followed by a close; the rest is flow control, which `send` does. The crate may add more.
            _ => continue,
        };
        if reporter.report(report).await.is_err() {
            return;
        }
    }
    // Closed by the peer, or the driver has stopped.
    let _ = signals.send(Signal::Closed);
}

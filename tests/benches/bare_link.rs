//! A bare data channel between two connections of the `webrtc` crate in this process, set up just as Sotto's links are
//! (its runtime, its timing, its buffers, its channel), so that what differs is Sotto.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sotto_peer_client::link::{LinkOptions, bare_builder, channel_options};
use sotto_peer_core::Channel;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionEventHandler, RTCIceCandidate, RTCPeerConnectionIceEvent,
};

use crate::device::MESSAGE;
use crate::server::PATIENCE;

struct Candidates(mpsc::UnboundedSender<RTCIceCandidate>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Candidates {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let _ = self.0.send(event.candidate);
    }
}

struct End {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    candidates: mpsc::UnboundedReceiver<RTCIceCandidate>,
}

impl End {
    async fn new() -> Self {
        let (found, candidates) = mpsc::unbounded_channel();
        let builder = bare_builder(&LinkOptions::default()).with_handler(Arc::new(Candidates(found)));
        let connection = Arc::new(builder.build().await.unwrap());
        let (label, options) = channel_options(Channel::Msg);
        let channel = connection.create_data_channel(label, Some(options)).await.unwrap();
        Self { connection, channel, candidates }
    }
}

/// Passes candidates on for as long as the connections live.
fn trickle(mut from: mpsc::UnboundedReceiver<RTCIceCandidate>, to: Arc<dyn PeerConnection>) {
    tokio::spawn(async move {
        while let Some(candidate) = from.recv().await {
            let _ = to.add_ice_candidate(candidate.to_json().unwrap()).await;
        }
    });
}

pub struct BareLink {
    connections: [Arc<dyn PeerConnection>; 2],
    near: Arc<dyn DataChannel>,
    far: Arc<dyn DataChannel>,
}

impl BareLink {
    /// Open at both ends: the crate may lose what is sent before.
    pub async fn open() -> Self {
        let (near, far) = (End::new().await, End::new().await);
        let offer = near.connection.create_offer(None).await.unwrap();
        near.connection.set_local_description(offer.clone()).await.unwrap();
        far.connection.set_remote_description(offer).await.unwrap();
        let answer = far.connection.create_answer(None).await.unwrap();
        far.connection.set_local_description(answer.clone()).await.unwrap();
        near.connection.set_remote_description(answer).await.unwrap();
        trickle(near.candidates, Arc::clone(&far.connection));
        trickle(far.candidates, Arc::clone(&near.connection));
        for channel in [&near.channel, &far.channel] {
            let opened =
                async { while !matches!(channel.poll().await.unwrap(), DataChannelEvent::OnOpen) {} };
            tokio::time::timeout(PATIENCE, opened).await.unwrap();
        }
        Self { connections: [near.connection, far.connection], near: near.channel, far: far.channel }
    }

    /// Round trips one after another of a message that the far end sends back.
    pub async fn echo(&self, count: usize) -> Vec<Duration> {
        let far = Arc::clone(&self.far);
        let echo = tokio::spawn(async move {
            for _ in 0..count {
                let message = message(&far).await;
                far.send(message[..].into()).await.unwrap();
            }
        });
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.near.send([7; MESSAGE][..].into()).await.unwrap();
            message(&self.near).await;
            took.push(start.elapsed());
        }
        echo.await.unwrap();
        took
    }

    /// Messages a second, one way, from the first sent to the last received.
    pub async fn rate(&self, count: usize) -> f64 {
        let far = Arc::clone(&self.far);
        let received = tokio::spawn(async move {
            for _ in 0..count {
                message(&far).await;
            }
        });
        let start = Instant::now();
        for _ in 0..count {
            self.near.send([7; MESSAGE][..].into()).await.unwrap();
        }
        tokio::time::timeout(PATIENCE, received).await.unwrap().unwrap();
        count as f64 / start.elapsed().as_secs_f64()
    }

    pub async fn close(self) {
        for connection in self.connections {
            connection.close().await.unwrap();
        }
    }
}

async fn message(channel: &Arc<dyn DataChannel>) -> Vec<u8> {
    loop {
        if let DataChannelEvent::OnMessage(message) = channel.poll().await.unwrap() {
            return message.data.to_vec();
        }
    }
}

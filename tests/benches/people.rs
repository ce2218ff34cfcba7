//! Two whole peers on profiles on the disk, signed up at a server.

use std::time::{Duration, Instant};

use sotto_peer_client::{Client, Event, Events, LinkPath, MessageView, PathState};
use sotto_peer_core::WriteSet;
use sotto_protocol::{ConversationId, Handle};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::device::MESSAGE;
use crate::server::{PATIENCE, ServerProcess, folder};

pub struct Person {
    pub client: Client,
    pub events: Events,
    /// What its profile wrote, once durable.
    pub writes: mpsc::UnboundedReceiver<WriteSet>,
    _folder: TempDir,
}

impl Person {
    /// Signed up, and connected to signaling and the relay.
    pub async fn join(server: &ServerProcess, handle: &str) -> Self {
        let folder = folder();
        let (watcher, writes) = mpsc::unbounded_channel();
        let builder = Client::builder(folder.path()).watch_writes(watcher);
        builder.sign_up(&server.url, name(handle), None).await.unwrap();
        let (client, events) = builder.open_with_events().await.unwrap();
        let person = Self { client, events, writes, _folder: folder };
        person.until("connected", |status| status.server.up && status.relay.up).await;
        person
    }

    pub async fn until(&self, what: &str, such: impl Fn(&sotto_peer_client::Status) -> bool) {
        let start = Instant::now();
        while !such(&self.client.status().await.unwrap()) {
            assert!(start.elapsed() < PATIENCE, "never {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The next event that is such.
    pub async fn find<T>(&mut self, such: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.events.next()).await;
            if let Some(found) = such(&next.expect("an event in time").expect("the peer runs").event) {
                return found;
            }
        }
    }

    /// The next message of somebody else.
    pub async fn message(&mut self) -> MessageView {
        self.find(|event| match event {
            Event::Message(message) if !message.own => Some(message.clone()),
            _ => None,
        })
        .await
    }

    /// All writes so far.
    pub fn written(&mut self) -> Vec<WriteSet> {
        std::iter::from_fn(|| self.writes.try_recv().ok()).collect()
    }

    /// Drops the events so far.
    pub fn catch_up(&mut self) {
        while self.events.try_next().is_some() {}
    }

    /// Everything said is in the log and nothing is on its way.
    pub async fn settle(&mut self) {
        self.until("all logged", |status| status.conversations.iter().all(|at| at.unacked == 0)).await;
        // Receipts and cursors follow within half a second.
        tokio::time::sleep(Duration::from_millis(700)).await;
        self.client.flush().await.unwrap();
        self.catch_up();
    }
}

pub fn name(handle: &str) -> Handle {
    Handle::parse(handle).unwrap()
}

/// A text of the length that is measured.
pub fn text(number: usize) -> String {
    format!("{number:0>MESSAGE$}")
}

/// Two who know each other, linked directly, and their conversation.
pub async fn linked(server: &ServerProcess, handles: [&str; 2]) -> (Person, Person, ConversationId) {
    let mut near = Person::join(server, handles[0]).await;
    let mut far = Person::join(server, handles[1]).await;
    let conversation = near.client.direct(name(handles[1])).await.unwrap();
    near.client.send(conversation, "hello").await.unwrap();
    far.message().await;
    far.client.accept(conversation).await.unwrap();
    far.client.send(conversation, "hello").await.unwrap();
    near.message().await;
    for person in [&near, &far] {
        let direct = |status: &sotto_peer_client::Status| {
            status.links.iter().any(|link| link.path == LinkPath::Direct && link.state == PathState::Valid)
        };
        person.until("linked", direct).await;
    }
    near.settle().await;
    far.settle().await;
    (near, far, conversation)
}

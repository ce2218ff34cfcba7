//! An open profile in a command: finding whom it is about, and waiting until things are as they should be.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;
use sotto_peer_core::Socket;
use sotto_protocol::{ConversationId, ConversationKind, Seq};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

use super::args::To;
use super::out::Out;
use super::{Outcome, in_words};
use crate::{
    Client, CommandError, ConversationView, Error, Event, Events, LinkPath, Notification, PathState, Status,
};

/// For the server to be reached, where a command cannot do without it.
const SERVER_PATIENCE: Duration = Duration::from_secs(15);

/// For catching up with the relay before something is listed.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// This long without news means that everything has come.
const QUIET: Duration = Duration::from_millis(300);

/// How often the status is looked at again while waiting for it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Without a link after this long, nobody is there to link to.
const NOBODY: Duration = Duration::from_millis(2_500);

/// A server that could not be reached for this long is not about to be.
const REFUSED: Duration = Duration::from_secs(1);

pub(super) struct Session {
    pub client: Client,
    pub events: Events,
    pub out: Out,
    pub stop: Stop,
    /// The last own message of each conversation that another device or the relay is known to have.
    held: HashMap<ConversationId, Seq>,
}

impl Session {
    pub async fn open(profile: &Path, out: Out) -> anyhow::Result<Self> {
        let stop = Stop::new()?;
        let (client, events) = Client::builder(profile).open_with_events().await?;
        Ok(Self { client, events, out, stop, held: HashMap::new() })
    }

    /// Writes out and says good-bye; a second Ctrl-C does without the good-bye.
    pub async fn close(mut self) -> anyhow::Result<()> {
        tokio::select! {
            closed = self.client.close() => Ok(closed?),
            () = self.stop.requested() => Ok(()),
        }
    }

    /// The next notification; `None` if somebody asks the program to end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Notification>> {
        tokio::select! {
            biased;
            () = self.stop.requested() => Ok(None),
            notification = self.events.next() => match notification {
                Some(notification) => {
                    self.note_held(&notification.event);
                    Ok(Some(notification))
                }
                None => Err(self.events.ended().await.into()),
            },
        }
    }

    /// Remembers which own messages are durable elsewhere. A receipt is for a message and all earlier ones.
    fn note_held(&mut self, event: &Event) {
        if let Event::Receipt { id, .. } = event
            && id.device == self.client.device()
        {
            let held = self.held.entry(id.conversation).or_default();
            *held = id.seq.max(*held);
        }
    }

    /// Says that a command is done.
    pub fn done(&self, text: &str, value: Value, outcome: Outcome) -> anyhow::Result<Outcome> {
        if self.out.json {
            self.out.json(&value)?;
        } else {
            self.out.line(text)?;
        }
        Ok(outcome)
    }

    /// Carries out what may need the server: tries again while it is being reached.
    pub async fn online<T>(&mut self, act: impl AsyncFn(&Client) -> Result<T, Error>) -> anyhow::Result<T> {
        self.online_within(SERVER_PATIENCE, act).await
    }

    async fn online_within<T>(
        &mut self,
        patience: Duration,
        act: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> anyhow::Result<T> {
        let client = self.client.clone();
        let acted = async {
            loop {
                match act(&client).await {
                    Err(Error::Command(CommandError::Offline(_))) => tokio::time::sleep(LOOK_AGAIN).await,
                    result => return result,
                }
            }
        };
        tokio::select! {
            acted = timeout(patience, acted) => {
                if let Ok(result) = acted {
                    return Ok(result?);
                }
            }
            () = self.stop.requested() => bail!("stopped"),
        }
        bail!("this needs the server: {}", not_connected(&self.client.status().await?))
    }

    /// The conversation with somebody or of a group; begins a direct one if there is none.
    pub async fn find(&mut self, to: &To) -> anyhow::Result<ConversationId> {
        self.find_within(SERVER_PATIENCE, to).await
    }

    /// The same, if it takes no longer than this.
    pub async fn find_within(&mut self, patience: Duration, to: &To) -> anyhow::Result<ConversationId> {
        match to {
            To::Handle(handle) => {
                self.online_within(patience, async |client: &Client| client.direct(handle.clone()).await)
                    .await
            }
            To::Conversation(_) | To::Group(_) => self.awaited(to, |_| true).await,
        }
    }

    /// A group.
    pub async fn find_group(&mut self, to: &To) -> anyhow::Result<ConversationId> {
        match to {
            To::Handle(handle) => bail!("@{handle} is a person; expected a group's name or id"),
            To::Conversation(_) | To::Group(_) => {
                self.awaited(to, |conversation| conversation.kind == ConversationKind::Group).await
            }
        }
    }

    /// A request.
    pub async fn find_request(&mut self, to: &To) -> anyhow::Result<ConversationId> {
        match self.awaited(to, |conversation| conversation.request).await {
            Ok(id) => Ok(id),
            Err(error) => match self.existing(to, |_| true).await {
                // Accepting twice is no mistake.
                Ok(id) => Ok(id),
                Err(_) => Err(error.context("no such request (sotto requests lists them)")),
            },
        }
    }

    /// One that is there, or on its way.
    async fn awaited(
        &mut self,
        to: &To,
        fits: impl Fn(&ConversationView) -> bool,
    ) -> anyhow::Result<ConversationId> {
        if let Ok(id) = self.existing(to, &fits).await {
            return Ok(id);
        }
        self.settle().await?;
        self.existing(to, &fits).await
    }

    async fn existing(
        &self,
        to: &To,
        fits: impl Fn(&ConversationView) -> bool,
    ) -> anyhow::Result<ConversationId> {
        let own = self.client.handle();
        let is_meant = |conversation: &ConversationView| match to {
            To::Conversation(id) => conversation.id == *id,
            To::Group(name) => {
                conversation.kind == ConversationKind::Group && conversation.name.as_ref() == Some(name)
            }
            To::Handle(handle) => {
                conversation.kind == ConversationKind::Direct
                    && handle != own
                    && conversation.members.contains(handle)
            }
        };
        let conversations = self.client.conversations().await?;
        let found: Vec<_> = conversations.iter().filter(|c| is_meant(c) && fits(c)).collect();
        match found[..] {
            [one] => Ok(one.id),
            [] => bail!("{} not found", in_words(to)),
            _ => {
                let ids: Vec<_> = found.iter().map(|conversation| conversation.id.to_string()).collect();
                bail!("{} could be any of these, say which by its id: {}", in_words(to), ids.join(", "))
            }
        }
    }

    /// Waits until the server is reached and what it has for this device has come, or until it is plain that it
    /// will not.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE_PATIENCE;
        loop {
            let status = self.client.status().await?;
            if let Some(why) = status.relay.why.as_ref().or(status.server.why.as_ref()) {
                self.out.note(&format!(
                    "not connected, so this may not be the newest: {}",
                    super::plain::one_line(why)
                ));
                return Ok(());
            }
            if status.relay.up || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        while Instant::now() < until {
            match timeout(QUIET, self.next()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) | Err(_) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until everything accepted is at the relay or, while that is away, every message at another device.
    pub async fn outbox_empty(&mut self, patience: Duration) -> anyhow::Result<Outcome> {
        self.wait_for_outbox(patience, true).await
    }

    /// The same, where nothing but messages matters.
    pub async fn messages_out(&mut self, patience: Duration) -> anyhow::Result<Outcome> {
        self.wait_for_outbox(patience, false).await
    }

    async fn wait_for_outbox(&mut self, patience: Duration, server_too: bool) -> anyhow::Result<Outcome> {
        let until = Instant::now() + patience;
        loop {
            let status = self.client.status().await?;
            let unlogged = status.conversations.iter().filter(|c| c.unlogged > 0);
            let unlogged: Vec<_> = unlogged.map(|c| (c.id, c.last_seq)).collect();
            if status.server.up && status.relay.up && unlogged.is_empty() {
                return Ok(Outcome::Done);
            }
            if !server_too && unlogged.is_empty() && status.relay.why.is_some() {
                return Ok(Outcome::Done);
            }
            // Whoever has it gives it to the relay too, should this device never come back.
            let is_held =
                |(id, seq): &(ConversationId, Seq)| self.held.get(id).is_some_and(|held| held >= seq);
            let held = !unlogged.is_empty() && unlogged.iter().all(is_held);
            if held && !status.relay.up {
                let why = not_connected(&status);
                self.out.note(&format!("{why}: delivered directly; the server gets it with the next run"));
                return Ok(Outcome::Done);
            }
            let look_again = (Instant::now() + LOOK_AGAIN).min(until);
            let stopped = tokio::select! {
                notification = self.next() => notification?.is_none(),
                () = sleep_until(look_again) => Instant::now() >= until,
            };
            if stopped && held {
                return Ok(Outcome::Done);
            }
            if stopped {
                let why = not_connected(&status);
                self.out.note(&match unlogged.is_empty() {
                    true => format!("{why}: the server hears of it with the next run"),
                    false => format!("{why}: it is in the outbox, and goes out with the next run"),
                });
                return Ok(Outcome::Queued);
            }
        }
    }

    /// The status once connections and links are up, or had their time.
    pub async fn connected_status(&mut self, patience: Duration) -> anyhow::Result<Status> {
        let start = Instant::now();
        loop {
            let status = self.client.status().await?;
            let waited = start.elapsed();
            let connected = status.server.up && status.relay.up;
            let linked = status.links.iter().all(|link| {
                link.path == LinkPath::Direct && matches!(link.state, PathState::Valid | PathState::Suspect)
            });
            let decided = connected && linked && (!status.links.is_empty() || waited >= NOBODY);
            let refused = status.server.why.is_some() && status.relay.why.is_some() && waited >= REFUSED;
            if decided || refused || waited >= patience {
                return Ok(status);
            }
            tokio::select! {
                () = self.stop.requested() => return Ok(status),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// Why nothing goes out.
pub(super) fn not_connected(status: &Status) -> String {
    match status.relay.why.as_ref().or(status.server.why.as_ref()) {
        Some(why) => format!("not connected ({})", super::plain::one_line(why)),
        None if status.relay.up => "not confirmed yet".into(),
        None => "not connected yet".into(),
    }
}

/// Which sockets are down: people hear once that the server is gone, and once that all is well again.
#[derive(Debug, Default)]
pub(super) struct Connections(BTreeSet<Socket>);

impl Connections {
    /// What of an event is worth a line.
    pub fn note(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Connection { socket, up: false, why } => {
                let first = self.0.is_empty();
                self.0.insert(*socket);
                let why = why.as_deref().map(|why| format!(": {}", super::plain::one_line(why)));
                first.then(|| format!("· not connected{}", why.unwrap_or_default()))
            }
            Event::Connection { socket, up: true, .. } => {
                let back = self.0.remove(socket) && self.0.is_empty();
                back.then(|| "· connected again".into())
            }
            Event::Alarm { about, advice } => {
                Some(format!("! {}: {}", super::plain::one_line(about), super::plain::one_line(advice)))
            }
            _ => None,
        }
    }
}

/// Ctrl-C or SIGTERM.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves when somebody asks the program to end.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

//! The library's handle on a running peer.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use sotto_peer_core::{
    Command, CommandError, ConversationView, Identity, MessageView, Notification, PathPolicy, ProfileChange,
    ProfileView, Reply, Status,
};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::{AccountId, ConversationId, DeviceId, Handle, MessageId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::Order;
use crate::link::{LinkFaults, LinkOptions};
use crate::net::{Origin, OriginError};
use crate::profile::{Options, Profile, ProfileError, SignUpError, StoreError, WriteWatcher};

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Signing up failed.
    #[error(transparent)]
    SignUp(#[from] SignUpError),
    /// The server's address is none.
    #[error(transparent)]
    Server(#[from] OriginError),
    /// The command failed; the peer goes on.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The peer has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// Why a peer has ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Ended {
    /// It was closed.
    #[error("the client was closed")]
    Closed,
    /// Its profile could not be written or read. Nothing that was acknowledged is lost; open it again once the
    /// cause is gone.
    #[error("the profile failed: {0}")]
    Store(Arc<StoreError>),
    /// A bug.
    #[error("the peer broke; the log says where")]
    Broken,
}

/// Opens clients; see [`Client::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    profile: PathBuf,
    authorities: Option<PathBuf>,
    options: Options,
}

impl Builder {
    /// Trusts the certificate authorities in a PEM file too, for a server with a certificate of one's own. Kept in
    /// the profile: needed once.
    pub fn trust(mut self, authorities: impl Into<PathBuf>) -> Self {
        self.authorities = Some(authorities.into());
        self
    }

    /// Keeps numbered notifications in the profile until [`Client::ack_events`], so that a program that was killed
    /// between an event and its work can ask for it again with [`Client::replay_events`]. Once on, it stays on.
    pub fn keep_events(mut self, keep: bool) -> Self {
        self.options.keep_events = keep;
        self
    }

    /// Offers 127.0.0.1 to other devices even where the machine has other addresses.
    pub fn include_loopback(mut self, include: bool) -> Self {
        self.options.links.include_loopback = include;
        self
    }

    /// Lets tests cut the network under all links.
    pub fn link_faults(mut self, faults: LinkFaults) -> Self {
        self.options.links = LinkOptions { faults, ..self.options.links };
        self
    }

    /// Hands over what was written to the profile, each write once it is durable, in order: to measure what writing
    /// costs, or to keep a copy elsewhere.
    pub fn watch_writes(mut self, watcher: WriteWatcher) -> Self {
        self.options.watcher = Some(watcher);
        self
    }

    /// Makes an account with a handle on a server, which asks for an invitation or not. Can be repeated after an
    /// error: whatever happens in between, the profile's keys and the server's account belong together.
    pub async fn sign_up(
        &self,
        server: &str,
        handle: Handle,
        invite: Option<String>,
    ) -> Result<Identity, Error> {
        let origin = Origin::parse(server)?;
        let mut profile = self.profile().await?;
        Ok(profile.sign_up(origin, handle, invite).await?)
    }

    /// Starts the peer; it connects by itself, now and whenever it can. Events that happen before
    /// [`Client::events`] is called are missed: see [`Builder::open_with_events`].
    pub async fn open(self) -> Result<Client, Error> {
        Ok(self.open_with_events().await?.0)
    }

    /// Starts the peer, with all its events from the first moment on.
    pub async fn open_with_events(self) -> Result<(Client, Events), Error> {
        let profile = self.profile().await?;
        Ok(profile.start(self.options).await?)
    }

    async fn profile(&self) -> Result<Profile, ProfileError> {
        let profile = Profile::open(&self.profile).await?;
        if let Some(authorities) = &self.authorities {
            profile.trust(authorities)?;
        }
        Ok(profile)
    }
}

/// A running peer. Clones are handles on the same one; when the last is dropped, it ends in the background.
///
/// Every method returns when what it says is durable in the profile. None but those that say so needs the server.
#[derive(Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<Option<Ended>>,
    identity: Arc<Identity>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client(@{})", self.identity.handle)
    }
}

impl Client {
    /// Begins with the folder that holds the device's keys, contacts and history; made if there is none.
    pub fn builder(profile: impl AsRef<Path>) -> Builder {
        Builder { profile: profile.as_ref().to_owned(), authorities: None, options: Options::default() }
    }

    pub(crate) fn new(
        orders: mpsc::Sender<Order>,
        ended: watch::Receiver<Option<Ended>>,
        identity: Identity,
    ) -> Self {
        Self { orders, ended, identity: Arc::new(identity) }
    }

    /// The own handle.
    pub fn handle(&self) -> &Handle {
        &self.identity.handle
    }

    /// The own account.
    pub fn account(&self) -> AccountId {
        self.identity.account
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.identity.device
    }

    /// The server's origin.
    pub fn server(&self) -> &str {
        &self.identity.server
    }

    /// The direct conversation with an account; begins it if there is none. A handle met for the first time needs
    /// the server.
    pub async fn direct(&self, handle: Handle) -> Result<ConversationId, Error> {
        conversation(self.run(Command::Direct { handle }).await?)
    }

    /// Accepts a request: from now on its members see deliveries, presence, typing, and may link to this device.
    pub async fn accept(&self, conversation: ConversationId) -> Result<(), Error> {
        done(self.run(Command::Accept { conversation }).await?)
    }

    /// Blocks an account: nothing of it is shown, and it learns nothing.
    pub async fn block(&self, handle: Handle) -> Result<(), Error> {
        done(self.run(Command::Block { handle }).await?)
    }

    /// Ends a block; what was sent meanwhile arrives.
    pub async fn unblock(&self, handle: Handle) -> Result<(), Error> {
        done(self.run(Command::Unblock { handle }).await?)
    }

    /// Creates a group. Handles met for the first time need the server.
    pub async fn group_create(&self, name: &str, members: Vec<Handle>) -> Result<ConversationId, Error> {
        conversation(self.run(Command::GroupCreate { name: name.into(), members }).await?)
    }

    /// Adds a member; returns when the relay has it, and fails if it cannot be reached.
    pub async fn group_add(&self, conversation: ConversationId, handle: Handle) -> Result<(), Error> {
        done(self.run(Command::GroupAdd { conversation, handle }).await?)
    }

    /// Leaves a group; returns when the relay has it, and fails if it cannot be reached.
    pub async fn group_leave(&self, conversation: ConversationId) -> Result<(), Error> {
        done(self.run(Command::GroupLeave { conversation }).await?)
    }

    /// Renames a group.
    pub async fn group_rename(&self, conversation: ConversationId, name: &str) -> Result<(), Error> {
        done(self.run(Command::GroupRename { conversation, name: name.into() }).await?)
    }

    /// All conversations, the most recently active first.
    pub async fn conversations(&self) -> Result<Vec<ConversationView>, Error> {
        match self.run(Command::Conversations).await? {
            Reply::Conversations(conversations) => Ok(conversations),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a text of at most 32 KiB. Returns when it is durable in the outbox: from then on it arrives, whatever
    /// happens to this process. [`Event::Receipt`](sotto_peer_core::Event::Receipt) says how far it got.
    pub async fn send(&self, conversation: ConversationId, text: &str) -> Result<MessageId, Error> {
        match self.run(Command::Send { conversation, text: text.into() }).await? {
            Reply::Sent(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// Messages in display order, 1 to 5,000: the last ones before `before`, or the first ones after `after`.
    pub async fn history(
        &self,
        conversation: ConversationId,
        before: Option<MessageId>,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageView>, Error> {
        match self.run(Command::History { conversation, before, after, limit }).await? {
            Reply::History(messages) => Ok(messages),
            other => Err(unexpected(&other)),
        }
    }

    /// Marks everything displayed up to a message as read.
    pub async fn mark_read(&self, id: MessageId) -> Result<(), Error> {
        done(self.run(Command::MarkRead { conversation: id.conversation, id }).await?)
    }

    /// Tells members who are there that the user types, or stopped. Lost if nobody is reached.
    pub async fn typing(&self, conversation: ConversationId, on: bool) -> Result<(), Error> {
        done(self.run(Command::Typing { conversation, on }).await?)
    }

    /// Sets the own presence, [`Online`](PresenceState::Online) or [`Away`](PresenceState::Away).
    pub async fn set_presence(&self, state: PresenceState, text: Option<String>) -> Result<(), Error> {
        done(self.run(Command::PresenceSet { state, text }).await?)
    }

    /// What an account says of itself; the own one without a handle. Needs the server the first time.
    pub async fn profile(&self, handle: Option<Handle>) -> Result<ProfileView, Error> {
        profile(self.run(Command::ProfileGet { handle }).await?)
    }

    /// Changes the own public profile. Needs the server.
    pub async fn set_profile(&self, change: ProfileChange) -> Result<ProfileView, Error> {
        profile(self.run(Command::ProfileSet { change }).await?)
    }

    /// How things stand: connections, conversations, links.
    pub async fn status(&self) -> Result<Status, Error> {
        match self.run(Command::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Chooses the paths that own messages take.
    pub async fn path_policy(&self, policy: PathPolicy) -> Result<(), Error> {
        done(self.run(Command::PathPolicy(policy)).await?)
    }

    /// Forgets kept notifications up to this one. See [`Builder::keep_events`].
    pub async fn ack_events(&self, sequence: u64) -> Result<(), Error> {
        done(self.run(Command::EventsAck { sequence }).await?)
    }

    /// Sends the kept notifications after this one again, to all [`Events`]; returns after the last.
    pub async fn replay_events(&self, after: u64) -> Result<(), Error> {
        done(self.run(Command::EventsReplay { after }).await?)
    }

    /// Returns when everything accepted so far is durable.
    pub async fn flush(&self) -> Result<(), Error> {
        done(self.run(Command::Flush).await?)
    }

    /// All notifications from now on. Each subscriber has a queue of its own without a bound, so that none is
    /// lost to a slow one: take them, or drop the subscriber.
    pub async fn events(&self) -> Events {
        let (subscriber, notifications) = mpsc::unbounded_channel();
        // Once the driver has ended, `subscriber` is dropped and the stream ends at once.
        drop(self.orders.send(Order::Subscribe(subscriber)).await);
        Events::new(notifications, self.ended.clone())
    }

    /// Runs a command.
    pub async fn run(&self, command: Command) -> Result<Reply, Error> {
        self.submit(command).await?.reply().await
    }

    /// Hands a command over; its reply is taken later. Commands are carried out in the order they are handed over.
    pub async fn submit(&self, command: Command) -> Result<Pending, Error> {
        let (answer, reply) = oneshot::channel();
        if self.orders.send(Order::Run(command, answer)).await.is_err() {
            return Err(why(&self.ended).into());
        }
        Ok(Pending { reply, ended: self.ended.clone() })
    }

    /// Writes everything out, says good-bye to server and peers, and frees the profile. Other handles find the peer
    /// ended.
    pub async fn close(self) -> Result<(), Error> {
        // Fails if it is ending already.
        drop(self.orders.send(Order::Close).await);
        let mut ended = self.ended;
        // The driver lets go of its end when the profile is free.
        while ended.changed().await.is_ok() {}
        match why(&ended) {
            Ended::Closed => Ok(()),
            failed => Err(failed.into()),
        }
    }

    /// Waits for the peer to end, and says why.
    pub async fn ended(&self) -> Ended {
        wait_for_end(self.ended.clone()).await
    }
}

/// A command's reply, to come.
#[derive(Debug)]
pub struct Pending {
    reply: oneshot::Receiver<Result<Reply, CommandError>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Pending {
    /// Waits for it.
    pub async fn reply(self) -> Result<Reply, Error> {
        match self.reply.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(why(&self.ended).into()),
        }
    }
}

/// Notifications, in order. Ends with the peer; [`Events::ended`] says why.
#[derive(Debug)]
pub struct Events {
    notifications: mpsc::UnboundedReceiver<Notification>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Events {
    pub(crate) fn new(
        notifications: mpsc::UnboundedReceiver<Notification>,
        ended: watch::Receiver<Option<Ended>>,
    ) -> Self {
        Self { notifications, ended }
    }

    /// The next one; `None` once the peer has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Notification> {
        self.notifications.recv().await
    }

    /// One that is there already.
    pub fn try_next(&mut self) -> Option<Notification> {
        self.notifications.try_recv().ok()
    }

    /// Waits for the peer to end, and says why.
    pub async fn ended(&self) -> Ended {
        wait_for_end(self.ended.clone()).await
    }
}

impl Stream for Events {
    type Item = Notification;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notification>> {
        self.notifications.poll_recv(context)
    }
}

async fn wait_for_end(mut ended: watch::Receiver<Option<Ended>>) -> Ended {
    match ended.wait_for(Option::is_some).await {
        Ok(end) => end.clone().unwrap_or(Ended::Broken),
        Err(_) => Ended::Broken,
    }
}

/// Why there is no answer. A driver that went without a reason panicked.
fn why(ended: &watch::Receiver<Option<Ended>>) -> Ended {
    ended.borrow().clone().unwrap_or(Ended::Broken)
}

fn done(reply: Reply) -> Result<(), Error> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn conversation(reply: Reply) -> Result<ConversationId, Error> {
    match reply {
        Reply::Conversation(id) => Ok(id),
        other => Err(unexpected(&other)),
    }
}

fn profile(reply: Reply) -> Result<ProfileView, Error> {
    match reply {
        Reply::Profile(view) => Ok(view),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Error {
    tracing::error!(kind = ?std::mem::discriminant(reply), "the core gave another kind of reply");
    Error::Ended(Ended::Broken)
}

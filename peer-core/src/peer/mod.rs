//! The peer: inputs in, outputs out. Each kind of input has a file of its own here; what they change lives in
//! [`crate::conversation`], [`crate::link`] and [`crate::people`].

mod commands;
mod history;
mod links;
mod lookups;
mod profiles;
mod relay;
pub(crate) mod relay_out;
mod session;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sotto_protocol::cbor::Text;
use sotto_protocol::presence::{PresenceState, StatusText};
use sotto_protocol::signal::{ClientMessage, PresenceChange};
use sotto_protocol::{AccountId, ConversationId, DeviceId, Frame, Seq, cbor, limits};

use crate::content::{Body, Content};
use crate::conversation::{Conversation, Ctx};
use crate::effects::{Effects, Gated, PATIENCE};
use crate::identity::Identity;
use crate::io::{
    CommandId, Input, LinkEvent, Moment, Output, PathPolicy, Row, Snapshot, Socket, SocketEvent, Table,
};
use crate::link::Link;
use crate::people::{People, VerifiedRoots};
use crate::store::{self, MessageRecord, PROFILE, SETTINGS, Settings};
use crate::timers::{Timer, Timers};
use commands::PendingCommit;
use history::Reads;
use lookups::Lookups;
pub(crate) use profiles::ProfileRecord;
use profiles::Profiles;
use relay_out::RelayOut;
use session::Session;

/// What a driver decides before a peer starts.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Keep numbered notifications in the store until they are acknowledged, from now on.
    pub keep_events: bool,
}

/// Why a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Nobody has signed up in this profile.
    #[error("nobody has signed up in this profile")]
    NoIdentity,
    /// A row does not decode: written by a newer version, or damaged.
    #[error("the profile holds a {table} row that this version cannot read: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        reason: String,
    },
}

type HeldSend = (CommandId, ConversationId, Text<{ limits::MAX_TEXT }>);

/// A peer. See the [crate] for its contract.
pub struct Peer {
    fx: Effects,
    timers: Timers,
    me: Identity,
    people: People,
    verified: VerifiedRoots,
    conversations: BTreeMap<ConversationId, Conversation>,
    links: BTreeMap<DeviceId, Link>,
    /// Offers of devices that may not be linked to yet: the acceptance may be on its way.
    early_offers: BTreeMap<DeviceId, (Duration, sotto_protocol::link::Negotiation)>,
    session: Session,
    relay: RelayOut,
    lookups: Lookups,
    profiles: Profiles,
    reads: Reads,
    commits: BTreeMap<ConversationId, PendingCommit>,
    /// Sends that wait until own messages of another copy of this profile are held.
    held_sends: Vec<HeldSend>,
    policy: PathPolicy,
    presence: (PresenceState, Option<StatusText>),
    /// What the user was last told of others.
    presence_told: BTreeMap<AccountId, PresenceChange>,
    /// What the server was last told, on this socket.
    presence_said: Vec<ClientMessage>,
    /// The capabilities or who is watched changed: tell the server.
    presence_due: bool,
    ice_servers: Vec<String>,
    /// Who may be linked to may have changed.
    links_due: bool,
}

impl Peer {
    /// Starts from what the store holds. `seed` is 32 random bytes.
    pub fn restore(
        config: Config,
        now: Moment,
        seed: [u8; 32],
        snapshot: Snapshot,
    ) -> Result<Self, RestoreError> {
        let bad =
            |e: cbor::DecodeError| RestoreError::Row { table: Table::Meta.name(), reason: e.to_string() };
        let me = Identity::find(&snapshot).map_err(bad)?.ok_or(RestoreError::NoIdentity)?;
        let rows = |table| snapshot.tables.get(&table).map(Vec::as_slice).unwrap_or_default();
        let settings = match rows(Table::Meta).iter().find(|row| row.key == SETTINGS) {
            Some(row) => store::decode(Table::Meta, &row.value)?,
            None => Settings::default(),
        };
        let profile = rows(Table::Meta).iter().find(|row| row.key == PROFILE);
        let profile = profile.map(|row| store::decode(Table::Meta, &row.value)).transpose()?;
        let mut fx = Effects::new(now, seed);
        fx.last_event = settings.last_event;
        fx.keep_events = settings.keep_events || config.keep_events;
        let mut people = People::default();
        for row in rows(Table::Account) {
            let account = row.key.as_slice().try_into().map_err(|_| store::bad_key(Table::Account))?;
            people
                .restore(AccountId(account), store::decode(Table::Account, &row.value)?)
                .map_err(|e| RestoreError::Row { table: Table::Account.name(), reason: e.to_string() })?;
        }
        let mut conversations = restore_conversations(&me, now.monotonic, &rows)?;
        for conversation in conversations.values_mut() {
            conversation.restore_told(&me, &people);
        }
        let mut peer = Self {
            fx,
            timers: Timers::default(),
            me,
            people,
            verified: VerifiedRoots::default(),
            conversations,
            links: BTreeMap::new(),
            early_offers: BTreeMap::new(),
            session: Session::default(),
            relay: RelayOut::default(),
            lookups: Lookups::default(),
            profiles: Profiles::restore(profile),
            reads: Reads::default(),
            commits: BTreeMap::new(),
            held_sends: Vec::new(),
            policy: settings.policy,
            presence: chosen_presence(&settings),
            presence_told: BTreeMap::new(),
            presence_said: Vec::new(),
            presence_due: true,
            ice_servers: Vec::new(),
            links_due: true,
        };
        if fx_keeps_now(&settings, &config) {
            peer.fx.dirty = true;
        }
        peer.start();
        Ok(peer)
    }

    /// Takes an input. Drain [`Peer::poll`] afterwards, at the latest before waiting.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.fx.now = now;
        match &input {
            // These hurry where somebody waits.
            Input::Persisted(_)
            | Input::Timeout
            | Input::Socket { socket: Socket::Relay, event: SocketEvent::Message(_) }
            | Input::Link { event: LinkEvent::Message { .. }, .. } => {}
            Input::Command { .. }
            | Input::Loaded { .. }
            | Input::Http { .. }
            | Input::Socket { .. }
            | Input::Link { .. }
            | Input::NetworkChanged => self.fx.hurry(),
        }
        match input {
            Input::Command { id, command } => self.on_command(id, command),
            Input::Persisted(token) => {
                let gated = self.fx.persisted(token);
                self.release(gated);
            }
            Input::Loaded { id, rows } => self.on_loaded(id, rows),
            Input::Http { id, result } => self.on_http(id, result),
            Input::Socket { socket, event } => self.on_socket(socket, event),
            Input::Link { device, session, event } => self.on_link(device, session, event),
            Input::Timeout => self.on_timeout(),
            Input::NetworkChanged => self.reconnect_now(),
        }
    }

    /// The next output, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.fx.pop() {
                return Some(output);
            }
            self.settle();
            if self.fx.can_wait() && !self.fx.writing() {
                let by = self.fx.now.monotonic + PATIENCE;
                self.timers.set_earlier(Timer::Write, by);
                return self.fx.pop();
            }
            if !self.fx.writing() && self.fx.dirty {
                self.save();
            }
            let flushed = self.fx.flush();
            if flushed {
                self.timers.cancel(Timer::Write);
            }
            let released = self.fx.released();
            let any = !released.is_empty();
            self.release(released);
            if !flushed && !any {
                // Releasing may have queued output; only an empty queue ends the turn.
                return self.fx.pop();
            }
        }
    }

    /// When to come back with [`Input::Timeout`], on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.me
    }

    fn release(&mut self, gated: Vec<Gated>) {
        for effect in gated {
            match effect {
                Gated::Output(output) => self.fx.now(output),
                Gated::OwnDurable(id, seq, renumberings) => {
                    if let Some(conversation) = self.conversations.get_mut(&id) {
                        conversation.own_durable(seq, renumberings);
                    }
                }
                Gated::LogDurable(id, position) => {
                    if let Some(conversation) = self.conversations.get_mut(&id) {
                        conversation.log.durable = position;
                    }
                }
            }
        }
    }

    /// Does what the inputs of this turn made due: links, presence, messages out.
    fn settle(&mut self) {
        if std::mem::take(&mut self.links_due) {
            self.review_links();
        }
        if std::mem::take(&mut self.presence_due) {
            self.tell_presence();
        }
        self.say_accepted();
        self.release_held_sends();
        self.release_leaves();
        self.pump();
        self.relay.flush(&mut self.fx);
        for link in self.links.values_mut() {
            link.flush(&mut self.fx);
        }
        self.tell_paths();
    }

    /// Both began a conversation, and one has written: the other's acceptance is said, or there would be no link.
    fn say_accepted(&mut self) {
        let Self { fx, timers, me, people, verified, conversations, .. } = self;
        let mut ctx = Ctx { fx, timers, me, people, verified };
        for conversation in conversations.values_mut() {
            // An outbox without a message is not full.
            if conversation.owes_acceptance(&ctx) && conversation.send(&mut ctx, Body::Accept {}).is_ok() {
                self.presence_due = true;
                self.links_due = true;
            }
        }
    }

    /// Sends what conversations have ready.
    fn pump(&mut self) {
        let Self { fx, timers, me, people, verified, conversations, relay, links, policy, .. } = self;
        let mut ctx = Ctx { fx, timers, me, people, verified };
        for (id, conversation) in conversations.iter_mut() {
            conversation.tell_receipts(&mut ctx);
            if !std::mem::take(&mut conversation.pump) {
                continue;
            }
            conversation.subscribe(&mut ctx, relay);
            let linked = links.values_mut().filter(|link| link.cursors.contains_key(id));
            let mut linked_accounts = BTreeSet::new();
            for link in linked {
                let usable = link.is_usable();
                if usable {
                    linked_accounts.insert(link.account);
                }
                let Some(cursor) = link.cursors.get_mut(id) else { continue };
                let frames = if usable {
                    conversation.frames_for_link(ctx.me, link.account, cursor)
                } else {
                    Vec::new()
                };
                for frame in frames {
                    link.send(ctx.fx, &sotto_protocol::link::LinkFrame::Data { frame });
                }
            }
            let linked_all =
                conversation.others(ctx.me.account).all(|account| linked_accounts.contains(&account));
            conversation.pump_relay(&mut ctx, relay, *policy, linked_all);
            conversation.arm_cursor(&mut ctx);
        }
    }

    /// Signs what was sent in this turn and stages every record that changed, ACKs behind them.
    fn save(&mut self) {
        self.sign();
        let mut acks = Vec::new();
        let Self { fx, timers, me, people, verified, conversations, .. } = self;
        let mut ctx = Ctx { fx, timers, me, people, verified };
        for conversation in conversations.values_mut() {
            conversation.announce_members(&mut ctx);
            conversation.save(&mut ctx);
            conversation.emit_diffs(&mut ctx);
            conversation.arm_cursor(&mut ctx);
            acks.extend(conversation.take_acks(ctx.me));
        }
        self.send_acks(acks);
        let settings = Settings {
            policy: self.policy,
            last_event: self.fx.last_event,
            keep_events: self.fx.keep_events,
            away: self.presence.0 == PresenceState::Away,
            presence_text: self.presence.1.as_ref().map(|text| Text::truncated(text.as_str())),
        };
        self.fx.put(Table::Meta, SETTINGS.to_vec(), cbor::encode(&settings));
        self.fx.dirty = false;
    }

    /// Signs what was sent. Before another message of an own name is looked at, too: only what is signed can be
    /// told from it, and displaced by it.
    fn sign(&mut self) {
        let bodies: Vec<_> = self.conversations.values_mut().flat_map(Conversation::take_unsigned).collect();
        if bodies.is_empty() {
            return;
        }
        let frames = Frame::sign_all(bodies, |message| self.me.key.sign(message));
        for frame in frames {
            let id = frame.body().conversation;
            self.with(id, |conversation, ctx| conversation.signed(ctx, frame));
        }
    }

    /// Runs `f` on a conversation with what it needs around it.
    fn with<R>(&mut self, id: ConversationId, f: impl FnOnce(&mut Conversation, &mut Ctx) -> R) -> Option<R> {
        self.with_relay(id, |conversation, ctx, _| f(conversation, ctx))
    }

    fn with_relay<R>(
        &mut self,
        id: ConversationId,
        f: impl FnOnce(&mut Conversation, &mut Ctx, &mut RelayOut) -> R,
    ) -> Option<R> {
        let conversation = self.conversations.get_mut(&id)?;
        let mut ctx = Ctx {
            fx: &mut self.fx,
            timers: &mut self.timers,
            me: &self.me,
            people: &self.people,
            verified: &mut self.verified,
        };
        Some(f(conversation, &mut ctx, &mut self.relay))
    }

    fn on_timeout(&mut self) {
        let now = self.fx.now.monotonic;
        // Each timer once: one that sets itself again for now waits for the next call.
        let mut due = Vec::new();
        while let Some(timer) = self.timers.pop_due(now) {
            due.push(timer);
        }
        for (timer, at) in due {
            self.on_timer(timer, at);
        }
    }

    fn on_timer(&mut self, timer: Timer, at: Duration) {
        let policy = self.policy;
        match timer {
            Timer::Write => self.fx.hurry(),
            Timer::Session | Timer::Socket(_) | Timer::Ping => self.on_session_timer(timer),
            Timer::Link(device) => self.on_link_timer(device, at),
            Timer::Append(id) => {
                self.with(id, |conversation, _| conversation.pump = true);
            }
            Timer::AppendForOthers(id) => {
                let remain = self.with_relay(id, |conversation, ctx, relay| {
                    conversation.append_for_others(ctx, relay, policy)
                });
                if remain == Some(true) && !self.relay.is_ready() {
                    self.sync_links(id);
                }
            }
            Timer::Cursor(id) => {
                self.with_relay(id, |conversation, ctx, relay| conversation.send_cursor(ctx, relay));
                self.send_link_receipts(id);
            }
            Timer::Missing(id) => self.on_missing_timer(id),
            Timer::Subscribe(id) => {
                self.with_relay(id, |conversation, ctx, relay| conversation.on_subscribe_timer(ctx, relay));
            }
            Timer::Commands => self.expire_commands(),
            Timer::People => self.retry_lookups(),
        }
    }
}

fn chosen_presence(settings: &Settings) -> (PresenceState, Option<StatusText>) {
    let state = if settings.away { PresenceState::Away } else { PresenceState::Online };
    (state, settings.presence_text.as_ref().and_then(|text| StatusText::parse(text)))
}

fn fx_keeps_now(settings: &Settings, config: &Config) -> bool {
    config.keep_events && !settings.keep_events
}

fn restore_conversations<'a>(
    me: &Identity,
    now: Duration,
    rows: &impl Fn(Table) -> &'a [Row],
) -> Result<BTreeMap<ConversationId, Conversation>, RestoreError> {
    let mut conversations = BTreeMap::new();
    for row in rows(Table::Conversation) {
        let id = row.key.as_slice().try_into().map_err(|_| store::bad_key(Table::Conversation))?;
        let id = ConversationId(id);
        conversations
            .insert(id, Conversation::restore(id, store::decode(Table::Conversation, &row.value)?, now));
    }
    for row in rows(Table::Author) {
        let (id, device) = store::parse_author_key(&row.key).ok_or(store::bad_key(Table::Author))?;
        let record = store::decode(Table::Author, &row.value)?;
        if let Some(conversation) = conversations.get_mut(&id) {
            conversation.restore_author(device, record);
        }
    }
    for row in rows(Table::Receipt) {
        let (id, device) = store::parse_author_key(&row.key).ok_or(store::bad_key(Table::Receipt))?;
        let record = store::decode(Table::Receipt, &row.value)?;
        if let Some(conversation) = conversations.get_mut(&id) {
            conversation.receipts.insert(device, record);
        }
    }
    let mut displaced: BTreeMap<ConversationId, Vec<(Seq, Content)>> = BTreeMap::new();
    for row in rows(Table::Tail) {
        let (id, is_displaced) = store::parse_tail_key(&row.key).ok_or(store::bad_key(Table::Tail))?;
        let record: MessageRecord = store::decode(Table::Tail, &row.value)?;
        if is_displaced {
            displaced
                .entry(id.conversation)
                .or_default()
                .extend(record.content.map(|content| (id.seq, content)));
        } else if let Some(conversation) = conversations.get_mut(&id.conversation) {
            conversation.restore_message(id.device, id.seq, record, now);
        }
    }
    for (id, conversation) in &mut conversations {
        conversation.restored(me, displaced.remove(id).unwrap_or_default());
    }
    Ok(conversations)
}

/// Both sockets.
const SOCKETS: [Socket; 2] = [Socket::Signal, Socket::Relay];

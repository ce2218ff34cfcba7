//! What the user asks for.

use std::time::Duration;

use sotto_protocol::cbor::{Bounded, Text};
use sotto_protocol::membership::{Action, Change, Membership, SignedChange};
use sotto_protocol::presence::{PresenceState, StatusText};
use sotto_protocol::relay::Request;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, Handle, MembershipEpoch, Position, limits,
};

use super::Peer;
use crate::content::{Body, Ephemeral};
use crate::conversation::parse_text;
use crate::io::{
    Command, CommandError, CommandId, ConversationView, LinkPath, LinkStatus, Reply, Socket, Status,
};
use crate::seal;
use crate::store::Consent;
use crate::timers::Timer;
use sotto_protocol::link::LinkFrame;

const COMMIT_PATIENCE: Duration = Duration::from_secs(15);

/// A command that waits for the relay to take a membership change.
#[derive(Debug)]
pub(super) struct PendingCommit {
    pub id: CommandId,
    /// Handed to the relay. A member leaves only once its messages are logged: the log takes none of who is out.
    pushed: bool,
    until: Duration,
    action: Action,
    /// Refused because the membership is at this epoch already: waits until that is known here.
    pub after: Option<MembershipEpoch>,
}

impl PendingCommit {
    pub fn leaves(&self) -> bool {
        matches!(self.action, Action::Leave {})
    }
}

pub(super) type Outcome = Result<Option<Reply>, CommandError>;

fn invalid(field: &'static str, reason: impl Into<String>) -> CommandError {
    CommandError::Invalid { field, reason: reason.into() }
}

impl Peer {
    pub(super) fn on_command(&mut self, id: CommandId, command: Command) {
        if !self.handles_known(id, &command) {
            return;
        }
        match self.run(id, command) {
            Ok(Some(reply)) => self.fx.reply(id, Ok(reply)),
            Ok(None) => {}
            Err(error) => self.fx.reply(id, Err(error)),
        }
    }

    /// Runs a command; `None` if its reply comes later.
    fn run(&mut self, id: CommandId, command: Command) -> Outcome {
        match command {
            Command::Direct { handle } => self.direct(&handle),
            Command::Accept { conversation } => self.accept(conversation),
            Command::Block { handle } => self.block(&handle, true),
            Command::Unblock { handle } => self.block(&handle, false),
            Command::GroupCreate { name, members } => self.group_create(name, &members),
            Command::GroupAdd { conversation, handle } => {
                let members = Bounded::truncated(vec![self.known(&handle)?]);
                self.commit(id, conversation, Action::Add { members })
            }
            Command::GroupLeave { conversation } => self.commit(id, conversation, Action::Leave {}),
            Command::GroupRename { conversation, name } => {
                let name = parse_name(&name)?;
                self.group(conversation)?;
                self.say(conversation, Body::Rename { name })?;
                Ok(Some(Reply::Done))
            }
            Command::Conversations => Ok(Some(Reply::Conversations(self.views()))),
            Command::Send { conversation, text } => {
                let text = parse_text(text).map_err(|reason| invalid("text", reason))?;
                if !self.can_send(conversation) {
                    // Own messages of another copy of this profile are still coming in: the number is not known yet.
                    self.held_sends.push((id, conversation, text));
                    return Ok(None);
                }
                self.say(conversation, Body::Text { text }).map(|id| Some(Reply::Sent(id)))
            }
            Command::History { conversation, before, after, limit } => {
                if limit == 0 || limit > 5_000 {
                    return Err(invalid("limit", "expected 1 to 5000"));
                }
                if !self.conversations.contains_key(&conversation) {
                    return Err(CommandError::NotFound("conversation".into()));
                }
                self.read_history(id, conversation, before, after, limit);
                Ok(None)
            }
            Command::MarkRead { conversation, id } => {
                if id.conversation != conversation {
                    return Err(invalid("id", "expected a message of the conversation"));
                }
                self.with(conversation, |c, ctx| c.mark_read(ctx, (id.device, id.seq)))
                    .ok_or(CommandError::NotFound("conversation".into()))?;
                Ok(Some(Reply::Done))
            }
            Command::Typing { conversation, on } => self.typing(conversation, on),
            Command::PresenceSet { state, text } => self.presence_set(state, text),
            Command::ProfileGet { handle } => self.profile_get(id, handle.as_ref()),
            Command::ProfileSet { change } => self.profile_set(id, change),
            Command::Status => Ok(Some(Reply::Status(self.status()))),
            Command::PathPolicy(policy) => {
                self.policy = policy;
                self.fx.dirty = true;
                self.links_due = true;
                for conversation in self.conversations.values_mut() {
                    conversation.pump = true;
                }
                Ok(Some(Reply::Done))
            }
            Command::EventsAck { sequence } => {
                let end = crate::store::event_key(sequence.saturating_add(1));
                self.fx.delete_range(crate::io::Table::Event, crate::store::event_key(0), end);
                Ok(Some(Reply::Done))
            }
            Command::EventsReplay { after } => {
                self.replay_events(id, after);
                Ok(None)
            }
            Command::Flush => Ok(Some(Reply::Done)),
        }
    }

    pub(super) fn known(&self, handle: &Handle) -> Result<AccountId, CommandError> {
        self.account_of(handle).ok_or_else(|| CommandError::NotFound(format!("@{handle}")))
    }

    fn direct(&mut self, handle: &Handle) -> Outcome {
        let account = self.known(handle)?;
        if account == self.me.account {
            return Err(invalid("handle", "expected somebody else's"));
        }
        let id = ConversationId::direct(&self.me.account, &account);
        match self.conversations.get(&id) {
            None => self.create(id, ConversationKind::Direct, vec![self.me.account, account])?,
            // The other began it a moment ago and has said nothing: beginning it here as well agrees to it.
            Some(begun) if begun.is_request() && !begun.announced => {
                self.with(id, |conversation, ctx| {
                    conversation.accept(ctx);
                    conversation.announce(ctx);
                });
                self.presence_due = true;
            }
            Some(_) => {}
        }
        Ok(Some(Reply::Conversation(id)))
    }

    fn create(
        &mut self,
        id: ConversationId,
        kind: ConversationKind,
        members: Vec<AccountId>,
    ) -> Result<(), CommandError> {
        let count = members.len();
        let members = Bounded::new(members)
            .ok_or_else(|| invalid("members", format!("{count} given, {} allowed", limits::MAX_MEMBERS)))?;
        let change = Change {
            conversation: id,
            epoch: MembershipEpoch(1),
            account: self.me.account,
            device: self.me.device,
            action: Action::Create { kind, members },
        };
        let membership =
            Membership::create(&change, Position(1)).map_err(|e| invalid("members", e.to_string()))?;
        let signed = SignedChange::sign(&change, |message| self.me.key.sign(message));
        self.add_conversation(id, membership, Consent::Accepted);
        self.with(id, |conversation, ctx| {
            conversation.creation = Some(signed.clone());
            conversation.announce(ctx);
        });
        self.relay.push(&Request::Commit { change: signed });
        Ok(())
    }

    fn accept(&mut self, id: ConversationId) -> Outcome {
        let request = self.conversation(id)?.is_request();
        if request {
            self.say(id, Body::Accept {})?;
            self.with(id, |conversation, ctx| conversation.announce(ctx));
            self.presence_due = true;
            self.links_due = true;
        }
        Ok(Some(Reply::Done))
    }

    fn block(&mut self, handle: &Handle, blocked: bool) -> Outcome {
        let account = self.known(handle)?;
        if account == self.me.account {
            return Err(invalid("handle", "expected somebody else's"));
        }
        self.people.set_blocked(&mut self.fx, account, blocked);
        let id = ConversationId::direct(&self.me.account, &account);
        let capability = sotto_protocol::presence::Capability(self.fx.random());
        self.with_relay(id, |conversation, ctx, relay| {
            if blocked {
                relay.push(&Request::Unsubscribe { conversation: id });
                conversation.relay_closed();
                // The old one is revoked; a new one is told if the block ever ends.
                conversation.capability = Some(capability);
                conversation.capability_told = false;
            }
            conversation.pump = true;
            conversation.announce(ctx);
        });
        self.presence_due = true;
        self.links_due = true;
        Ok(Some(Reply::Done))
    }

    fn group_create(&mut self, name: String, handles: &[Handle]) -> Outcome {
        let name = parse_name(&name)?;
        let mut members = vec![self.me.account];
        for handle in handles {
            let account = self.known(handle)?;
            if !members.contains(&account) {
                members.push(account);
            }
        }
        let id = ConversationId::group(self.fx.random());
        self.create(id, ConversationKind::Group, members)?;
        self.say(id, Body::Rename { name })?;
        Ok(Some(Reply::Conversation(id)))
    }

    fn conversation(&self, id: ConversationId) -> Result<&crate::conversation::Conversation, CommandError> {
        self.conversations.get(&id).ok_or(CommandError::NotFound("conversation".into()))
    }

    fn group(&self, id: ConversationId) -> Result<(), CommandError> {
        let conversation = self.conversation(id)?;
        if conversation.kind() != ConversationKind::Group {
            return Err(invalid(
                "conversation",
                "expected a group; to end a direct one, block its other member",
            ));
        }
        if !conversation.member {
            return Err(CommandError::NotAMember);
        }
        Ok(())
    }

    fn commit(&mut self, id: CommandId, conversation: ConversationId, action: Action) -> Outcome {
        self.group(conversation)?;
        if !self.relay.is_ready() {
            return Err(CommandError::Offline("members change only while the relay is reached".into()));
        }
        if self.commits.contains_key(&conversation) {
            return Err(CommandError::Refused("another change of this group is under way".into()));
        }
        let until = self.fx.now.monotonic + COMMIT_PATIENCE;
        self.timers.set_earlier(Timer::Commands, until);
        let leaves = matches!(action, Action::Leave {});
        if !leaves {
            self.push_commit(conversation, action.clone())?;
        }
        let pending = PendingCommit { id, pushed: !leaves, until, action, after: None };
        self.commits.insert(conversation, pending);
        Ok(None)
    }

    fn push_commit(&mut self, conversation: ConversationId, action: Action) -> Result<(), CommandError> {
        let change = Change {
            conversation,
            epoch: self.conversation(conversation)?.membership.epoch.next(),
            account: self.me.account,
            device: self.me.device,
            action,
        };
        let change = SignedChange::sign(&change, |message| self.me.key.sign(message));
        self.relay.push(&Request::Commit { change });
        Ok(())
    }

    /// Makes a change anew that was refused because another came first, once that other one is known.
    pub(super) fn retry_commit(&mut self, id: ConversationId) {
        let Some(pending) = self.commits.get(&id) else { return };
        let known = self.conversations.get(&id).map(|c| c.membership.epoch);
        if pending.after.is_none_or(|after| known < Some(after)) {
            return;
        }
        let (command, action) = (pending.id, pending.action.clone());
        let again = self.group(id).and_then(|()| self.push_commit(id, action));
        match again {
            Ok(()) => {
                if let Some(pending) = self.commits.get_mut(&id) {
                    pending.after = None;
                }
            }
            Err(error) => {
                self.commits.remove(&id);
                self.fx.reply(command, Err(error));
            }
        }
    }

    /// Leaves where that was asked for and all own messages are logged by now.
    pub(super) fn release_leaves(&mut self) {
        if !self.relay.is_ready() {
            return;
        }
        let logged =
            |id: &ConversationId| self.conversations.get(id).is_some_and(|c| c.unlogged_own(&self.me) == 0);
        let due: Vec<_> = self.commits.iter().filter(|(id, c)| !c.pushed && logged(id)).collect();
        for id in due.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            let pushed = self.push_commit(id, Action::Leave {}).is_ok();
            if let Some(commit) = self.commits.get_mut(&id) {
                commit.pushed = pushed;
            }
        }
    }

    /// Who was added cannot see what was before: the group's name is said again.
    pub(super) fn say_name(&mut self, id: ConversationId) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        if conversation.member
            && let Some(name) = conversation.name.as_deref().map(Text::truncated)
        {
            let _ = self.say(id, Body::Rename { name });
        }
    }

    pub(super) fn expire_commits(&mut self) {
        let now = self.fx.now.monotonic;
        let late: Vec<_> = self.commits.iter().filter(|(_, c)| c.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(command) = self.commits.remove(&id) {
                self.fx
                    .reply(command.id, Err(CommandError::Offline("the relay did not answer in time".into())));
            }
        }
    }

    fn say(&mut self, id: ConversationId, body: Body) -> Result<sotto_protocol::MessageId, CommandError> {
        let conversation = self.conversation(id)?;
        // What comes after a leave can never be logged.
        if !conversation.member || self.commits.get(&id).is_some_and(PendingCommit::leaves) {
            return Err(CommandError::NotAMember);
        }
        if let Some(peer) = conversation.peer(self.me.account).filter(|peer| self.people.is_blocked(peer))
            && let Some(handle) = self.people.handle(&peer, &self.me)
        {
            return Err(CommandError::Blocked(handle));
        }
        let was_request = conversation.is_request();
        let sent = self.with(id, |conversation, ctx| conversation.send(ctx, body));
        if was_request {
            self.presence_due = true;
            self.links_due = true;
        }
        sent.unwrap_or(Err(CommandError::NotFound("conversation".into())))
    }

    fn can_send(&self, id: ConversationId) -> bool {
        let now = self.fx.now.monotonic;
        self.conversations.get(&id).is_none_or(|conversation| conversation.can_send(&self.me, now))
    }

    /// Sends what waited for numbers.
    pub(super) fn release_held_sends(&mut self) {
        if self.held_sends.is_empty() {
            return;
        }
        for (id, conversation, text) in std::mem::take(&mut self.held_sends) {
            if !self.can_send(conversation) {
                self.held_sends.push((id, conversation, text));
                continue;
            }
            let result = self.say(conversation, Body::Text { text }).map(Reply::Sent);
            self.fx.reply(id, result);
        }
    }

    fn typing(&mut self, id: ConversationId, on: bool) -> Outcome {
        let conversation = self.conversation(id)?;
        if conversation.is_request() || !conversation.member {
            return Ok(Some(Reply::Done));
        }
        let Some(sealed) = seal::seal(&Ephemeral { typing: on }) else { return Ok(Some(Reply::Done)) };
        let others = conversation.others(self.me.account).count();
        let reached = self.broadcast(id, &LinkFrame::Ephemeral { conversation: id, sealed: sealed.clone() });
        if reached.len() < others {
            self.relay.push(&Request::Ephemeral { conversation: id, sealed });
        }
        Ok(Some(Reply::Done))
    }

    fn presence_set(&mut self, state: PresenceState, text: Option<String>) -> Outcome {
        if state == PresenceState::Offline {
            return Err(invalid("state", "expected online or away"));
        }
        let text = match text {
            Some(text) => Some(StatusText::parse(&text).ok_or_else(|| {
                invalid(
                    "text",
                    format!("expected at most {} bytes, no control characters", limits::MAX_STATUS_BYTES),
                )
            })?),
            None => None,
        };
        self.presence = (state, text);
        self.fx.dirty = true;
        self.presence_due = true;
        Ok(Some(Reply::Done))
    }

    fn views(&self) -> Vec<ConversationView> {
        let mut sorted: Vec<_> = self.conversations.values().filter(|c| c.announced).collect();
        sorted.sort_by_key(|conversation| std::cmp::Reverse(conversation.active_at()));
        sorted.into_iter().map(|conversation| conversation.view(&self.me, &self.people)).collect()
    }

    fn status(&self) -> Status {
        let relay = self.relay.is_ready();
        let links = self.links.values().filter_map(|link| {
            let path = match link.path() {
                LinkPath::None if relay => LinkPath::Relay,
                path => path,
            };
            Some(LinkStatus {
                handle: self.people.handle(&link.account, &self.me)?,
                device: link.device,
                path,
                state: link.state(),
                rtt: link.rtt(),
                why: link.why.clone(),
            })
        });
        Status {
            account: self.me.account,
            handle: self.me.handle.clone(),
            device: self.me.device,
            server: self.session.status(Socket::Signal),
            relay: self.session.status(Socket::Relay),
            policy: self.policy,
            presence: (self.presence.0, self.presence.1.as_ref().map(|text| text.as_str().to_owned())),
            conversations: self.conversations.values().map(|c| c.status(&self.me, &self.people)).collect(),
            links: links.collect(),
        }
    }
}

fn parse_name(name: &str) -> Result<Text<{ limits::MAX_NAME_BYTES }>, CommandError> {
    let name = name.trim();
    let good =
        (1..=limits::MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    Text::new(name).filter(|_| good).ok_or_else(|| {
        invalid("name", format!("expected 1 to {} characters, no control characters", limits::MAX_NAME_CHARS))
    })
}

//! What the relay says.

use std::time::Duration;

use sotto_protocol::membership::{Action, Membership, SignedChange};
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Request};
use sotto_protocol::{ConversationId, LogEpoch, MembershipEpoch, Position, cbor, limits};

use super::Peer;
use crate::conversation::{Conversation, EntryOutcome};
use crate::io::{CommandError, Reply, Socket};
use crate::store::Consent;

/// Why there is no connection, for people.
const OTHER_VERSION: &str = "the server speaks another version of the protocol: reload the page, or update the program \
                             or the server; nothing is lost";

impl Peer {
    pub(super) fn on_relay_message(&mut self, message: &[u8]) {
        match cbor::decode_sequence::<Event>(message, limits::MAX_RELAY_MESSAGE) {
            Ok(events) => {
                for event in events {
                    self.on_relay_event(event);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a relay message that cannot be read");
                self.close_socket(Socket::Relay, OTHER_VERSION.into());
            }
        }
    }

    /// The relay listens: what is pending goes out; conversations are listed and then subscribed to.
    pub(super) fn relay_opened(&mut self) {
        let creations: Vec<SignedChange> =
            self.conversations.values().filter_map(|conversation| conversation.creation.clone()).collect();
        for change in creations {
            self.relay.push(&Request::Commit { change });
        }
        for conversation in self.conversations.values_mut() {
            conversation.pump = true;
        }
    }

    fn on_relay_event(&mut self, event: Event) {
        // Where an entry brings something new, it hurries by itself.
        if !matches!(event, Event::Entry { .. } | Event::Appended { .. } | Event::Cursor { .. }) {
            self.fx.hurry();
        }
        match event {
            Event::Ready { .. } => self.socket_ready(Socket::Relay),
            Event::Conversation { conversation, membership, log_epoch, .. } => {
                self.on_membership(conversation, membership, log_epoch);
            }
            Event::Listed {} => {}
            Event::Subscribed { conversation, log_epoch, head, last_seq } => {
                self.with_relay(conversation, |c, ctx, relay| {
                    c.on_subscribed(ctx, relay, log_epoch, head, last_seq)
                });
            }
            Event::RolledBack { conversation, log_epoch, common } => {
                self.with(conversation, |c, ctx| c.on_rolled_back(ctx, log_epoch, common));
            }
            Event::Trimmed { conversation, floor } => {
                self.with(conversation, |c, ctx| c.on_trimmed(ctx, floor));
            }
            Event::Entry { conversation, position, body } => self.on_entry(conversation, position, body),
            Event::Live { conversation, .. } => {
                self.with(conversation, |c, ctx| c.on_live(ctx));
            }
            Event::Appended { conversation, device, seq, position, run } => {
                self.with(conversation, |c, ctx| {
                    for (seq, position) in run.places(seq, position) {
                        c.on_appended(ctx, (device, seq), position);
                    }
                });
            }
            Event::Conflict { conversation, device, seq, last_seq, .. } if device == self.me.device => {
                self.sign();
                self.with(conversation, |c, ctx| c.on_own_conflict(ctx, seq, last_seq));
            }
            // Another's: the log's own entry comes, and counts.
            Event::Conflict { .. } => {}
            Event::Nack { conversation, device, expected } => {
                self.with_relay(conversation, |c, ctx, relay| c.on_nack(ctx, relay, device, expected));
            }
            Event::AppendRefused { conversation, device, seq, code } => {
                tracing::debug!(%conversation, %device, %seq, ?code, "an append was refused");
                if code == ErrorCode::BadAuthor {
                    self.with(conversation, |c, _| c.refused.insert((device, seq)));
                }
            }
            Event::Committed { conversation, .. } => self.on_committed(conversation),
            Event::CommitRefused { conversation, current, code, detail } => {
                self.on_commit_refused(conversation, current, code, &detail);
            }
            Event::Cursor { conversation, device, receipt, .. } => {
                let me = self.me.device;
                if let Some(sealed) = receipt {
                    self.with(conversation, |c, ctx| c.on_receipt(ctx.fx, me, device, &sealed));
                }
            }
            Event::Ephemeral { conversation, device, sealed } => {
                if let Some(account) = self.people.owner(&device, &self.me) {
                    self.on_ephemeral(conversation, account, &sealed);
                }
            }
            Event::Error { code: ErrorCode::Unauthenticated, .. } => self.token_refused(Socket::Relay),
            Event::Error { code: ErrorCode::Version, .. } => {
                self.close_socket(Socket::Relay, OTHER_VERSION.into());
            }
            Event::Error { code, detail, .. } => {
                tracing::debug!(?code, detail = &*detail, "the relay refused")
            }
            Event::Drain { reconnect_in_ms } => {
                let wait = Duration::from_millis(reconnect_in_ms.into());
                self.socket_down(Socket::Relay, "the server restarts".into(), Some(wait));
            }
        }
    }

    fn on_membership(&mut self, id: ConversationId, membership: Membership, log_epoch: LogEpoch) {
        if !self.conversations.contains_key(&id) {
            if !membership.members.contains_key(&self.me.account) {
                return;
            }
            // Somebody else began it: it is a request until the user accepts. Shown with its first message.
            self.add_conversation(id, membership.clone(), Consent::Request);
        }
        self.with(id, |conversation, ctx| conversation.on_membership(ctx, membership, log_epoch));
        self.retry_commit(id);
        self.want_people_of(id);
        self.links_due = true;
    }

    pub(super) fn add_conversation(&mut self, id: ConversationId, membership: Membership, consent: Consent) {
        let capability = sotto_protocol::presence::Capability(self.fx.random());
        let mut ctx = crate::conversation::Ctx {
            fx: &mut self.fx,
            timers: &mut self.timers,
            me: &self.me,
            people: &self.people,
            verified: &mut self.verified,
        };
        let mut conversation = Conversation::new(id, membership, consent, &mut ctx);
        conversation.capability = Some(capability);
        self.conversations.insert(id, conversation);
        self.presence_due = true;
    }

    fn on_entry(&mut self, id: ConversationId, position: Position, body: EntryBody) {
        let added_by_me = self.is_own_addition(&body);
        if matches!(&body, EntryBody::Message(frame) if frame.body().device == self.me.device) {
            self.sign();
        }
        let outcome = self.with_relay(id, |conversation, ctx, relay| {
            let outcome = match body {
                EntryBody::Message(frame) if frame.body().conversation != id => {
                    conversation.distrust(ctx, position, "It passed on a message of another conversation.")
                }
                EntryBody::Message(frame) => conversation.receive_entry(ctx, position, frame),
                EntryBody::Membership(change) => conversation.receive_change(ctx, position, &change),
                EntryBody::Known(device, seq, run) => {
                    conversation.receive_known(ctx, position, (device, seq), run)
                }
            };
            match outcome {
                EntryOutcome::Hole => conversation.reread(ctx, relay),
                EntryOutcome::Differs => conversation.claim_rollback(ctx, relay),
                EntryOutcome::Read
                | EntryOutcome::UnknownDevice(_)
                | EntryOutcome::UnknownAccount(_)
                | EntryOutcome::Ignored => {}
            }
            outcome
        });
        match outcome {
            Some(EntryOutcome::UnknownAccount(account)) => self.stall(id, account),
            Some(EntryOutcome::UnknownDevice(device)) => {
                // Added lately, or of a member who has left since.
                self.with(id, |conversation, ctx| conversation.stall(ctx));
                self.want_device(device);
            }
            Some(EntryOutcome::Read) => {
                if added_by_me {
                    self.say_name(id);
                }
                self.retry_commit(id);
                self.links_due = true;
                self.presence_due |=
                    self.conversations.get_mut(&id).is_some_and(|c| c.take_capability_news());
            }
            Some(EntryOutcome::Hole | EntryOutcome::Differs | EntryOutcome::Ignored) | None => {}
        }
    }

    /// Reads on only once an account is known.
    fn stall(&mut self, id: ConversationId, account: sotto_protocol::AccountId) {
        self.with(id, |conversation, ctx| conversation.stall(ctx));
        self.want_account(account, None);
    }

    fn on_committed(&mut self, id: ConversationId) {
        self.with(id, |conversation, ctx| {
            conversation.creation = None;
            conversation.touch(ctx.fx);
            conversation.pump = true;
        });
        let command = self.commits.remove(&id);
        if let Some(command) = &command {
            self.fx.reply(command.id, Ok(Reply::Done));
        }
        if command.is_some_and(|command| command.leaves()) {
            // The membership comes in a moment; nothing may be said until then.
            self.with(id, |conversation, _| conversation.member = false);
        }
    }

    fn is_own_addition(&self, body: &EntryBody) -> bool {
        let EntryBody::Membership(change) = body else { return false };
        change.claims().is_ok_and(|claims| {
            claims.device == self.me.device && matches!(claims.action, Action::Add { .. })
        })
    }

    fn on_commit_refused(
        &mut self,
        id: ConversationId,
        current: MembershipEpoch,
        code: ErrorCode,
        detail: &str,
    ) {
        tracing::debug!(conversation = %id, %current, ?code, "a membership change was refused");
        if code == ErrorCode::Epoch && self.commits.contains_key(&id) {
            // Another change came first: made anew once that is known here.
            if let Some(pending) = self.commits.get_mut(&id) {
                pending.after = Some(current);
            }
            return self.retry_commit(id);
        }
        if let Some(command) = self.commits.remove(&id) {
            self.fx.reply(command.id, Err(CommandError::Refused(detail.to_owned())));
        }
    }
}

//! The signaling socket: presence in and out, and other devices' signals.

use sotto_protocol::link::{DescriptionKind, Negotiation};
use sotto_protocol::plain::plain;
use sotto_protocol::presence::Capability;
use sotto_protocol::signal::{ClientMessage, PresenceChange, ServerMessage, SignalError};
use sotto_protocol::{AccountId, DeviceId};

use super::Peer;
use crate::io::{Event, Socket};
use crate::link::send_signal;
use std::time::Duration;

/// Devices whose early offers are kept, and for how long.
const EARLY_OFFERS: usize = 64;
pub(super) const EARLY_OFFER_LIFE: Duration = Duration::from_secs(15);

/// A device list is not fetched again within this time, however suspicious its account looks.
const SUSPICIOUS: Duration = Duration::from_secs(5);

impl Peer {
    pub(super) fn on_signal_message(&mut self, message: &[u8]) {
        let Ok(message) = serde_json::from_slice::<ServerMessage>(message) else {
            tracing::debug!("a signaling message that this version does not know");
            return;
        };
        match message {
            ServerMessage::Ready { .. } => self.socket_ready(Socket::Signal),
            ServerMessage::Signal { from, account, payload } => self.on_signal(from, account, &payload),
            ServerMessage::Unreachable { to } => self.with_link(to, |link, ctx| {
                link.on_unreachable(ctx);
                None
            }),
            ServerMessage::PresenceUpdate { changes } => {
                for change in changes {
                    self.on_presence(change);
                }
            }
            ServerMessage::Drain { reconnect_in_ms } => {
                let wait = Duration::from_millis(reconnect_in_ms.into());
                self.socket_down(Socket::Signal, "the server restarts".into(), Some(wait));
            }
            ServerMessage::Error { code: SignalError::Unauthenticated, .. } => {
                self.token_refused(Socket::Signal)
            }
            ServerMessage::Error { code, detail } => tracing::debug!(?code, detail, "signaling refused"),
            ServerMessage::Pong {} => {}
        }
    }

    fn on_signal(&mut self, from: DeviceId, account: AccountId, payload: &str) {
        if self.people.owner(&from, &self.me).is_none() {
            // A device that is new to us: its account's list says whether it is real.
            if self.people.get(&account).is_some() {
                self.want_account(account, None);
            }
            return;
        }
        let Ok(negotiation) = Negotiation::from_payload(payload) else { return };
        if self.may_link(&from) {
            self.ensure_link(from);
            self.with_link(from, |link, ctx| link.on_negotiation(ctx, negotiation));
        } else if is_offer(&negotiation) && self.early_offers.len() < EARLY_OFFERS {
            // No answer: who is not accepted learns nothing. But the acceptance may be on its way.
            self.early_offers.insert(from, (self.fx.now.monotonic, negotiation));
        }
    }

    fn on_presence(&mut self, change: PresenceChange) {
        let holder = self
            .conversations
            .values()
            .flat_map(|conversation| conversation.capabilities.iter())
            .find(|(_, capability)| **capability == change.capability)
            .map(|(account, _)| *account);
        let Some(account) = holder else { return };
        let Some(handle) = self.people.handle(&account, &self.me) else { return };
        if change.state != sotto_protocol::presence::PresenceState::Offline {
            let now = self.fx.now.monotonic;
            for link in self.links.values_mut().filter(|link| link.account == account) {
                link.seen(now);
            }
            self.links_due = true;
        } else if self.links.values().any(|link| link.account == account && link.is_usable()) {
            // Gone from the server but not from its link: its device may have been revoked.
            self.refresh_account(account, SUSPICIOUS);
        }
        let told = self.presence_told.insert(account, change.clone());
        if told.as_ref() == Some(&change) {
            return;
        }
        self.fx.mention(Event::Presence {
            handle,
            state: change.state,
            text: change.text.and_then(|text| plain(text.as_str())),
            last_seen: change.last_seen,
        });
    }

    /// Tells the server the own presence, who may see it, and whom this device watches.
    pub(super) fn tell_presence(&mut self) {
        if !self.session.is_ready(Socket::Signal) {
            return;
        }
        let me = self.me.account;
        let open = self.conversations.values().filter(|conversation| {
            conversation.member && !conversation.is_request() && !conversation.is_blocked(me, &self.people)
        });
        let (mut own, mut watched): (Vec<_>, Vec<Capability>) = (Vec::new(), Vec::new());
        for conversation in open {
            own.extend(conversation.capability.map(|capability| capability.hash()));
            watched.extend(conversation.capabilities.values().copied());
        }
        own.truncate(sotto_protocol::limits::MAX_PRESENCE);
        watched.truncate(sotto_protocol::limits::MAX_PRESENCE / 4);
        let (state, text) = self.presence.clone();
        let say = vec![
            ClientMessage::PresenceSet { state, text, capabilities: Some(own) },
            ClientMessage::PresenceSubscribe { capabilities: watched },
        ];
        if self.presence_said != say {
            for message in &say {
                send_signal(&mut self.fx, message);
            }
            self.presence_said = say;
        }
    }
}

fn is_offer(negotiation: &Negotiation) -> bool {
    // What it claims is verified when it is used.
    matches!(negotiation, Negotiation::Description { description } if description.kind() == Some(DescriptionKind::Offer))
}

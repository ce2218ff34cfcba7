//! What one peer's user was told, and how much its driver had to do for it.

use std::collections::{BTreeMap, BTreeSet};

use sotto_peer_core::{
    Channel, Event, GapRange, LinkCommand, MessageBody, MessageView, Output, ReceiptState, Socket,
    SocketCommand, TimelineDiff,
};
use sotto_protocol::{ConversationId, DeviceId, MessageId, Seq};

/// What one peer's user was told.
#[derive(Default, Clone)]
pub(super) struct Witness {
    pub shown: BTreeSet<(MessageId, String)>,
    texts: BTreeMap<ConversationId, BTreeSet<String>>,
    /// The lists as a plain reading of the diffs makes them.
    lists: BTreeMap<ConversationId, Vec<MessageView>>,
    receipts: BTreeMap<(ConversationId, DeviceId, ReceiptState), Seq>,
    pub gaps: Vec<GapRange>,
    /// Profiles told.
    pub profiles: usize,
    /// Texts that were taken from the list again.
    pub replaced: BTreeSet<String>,
}

impl Witness {
    pub fn texts(&self, conversation: ConversationId) -> BTreeSet<String> {
        self.texts.get(&conversation).cloned().unwrap_or_default()
    }

    pub fn list(&self, conversation: ConversationId) -> &[MessageView] {
        self.lists.get(&conversation).map_or(&[], Vec::as_slice)
    }

    /// Its process ended: receipts that it was told of and did not store are told again.
    pub fn start_anew(&mut self) {
        self.receipts.clear();
    }

    pub fn take(&mut self, index: usize, event: Event) {
        match event {
            Event::Message(view) => {
                if let MessageBody::Text(text) = view.body {
                    self.shown.insert((view.id, text.clone()));
                    self.texts.entry(view.id.conversation).or_default().insert(text);
                }
            }
            Event::Timeline { conversation, diffs } => {
                for diff in diffs {
                    let said = format!("peer {index}: {diff:?}");
                    self.apply(conversation, diff, &said);
                }
            }
            Event::Receipt { id, device, state } if state != ReceiptState::Logged => {
                let known = self.receipts.entry((id.conversation, device, state)).or_default();
                assert!(id.seq > *known, "peer {index}: {device} {state:?} went from {known} to {}", id.seq);
                *known = id.seq;
            }
            Event::Gap { range, .. } => self.gaps.push(range),
            Event::Profile(_) => self.profiles += 1,
            Event::Receipt { .. }
            | Event::Conversation(_)
            | Event::Presence { .. }
            | Event::Typing { .. }
            | Event::Path { .. }
            | Event::Renumbered { .. }
            | Event::Connection { .. }
            | Event::Alarm { .. } => {}
        }
    }

    fn apply(&mut self, conversation: ConversationId, diff: TimelineDiff, said: &str) {
        let list = self.lists.entry(conversation).or_default();
        let find = |list: &[MessageView], id: MessageId| {
            list.iter().position(|view| view.id == id).unwrap_or_else(|| panic!("{said}: {id} is not there"))
        };
        match diff {
            TimelineDiff::Insert { item, after } => {
                assert!(list.iter().all(|view| view.id != item.id), "{said}: it is there already");
                let at = after.map_or(0, |after| find(list, after) + 1);
                list.insert(at, item);
            }
            TimelineDiff::Move { id, after, position } => {
                let mut view = list.remove(find(list, id));
                view.position = position;
                let at = after.map_or(0, |after| find(list, after) + 1);
                list.insert(at, view);
            }
            TimelineDiff::State { from, to, state } => {
                let device = from.device;
                let own = list.iter_mut().filter(|view| view.id.device == device);
                for view in own.filter(|view| (from.seq..=to.seq).contains(&view.id.seq)) {
                    view.state = Some(state);
                }
            }
            TimelineDiff::Missing { id, missing } => {
                let at = find(list, id);
                list[at].missing = missing;
            }
            TimelineDiff::Replace { item } => {
                let at = find(list, item.id);
                let old = std::mem::replace(&mut list[at], item);
                self.replaced.extend(text_of(&old).map(str::to_owned));
            }
            TimelineDiff::Remove { id } => {
                let old = list.remove(find(list, id));
                self.replaced.extend(text_of(&old).map(str::to_owned));
            }
        }
    }

    /// Whether the user was told that this is missing.
    pub fn was_told_of_gap(&self, view: &MessageView) -> bool {
        self.gaps.iter().any(|gap| match gap {
            GapRange::Positions(from, to) => {
                view.position.is_some_and(|position| *from <= position && position <= *to)
            }
            GapRange::Messages(from, to) => {
                from.device == view.id.device && (from.seq..=to.seq).contains(&view.id.seq)
            }
        })
    }
}

pub(super) fn text_of(view: &MessageView) -> Option<&str> {
    match &view.body {
        MessageBody::Text(text) => Some(text),
        MessageBody::Renamed(_) | MessageBody::Unreadable => None,
    }
}

/// What one peer has its driver do, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traffic {
    pub relay: u64,
    pub signals: u64,
    pub messages: u64,
    pub probes: u64,
    pub negotiation: u64,
    pub http: u64,
    pub writes: u64,
}

impl Traffic {
    pub fn count(&mut self, output: &Output) {
        match output {
            Output::Socket { socket: Socket::Relay, .. } => self.relay += 1,
            Output::Socket { socket: Socket::Signal, command: SocketCommand::Send(_) } => self.signals += 1,
            Output::Link { command: LinkCommand::Send { channel: Channel::Msg, .. }, .. } => {
                self.messages += 1
            }
            Output::Link { command: LinkCommand::Send { channel: Channel::Probe, .. }, .. } => {
                self.probes += 1
            }
            Output::Link { .. } => self.negotiation += 1,
            Output::Http { .. } => self.http += 1,
            Output::Persist { .. } => self.writes += 1,
            Output::Socket { .. } | Output::Load { .. } | Output::Reply { .. } | Output::Event(_) => {}
        }
    }
}

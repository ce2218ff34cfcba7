//! What must hold, by what every peer's user was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sotto_peer_core::{
    Command, CommandError, CommandId, ConversationStatus, MessageBody, MessageView, Reply,
};
use sotto_protocol::{ConversationId, Handle, MessageId, Position};

use super::World;
use super::witness::{Traffic, Witness, text_of};

/// What a history's kind excuses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// Something may be missing, if the peer's user was told of the gap.
    pub gaps: bool,
    /// Members come and go: each has only what was logged while it was in.
    pub partial: bool,
    /// A profile was an older copy: a text that it wrote before that, and that is not logged, may have to give way to
    /// another, which its readers are told; and what it wrote then may come in another order.
    pub restored: bool,
}

/// Says how to see a failure again, when there is one.
pub struct OnPanic(pub String);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

struct Sent {
    sender: usize,
    /// What its sender had been shown.
    causes: BTreeSet<String>,
}

struct Accepted {
    sender: usize,
    text: String,
    id: MessageId,
    /// Its sender's disk forgot it before anybody else had it.
    gone: bool,
    /// Its sender's disk forgot it, and it was not logged.
    doubtful: bool,
}

/// What is known of all that was sent.
#[derive(Default)]
pub(super) struct Judge {
    sent: BTreeMap<String, Sent>,
    unanswered: BTreeMap<(usize, CommandId), String>,
    /// Texts whose `send` was answered, in order.
    accepted: Vec<Accepted>,
    /// By peer: how many were accepted in all when its profile was copied.
    saved: BTreeMap<usize, usize>,
    /// Peers whose profile was set back.
    restored: BTreeSet<usize>,
    /// Causes may be out of a member's sight.
    partial: bool,
}

impl Judge {
    pub fn sends(
        &mut self,
        sender: usize,
        id: Option<CommandId>,
        _conversation: ConversationId,
        text: &str,
        causes: BTreeSet<String>,
    ) {
        self.sent.insert(text.to_owned(), Sent { sender, causes });
        self.unanswered.extend(id.map(|id| ((sender, id), text.to_owned())));
    }

    pub fn answered(&mut self, sender: usize, id: CommandId, result: &Result<Reply, CommandError>) {
        if let (Some(text), Ok(Reply::Sent(id))) = (self.unanswered.remove(&(sender, id)), result) {
            self.accepted.push(Accepted { sender, text, id: *id, gone: false, doubtful: false });
        }
    }

    pub fn forget_unanswered(&mut self, sender: usize) {
        self.unanswered.retain(|(peer, _), _| *peer != sender);
    }

    pub fn saved(&mut self, sender: usize) {
        self.saved.insert(sender, self.accepted.len());
    }

    /// An older copy of the sender's profile is back: what had reached nobody since is gone, and may be.
    pub fn restored(&mut self, sender: usize, reached: &BTreeMap<MessageId, bool>) {
        self.restored.insert(sender);
        let since = self.saved.remove(&sender).unwrap_or(0);
        for accepted in self.accepted[since..].iter_mut().filter(|accepted| accepted.sender == sender) {
            let logged = reached.get(&accepted.id);
            accepted.gone |= logged.is_none();
            accepted.doubtful |= logged == Some(&false);
        }
    }

    /// A peer's user is shown a message. (A peer that crashed may have shown something just before, unheard: it is not
    /// judged for causes.)
    pub fn shown(
        &self,
        index: usize,
        handles: &[&Handle],
        witness: &Witness,
        view: &MessageView,
        judge_causes: bool,
    ) {
        let MessageBody::Text(text) = &view.body else {
            assert!(view.body != MessageBody::Unreadable, "peer {index} was shown something unreadable");
            return;
        };
        let known = self.sent.get(text).filter(|sent| *handles[sent.sender] == view.from);
        let Some(sent) = known else {
            panic!("peer {index} was shown {text:?} of {}, who never wrote it", view.from);
        };
        assert!(
            !witness.shown.contains(&(view.id, text.clone())),
            "peer {index} was shown {} twice: {text:?}",
            view.id
        );
        if judge_causes && !self.partial && !self.restored.contains(&sent.sender) {
            let before = witness.texts(view.id.conversation);
            // A cause may have another number now, and so another place: its author came back as an older copy.
            let renumbered =
                |text: &str| self.sent.get(text).is_some_and(|cause| self.restored.contains(&cause.sender));
            let missing: Vec<&String> =
                sent.causes.difference(&before).filter(|text| !renumbered(text)).collect();
            assert!(
                missing.is_empty(),
                "peer {index} was shown {text:?} before {missing:?}, which its sender had seen"
            );
        }
    }
}

impl World {
    /// How many sends were answered.
    pub fn accepted(&self) -> usize {
        self.judge.accepted.len()
    }

    /// Members may have only a part of the conversation: causes are not judged.
    pub fn is_partial(&mut self) {
        self.judge.partial = true;
    }

    /// Messages of a peer that others were shown, or that are in the relay's log; whether they are in the log.
    pub(super) fn reached_somebody(&self, index: usize) -> BTreeMap<MessageId, bool> {
        let ids = self.judge.accepted.iter().filter(|accepted| accepted.sender == index);
        let ids = ids.filter_map(|accepted| {
            let shown = |node: &super::world::Node| {
                node.witness.shown.contains(&(accepted.id, accepted.text.clone()))
            };
            let others = self.nodes.iter().enumerate().filter(|(other, node)| *other != index && !node.dead);
            let logged = self.relay.place(accepted.id).is_some();
            (logged || others.map(|(_, node)| node).any(shown)).then_some((accepted.id, logged))
        });
        ids.collect()
    }

    /// The texts that a peer's user sees now.
    pub fn texts(&self, index: usize, conversation: ConversationId) -> Vec<String> {
        let list = self.nodes[index].witness.list(conversation);
        list.iter().filter_map(text_of).map(str::to_owned).collect()
    }

    /// The gaps that a peer's user was told of.
    pub fn gaps(&self, index: usize) -> usize {
        self.nodes[index].witness.gaps.len()
    }

    /// Runs until everything is shown and logged everywhere, and answers how long that took; within `bound`.
    pub fn settle(&mut self, conversation: ConversationId, bound: Duration, allowed: Allowed) -> Duration {
        let start = self.now;
        loop {
            let why = self.unsettled(conversation, allowed).or_else(|| self.unacked(conversation));
            let Some(why) = why else { return self.now - start };
            assert!(self.now < start + bound, "after {bound:?}: {why}");
            self.run(Duration::from_millis(250));
        }
    }

    fn unsettled(&self, conversation: ConversationId, allowed: Allowed) -> Option<String> {
        let all = self.nodes[0].witness.list(conversation);
        let live = self.nodes.iter().enumerate().filter(|(_, node)| !node.dead && !node.away);
        for (index, node) in live {
            if node.peer.is_none() {
                return Some(format!("peer {index} is down"));
            }
            if let Some(late) = self.unanswered_of(index) {
                return Some(format!("peer {index}: no answer to the sending of {late:?}"));
            }
            let list = node.witness.list(conversation);
            let member = self.membership_since(conversation, index);
            if let Some(view) = list.iter().find(|view| view.position.is_none())
                && member.is_some()
            {
                return Some(format!("peer {index}: not logged: {view:?}"));
            }
            let mut rest = list.iter().filter(|view| view.position.is_some()).peekable();
            for view in all {
                let out_of_sight =
                    allowed.partial && member.is_none_or(|joined| view.position.is_none_or(|at| at < joined));
                let told = allowed.gaps && node.witness.was_told_of_gap(view);
                match rest.next_if(|shown| shown.id == view.id) {
                    Some(shown) if shown.body != view.body => {
                        return Some(format!("peer {index} shows {shown:?}, peer 0 {view:?}"));
                    }
                    Some(_) => {}
                    None if out_of_sight || told => {}
                    None => return Some(format!("peer {index} lacks, or has elsewhere: {view:?}")),
                }
            }
            if let Some(more) = rest.next() {
                return Some(format!("peer {index} has, and peer 0 has not, or elsewhere: {more:?}"));
            }
        }
        self.lost(conversation, allowed)
    }

    /// Not all that waits to be acknowledged is listed: accepting is not.
    fn unacked(&mut self, conversation: ConversationId) -> Option<String> {
        for index in 0..self.nodes.len() {
            let member = self.membership_since(conversation, index).is_some();
            if member && self.nodes[index].peer.is_some() && self.status(index, conversation).unacked > 0 {
                return Some(format!("peer {index}: not all is acknowledged"));
            }
        }
        None
    }

    fn unanswered_of(&self, index: usize) -> Option<&String> {
        self.judge.unanswered.iter().find(|((sender, _), _)| *sender == index).map(|(_, text)| text)
    }

    /// What was accepted and is not shown in its sender's order.
    fn lost(&self, conversation: ConversationId, allowed: Allowed) -> Option<String> {
        let all = self.nodes[0].witness.list(conversation);
        for (sender, node) in self.nodes.iter().enumerate() {
            // What only a lost disk held is gone with it; who left may have left with something.
            if node.dead || self.membership_since(conversation, sender).is_none() {
                continue;
            }
            let shown = all.iter().filter(|view| view.from == node.identity.handle).filter_map(text_of);
            // A crash may come between the disk and the answer: shown without being answered is fine, the reverse
            // never.
            let anywhere = allowed.restored && self.judge.restored.contains(&sender);
            let mut rest = shown.clone();
            for accepted in self.judge.accepted.iter().filter(|accepted| accepted.sender == sender) {
                let replaced = allowed.restored
                    && accepted.doubtful
                    && self.nodes.iter().any(|node| node.witness.replaced.contains(&accepted.text));
                if accepted.gone || replaced || accepted.id.conversation != conversation {
                    continue;
                }
                if anywhere {
                    rest = shown.clone();
                }
                if !rest.any(|text| text == accepted.text) {
                    return Some(format!("{:?} of peer {sender} is lost or out of order", accepted.text));
                }
            }
            let texts: Vec<&str> = shown.collect();
            let once: BTreeSet<&str> = texts.iter().copied().collect();
            assert_eq!(once.len(), texts.len(), "peer {sender}'s messages are shown twice: {texts:?}");
        }
        None
    }

    /// Where a peer came into a conversation, if it is a member.
    fn membership_since(&self, conversation: ConversationId, index: usize) -> Option<Position> {
        self.members(conversation).get(&self.nodes[index].identity.account).copied()
    }

    /// What must hold once everything is settled, beyond that: lists as the diffs made them, nothing unacknowledged,
    /// nothing that waits, no gap that nothing explains.
    pub fn check(&mut self, conversation: ConversationId, allowed: Allowed) {
        for index in 0..self.nodes.len() {
            let unheard = self.nodes[index].witness.list(conversation).is_empty();
            if self.nodes[index].peer.is_none() || unheard {
                continue;
            }
            // Reading takes time, in which last words of the dead may still come in.
            let (history, by_diffs) = loop {
                let before = self.nodes[index].witness.list(conversation).to_vec();
                let history = self.history(index, conversation);
                if before == self.nodes[index].witness.list(conversation) {
                    break (history, before);
                }
            };
            if history != by_diffs {
                let differs = history.iter().zip(&by_diffs).find(|(a, b)| a != b);
                panic!(
                    "peer {index}: history has {}, the diffs made {}; first {differs:?}",
                    history.len(),
                    by_diffs.len()
                );
            }
            let status = self.status(index, conversation);
            if self.membership_since(conversation, index).is_some() {
                assert_eq!(status.unacked, 0, "peer {index}: unacknowledged");
            }
            assert_eq!(status.undecryptable, 0, "peer {index}: undecryptable");
            let gaps = &self.nodes[index].witness.gaps;
            assert!(allowed.gaps || gaps.is_empty(), "peer {index} was told of {gaps:?}");
        }
    }

    /// How a conversation stands at a peer.
    pub fn status(&mut self, index: usize, conversation: ConversationId) -> ConversationStatus {
        let Reply::Status(status) = self.run_command(index, Command::Status) else { panic!() };
        status.conversations.into_iter().find(|status| status.id == conversation).unwrap()
    }

    /// With nothing to say, peers say little: after half a minute only probes and the presence lease.
    pub fn check_quiet(&mut self) {
        self.run(Duration::from_secs(30));
        for node in &mut self.nodes {
            node.traffic = Traffic::default();
        }
        self.run(Duration::from_secs(60));
        let others = self.nodes.len() as u64 - 1;
        for (index, node) in self.nodes.iter().enumerate() {
            let links = node.connections.values().filter(|connection| connection.open).count() as u64;
            let traffic = node.traffic;
            // A probe each 5 s, and an answer to the other side's. Who does not answer is tried each half minute, and
            // may come up just now.
            let unlinked = others.saturating_sub(links);
            let most = Traffic {
                probes: links * 30,
                signals: 4 + unlinked * 6,
                negotiation: unlinked * 9,
                http: 1,
                // What is missing is given up a minute after, once.
                writes: 1,
                ..Traffic::default()
            };
            let quiet = traffic.probes <= most.probes
                && traffic.signals <= most.signals
                && traffic.negotiation <= most.negotiation
                && traffic.http <= most.http
                && traffic.messages <= others
                && traffic.writes <= most.writes
                && traffic.relay == 0;
            assert!(quiet, "peer {index} with {links} links is not quiet: {traffic:?}, at most {most:?}");
        }
    }
}

//! What must hold, whatever was killed and cut.

use std::collections::HashSet;

use serde_json::Value;

use super::{Peer, eventually};

/// The texts of a history.
pub fn texts_shown(history: &[Value]) -> Vec<&str> {
    history.iter().filter_map(|message| message["text"].as_str()).collect()
}

fn ids(history: &[Value]) -> Vec<&str> {
    history.iter().filter_map(|message| message["id"].as_str()).collect()
}

/// Waits until these peers show the same, all of it logged, and nothing is under way; then: what anybody's `send`
/// was answered for is shown exactly once, in its sender's order, in the same order at all; each message was
/// notified exactly once.
pub fn judge(peers: &[&Peer]) {
    let accepted = |peer: &Peer| peer.accepted.lock().unwrap().clone();
    let expected: usize = peers.iter().map(|peer| accepted(peer).len()).sum();
    let logged = |history: &[Value]| history.iter().all(|message| message["position"].is_u64());
    let settled = || {
        let histories: Vec<Vec<Value>> = peers.iter().map(|peer| peer.history()).collect();
        histories
            .iter()
            .all(|history| history.len() >= expected && logged(history) && ids(history) == ids(&histories[0]))
    };
    let seen = || {
        let of = |peer: &&Peer| {
            let history = peer.history();
            let open = history.iter().filter(|message| !message["position"].is_u64()).count();
            format!("{} of {expected} at {}, {open} not logged; {}", history.len(), peer.name, peer.status())
        };
        peers.iter().map(of).collect::<Vec<_>>().join("\n")
    };
    eventually("everybody shows the same, all of it logged", settled, seen);

    let first = peers[0].history();
    for peer in peers {
        let history = peer.history();
        assert_eq!(ids(&first), ids(&history), "{} and {} differ", peers[0].name, peer.name);
        let unique: HashSet<&str> = ids(&history).into_iter().collect();
        assert_eq!(unique.len(), history.len(), "{} shows a message twice", peer.name);
        let positions: Vec<u64> = history.iter().filter_map(|message| message["position"].as_u64()).collect();
        assert!(positions.is_sorted(), "{} does not show the log's order", peer.name);

        let mut notified = peer.notified();
        notified.sort_unstable();
        let mut shown = ids(&history);
        shown.sort_unstable();
        assert_eq!(notified, shown, "{} was not notified of each message exactly once", peer.name);
    }
    for author in peers {
        let own: Vec<&str> = first
            .iter()
            .filter(|message| message["from"] == author.name.as_str())
            .filter_map(|message| message["text"].as_str())
            .collect();
        let unanswered = author.unanswered.lock().unwrap().clone();
        let answered: Vec<&str> =
            own.iter().copied().filter(|text| !unanswered.iter().any(|other| other == text)).collect();
        assert_eq!(answered, accepted(author), "{}: accepted once, in order, and nothing else", author.name);
        let unique: HashSet<&str> = own.iter().copied().collect();
        assert_eq!(unique.len(), own.len(), "a text of {} is shown twice", author.name);
    }
    let quiet = |peer: &&Peer| {
        let status = peer.status();
        let conversations = status["conversations"].as_array().unwrap();
        conversations.iter().all(|conversation| conversation["unacked"] == 0)
    };
    eventually("nothing is unacknowledged", || peers.iter().all(quiet), seen);
}

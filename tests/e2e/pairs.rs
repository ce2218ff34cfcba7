//! Two peers.

use std::thread;

use crate::harness::{Peer, Setup, eventually, texts_shown};

/// Numbered texts of a sender.
fn texts(name: &str, count: usize) -> impl Iterator<Item = String> {
    let name = name.to_owned();
    (0..count).map(move |number| format!("{name} {number}"))
}

/// Both send at once.
fn both_burst(setup: &Setup, tag: &str, count: usize) {
    thread::scope(|scope| {
        for peer in &setup.peers {
            scope.spawn(move || peer.burst(texts(&format!("{tag} of {}", peer.name), count)));
        }
    });
}

fn shown(peer: &Peer) -> usize {
    texts_shown(&peer.history()).len()
}

fn wait_for(peer: &Peer, count: usize) {
    let what = format!("{} shows {count}", peer.name);
    eventually(&what, || shown(peer) >= count, || format!("{}; {}", shown(peer), peer.status()));
}

#[test]
fn two_peers_chat_directly() {
    let setup = Setup::linked(&["alice", "bob"]);
    both_burst(&setup, "burst", 300);
    for peer in &setup.peers {
        assert_eq!(peer.direct_links(), 1, "{}", peer.status());
        let rtt = peer.status()["links"][0]["rtt_ms"].as_f64().unwrap();
        assert!(rtt > 0.0);
    }
    setup.judge();
}

#[test]
fn with_the_server_killed_the_link_goes_on_and_the_log_catches_up() {
    let mut setup = Setup::linked(&["alice", "bob"]);
    thread::scope(|scope| {
        for peer in &setup.peers {
            scope.spawn(move || peer.burst(texts(&format!("around the kill, of {}", peer.name), 300)));
        }
        setup.server.kill();
    });
    // Nobody can have these from the log.
    both_burst(&setup, "without the server", 100);
    for peer in &setup.peers {
        wait_for(peer, 801);
        assert_eq!(peer.direct_links(), 1, "{}", peer.status());
        assert_eq!(peer.status()["relay"]["up"], false);
    }
    let history = setup.peers[1].history();
    assert!(history.last().unwrap()["position"].is_null(), "the server is gone, and yet it is in its log");
    setup.server.restart();
    setup.judge();
    for peer in &setup.peers {
        let head = peer.status()["conversations"][0]["head"].as_u64().unwrap();
        assert!(head >= 801, "the log has {head}");
    }
}

#[test]
fn a_link_cut_in_the_middle_of_a_burst_loses_nothing_and_comes_back() {
    let setup = Setup::linked(&["alice", "bob"]);
    thread::scope(|scope| {
        for peer in &setup.peers {
            scope.spawn(move || peer.burst(texts(&format!("around the cut, of {}", peer.name), 500)));
        }
        setup.peers[0].cut(true);
    });
    both_burst(&setup, "while it is cut", 100);
    for peer in &setup.peers {
        wait_for(peer, 1_201);
        let relayed = || peer.status()["links"][0]["path"] == "relay";
        eventually("the link is seen dead", relayed, || peer.status().to_string());
    }
    setup.peers[0].cut(false);
    setup.wait_until_linked();
    both_burst(&setup, "after it", 50);
    setup.judge();
}

#[test]
fn who_was_away_for_five_hundred_messages_gets_them_all() {
    let setup = Setup::linked(&["alice", "bob"]);
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    bob.stop();
    alice.burst(texts("while you were away", 500));
    let status = || alice.status();
    eventually("the relay has all", || status()["conversations"][0]["unacked"] == 0, || status().to_string());
    bob.restart();
    bob.heard("what was sent", |seen| seen.texts().count() == 501);
    setup.wait_until_linked();
    bob.burst(texts("thank you", 20));
    setup.judge();
}

#[test]
fn a_sender_killed_right_after_the_answer_still_sends_once() {
    let mut setup = Setup::linked(&["alice", "bob"]);
    // With the server there, without it, and without both it and the link: then only the outbox has the message.
    for round in 0..12 {
        let (server_down, cut) = (round % 3 > 0, round % 3 > 1);
        let alice = &setup.peers[0];
        if cut {
            alice.cut(true);
        }
        if server_down {
            setup.server.kill();
        }
        let alice = &setup.peers[0];
        for number in 0..round {
            alice.send(&format!("{number} before kill {round}"));
        }
        alice.send(&format!("right before kill {round}"));
        alice.kill();
        if server_down {
            setup.server.restart();
        }
        let [alice, bob] = &setup.peers[..] else { unreachable!() };
        alice.restart();
        let last = format!("right before kill {round}");
        bob.heard(&last, |seen| seen.texts().any(|text| text == last));
        setup.wait_until_linked();
    }
    // Its program was killed between notifications: it asks for what is kept.
    setup.peers[0].replay();
    setup.judge();
}

#[test]
fn a_receiver_killed_in_the_middle_of_a_burst_has_everything_once() {
    let setup = Setup::linked(&["alice", "bob"]);
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    for round in 0..4 {
        thread::scope(|scope| {
            scope.spawn(|| alice.burst(texts(&format!("burst {round}"), 200)));
            let enough = bob.notified().len() + 50;
            bob.heard("a part of the burst", |seen| seen.texts().count() >= enough);
            bob.kill();
            bob.restart();
        });
    }
    bob.replay();
    setup.judge();
}

//! Groups.

use std::thread;

use serde_json::json;

use crate::harness::{Peer, Setup, eventually, judge, texts_shown};

#[test]
fn two_thousand_messages_among_four_while_links_are_cut_and_healed() {
    let setup = Setup::linked(&["alice", "bob", "carol", "dave"]);
    let count = setup.peers.len();
    // Who is cut off in a step: a fixed sequence that hits each of the 16 sets often.
    let mut random: u32 = 1;
    for step in 0..25 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let cut: Vec<bool> = (0..count).map(|index| random >> (28 + index) & 1 == 1).collect();
        thread::scope(|scope| {
            for peer in &setup.peers {
                scope.spawn(move || peer.burst((0..20).map(|n| format!("{} {}", peer.name, step * 20 + n))));
            }
            for (peer, cut) in setup.peers.iter().zip(&cut) {
                peer.cut(*cut);
            }
        });
        // Most cuts are shorter than it takes to notice them; these are noticed, and so is what heals meanwhile.
        if step % 4 == 3 {
            let healthy = cut.iter().filter(|cut| !**cut).count();
            for (peer, cut) in setup.peers.iter().zip(&cut) {
                peer.wait_until_direct(if *cut { 0 } else { healthy - 1 });
            }
        }
    }
    for peer in &setup.peers {
        peer.cut(false);
    }
    setup.judge();
    assert_eq!(setup.peers[0].accepted.lock().unwrap().len(), 501);
    setup.wait_until_linked();
}

#[test]
fn what_only_one_peer_has_of_an_author_who_died_reaches_the_others() {
    let mut setup = Setup::linked(&["alice", "bob", "carol"]);
    let shows = |peer: &Peer, text: &str| texts_shown(&peer.history()).contains(&text);
    let carol = &setup.peers[2];
    let last = "my last words";
    carol.cut(true);
    let linked = || carol.direct_links();
    eventually("carol is alone", || linked() == 0, || carol.status().to_string());
    setup.server.kill();
    let [alice, bob, carol] = &setup.peers[..] else { unreachable!() };
    alice.send(last);
    bob.heard("the last words", |seen| seen.texts().any(|text| text == last));
    alice.kill();
    assert!(!shows(carol, last), "only bob has it");
    setup.server.restart();
    let [_, bob, carol] = &setup.peers[..] else { unreachable!() };
    carol.heard("the last words, from bob", |seen| seen.texts().any(|text| text == last));
    carol.cut(false);
    carol.send("she is missed");
    let both = || [bob, carol].map(|peer| peer.history());
    let logged = |history: &Vec<serde_json::Value>| history.iter().all(|m| m["position"].is_u64());
    let same = || {
        let [left, right] = both();
        texts_shown(&left) == texts_shown(&right) && logged(&left) && logged(&right) && left.len() == 4
    };
    eventually("both show the same", same, || format!("{:?}", both()));
    assert_eq!(texts_shown(&bob.history()), ["hello", last, "she is missed"]);
    assert_eq!(bob.history()[2]["from"], "alice");
    // She comes back after all, and it is not sent twice.
    setup.peers[0].restart();
    setup.peers[0].replay();
    judge(&setup.peers.iter().collect::<Vec<_>>());
}

#[test]
fn who_is_added_reads_a_member_who_has_left_meanwhile() {
    let setup = Setup::new(&["alice", "bob", "carol"]);
    let [alice, bob, carol] = &setup.peers[..] else { unreachable!() };
    let dave = setup.stranger("dave");
    dave.stop();
    alice.call("group.add", json!({ "conversation": setup.conversation, "handle": "dave" }));
    carol.heard("dave's coming", |seen| seen.conversation()["members"].to_string().contains("dave"));
    carol.send("goodbye, all");
    let logged = || carol.status()["conversations"][0]["unacked"] == 0;
    eventually("carol's goodbye is logged", logged, || carol.status().to_string());
    carol.call("group.leave", json!({ "conversation": setup.conversation }));
    let status = carol.status();
    assert_eq!(status["conversations"][0]["unacked"], 0, "nothing is left to send: {status}");
    let refused =
        carol.answer(carol.request("send", json!({ "conversation": setup.conversation, "text": "?" })));
    assert_eq!(refused["error"]["data"]["kind"], "not-a-member");
    alice.send("she has left");
    dave.restart();
    dave.heard("what was said since", |seen| seen.texts().any(|text| text == "she has left"));
    assert_eq!(texts_shown(&dave.history()), ["goodbye, all", "she has left"]);
    dave.heard("the group's name", |seen| seen.conversation()["name"] == "all");
    bob.heard("the last", |seen| seen.texts().any(|text| text == "she has left"));
}

#[test]
fn members_who_add_somebody_at_once_both_succeed() {
    let setup = Setup::new(&["alice", "bob", "carol"]);
    let (dave, erin) = (setup.stranger("dave"), setup.stranger("erin"));
    thread::scope(|scope| {
        for (peer, handle) in setup.peers.iter().zip(["dave", "erin"]) {
            let params = json!({ "conversation": setup.conversation, "handle": handle });
            scope.spawn(move || peer.call("group.add", params));
        }
    });
    for peer in setup.peers.iter().chain([&dave, &erin]) {
        peer.heard("five members", |seen| {
            seen.conversation()["members"].as_array().is_some_and(|members| members.len() == 5)
        });
    }
}

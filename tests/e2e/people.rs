//! Requests, blocks, receipts, presence and typing: who learns what of whom.

use serde_json::{Value, json};

use crate::harness::{Peer, Seen, Setup, eventually, texts_shown};

fn received(seen: &Seen, state: &str, device: &str) -> bool {
    seen.notified("receipt").any(|receipt| receipt["state"] == state && receipt["device"] == device)
}

fn device(peer: &Peer) -> String {
    peer.status()["device"].as_str().unwrap().to_owned()
}

fn presence(seen: &Seen, handle: &str, state: &str) -> bool {
    seen.notified("presence").last().is_some_and(|p| p["handle"] == handle && p["state"] == state)
}

/// Alice has written to Bob, who has not answered.
fn requested() -> (Setup, String, String) {
    let setup = Setup::requested("alice", "bob");
    let devices = (device(&setup.peers[0]), device(&setup.peers[1]));
    (setup, devices.0, devices.1)
}

#[test]
fn until_a_request_is_accepted_its_sender_learns_nothing() {
    let (setup, alice_device, bob_device) = requested();
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    alice.heard("it is logged", |seen| received(seen, "logged", &alice_device));
    let all = bob.call("conversations", json!({}))["conversations"].clone();
    assert_eq!(all[0]["request"], true, "{all}");
    // Whatever bob does with what he got, short of answering.
    let read = bob.history().last().unwrap()["id"].clone();
    bob.call("mark_read", json!({ "conversation": setup.conversation, "id": read }));
    bob.call("typing", json!({ "conversation": setup.conversation, "on": true }));
    bob.call("presence.set", json!({ "state": "away" }));
    alice.send("are you there?");
    bob.heard("the second", |seen| seen.texts().count() == 2);
    // A word of a third party, sent and received after all that, would come after it.
    let third = setup.stranger("carol");
    let other = third.call("direct", json!({ "handle": "alice" }))["conversation"].clone();
    third.call("send", json!({ "conversation": other, "text": "a word" }));
    alice.heard("the word", |seen| seen.texts().any(|text| text == "a word"));
    alice.heard("nothing", |seen| {
        assert!(!received(seen, "delivered", &bob_device) && !received(seen, "read", &bob_device));
        assert_eq!(seen.notified("presence").count() + seen.notified("typing").count(), 0);
        true
    });
    assert_eq!(alice.status()["links"].as_array().unwrap().len(), 0, "{}", alice.status());
    assert_eq!(bob.status()["links"].as_array().unwrap().len(), 0, "{}", bob.status());

    bob.call("accept", json!({ "conversation": setup.conversation }));
    alice.heard("it was delivered", |seen| received(seen, "delivered", &bob_device));
    alice.heard("bob is away", |seen| presence(seen, "bob", "away"));
    setup.wait_until_linked();
}

#[test]
fn answering_accepts_and_receipts_presence_and_typing_follow() {
    let (setup, alice_device, bob_device) = requested();
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    bob.send("yes");
    alice.heard("the answer", |seen| seen.texts().any(|text| text == "yes"));
    alice.heard("bob is online", |seen| presence(seen, "bob", "online"));
    bob.heard("alice is online", |seen| presence(seen, "alice", "online"));
    bob.heard("it was delivered", |seen| received(seen, "delivered", &alice_device));
    let last = alice.history().last().unwrap()["id"].clone();
    alice.call("mark_read", json!({ "conversation": setup.conversation, "id": last }));
    bob.heard("it was read", |seen| received(seen, "read", &alice_device));
    alice.call("typing", json!({ "conversation": setup.conversation, "on": true }));
    bob.heard("alice types", |seen| {
        seen.notified("typing").any(|t| t["handle"] == "alice" && t["on"] == true)
    });
    alice.call("presence.set", json!({ "state": "away", "text": "lunch" }));
    bob.heard("alice is away", |seen| {
        seen.notified("presence").last().is_some_and(|p| p["state"] == "away" && p["text"] == "lunch")
    });
    alice.stop();
    bob.heard("alice is offline", |seen| presence(seen, "alice", "offline"));
    let times = |state: &str| {
        let mut count = 0;
        bob.heard("presence", |seen| {
            count = seen.notified("presence").filter(|p| p["state"] == state).count();
            true
        });
        count
    };
    assert_eq!((times("online"), times("away"), times("offline")), (1, 1, 1), "each is told once");
    assert_ne!(alice_device, bob_device);
}

#[test]
fn who_is_blocked_notices_nothing_and_what_was_sent_meanwhile_arrives_after() {
    let setup = Setup::linked(&["alice", "bob"]);
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    bob.call("block", json!({ "handle": "alice" }));
    alice.heard("bob looks offline", |seen| presence(seen, "bob", "offline"));
    let unlinked = || alice.direct_links() == 0 && bob.direct_links() == 0;
    eventually("no link", unlinked, || format!("{} {}", alice.status(), bob.status()));
    alice.send("hello?");
    alice.send("have I done something?");
    let logged = || alice.status()["conversations"][0]["unacked"] == 0;
    eventually("it is logged", logged, || alice.status().to_string());
    let refused =
        bob.answer(bob.request("send", json!({ "conversation": setup.conversation, "text": "no" })));
    assert_eq!(refused["error"]["data"]["kind"], "blocked");
    assert_eq!(texts_shown(&bob.history()), ["hello"]);
    bob.call("unblock", json!({ "handle": "alice" }));
    bob.heard("what was sent meanwhile", |seen| seen.texts().count() == 3);
    bob.send("sorry");
    setup.wait_until_linked();
    alice.heard("bob looks online", |seen| presence(seen, "bob", "online"));
    setup.judge();
}

#[test]
fn both_who_begin_at_once_meet_in_one_conversation() {
    let setup = Setup::signed_up(&["alice", "bob"]);
    let [alice, bob] = &setup.peers[..] else { unreachable!() };
    let begin =
        |peer: &Peer, other: &str| peer.call("direct", json!({ "handle": other }))["conversation"].clone();
    let (one, other): (Value, Value) = std::thread::scope(|scope| {
        let one = scope.spawn(|| begin(alice, "bob"));
        (one.join().unwrap(), begin(bob, "alice"))
    });
    assert_eq!(one, other);
    let mut setup = setup;
    setup.set_conversation(&one);
    std::thread::scope(|scope| {
        for peer in &setup.peers {
            scope.spawn(move || peer.send(&format!("hello of {}", peer.name)));
        }
    });
    setup.wait_until_linked();
    setup.judge();
}

#[test]
fn a_group_is_renamed_and_left_and_its_history_stays() {
    let setup = Setup::linked(&["alice", "bob", "carol"]);
    let [alice, bob, carol] = &setup.peers[..] else { unreachable!() };
    bob.call("group.rename", json!({ "conversation": setup.conversation, "name": "Film club" }));
    for peer in &setup.peers {
        peer.heard("the name", |seen| seen.conversation()["name"] == "Film club");
    }
    carol.call("group.leave", json!({ "conversation": setup.conversation }));
    alice.heard("carol has left", |seen| !seen.conversation()["members"].to_string().contains("carol"));
    carol.heard("she has left", |seen| seen.conversation()["member"] == false);
    alice.send("just us");
    bob.heard("it", |seen| seen.texts().any(|text| text == "just us"));
    let unlinked = || carol.direct_links() == 0 && alice.direct_links() == 1;
    eventually("no link to who left", unlinked, || format!("{} {}", alice.status(), carol.status()));
    assert_eq!(texts_shown(&carol.history()), ["hello"]);
    alice.call("group.add", json!({ "conversation": setup.conversation, "handle": "carol" }));
    carol.heard("she is back", |seen| seen.conversation()["member"] == true);
    alice.send("welcome back");
    carol.heard("what is said now", |seen| seen.texts().any(|text| text == "welcome back"));
    carol.send("thanks");
    for peer in [alice, bob] {
        peer.heard("her thanks", |seen| seen.texts().any(|text| text == "thanks"));
    }
    assert_eq!(texts_shown(&carol.history()), ["hello", "welcome back", "thanks"]);
}

#[test]
fn both_began_and_one_writes_and_they_are_linked() {
    let mut setup = Setup::signed_up(&["alice", "bob"]);
    for (peer, other) in setup.peers.iter().zip(["bob", "alice"]) {
        peer.call("direct", json!({ "handle": other }));
    }
    let begun = setup.peers[0].call("direct", json!({ "handle": "bob" }));
    setup.set_conversation(&begun["conversation"]);
    setup.peers[0].send("hello");
    setup.peers[1].heard("it", |seen| seen.texts().any(|text| text == "hello"));
    setup.wait_until_linked();
    setup.judge();
}

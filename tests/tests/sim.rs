//! Seeded histories: whatever breaks, everything that was accepted is shown once, in its sender's order, in the
//! same order everywhere.

#![allow(clippy::unwrap_used)] // A test says what went wrong where it went wrong.

use std::time::Duration;

use sotto_peer_core::{Command, MessageBody, PathPolicy, Reply};
use sotto_protocol::{ConversationId, Handle};
use sotto_tests::sim::{Faults, World};

const NONE: Faults = Faults { peer_crash: 0, relay_crash: 0, cut: 0, duplicate: 0 };

fn handle(index: usize) -> Handle {
    Handle::parse(&format!("peer{index}")).unwrap()
}

/// A conversation that all peers have accepted.
fn begin(world: &mut World, peers: usize) -> ConversationId {
    let command = match peers {
        2 => Command::Direct { handle: handle(1) },
        _ => Command::GroupCreate { name: "all".into(), members: (1..peers).map(handle).collect() },
    };
    let Reply::Conversation(conversation) = world.run_command(0, command) else { panic!() };
    world.send(0, conversation, "hello");
    world.run(Duration::from_secs(5));
    for index in 1..peers {
        world.run_command(index, Command::Accept { conversation });
    }
    world.run(Duration::from_secs(5));
    conversation
}

fn check(world: &mut World, seed: u64, peers: usize, conversation: ConversationId) {
    let first = world.history(0, conversation);
    assert!(first.iter().all(|message| message.position.is_some()), "seed {seed}: not everything is logged");
    let ids: Vec<_> = first.iter().map(|message| message.id).collect();
    for index in (1..peers).filter(|index| !world.is_dead(*index)).collect::<Vec<_>>() {
        let other: Vec<_> = world.history(index, conversation).iter().map(|message| message.id).collect();
        assert_eq!(ids, other, "seed {seed}: peers 0 and {index} show different lists");
    }
    let texts: Vec<(Handle, &str)> = first
        .iter()
        .filter_map(|message| match &message.body {
            MessageBody::Text(text) => Some((message.from.clone(), text.as_str())),
            MessageBody::Renamed(_) | MessageBody::Unreadable => None,
        })
        .collect();
    for index in 0..peers {
        let shown: Vec<&str> =
            texts.iter().filter(|(from, _)| *from == handle(index)).map(|(_, text)| *text).collect();
        let accepted: Vec<&str> =
            world.accepted.iter().filter(|(from, _)| *from == index).map(|(_, text)| text.as_str()).collect();
        if world.is_dead(index) {
            // What only its own disk held is gone with it.
            continue;
        }
        // A crash may come between the disk and the answer: shown without being answered is fine, the reverse never.
        let mut rest = shown.iter();
        for text in &accepted {
            assert!(rest.any(|s| s == text), "seed {seed}: {text:?} of peer {index} is lost or out of order");
        }
        let mut sorted = shown.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), shown.len(), "seed {seed}: peer {index}'s messages are shown twice");
    }
}

fn history(seed: u64) {
    let peers = 2 + (seed % 5) as usize;
    let mut world = World::new(seed, peers, NONE);
    let conversation = begin(&mut world, peers);
    if seed.is_multiple_of(3) {
        // Without links nothing hides what the relay's path alone must do.
        for index in 0..peers {
            world.run_command(index, Command::PathPolicy(PathPolicy::Relay));
        }
    }
    // Some histories have no crashes of peers: only there is every notification heard, and causality judged.
    let peer_crash = if seed.is_multiple_of(2) { 12 } else { 0 };
    world.set_faults(Faults { peer_crash, relay_crash: 6, cut: 20, duplicate: 20 });
    for number in 0..30 {
        let sender = (seed as usize + number * 7) % peers;
        world.send(sender, conversation, &format!("{number} from {sender}"));
        world.run(Duration::from_millis(20 + (number as u64 * 37 + seed) % 400));
        if number == 20 && seed % 4 == 1 && peers > 2 {
            world.kill(peers - 1);
        }
    }
    world.heal(Duration::from_secs(120));
    check(&mut world, seed, peers, conversation);
}

#[test]
fn a_first_message_and_its_answer_arrive_and_the_link_comes_up() {
    let mut world = World::new(1, 2, NONE);
    let conversation = begin(&mut world, 2);
    world.send(1, conversation, "hi");
    world.run(Duration::from_secs(5));
    assert!(world.is_direct(0) && world.is_direct(1));
    assert_eq!(world.accepted.len(), 2);
    check(&mut world, 1, 2, conversation);
}

#[test]
fn with_the_relay_dead_linked_peers_chat_on_and_the_log_catches_up() {
    let mut world = World::new(2, 2, NONE);
    let conversation = begin(&mut world, 2);
    world.crash_relay();
    for number in 0..50 {
        world.send(number % 2, conversation, &format!("{number}"));
    }
    world.run(Duration::from_millis(150));
    assert_eq!(world.history(1, conversation).len(), 51);
    world.run(Duration::from_secs(60));
    check(&mut world, 2, 2, conversation);
    assert!(world.history(0, conversation).iter().all(|message| message.position.is_some()));
}

#[test]
fn what_the_relay_did_not_commit_before_it_died_is_appended_again() {
    for wait in 0..40 {
        let mut world = World::new(wait, 2, NONE);
        let conversation = begin(&mut world, 2);
        for index in 0..2 {
            world.run_command(index, Command::PathPolicy(PathPolicy::Relay));
        }
        world.send(0, conversation, "in flight");
        world.run(Duration::from_millis(wait));
        world.crash_relay();
        world.run(Duration::from_secs(60));
        assert_eq!(world.history(1, conversation).len(), 2, "relay killed after {wait} ms");
        check(&mut world, wait, 2, conversation);
    }
}

#[test]
fn a_message_whose_author_died_after_one_peer_had_it_reaches_the_others() {
    let mut world = World::new(5, 3, NONE);
    let conversation = begin(&mut world, 3);
    world.send(1, conversation, "here");
    world.send(2, conversation, "here too");
    world.run(Duration::from_secs(5));
    world.set_cut(0, 1, true);
    world.set_cut(1, 2, true);
    world.crash_relay_for(Duration::from_secs(20));
    world.send(2, conversation, "my last words");
    world.run(Duration::from_secs(2));
    let heard = |world: &mut World, index| world.history(index, conversation).len();
    assert_eq!((heard(&mut world, 0), heard(&mut world, 1)), (4, 3), "only peer 0 has it");
    world.kill(2);
    world.run(Duration::from_secs(60));
    assert_eq!((heard(&mut world, 0), heard(&mut world, 1)), (4, 4));
    check(&mut world, 5, 3, conversation);
}

#[test]
fn whatever_breaks_nothing_is_lost_repeated_or_misordered() {
    let histories = std::env::var("SOTTO_SIM_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for seed in 0..histories {
        history(seed);
    }
}

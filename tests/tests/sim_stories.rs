//! Single histories in the simulator's world, told on purpose.

#![allow(clippy::unwrap_used)] // A test says what went wrong where it went wrong.

use std::time::Duration;

use sotto_peer_core::{Command, PathPolicy, Reply};
use sotto_protocol::{ConversationId, Handle};
use sotto_tests::sim::{Allowed, World};

const EXACT: Allowed = Allowed { gaps: false, partial: false, restored: false };
const BOUND: Duration = Duration::from_secs(60);

fn handle(index: usize) -> Handle {
    Handle::parse(&format!("peer{index}")).unwrap()
}

/// A conversation that all peers have accepted.
fn begin(world: &mut World) -> ConversationId {
    let peers = world.peers();
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

fn end(world: &mut World, conversation: ConversationId) {
    world.settle(conversation, BOUND, EXACT);
    world.check(conversation, EXACT);
}

#[test]
fn a_first_message_and_its_answer_arrive_and_the_link_comes_up() {
    let mut world = World::new(1, 2);
    let conversation = begin(&mut world);
    world.send(1, conversation, "hi");
    world.run(Duration::from_secs(5));
    assert!(world.is_direct(0) && world.is_direct(1));
    assert_eq!(world.accepted(), 2);
    end(&mut world, conversation);
    world.check_quiet();
}

#[test]
fn with_the_relay_dead_linked_peers_chat_on_and_the_log_catches_up() {
    let mut world = World::new(2, 2);
    let conversation = begin(&mut world);
    world.crash_relay();
    for number in 0..50 {
        world.send(number % 2, conversation, &format!("{number}"));
    }
    world.run(Duration::from_millis(150));
    assert_eq!(world.texts(1, conversation).len(), 51);
    end(&mut world, conversation);
}

#[test]
fn what_the_relay_did_not_commit_before_it_died_is_appended_again() {
    for wait in 0..40 {
        let mut world = World::new(wait, 2);
        let conversation = begin(&mut world);
        for index in 0..2 {
            world.run_command(index, Command::PathPolicy(PathPolicy::Relay));
        }
        world.send(0, conversation, "in flight");
        world.run(Duration::from_millis(wait));
        world.crash_relay();
        end(&mut world, conversation);
        assert_eq!(world.texts(1, conversation).len(), 2, "relay killed after {wait} ms");
    }
}

#[test]
fn a_message_whose_author_died_after_one_peer_had_it_reaches_the_others() {
    let mut world = World::new(5, 3);
    let conversation = begin(&mut world);
    world.send(1, conversation, "here");
    world.send(2, conversation, "here too");
    world.run(Duration::from_secs(5));
    world.set_cut(0, 1, true);
    world.set_cut(1, 2, true);
    world.crash_relay_for(Duration::from_secs(20));
    world.send(2, conversation, "my last words");
    world.run(Duration::from_secs(2));
    let heard = |world: &World, index| world.texts(index, conversation).len();
    assert_eq!((heard(&world, 0), heard(&world, 1)), (4, 3), "only peer 0 has it");
    world.kill(2);
    world.heal();
    end(&mut world, conversation);
    assert_eq!((heard(&world, 0), heard(&world, 1)), (4, 4));
}

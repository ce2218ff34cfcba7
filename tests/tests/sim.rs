//! Seeded histories: whatever breaks, everything that was accepted is shown once, in its sender's order, in the
//! same order everywhere.
//!
//! Each kind of history is a test of its own, so that they run beside each other. `SOTTO_SIM_HISTORIES` is how many
//! there are in all; `SOTTO_SIM_SEED` runs one seed of the kinds that are named, as a failure says.

#![allow(clippy::unwrap_used)] // A test says what went wrong where it went wrong.

use std::time::Duration;

use sotto_peer_core::{Command, PathPolicy, Reply};
use sotto_protocol::{ConversationId, Handle};
use sotto_relay::log::LogConfig;
use sotto_tests::sim::{Allowed, Faults, OnPanic, World};

/// How many kinds share the histories.
const KINDS: u64 = 10;

/// Once everything is healed, this is the longest until all is shown and logged everywhere. Most of it is waiting for
/// the next try to connect, whose time grows to 30 s while the server is away.
const BOUND: Duration = Duration::from_secs(45);

const EXACT: Allowed = Allowed { gaps: false, partial: false, restored: false };

fn handle(index: usize) -> Handle {
    Handle::parse(&format!("peer{index}")).unwrap()
}

/// Seeds that failed once, by kind.
const KEPT: [(&str, &[u64]); 8] = [
    // A dead author's message appended in front of the own one that it followed.
    ("what_a_dead_author_gave_to_anybody_reaches_everybody", &[880, 1408]),
    // Leaving: what is said after it is never logged; own words still unlogged must go first. Joining late, and reading
    // who left before.
    ("members_come_rename_and_leave_in_mid_history", &[0, 10, 44, 128, 742, 752, 863]),
    // The log rolled back and grown again: same epoch, another order; a common part that was not.
    ("a_relay_that_comes_back_with_an_older_log_gets_the_rest_again", &[32, 61, 127, 220]),
    // Numbers given twice: renumbered with what came back from peers, or while the relay was deciding.
    ("an_older_copy_of_a_profile_takes_no_number_twice", &[17, 184, 409, 903]),
    // A member that says it holds every own message there could be.
    ("an_attacker_gets_nothing_shown_and_nothing_lost", &[1]),
    // A forged entry in the place of one that then was passed over.
    ("a_relay_that_lies_is_found_out_or_does_no_harm", &[8]),
    // Own and others' messages without a place, below the floor.
    ("what_the_log_no_longer_keeps_is_shown_as_a_gap", &[0, 76]),
    // Lists after a restart.
    ("whatever_breaks_nothing_is_lost_repeated_or_misordered", &[2]),
];

/// Runs the histories of one kind.
fn histories(kind: &str, history: impl Fn(u64)) {
    let total: u64 = std::env::var("SOTTO_SIM_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let kept = KEPT.iter().filter(|(of, _)| *of == kind).flat_map(|(_, seeds)| *seeds).copied();
    let count = total.div_ceil(KINDS);
    let seeds: Vec<u64> = match std::env::var("SOTTO_SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok())
    {
        Some(seed) => vec![seed],
        None => kept.filter(|seed| *seed >= count).chain(0..count).collect(),
    };
    for seed in seeds {
        let _said = OnPanic(format!(
            "again: SOTTO_SIM_SEED={seed} cargo nextest run -p sotto-tests --test sim -E 'test(={kind})'"
        ));
        history(seed);
    }
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

fn relay_only(world: &mut World) {
    for index in 0..world.peers() {
        world.run_command(index, Command::PathPolicy(PathPolicy::Relay));
    }
}

/// Thirty messages by turns, with `between` after each.
fn chat(
    world: &mut World,
    conversation: ConversationId,
    seed: u64,
    mut between: impl FnMut(&mut World, usize),
) {
    let peers = world.peers();
    for number in 0..30 {
        let sender = (seed as usize + number * 7) % peers;
        world.send(sender, conversation, &format!("{number} from {sender}"));
        world.run(Duration::from_millis(20 + (number as u64 * 37 + seed) % 400));
        between(world, number);
    }
}

fn end(world: &mut World, conversation: ConversationId, seed: u64, allowed: Allowed) {
    world.heal();
    world.settle(conversation, BOUND, allowed);
    world.check(conversation, allowed);
    if seed.is_multiple_of(4) {
        world.check_quiet();
    }
}

fn usual(seed: u64) -> Faults {
    Faults {
        // Some histories have no crashes of peers: only there is every notification heard, and causality judged.
        peer_crash: if seed.is_multiple_of(2) { 12 } else { 0 },
        relay_crash: 6,
        cut: 20,
        duplicate: 20,
        ..Faults::default()
    }
}

#[test]
fn whatever_breaks_nothing_is_lost_repeated_or_misordered() {
    histories("whatever_breaks_nothing_is_lost_repeated_or_misordered", |seed| {
        let mut world = World::new(seed, 2 + (seed % 5) as usize);
        let conversation = begin(&mut world);
        world.set_faults(usual(seed));
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn the_relay_alone_brings_everything() {
    // Without links nothing hides what the relay's path alone must do.
    histories("the_relay_alone_brings_everything", |seed| {
        let mut world = World::new(1_000_000 + seed, 2 + (seed % 5) as usize);
        let conversation = begin(&mut world);
        relay_only(&mut world);
        world.set_faults(Faults { stall: 20, slow_disk: 1 + (seed % 3) as u32 * 4, ..usual(seed) });
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn one_way_cuts_stalled_sockets_and_lost_signals_do_no_harm() {
    histories("one_way_cuts_stalled_sockets_and_lost_signals_do_no_harm", |seed| {
        let mut world = World::new(2_000_000 + seed, 2 + (seed % 4) as usize);
        let conversation = begin(&mut world);
        world.set_faults(Faults {
            cut: 0,
            one_way: 40,
            stall: 20,
            signal_drop: 20,
            signal_loss: 30,
            http: 30,
            ..usual(seed)
        });
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn what_a_dead_author_gave_to_anybody_reaches_everybody() {
    histories("what_a_dead_author_gave_to_anybody_reaches_everybody", |seed| {
        let mut world = World::new(3_000_000 + seed, 3 + (seed % 4) as usize);
        let conversation = begin(&mut world);
        world.set_faults(usual(seed));
        let last = world.peers() - 1;
        chat(&mut world, conversation, seed, |world, number| {
            if number == 10 + (seed % 15) as usize {
                world.kill(last);
            }
        });
        end(&mut world, conversation, seed, Allowed { gaps: true, ..EXACT });
    });
}

#[test]
fn a_relay_that_comes_back_with_an_older_log_gets_the_rest_again() {
    histories("a_relay_that_comes_back_with_an_older_log_gets_the_rest_again", |seed| {
        let mut world = World::new(4_000_000 + seed, 2 + (seed % 4) as usize);
        let conversation = begin(&mut world);
        if seed.is_multiple_of(3) {
            relay_only(&mut world);
        }
        world.keep_copies(conversation);
        let peer_crash = if seed.is_multiple_of(2) { 8 } else { 0 };
        world.set_faults(Faults { peer_crash, relay_crash: 15, rollback: 60, cut: 10, ..usual(seed) });
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn an_older_copy_of_a_profile_takes_no_number_twice() {
    histories("an_older_copy_of_a_profile_takes_no_number_twice", |seed| {
        let mut world = World::new(5_000_000 + seed, 2 + (seed % 3) as usize);
        let conversation = begin(&mut world);
        if seed.is_multiple_of(3) {
            relay_only(&mut world);
        }
        world.set_faults(Faults { peer_crash: 0, relay_crash: 4, cut: 10, ..usual(seed) });
        let victim = (seed % world.peers() as u64) as usize;
        let (save, restore) = (3 + (seed % 5) as usize, 10 + (seed % 11) as usize);
        chat(&mut world, conversation, seed, |world, number| {
            if number == save {
                world.save_profile(victim);
            }
            if number == restore {
                world.restore_profile(victim);
            }
        });
        end(&mut world, conversation, seed, Allowed { restored: true, ..EXACT });
    });
}

#[test]
fn an_attacker_gets_nothing_shown_and_nothing_lost() {
    histories("an_attacker_gets_nothing_shown_and_nothing_lost", |seed| {
        let mut world = World::new(6_000_000 + seed, 2 + (seed % 4) as usize);
        let conversation = begin(&mut world);
        world.set_faults(Faults { attack: 300, relay_crash: 10, cut: 5, peer_crash: 0, ..usual(seed) });
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn a_relay_that_lies_is_found_out_or_does_no_harm() {
    histories("a_relay_that_lies_is_found_out_or_does_no_harm", |seed| {
        let mut world = World::new(7_000_000 + seed, 2 + (seed % 4) as usize);
        let conversation = begin(&mut world);
        if seed.is_multiple_of(2) {
            relay_only(&mut world);
        }
        world.set_faults(Faults { lie: 30, peer_crash: 0, ..usual(seed) });
        chat(&mut world, conversation, seed, |_, _| {});
        end(&mut world, conversation, seed, EXACT);
    });
}

#[test]
fn what_the_log_no_longer_keeps_is_shown_as_a_gap() {
    histories("what_the_log_no_longer_keeps_is_shown_as_a_gap", |seed| {
        let config = LogConfig { retention_bytes: Some(1_500), ..LogConfig::default() };
        let mut world = World::with_log(8_000_000 + seed, 2 + (seed % 4) as usize, config);
        world.is_partial();
        let conversation = begin(&mut world);
        world.set_faults(Faults { peer_crash: 0, relay_crash: 2, ..usual(seed) });
        let last = world.peers() - 1;
        let (leaves, returns) = (3 + (seed % 7) as usize, 14 + (seed % 14) as usize);
        chat(&mut world, conversation, seed, |world, number| {
            if number == leaves {
                world.send_away(last);
            }
            if number == returns {
                world.run(Duration::from_secs(65));
                world.wake(last);
            }
        });
        end(&mut world, conversation, seed, Allowed { gaps: true, ..EXACT });
    });
}

#[test]
fn members_come_rename_and_leave_in_mid_history() {
    histories("members_come_rename_and_leave_in_mid_history", |seed| {
        let mut world = World::new(9_000_000 + seed, 4 + (seed % 3) as usize);
        world.is_partial();
        let peers = world.peers();
        let members = (1..3).map(handle).collect();
        let create = Command::GroupCreate { name: "some".into(), members };
        let Reply::Conversation(conversation) = world.run_command(0, create) else { panic!() };
        world.send(0, conversation, "hello");
        world.run(Duration::from_secs(5));
        world.set_faults(Faults { peer_crash: 0, cut: 10, relay_crash: 3, ..usual(seed) });
        let mut comes = 3;
        chat(&mut world, conversation, seed, |world, number| {
            match number % 6 {
                1 if comes < peers => {
                    let add = Command::GroupAdd { conversation, handle: handle(comes) };
                    if world.try_command(0, add).is_ok() {
                        comes += 1;
                    }
                }
                3 => {
                    let name = format!("name {number}");
                    let _ = world.try_command(0, Command::GroupRename { conversation, name });
                }
                5 => {
                    // A request that is accepted late, or was already.
                    let index = 1 + (number + seed as usize) % (peers - 1);
                    let _ = world.try_command(index, Command::Accept { conversation });
                }
                _ => {}
            }
            if number == 22 {
                let _ = world.try_command(1, Command::GroupLeave { conversation });
            }
        });
        // Words of somebody who left before one came who never met the author: the server does not say whose they are.
        end(&mut world, conversation, seed, Allowed { partial: true, gaps: true, ..EXACT });
    });
}

//! Single histories in the simulator's world, told on purpose.

#![allow(clippy::unwrap_used)] // A test says what went wrong where it went wrong.

use std::time::Duration;

use sotto_peer_core::{Command, CommandError, MessageBody, PathPolicy, ProfileChange, Reached, Reply};
use sotto_protocol::keys::base64url;
use sotto_protocol::presence::PresenceState;
use sotto_protocol::relay::{EntryBody, Event, Run};
use sotto_protocol::rest::Profile;
use sotto_protocol::{ConversationId, Handle, Position, Seq, limits};
use sotto_tests::sim::{Allowed, Faults, World};

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

/// Links alone, for long: nothing but what the peers say to each other can tell.
fn linked_without_a_relay(seed: u64, peers: usize) -> (World, ConversationId) {
    let mut world = World::new(seed, peers);
    let conversation = begin(&mut world);
    world.crash_relay_for(Duration::from_secs(600));
    world.run(Duration::from_secs(5));
    world.count_on_links();
    (world, conversation)
}

#[test]
fn a_burst_over_a_link_takes_round_trips_by_the_window_and_not_by_the_message() {
    let (mut world, conversation) = linked_without_a_relay(11, 2);
    for number in 0..400 {
        world.send(0, conversation, &format!("{number}"));
        world.run(Duration::from_micros(500));
    }
    // 200 ms of sending, a write, a way of at most 20 ms and a write: no round trip for each.
    world.run(Duration::from_millis(150));
    assert_eq!(world.texts(1, conversation).len(), 401);
}

#[test]
fn what_arrives_early_over_a_link_is_kept_and_not_sent_again() {
    let (mut world, conversation) = linked_without_a_relay(12, 2);
    for number in 0..100 {
        world.send(0, conversation, &format!("{number}"));
        // Each in a message of its own, and these overtake each other.
        world.run(Duration::from_millis(2));
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.texts(1, conversation).len(), 101);
    assert_eq!(world.on_links(0), 100, "a live reliable channel needs nothing twice");
    assert_eq!(world.gaps(1), 0);
}

#[test]
fn acknowledgements_over_links_are_enough_when_the_relay_is_away() {
    let (mut world, conversation) = linked_without_a_relay(13, 3);
    for number in 0..30 {
        world.send(number % 3, conversation, &format!("{number}"));
        world.run(Duration::from_millis(50));
    }
    world.run(Duration::from_millis(500));
    for index in 0..3 {
        assert_eq!(world.status(index, conversation).unacked, 0, "peer {index}");
    }
    world.run(Duration::from_secs(600));
    end(&mut world, conversation);
}

#[test]
fn a_broken_link_repeats_only_what_was_not_acknowledged() {
    let (mut world, conversation) = linked_without_a_relay(14, 2);
    for number in 0..50 {
        world.send(0, conversation, &format!("{number}"));
        world.run(Duration::from_millis(30));
    }
    world.run(Duration::from_secs(1));
    let before = world.on_links(0);
    world.crash(1);
    world.run(Duration::from_secs(20));
    world.send(0, conversation, "after");
    world.run(Duration::from_secs(1));
    assert!(world.is_direct(0));
    assert_eq!((world.on_links(0) - before, world.texts(1, conversation).len()), (1, 52));
}

#[test]
fn who_joins_late_reads_from_there_on_without_going_in_circles() {
    let mut world = World::new(15, 4);
    world.is_partial();
    let create = Command::GroupCreate { name: "some".into(), members: vec![handle(1), handle(2)] };
    let Reply::Conversation(conversation) = world.run_command(0, create) else { panic!() };
    for number in 0..10 {
        world.send(0, conversation, &format!("before {number}"));
    }
    world.run(Duration::from_secs(5));
    world.run_command(0, Command::GroupAdd { conversation, handle: handle(3) });
    world.send(0, conversation, "after");
    let allowed = Allowed { partial: true, ..EXACT };
    world.settle(conversation, Duration::from_secs(5), allowed);
    assert_eq!(world.texts(3, conversation), ["after"]);
    world.check(conversation, allowed);
    world.check_quiet();
}

#[test]
fn a_log_that_was_rolled_back_and_has_grown_past_its_readers_is_found_out() {
    let mut world = World::new(16, 3);
    let conversation = begin(&mut world);
    for index in 0..3 {
        world.run_command(index, Command::PathPolicy(PathPolicy::Relay));
    }
    world.run(Duration::from_secs(1));
    world.send_away(2);
    let (old_head, _) = world.log_state(conversation);
    for number in 0..4 {
        world.send(number % 2, conversation, &format!("lost {number}"));
        world.run(Duration::from_secs(1));
    }
    world.send_away(0);
    world.send_away(1);
    world.crash_relay_for(Duration::from_secs(1));
    world.roll_back(conversation, old_head);
    // Who never saw the end makes another one, and a longer one.
    world.wake(2);
    world.run(Duration::from_secs(5));
    for number in 0..6 {
        world.send(2, conversation, &format!("new {number}"));
        world.run(Duration::from_secs(1));
    }
    assert!(world.log_state(conversation).0 > old_head.next().next().next().next());
    world.wake(0);
    world.wake(1);
    end(&mut world, conversation);
    assert_eq!(world.texts(2, conversation).len(), 11);
}

#[test]
fn after_a_restart_new_messages_come_last_in_the_list() {
    let mut world = World::new(17, 2);
    let conversation = begin(&mut world);
    world.send(0, conversation, "before");
    world.run(Duration::from_secs(2));
    world.crash(1);
    world.run(Duration::from_secs(10));
    world.send(0, conversation, "after");
    end(&mut world, conversation);
    assert_eq!(world.texts(1, conversation), ["hello", "before", "after"]);
}

#[test]
fn a_forged_offer_does_not_end_a_link() {
    let mut world = World::new(18, 2);
    begin(&mut world);
    world.run(Duration::from_secs(10));
    assert!(world.is_direct(0));
    world.forge_offer(1, 0);
    world.run(Duration::from_millis(100));
    assert!(world.is_direct(0), "the signature is not its own");
}

#[test]
fn last_words_outlive_a_restart_of_the_only_peer_that_heard_them() {
    let mut world = World::new(19, 3);
    let conversation = begin(&mut world);
    world.set_cut(0, 1, true);
    world.set_cut(1, 2, true);
    world.crash_relay_for(Duration::from_secs(30));
    world.send(2, conversation, "my last words");
    world.run(Duration::from_secs(1));
    world.kill(2);
    assert_eq!(world.texts(0, conversation).len(), 2);
    world.crash(0);
    world.run(Duration::from_secs(10));
    world.settle(conversation, Duration::from_secs(90), EXACT);
    assert_eq!(world.texts(1, conversation).len(), 2);
    world.check(conversation, EXACT);
}

#[test]
fn what_nobody_can_supply_becomes_a_gap_and_holds_nothing_up() {
    let (mut world, conversation) = linked_without_a_relay(20, 3);
    // What follows a gap is shown without what it follows.
    world.is_partial();
    for other in 0..2 {
        world.set_cut(2, other, true);
    }
    world.send(2, conversation, "lost");
    world.run(Duration::from_millis(100));
    world.lose_what_is_held();
    for other in 0..2 {
        world.set_cut(2, other, false);
    }
    world.send(2, conversation, "kept");
    world.run(Duration::from_millis(100));
    world.kill(2);
    world.run(Duration::from_secs(90));
    for index in 0..2 {
        assert_eq!(world.texts(index, conversation), ["hello", "kept"], "peer {index}");
        assert_eq!(world.gaps(index), 1, "peer {index}");
    }
    // It stands where it would be, and is there after a restart.
    world.crash(0);
    world.run(Duration::from_secs(10));
    for index in 0..2 {
        let missing = world.history(index, conversation).into_iter().map(|view| view.missing.len());
        assert_eq!(missing.collect::<Vec<_>>(), [0, 0, 1], "peer {index}: the name, a message, the gap");
    }
}

#[test]
fn a_revoked_device_loses_its_links_though_nobody_was_told() {
    let mut world = World::new(31, 2);
    let conversation = begin(&mut world);
    world.send(1, conversation, "hi");
    world.run(Duration::from_secs(5));
    assert!(world.is_direct(0) && world.is_direct(1));
    world.revoke(1);
    // Device lists of who is linked are read again every ten minutes.
    world.run(Duration::from_secs(660));
    assert!(!world.is_direct(0) && !world.is_direct(1));
    world.send(0, conversation, "who is there?");
    world.run(Duration::from_secs(60));
    assert!(!world.is_direct(0), "and gets no new one");
}

#[test]
fn who_is_added_reads_a_member_who_has_left_since() {
    let mut world = World::new(32, 4);
    let command = Command::GroupCreate { name: "all".into(), members: vec![handle(1), handle(2)] };
    let Reply::Conversation(conversation) = world.run_command(0, command) else { panic!() };
    world.send(0, conversation, "hello");
    world.run(Duration::from_secs(5));
    for index in [1, 2] {
        world.run_command(index, Command::Accept { conversation });
    }
    world.run(Duration::from_secs(5));
    world.send_away(3);
    world.run_command(0, Command::GroupAdd { conversation, handle: handle(3) });
    world.send(2, conversation, "goodbye");
    world.run_command(2, Command::GroupLeave { conversation });
    world.run(Duration::from_secs(5));
    world.wake(3);
    world.run(Duration::from_secs(20));
    assert_eq!(world.texts(3, conversation), ["goodbye"]);
    assert_eq!(world.gaps(3), 0);
}

#[test]
fn changes_of_members_made_at_once_are_all_made() {
    let mut world = World::new(33, 5);
    let command = Command::GroupCreate { name: "all".into(), members: vec![handle(1), handle(2)] };
    let Reply::Conversation(conversation) = world.run_command(0, command) else { panic!() };
    world.send(0, conversation, "hello");
    world.run(Duration::from_secs(5));
    let adds = [(0, 3), (1, 4)].map(|(index, added)| {
        (index, world.command(index, Command::GroupAdd { conversation, handle: handle(added) }))
    });
    world.run(Duration::from_secs(10));
    for (index, id) in adds {
        assert_eq!(world.reply(index, id), Some(Ok(Reply::Done)), "peer {index}");
    }
}

#[test]
fn an_offer_of_a_stranger_or_of_who_is_not_accepted_is_not_answered() {
    let mut world = World::new(34, 3);
    let Reply::Conversation(conversation) = world.run_command(0, Command::Direct { handle: handle(1) })
    else {
        panic!()
    };
    world.send(0, conversation, "please");
    world.run(Duration::from_secs(5));
    let before = world.connections_and_signals(1);
    // Known, and waiting; and never heard of.
    for from in [0, 2] {
        world.offer_unasked(from, 1);
        world.run(Duration::from_secs(1));
        assert_eq!(world.connections_and_signals(1), before, "to peer {from}");
    }
    world.run_command(1, Command::Accept { conversation });
    world.run(Duration::from_secs(5));
    assert!(world.is_direct(1));
}

fn picture(side: u32, length: usize) -> String {
    let head = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &side.to_be_bytes(), &side.to_be_bytes()].concat();
    base64url::encode(&[&head[..], &vec![0; length - head.len()]].concat())
}

fn profile_of(world: &mut World, index: usize, of: Option<usize>) -> Result<Profile, CommandError> {
    let handle = of.map(handle);
    match world.try_command(index, Command::ProfileGet { handle })? {
        Reply::Profile(view) => {
            assert_eq!(view.handle, self::handle(of.unwrap_or(index)));
            Ok(view.profile)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_profile_is_kept_for_when_the_server_is_away_and_asked_for_again_after_a_while() {
    let mut world = World::new(5, 2);
    begin(&mut world);
    let name =
        |name: &str| ProfileChange { display_name: Some(Some(name.into())), ..ProfileChange::default() };
    world.run_command(1, Command::ProfileSet { change: name("One") });
    let status = ProfileChange { status_text: Some(Some("at sea".into())), ..ProfileChange::default() };
    world.run_command(1, Command::ProfileSet { change: status });
    let said = profile_of(&mut world, 0, Some(1)).unwrap();
    let words = |profile: &Profile| (profile.display_name.clone(), profile.status_text.clone());
    assert_eq!(words(&said), (Some("One".into()), Some("at sea".into())), "what is left out stays");
    assert_eq!(profile_of(&mut world, 1, None).unwrap(), said);

    // Somebody else is not known yet, and the server cannot be asked; who is known is.
    world.crash(0);
    world.run(Duration::from_secs(5));
    world.set_faults(Faults { http: 100, ..Faults::default() });
    world.crash(0);
    world.run(Duration::from_secs(10));
    assert_eq!(profile_of(&mut world, 0, Some(1)).unwrap(), said);
    assert!(matches!(profile_of(&mut world, 0, None), Err(CommandError::Offline(_))));
    assert!(matches!(
        world.try_command(0, Command::ProfileSet { change: name("Nil") }),
        Err(CommandError::Offline(_))
    ));

    world.set_faults(Faults::default());
    world.run(Duration::from_secs(60));
    world.run_command(1, Command::ProfileSet { change: name("Uno") });
    let told = world.profiles_told(0);
    assert_eq!(profile_of(&mut world, 0, Some(1)).unwrap(), said, "fresh enough");
    world.run(Duration::from_secs(16 * 60));
    assert_eq!(profile_of(&mut world, 0, Some(1)).unwrap(), said, "answered at once");
    world.run(Duration::from_secs(5));
    assert_eq!(world.profiles_told(0), told + 1, "told of what is new");
    assert_eq!(profile_of(&mut world, 0, Some(1)).unwrap().display_name.as_deref(), Some("Uno"));
}

#[test]
fn what_a_server_says_of_somebody_is_made_plain_or_left_out() {
    let mut world = World::new(6, 2);
    begin(&mut world);
    world.say_of(
        1,
        Profile {
            display_name: Some(format!("@\u{202e}{}", "e".repeat(100_000))),
            status_text: Some("\u{200b}\u{feff}".into()),
            avatar: Some(picture(100_000, 64)),
        },
    );
    let said = profile_of(&mut world, 0, Some(1)).unwrap();
    let shown = Profile { display_name: Some("e".repeat(limits::MAX_NAME_CHARS)), ..Profile::default() };
    assert_eq!(said, shown);
    for (field, change) in [
        ("display_name", ProfileChange { display_name: Some(Some("x".repeat(65))), ..Default::default() }),
        ("status_text", ProfileChange { status_text: Some(Some("a\nb".into())), ..Default::default() }),
        ("avatar", ProfileChange { avatar: Some(Some(picture(513, 64))), ..Default::default() }),
        ("avatar", ProfileChange { avatar: Some(Some(picture(64, 25_000))), ..Default::default() }),
    ] {
        let refused = world.try_command(0, Command::ProfileSet { change });
        let named = matches!(&refused, Err(CommandError::Invalid { field: named, .. }) if *named == field);
        assert!(named, "{field}: {refused:?}");
    }
}

#[test]
fn no_more_pictures_are_kept_than_a_start_can_read() {
    let peers = 180;
    let mut world = World::new(7, peers);
    for index in 1..peers {
        world.say_of(
            index,
            Profile { avatar: Some(picture(64, limits::MAX_AVATAR_BYTES)), ..Profile::default() },
        );
    }
    let kept =
        (1..peers).filter(|index| profile_of(&mut world, 0, Some(*index)).unwrap().avatar.is_some()).count();
    assert_eq!(kept, 4 * 1024 * 1024 / limits::MAX_AVATAR_BYTES);
}

/// How far peer 0's last message got: in a word, and who of how many has it and has read it.
fn last_state(world: &mut World, conversation: ConversationId) -> (Reached, [u16; 3]) {
    let state = world.history(0, conversation).pop().unwrap().state.unwrap();
    (state.reached, [state.members, state.delivered, state.read])
}

fn read_all(world: &mut World, index: usize, conversation: ConversationId) {
    let id = world.history(index, conversation).pop().unwrap().id;
    world.run_command(index, Command::MarkRead { conversation, id });
    world.run(Duration::from_secs(5));
}

#[test]
fn history_says_how_far_each_message_got_across_restarts_and_newcomers() {
    let mut world = World::new(34, 4);
    world.is_partial();
    let create = Command::GroupCreate { name: "all".into(), members: vec![handle(1), handle(2)] };
    let Reply::Conversation(conversation) = world.run_command(0, create) else { panic!() };
    world.send(0, conversation, "hello");
    world.run(Duration::from_secs(5));
    for index in [1, 2] {
        world.run_command(index, Command::Accept { conversation });
    }
    world.run(Duration::from_secs(5));
    assert_eq!(last_state(&mut world, conversation), (Reached::Delivered, [2, 2, 0]));

    world.send_away(2);
    world.run(Duration::from_secs(20));
    world.crash_relay_for(Duration::from_secs(30));
    world.set_cut(0, 1, true);
    world.run(Duration::from_secs(1));
    world.send(0, conversation, "further");
    assert_eq!(last_state(&mut world, conversation), (Reached::Waiting, [2, 0, 0]));
    world.set_cut(0, 1, false);
    world.run(Duration::from_secs(60));
    assert_eq!(last_state(&mut world, conversation), (Reached::Sent, [2, 1, 0]));
    read_all(&mut world, 1, conversation);
    assert_eq!(last_state(&mut world, conversation), (Reached::Sent, [2, 1, 1]));
    world.crash(0);
    world.run(Duration::from_secs(10));
    assert_eq!(last_state(&mut world, conversation), (Reached::Sent, [2, 1, 1]), "it is kept");
    world.wake(2);
    world.run(Duration::from_secs(10));
    assert_eq!(last_state(&mut world, conversation), (Reached::Delivered, [2, 2, 1]));
    read_all(&mut world, 2, conversation);
    assert_eq!(last_state(&mut world, conversation), (Reached::Read, [2, 2, 2]));

    world.run_command(0, Command::GroupAdd { conversation, handle: handle(3) });
    world.run(Duration::from_secs(5));
    // The name is said again for whoever is new.
    world.crash(0);
    world.run(Duration::from_secs(10));
    let texts = world.history(0, conversation);
    let before =
        texts.iter().rfind(|view| matches!(&view.body, MessageBody::Text(text) if text == "further"));
    let state = before.unwrap().state.unwrap();
    assert_eq!((state.reached, state.members), (Reached::Read, 2), "who joins later does not count");
    world.run_command(3, Command::Accept { conversation });
    world.send(0, conversation, "welcome");
    world.run(Duration::from_secs(5));
    assert_eq!(last_state(&mut world, conversation), (Reached::Delivered, [3, 3, 0]));
    world.run_command(3, Command::GroupLeave { conversation });
    world.run(Duration::from_secs(5));
    assert_eq!(last_state(&mut world, conversation), (Reached::Delivered, [2, 2, 0]));
}

#[test]
fn the_presence_that_was_chosen_outlives_a_restart() {
    let mut world = World::new(35, 2);
    begin(&mut world);
    let chosen = |world: &mut World| match world.run_command(0, Command::Status) {
        Reply::Status(status) => status.presence,
        other => panic!("{other:?}"),
    };
    assert_eq!(chosen(&mut world), (PresenceState::Online, None));
    let text = Some("lunch".to_owned());
    world.run_command(0, Command::PresenceSet { state: PresenceState::Away, text: text.clone() });
    world.crash(0);
    world.run(Duration::from_secs(10));
    assert_eq!(chosen(&mut world), (PresenceState::Away, text));
}

#[test]
fn a_relay_that_says_a_peer_appended_what_it_never_had_skips_nothing_and_stops_nobody() {
    let mut world = World::new(47, 2);
    let conversation = begin(&mut world);
    world.run_command(0, Command::PathPolicy(PathPolicy::Relay));
    world.send(1, conversation, "before");
    world.run(Duration::from_secs(5));
    let history = world.history(0, conversation);
    let author = history.iter().find(|view| !view.own).unwrap().id.device;
    let (head, _) = world.log_state(conversation);
    for (ahead, seq) in [(1, Seq(1 << 60)), (1, Seq(u64::MAX)), (2, Seq(3))] {
        let body = EntryBody::Known(author, seq, Run::ONE);
        let position = Position(head.0 + ahead);
        world.relay_claims(0, &Event::Entry { conversation, position, body });
        world.run(Duration::from_secs(2));
    }
    world.send(1, conversation, "after");
    world.run(Duration::from_secs(5));
    assert_eq!(world.texts(0, conversation), ["hello", "before", "after"]);
    end(&mut world, conversation);
}

use sotto_protocol::cbor::Blob;
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Request, Run};
use sotto_protocol::{ConversationId, LogEpoch, Position, Seq, limits};
use sotto_relay::log::{Input, LogConfig};

use crate::world::{GROUP, Person, World, appended, bodies, person, positions};

fn rolled_back(log_epoch: u64, common: u64) -> Event {
    Event::RolledBack { conversation: GROUP, log_epoch: LogEpoch(log_epoch), common: Position(common) }
}

fn fill(world: &mut World, session: sotto_relay::log::SessionId, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        world.append(session, person(1, 1).frame(GROUP, seq, "x"));
    }
}

#[test]
fn a_subscription_gets_pages_then_live_entries_without_hole_or_repeat() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=700);
    let b = world.join(bob);
    let events = world.subscribe(b, 1, 200);
    assert_eq!(
        events[0],
        Event::Subscribed {
            conversation: GROUP,
            log_epoch: LogEpoch(1),
            head: Position(701),
            last_seq: Seq(0),
        }
    );
    assert_eq!(positions(&events), (201..=701).collect::<Vec<_>>());
    assert_eq!(events.last(), Some(&Event::Live { conversation: GROUP, head: Position(701) }));
    fill(&mut world, a, 701..=703);
    assert_eq!(positions(&world.events(b)), [702, 703, 704]);
}

#[test]
fn what_a_socket_appended_comes_back_to_it_by_name_only_while_live() {
    let ann = person(1, 1);
    let mut world = World::new();
    let a = world.group(&[ann]);
    let other = world.join(ann);
    world.subscribe(a, 0, 0);
    world.subscribe(other, 0, 0);
    world.events(other);
    let frame = ann.frame(GROUP, 1, "hello");
    let events = world.append(a, frame.clone());
    assert_eq!(events[0], appended(&frame, 2));
    assert_eq!(bodies(&events), [EntryBody::Known(ann.device, Seq(1), Run::ONE)]);
    assert_eq!(bodies(&world.events(other)), [EntryBody::Message(frame.clone())]);
    let again = world.subscribe(a, 1, 1);
    assert_eq!(bodies(&again), [EntryBody::Message(frame)]);
}

#[test]
fn a_burst_is_told_to_who_appended_it_in_a_word_and_to_others_message_by_message() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.subscribe(a, 0, 0);
    world.subscribe(b, 0, 0);
    // Both devices are known from here on.
    world.append(a, ann.frame(GROUP, 1, "hello"));
    world.append(b, bob.frame(GROUP, 1, "hello"));
    world.events(a);
    world.events(b);
    let frames = ann.frames(GROUP, 2, &["zero", "one", "two", "three"]);
    let answer = bob.frame(GROUP, 2, "answer");
    // While the first is being written the others gather: two, another device's, and one more.
    for (session, frame) in [(a, &frames[0]), (a, &frames[1]), (a, &frames[2]), (b, &answer), (a, &frames[3])]
    {
        world.request(session, Request::Append { frame: frame.clone() });
    }
    world.settle();
    let run = |n| Run::new(n).unwrap();
    let appended = |person: Person, seq, position, n| Event::Appended {
        conversation: GROUP,
        device: person.device,
        seq: Seq(seq),
        position: Position(position),
        run: run(n),
    };
    let entry = |position, body| Event::Entry { conversation: GROUP, position: Position(position), body };
    assert_eq!(
        world.events_in_runs(a),
        [
            appended(ann, 2, 4, 1),
            entry(4, EntryBody::Known(ann.device, Seq(2), run(1))),
            appended(ann, 3, 5, 2),
            entry(5, EntryBody::Known(ann.device, Seq(3), run(2))),
            entry(7, EntryBody::Message(answer)),
            appended(ann, 5, 8, 1),
            entry(8, EntryBody::Known(ann.device, Seq(5), run(1))),
        ]
    );
    assert_eq!(
        world.events_in_runs(b),
        [
            entry(4, EntryBody::Message(frames[0].clone())),
            entry(5, EntryBody::Message(frames[1].clone())),
            entry(6, EntryBody::Message(frames[2].clone())),
            appended(bob, 2, 7, 1),
            entry(7, EntryBody::Known(bob.device, Seq(2), run(1))),
            entry(8, EntryBody::Message(frames[3].clone())),
        ]
    );
}

#[test]
fn subscribed_says_the_last_seq_that_the_log_has_of_the_asking_device() {
    let ann = person(1, 1);
    let mut world = World::new();
    let a = world.group(&[ann]);
    fill(&mut world, a, 1..=5);
    world.crash();
    let a = world.join(ann);
    let events = world.subscribe(a, 1, 6);
    assert!(matches!(events[0], Event::Subscribed { last_seq: Seq(5), .. }));
    assert!(positions(&events).is_empty());
}

#[test]
fn a_position_beyond_the_head_raises_the_log_epoch_durably() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=9);
    // The machine loses its disk's last minute.
    world.crash();
    world.store.roll_back(GROUP, Position(6));
    let (a, b) = (world.join(ann), world.join(bob));
    world.subscribe(b, 1, 4);
    world.events(b);
    assert_eq!(world.subscribe(a, 1, 10), [rolled_back(2, 6)]);
    // Who is subscribed hears of it, and subscribes anew.
    assert_eq!(world.events(b), [rolled_back(2, 6)]);
    assert!(matches!(
        world.subscribe(a, 2, 6)[..],
        [Event::Subscribed { log_epoch: LogEpoch(2), head: Position(6), .. }, Event::Live { .. }]
    ));
    // Members append again what they hold.
    fill(&mut world, a, 6..=9);
    // Who comes later with the old epoch shares as much, crash or not.
    world.crash();
    let b = world.join(bob);
    assert_eq!(world.subscribe(b, 1, 10), [rolled_back(2, 6)]);
    assert_eq!(world.subscribe(b, 1, 3), [rolled_back(2, 3)]);
    assert_eq!(positions(&world.subscribe(b, 2, 6)), [7, 8, 9, 10]);
}

#[test]
fn an_old_epoch_shares_no_more_than_the_lowest_of_the_rollbacks_since() {
    let ann = person(1, 1);
    let mut world = World::new();
    let mut a = world.group(&[ann]);
    for (fill_to, lost_to) in [(10, 5), (12, 8), (20, 3), (9, 7)] {
        fill(&mut world, a, 1..=fill_to);
        world.crash();
        world.store.roll_back(GROUP, Position(lost_to));
        a = world.join(ann);
        let epoch = current_epoch(&mut world);
        assert_eq!(world.subscribe(a, epoch, fill_to + 1), [rolled_back(epoch + 1, lost_to)]);
    }
    world.crash();
    let a = world.join(ann);
    for (epoch, common) in [(1, 3), (2, 3), (3, 3), (4, 7)] {
        assert_eq!(world.subscribe(a, epoch, 50), [rolled_back(5, common)], "epoch {epoch}");
    }
}

fn current_epoch(world: &mut World) -> u64 {
    let ann = person(1, 1);
    let session = world.connect(ann);
    world.settle();
    let epoch = world.events(session).into_iter().find_map(|event| match event {
        Event::Conversation { log_epoch, .. } => Some(log_epoch.0),
        _ => None,
    });
    world.input(Input::Disconnected { session });
    epoch.unwrap()
}

#[test]
fn an_epoch_that_the_log_has_lost_shares_nothing() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=4);
    let b = world.join(bob);
    // Bob has seen epoch 3; the store is from before it.
    assert_eq!(world.subscribe(b, 3, 2), [rolled_back(4, 0)]);
    assert_eq!(positions(&world.subscribe(b, 4, 0)), [1, 2, 3, 4, 5]);
    let absurd = world.subscribe(b, u64::MAX, 0);
    assert!(matches!(absurd[..], [Event::Error { code: ErrorCode::BeyondHead, .. }]));
}

#[test]
fn claims_of_a_rollback_are_rate_limited() {
    let ann = person(1, 1);
    let config = LogConfig { commit_burst: 2, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.group(&[ann]);
    assert_eq!(world.subscribe(a, 1, 100), [rolled_back(2, 1)]);
    let refused = world.subscribe(a, 2, 100);
    assert!(matches!(refused[..], [Event::Error { code: ErrorCode::RateLimited, .. }]));
}

#[test]
fn below_the_floor_a_subscription_is_told_then_goes_on_from_it() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let config = LogConfig { retention_age: Some(10_000), retention_bytes: None, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=5);
    world.now.0 += 8_000;
    fill(&mut world, a, 6..=8);
    world.now.0 += 5_000;
    world.input(Input::Tick);
    world.settle();
    for crashed in [false, true] {
        if crashed {
            world.crash();
        }
        let b = world.join(bob);
        let events = world.subscribe(b, 0, 0);
        assert_eq!(events[0], Event::Trimmed { conversation: GROUP, floor: Position(7) });
        assert!(matches!(events[1], Event::Subscribed { .. }));
        assert_eq!(positions(&events), [7, 8, 9]);
        assert!(!matches!(world.subscribe(b, 1, 6)[0], Event::Trimmed { .. }));
        // A late duplicate is still told from a conflict.
        let old = ann.frame(GROUP, 2, "x");
        assert_eq!(world.append(b, old.clone()), [appended(&old, 3)]);
        let other = ann.frame(GROUP, 2, "y");
        assert!(matches!(world.append(b, other)[..], [Event::Conflict { position: Position(3), .. }]));
    }
}

#[test]
fn a_conversation_keeps_no_more_bytes_than_allowed() {
    let ann = person(1, 1);
    let config = LogConfig { retention_bytes: Some(2_000), ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.group(&[ann]);
    fill(&mut world, a, 1..=50);
    world.input(Input::Tick);
    world.settle();
    let events = world.subscribe(a, 0, 0);
    let Event::Trimmed { floor, .. } = events[0] else { panic!("{events:?}") };
    let kept = positions(&events);
    assert_eq!(kept, (floor.0..=51).collect::<Vec<_>>());
    assert!((5..30).contains(&kept.len()), "{kept:?}");
}

#[test]
fn a_trim_in_the_middle_of_catching_up_is_told_too() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let config = LogConfig { retention_age: Some(10_000), retention_bytes: None, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=600);
    let b = world.join(bob);
    world.reads = false;
    let mut events = world.subscribe(b, 0, 0);
    let got = positions(&events).len();
    assert!((1..600).contains(&got));
    world.now.0 += 20_000;
    fill(&mut world, a, 601..=603);
    world.input(Input::Tick);
    world.settle();
    world.reads = true;
    world.input(Input::Writable { session: b });
    world.settle();
    events = world.events(b);
    assert!(matches!(events[0], Event::Trimmed { floor: Position(602), .. }), "{:?}", events[0]);
    assert_eq!(positions(&events), [602, 603, 604]);
}

#[test]
fn a_cursor_beyond_the_head_is_refused() {
    let ann = person(1, 1);
    let mut world = World::new();
    let a = world.group(&[ann]);
    for (position, refused) in [(1, false), (2, true), (u64::MAX, true)] {
        let request = Request::Cursor { conversation: GROUP, position: Position(position), receipt: None };
        let events = world.ask(a, request);
        let is_refused = matches!(events[..], [Event::Error { code: ErrorCode::BeyondHead, .. }]);
        assert_eq!(is_refused, refused, "{position}: {events:?}");
    }
}

#[test]
fn the_latest_cursor_counts_and_is_passed_on_once_durable() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    fill(&mut world, a, 1..=3);
    let b = world.join(bob);
    world.subscribe(b, 0, 0);
    world.events(b);
    let cursor = |position, receipt: &'static [u8]| Event::Cursor {
        conversation: GROUP,
        device: ann.device,
        position: Position(position),
        receipt: Blob::new(receipt),
    };
    for (position, receipt) in [(2, &b"one"[..]), (4, b"two")] {
        world.request(
            a,
            Request::Cursor {
                conversation: GROUP,
                position: Position(position),
                receipt: Blob::new(receipt),
            },
        );
        world.settle_reads();
        assert_eq!(world.events(b), []);
        world.settle();
        assert_eq!(world.events(b), [cursor(position, receipt)]);
    }
    // Its own sockets do not hear of it; who subscribes later does, after `Subscribed`.
    world.crash();
    let b = world.join(bob);
    let events = world.subscribe(b, 1, 4);
    assert!(matches!(events[0], Event::Subscribed { .. }));
    assert_eq!(events[1], cursor(4, b"two"));
    let a = world.join(ann);
    assert!(!world.subscribe(a, 1, 4).iter().any(|event| matches!(event, Event::Cursor { .. })));
}

#[test]
fn ephemera_go_to_who_is_there_and_are_not_stored() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.subscribe(a, 0, 0);
    world.subscribe(b, 0, 0);
    world.events(b);
    let before = world.store.clone();
    let sealed = Blob::new(&b"typing"[..]).unwrap();
    assert_eq!(world.ask(a, Request::Ephemeral { conversation: GROUP, sealed: sealed.clone() }), []);
    assert_eq!(world.events(b), [Event::Ephemeral { conversation: GROUP, device: ann.device, sealed }]);
    assert_eq!(world.store, before);
}

#[test]
fn a_socket_has_no_more_subscriptions_than_allowed() {
    let ann = person(1, 1);
    let config = LogConfig { commit_burst: u32::MAX, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.join(ann);
    let id = |n: usize| {
        let mut random = [0; 15];
        random[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ConversationId::group(random)
    };
    let subscribe = |conversation| Request::Subscribe {
        conversation,
        log_epoch: LogEpoch(0),
        after: Position(0),
        held: None,
    };
    for n in 0..limits::MAX_SUBSCRIPTIONS {
        let action = crate::world::create(sotto_protocol::ConversationKind::Group, &[ann]);
        world.ask(a, Request::Commit { change: ann.change(id(n), 1, action) });
        let events = world.ask(a, subscribe(id(n)));
        assert!(matches!(events[0], Event::Subscribed { .. }));
    }
    // The account may be in no more conversations; one it is let in by others is still one too many here.
    let bob = person(2, 1);
    let b = world.join(bob);
    let last = id(limits::MAX_SUBSCRIPTIONS);
    let leave = ann.change(id(0), 2, sotto_protocol::membership::Action::Leave {});
    world.ask(a, Request::Commit { change: leave });
    let action = crate::world::create(sotto_protocol::ConversationKind::Group, &[bob, ann]);
    world.ask(b, Request::Commit { change: bob.change(last, 1, action) });
    assert!(matches!(world.ask(a, subscribe(last))[0], Event::Subscribed { .. }));
    // Strangers' conversations: nothing is kept for any of 10,000 tries.
    for n in 0..10_000 {
        let events = world.ask(a, subscribe(id(1_000_000 + n)));
        assert!(matches!(events[..], [Event::Error { code: ErrorCode::NotAMember, .. }]));
    }
}

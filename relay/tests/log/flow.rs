use sotto_protocol::cbor::Blob;
use sotto_protocol::relay::{Event, Request};
use sotto_protocol::{ConversationId, Position};
use sotto_relay::log::{Failed, Input, LogConfig};

use crate::world::{GROUP, Task, World, person, positions};

const KIB: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn kilobytes(n: usize) -> String {
    KIB.repeat(16 * n)
}

#[test]
fn a_reader_that_lags_is_not_queued_to_without_end_and_misses_nothing() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.subscribe(b, 0, 0);
    world.reads = false;
    let text = kilobytes(4);
    for seq in 1..=200 {
        world.append(a, ann.frame(GROUP, seq, &text));
    }
    let mut got = positions(&world.events(b));
    assert!(got.len() * 4 < 128, "{} entries of 4 KiB queued", got.len());
    world.reads = true;
    world.input(Input::Writable { session: b });
    world.settle();
    let events = world.events(b);
    got.extend(positions(&events));
    assert_eq!(got, (2..=201).collect::<Vec<_>>());
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Live { .. })).count(), 0);
    world.append(a, ann.frame(GROUP, 201, "live again"));
    assert_eq!(positions(&world.events(b)), [202]);
}

#[test]
fn cursors_that_a_lagging_reader_misses_are_read_later() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.subscribe(b, 0, 0);
    world.reads = false;
    let text = kilobytes(30);
    for seq in 1..=6 {
        world.append(a, ann.frame(GROUP, seq, &text));
    }
    let receipt = Blob::new(&b"latest"[..]);
    world.ask(a, Request::Cursor { conversation: GROUP, position: Position(7), receipt: receipt.clone() });
    let queued = world.events(b);
    assert!(!queued.iter().any(|event| matches!(event, Event::Cursor { .. })));
    world.reads = true;
    world.input(Input::Writable { session: b });
    world.settle();
    let events = world.events(b);
    let cursors = events.iter().filter(|event| matches!(event, Event::Cursor { .. }));
    assert_eq!(
        cursors.collect::<Vec<_>>(),
        [&Event::Cursor { conversation: GROUP, device: ann.device, position: Position(7), receipt }]
    );
    let all: Vec<u64> = positions(&queued).into_iter().chain(positions(&events)).collect();
    assert_eq!(all, (2..=7).collect::<Vec<_>>());
}

#[test]
fn a_session_with_too_much_under_way_is_paused_until_it_is_dealt_with() {
    let ann = person(1, 1);
    let mut world = World::new();
    let a = world.group(&[ann]);
    world.append(a, ann.frame(GROUP, 1, "warm"));
    for seq in 2..=700 {
        world.request(a, Request::Append { frame: ann.frame(GROUP, seq, "x") });
    }
    assert_eq!(world.signs, [(a, "pause")]);
    world.settle();
    assert_eq!(world.signs.iter().filter(|sign| sign.1 != "await room").count(), 2);
    assert!(world.signs.contains(&(a, "resume")));
    assert!(world.log.is_flushed());
}

#[test]
fn a_store_that_cannot_be_read_is_unavailable_not_the_end() {
    let ann = person(1, 1);
    let mut world = World::new();
    world.group(&[ann]);
    world.crash();
    let a = world.join(ann);
    world.request(a, Request::Append { frame: ann.frame(GROUP, 1, "x") });
    let Some(Task::Answer(Input::Loaded { load, .. })) = world.tasks.pop_front() else {
        panic!("expected a load")
    };
    world.input(Input::Loaded { load, result: Err(Failed) });
    assert!(matches!(world.events(a)[..], [Event::Error { .. }]));
    assert_eq!(world.append(a, ann.frame(GROUP, 1, "x")).len(), 1);
}

#[test]
fn paging_over_a_failing_store_goes_on_with_the_next_tick() {
    let ann = person(1, 1);
    let mut world = World::new();
    world.group(&[ann]);
    let a = world.connect(ann);
    let Some(Task::Answer(Input::Loaded { load, .. })) = world.tasks.pop_front() else {
        panic!("expected the list to be loaded")
    };
    world.input(Input::Loaded { load, result: Err(Failed) });
    world.settle();
    assert!(matches!(world.events(a)[..], [Event::Ready { .. }]));
    world.input(Input::Tick);
    world.settle();
    assert!(matches!(world.events(a)[..], [Event::Conversation { .. }, Event::Listed {}]));
}

#[test]
fn few_conversations_in_memory_serve_many() {
    let ann = person(1, 1);
    let config = LogConfig { idle_conversations: 2, commit_burst: u32::MAX, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.join(ann);
    let id = |n: u8| ConversationId::group([n; 15]);
    for n in 0..40 {
        let action = crate::world::create(sotto_protocol::ConversationKind::Group, &[ann]);
        world.request(a, Request::Commit { change: ann.change(id(n), 1, action) });
        world.request(a, Request::Append { frame: ann.frame(id(n), 1, "x") });
    }
    world.settle();
    for n in 0..40 {
        world.request(a, Request::Append { frame: ann.frame(id(n), 2, "y") });
        world.request(a, Request::Append { frame: ann.frame(id(39 - n), 1, "x") });
    }
    world.settle();
    let events = world.events(a);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Appended { .. })).count(), 120);
}

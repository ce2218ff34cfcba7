use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{ConversationId, Position, Seq};

use crate::world::{GROUP, World, appended, person};

#[test]
fn a_duplicate_append_returns_the_stored_position() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let ann_socket = world.group(&[ann, bob]);
    let bob_socket = world.join(bob);
    let frame = ann.frame(GROUP, 1, "hello");
    assert_eq!(world.append(ann_socket, frame.clone()), [appended(&frame, 2)]);
    assert_eq!(world.append(ann_socket, frame.clone()), [appended(&frame, 2)]);
    assert_eq!(world.append(bob_socket, frame.clone()), [appended(&frame, 2)]);
    world.crash();
    let again = world.join(bob);
    assert_eq!(world.append(again, frame.clone()), [appended(&frame, 2)]);
}

#[test]
fn an_old_duplicate_that_no_memory_holds_is_found_in_the_store() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    for seq in 1..=300 {
        world.append(socket, ann.frame(GROUP, seq, "x"));
    }
    let frame = ann.frame(GROUP, 3, "x");
    assert_eq!(world.append(socket, frame.clone()), [appended(&frame, 4)]);
}

#[test]
fn another_message_under_a_used_seq_is_a_conflict_and_not_stored() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    world.append(socket, ann.frame(GROUP, 1, "first"));
    world.append(socket, ann.frame(GROUP, 2, "second"));
    let before = world.store.clone();
    let conflict = Event::Conflict {
        conversation: GROUP,
        device: ann.device,
        seq: Seq(1),
        position: Position(2),
        last_seq: Seq(2),
    };
    assert_eq!(world.append(socket, ann.frame(GROUP, 1, "other")), std::slice::from_ref(&conflict));
    assert_eq!(world.store, before);
    world.crash();
    let socket = world.join(ann);
    assert_eq!(world.append(socket, ann.frame(GROUP, 1, "other")), [conflict]);
}

#[test]
fn a_conflict_within_one_batch_is_found_too() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    world.append(socket, ann.frame(GROUP, 1, "warm"));
    // The first goes into a batch alone; the other two wait and share the next.
    world.request(socket, Request::Append { frame: ann.frame(GROUP, 2, "two") });
    world.request(socket, Request::Append { frame: ann.frame(GROUP, 3, "three") });
    world.request(socket, Request::Append { frame: ann.frame(GROUP, 3, "other three") });
    world.request(socket, Request::Append { frame: ann.frame(GROUP, 3, "three") });
    world.settle();
    let events = world.events(socket);
    let three = ann.frame(GROUP, 3, "three");
    assert_eq!(events[..2], [appended(&ann.frame(GROUP, 2, "two"), 3), appended(&three, 4)]);
    assert!(matches!(events[2], Event::Conflict { seq: Seq(3), position: Position(4), .. }));
    assert_eq!(events[3..], [appended(&three, 4)]);
}

#[test]
fn a_seq_that_jumps_is_told_the_next() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    let nack = |expected| Event::Nack { conversation: GROUP, device: ann.device, expected: Seq(expected) };
    assert_eq!(world.append(socket, ann.frame(GROUP, 2, "jumps")), [nack(1)]);
    assert_eq!(world.append(socket, ann.frame(GROUP, u64::MAX, "far")), [nack(1)]);
    let first = ann.frame(GROUP, 1, "fits");
    assert_eq!(world.append(socket, first.clone()), [appended(&first, 2)]);
    assert_eq!(world.append(socket, ann.frame(GROUP, 4, "jumps")), [nack(2)]);
}

#[test]
fn nothing_is_acknowledged_or_shown_before_its_batch_is_committed() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let ann_socket = world.group(&[ann, bob]);
    let bob_socket = world.join(bob);
    world.subscribe(bob_socket, 0, 0);
    let frame = ann.frame(GROUP, 1, "hello");
    world.append(ann_socket, ann.frame(GROUP, 1, "hello"));
    world.events(ann_socket);
    world.events(bob_socket);
    let next = ann.frame(GROUP, 2, "more");
    world.request(ann_socket, Request::Append { frame: next.clone() });
    world.settle_reads();
    assert_eq!(world.events(ann_socket), []);
    assert_eq!(world.events(bob_socket), []);
    // Neither does a second copy, which would find the first only staged.
    world.request(bob_socket, Request::Append { frame: next.clone() });
    world.settle_reads();
    assert_eq!(world.events(bob_socket), []);
    world.settle();
    assert_eq!(world.events(ann_socket), [appended(&next, 3)]);
    assert_eq!(world.events(bob_socket).len(), 2);
    assert_eq!(world.append(ann_socket, frame.clone()), [appended(&frame, 2)]);
}

#[test]
fn a_batch_that_fails_answers_unavailable_and_leaves_no_trace() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    world.append(socket, ann.frame(GROUP, 1, "kept"));
    let before = world.store.clone();
    let (lost, waiting) = (ann.frame(GROUP, 2, "lost"), ann.frame(GROUP, 3, "waits"));
    world.request(socket, Request::Append { frame: lost.clone() });
    world.request(socket, Request::Append { frame: waiting.clone() });
    assert!(world.fail_write());
    world.settle();
    let events = world.events(socket);
    assert!(matches!(
        events[0],
        Event::Error { code: ErrorCode::Unavailable, conversation: Some(GROUP), .. }
    ));
    // What waited was tried in the next batch, against what is really there.
    assert_eq!(events[1], Event::Nack { conversation: GROUP, device: ann.device, expected: Seq(2) });
    assert_eq!(world.store, before);
    assert_eq!(world.append(socket, lost.clone()), [appended(&lost, 3)]);
    assert_eq!(world.append(socket, waiting.clone()), [appended(&waiting, 4)]);
}

#[test]
fn requests_that_arrive_during_a_write_share_the_next_batch() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    world.append(socket, ann.frame(GROUP, 1, "warm"));
    for seq in 2..=200 {
        world.request(socket, Request::Append { frame: ann.frame(GROUP, seq, "x") });
    }
    let mut writes = 0;
    while !world.tasks.is_empty() {
        world.perform(0);
        writes += 1;
    }
    assert_eq!(writes, 2);
    assert_eq!(world.events(socket).len(), 199);
}

#[test]
fn a_burst_under_one_signature_costs_one_check() {
    let ann = person(1, 1);
    let mut world = World::new();
    let socket = world.group(&[ann]);
    let before = world.engine.0.get();
    for frame in ann.frames(GROUP, 1, &["a", "b", "c", "d", "e", "f"]) {
        world.append(socket, frame);
    }
    assert_eq!(world.engine.0.get(), before + 1);
}

#[test]
fn a_crash_between_write_and_commit_loses_nothing_acknowledged_and_repeats_nothing() {
    let ann = person(1, 1);
    for written in [false, true] {
        let mut world = World::new();
        let socket = world.group(&[ann]);
        world.append(socket, ann.frame(GROUP, 1, "acknowledged"));
        let frame = ann.frame(GROUP, 2, "in the air");
        world.request(socket, Request::Append { frame: frame.clone() });
        if let Some(crate::world::Task::Write(_, batch)) = world.tasks.pop_front()
            && written
        {
            world.store.apply(&batch).unwrap();
        }
        world.crash();
        let socket = world.join(ann);
        assert_eq!(world.append(socket, frame.clone()), [appended(&frame, 3)], "written: {written}");
        let events = world.subscribe(socket, 0, 0);
        assert_eq!(crate::world::positions(&events), [1, 2, 3]);
    }
}

#[test]
fn who_is_no_member_cannot_tell_a_conversation_from_none() {
    let (ann, eve) = (person(1, 1), person(9, 1));
    let nowhere = ConversationId::group([7; 15]);
    let mut world = World::new();
    world.group(&[ann]);
    let socket = world.join(eve);
    let strip = |events: Vec<Event>| -> Vec<String> {
        let text = events.iter().map(|event| format!("{event:?}"));
        text.map(|text| text.replace(&format!("{GROUP:?}"), "X").replace(&format!("{nowhere:?}"), "X"))
            .collect()
    };
    let requests = |conversation| {
        [
            Request::Append { frame: eve.frame(conversation, 1, "x") },
            Request::Subscribe {
                conversation,
                log_epoch: sotto_protocol::LogEpoch(7),
                after: Position(9),
                held: None,
            },
            Request::Cursor { conversation, position: Position(1), receipt: None },
            Request::Ephemeral { conversation, sealed: Default::default() },
            Request::Commit {
                change: eve.change(conversation, 2, sotto_protocol::membership::Action::Leave {}),
            },
        ]
    };
    for (there, not_there) in requests(GROUP).into_iter().zip(requests(nowhere)) {
        let name = format!("{there:?}");
        let there = strip(world.ask(socket, there));
        assert_eq!(there, strip(world.ask(socket, not_there)), "{name}");
        assert_eq!(there.len(), 1);
        assert!(there[0].contains("NotAMember"), "{there:?}");
    }
}

use sotto_protocol::membership::Action;
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Request};
use sotto_protocol::{ConversationId, ConversationKind, MembershipEpoch, Position, limits};
use sotto_relay::log::LogConfig;

use crate::world::{GROUP, World, add, bodies, create, person, positions};

fn committed(conversation: ConversationId, epoch: u64) -> Event {
    Event::Committed { conversation, epoch: MembershipEpoch(epoch) }
}

#[test]
fn both_may_create_their_direct_conversation_at_once_or_again() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let id = ConversationId::direct(&ann.account, &bob.account);
    let mut world = World::new();
    let (a, b) = (world.join(ann), world.join(bob));
    world.request(
        a,
        Request::Commit { change: ann.change(id, 1, create(ConversationKind::Direct, &[ann, bob])) },
    );
    world.request(
        b,
        Request::Commit { change: bob.change(id, 1, create(ConversationKind::Direct, &[bob, ann])) },
    );
    world.settle();
    assert!(world.events(a).contains(&committed(id, 1)));
    assert!(world.events(b).contains(&committed(id, 1)));
    let again = ann.change(id, 1, create(ConversationKind::Direct, &[ann, bob]));
    assert_eq!(world.ask(a, Request::Commit { change: again }), [committed(id, 1)]);
}

#[test]
fn of_two_changes_against_one_epoch_the_second_is_refused() {
    let (ann, bob, cid, dan) = (person(1, 1), person(2, 1), person(3, 1), person(4, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.join(cid);
    world.join(dan);
    world.request(a, Request::Commit { change: ann.change(GROUP, 2, add(&[cid])) });
    world.request(b, Request::Commit { change: bob.change(GROUP, 2, add(&[dan])) });
    world.settle();
    let refused = world.events(b).into_iter().find(|event| matches!(event, Event::CommitRefused { .. }));
    assert!(matches!(
        refused,
        Some(Event::CommitRefused { code: ErrorCode::Epoch, current: MembershipEpoch(2), .. })
    ));
}

#[test]
fn a_new_member_sees_only_what_is_logged_from_its_join_on() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann]);
    world.append(a, ann.frame(GROUP, 1, "before"));
    let b = world.join(bob);
    world.ask(a, Request::Commit { change: ann.change(GROUP, 2, add(&[bob])) });
    let told = world.events(b);
    assert!(
        matches!(&told[..], [Event::Conversation { membership, head: Position(3), .. }]
            if membership.members[&bob.account] == Position(3)),
        "{told:?}"
    );
    world.append(a, ann.frame(GROUP, 2, "after"));
    let events = world.subscribe(b, 0, 0);
    assert_eq!(positions(&events), [3, 4]);
    assert!(!events.iter().any(|event| matches!(event, Event::Trimmed { .. })));
}

#[test]
fn who_leaves_is_told_and_denied_at_once() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    let b_phone = world.join(person(2, 2));
    world.subscribe(b, 0, 0);
    world.subscribe(b_phone, 0, 0);
    // Its frame is in the same batch, after its leaving.
    world.request(b, Request::Commit { change: bob.change(GROUP, 2, Action::Leave {}) });
    world.request(b, Request::Append { frame: bob.frame(GROUP, 1, "too late") });
    world.settle();
    let events = world.events(b);
    assert_eq!(events[0], committed(GROUP, 2));
    assert!(matches!(&events[1], Event::Conversation { membership, .. } if membership.members.len() == 1));
    assert!(matches!(events[2], Event::AppendRefused { code: ErrorCode::NotAMember, .. }));
    assert!(positions(&events).is_empty());
    world.events(b_phone);
    world.append(a, ann.frame(GROUP, 1, "among ourselves"));
    assert_eq!(world.events(b), []);
    assert_eq!(world.events(b_phone), []);
    // Nor may somebody else append what it wrote.
    let refused = world.append(a, bob.frame(GROUP, 1, "too late"));
    assert!(matches!(refused[..], [Event::AppendRefused { code: ErrorCode::BadAuthor, .. }]));
}

#[test]
fn who_comes_back_sees_nothing_of_the_time_between() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.ask(b, Request::Commit { change: bob.change(GROUP, 2, Action::Leave {}) });
    world.append(a, ann.frame(GROUP, 1, "without bob"));
    world.ask(a, Request::Commit { change: ann.change(GROUP, 3, add(&[bob])) });
    assert_eq!(positions(&world.subscribe(b, 0, 0)), [4]);
    world.crash();
    let b = world.join(bob);
    assert_eq!(positions(&world.subscribe(b, 1, 1)), [4]);
}

#[test]
fn what_follows_a_change_on_its_socket_waits_for_it() {
    let ann = person(1, 1);
    let mut world = World::new();
    let a = world.join(ann);
    let change = ann.change(GROUP, 1, create(ConversationKind::Group, &[ann]));
    world.request(a, Request::Commit { change: change.clone() });
    world.request(a, Request::Append { frame: ann.frame(GROUP, 1, "first") });
    world.request(
        a,
        Request::Subscribe {
            conversation: GROUP,
            log_epoch: sotto_protocol::LogEpoch(0),
            after: Position(0),
            held: None,
        },
    );
    world.settle();
    let events = world.events(a);
    assert_eq!(events[0], committed(GROUP, 1));
    assert_eq!(bodies(&events)[0], EntryBody::Membership(change));
    assert_eq!(positions(&events), [1, 2]);
}

#[test]
fn a_change_is_signed_by_its_own_socket() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    world.group(&[ann, bob]);
    let b = world.join(bob);
    let stolen = ann.change(GROUP, 2, Action::Leave {});
    let refused = world.ask(b, Request::Commit { change: stolen });
    assert!(matches!(refused[..], [Event::CommitRefused { code: ErrorCode::NotAllowed, .. }]));
    // It names Bob's device, but another key signed.
    let mut forger = bob;
    forger.key = ann.key;
    let forged = forger.change(GROUP, 2, Action::Leave {});
    let refused = world.ask(b, Request::Commit { change: forged });
    assert!(matches!(refused[..], [Event::CommitRefused { code: ErrorCode::BadAuthor, .. }]));
}

#[test]
fn changes_are_rate_limited_and_the_budget_comes_back() {
    let ann = person(1, 1);
    let config = LogConfig { commit_burst: 3, commit_refill: 1_000, ..LogConfig::default() };
    let mut world = World::with(config);
    let a = world.join(ann);
    let make = |world: &mut World, n: u8| {
        let id = ConversationId::group([n; 15]);
        let change = ann.change(id, 1, create(ConversationKind::Group, &[ann]));
        world.ask(a, Request::Commit { change }).remove(0)
    };
    for n in 1..=3 {
        assert!(matches!(make(&mut world, n), Event::Committed { .. }));
    }
    assert!(matches!(make(&mut world, 4), Event::CommitRefused { code: ErrorCode::RateLimited, .. }));
    world.now.0 += 1_000;
    assert!(matches!(make(&mut world, 4), Event::Committed { .. }));
    world.now.0 -= 900_000;
    assert!(matches!(make(&mut world, 5), Event::CommitRefused { code: ErrorCode::RateLimited, .. }));
}

#[test]
fn nobody_is_let_in_who_does_not_exist() {
    let (ann, ghost) = (person(1, 1), person(200, 1));
    let mut world = World::new();
    let a = world.join(ann);
    let change = ann.change(GROUP, 1, create(ConversationKind::Group, &[ann, ghost]));
    let refused = world.ask(a, Request::Commit { change });
    assert!(
        matches!(&refused[..], [Event::CommitRefused { code: ErrorCode::NotAllowed, detail, .. }]
            if detail.contains(&ghost.account.to_string())),
        "{refused:?}"
    );
}

#[test]
fn nobody_is_in_more_conversations_than_can_be_listed() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let config = LogConfig { commit_burst: u32::MAX, ..LogConfig::default() };
    let mut world = World::with(config);
    let (a, b) = (world.join(ann), world.join(bob));
    for n in 0..limits::MAX_CONVERSATIONS {
        let mut random = [0; 15];
        random[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let change = bob.change(ConversationId::group(random), 1, create(ConversationKind::Group, &[bob]));
        assert!(matches!(world.ask(b, Request::Commit { change })[0], Event::Committed { .. }));
    }
    let change = ann.change(GROUP, 1, create(ConversationKind::Group, &[ann, bob]));
    let refused = world.ask(a, Request::Commit { change });
    assert!(matches!(refused[..], [Event::CommitRefused { code: ErrorCode::Limit, .. }]));
    // All are listed to who connects, page by page, and then the end.
    let b = world.connect(bob);
    world.settle();
    let events = world.events(b);
    assert!(matches!(events[0], Event::Ready { .. }));
    let listed = events.iter().filter(|event| matches!(event, Event::Conversation { .. })).count();
    assert_eq!(listed, limits::MAX_CONVERSATIONS);
    assert_eq!(events.last(), Some(&Event::Listed {}));
}

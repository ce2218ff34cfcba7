use sotto_protocol::Frame;
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_relay::log::Input;

use crate::world::{GROUP, World, appended, digest, person};

fn refused(events: &[Event]) -> bool {
    matches!(events, [Event::AppendRefused { code: ErrorCode::BadAuthor, .. }])
}

#[test]
fn any_member_may_append_for_another() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    world.group(&[ann, bob]);
    let b = world.join(bob);
    let frame = ann.frame(GROUP, 1, "ann's, carried by bob");
    assert_eq!(world.append(b, frame.clone()), [appended(&frame, 2)]);
}

#[test]
fn a_forged_signature_is_refused_from_anybody() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    let body = ann.frame(GROUP, 1, "never said").body().clone();
    let forged = Frame::sign_all(vec![body], |message| digest(&bob.key, message)).remove(0);
    for session in [a, b] {
        assert!(refused(&world.append(session, forged.clone())));
    }
}

#[test]
fn a_burst_signed_by_one_device_carries_no_frame_of_another() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    // One tree, signed by Ann, with a leaf that names Bob.
    let mine = ann.frame(GROUP, 1, "mine").body().clone();
    let his = bob.frame(GROUP, 1, "put in his mouth").body().clone();
    let mut burst = Frame::sign_all(vec![mine, his], |message| digest(&ann.key, message));
    let (his, mine) = (burst.pop().unwrap(), burst.pop().unwrap());
    assert_eq!(world.append(a, mine.clone()), [appended(&mine, 2)]);
    assert!(refused(&world.append(a, his)));
}

#[test]
fn an_unknown_or_foreign_author_is_refused() {
    let (ann, eve, nobody) = (person(1, 1), person(9, 1), person(99, 1));
    let mut world = World::new();
    let a = world.group(&[ann]);
    world.join(eve);
    assert!(refused(&world.append(a, eve.frame(GROUP, 1, "eve's"))));
    assert!(refused(&world.append(a, nobody.frame(GROUP, 1, "nobody's"))));
}

#[test]
fn a_revoked_device_is_cut_off_and_its_new_frames_refused_but_not_what_stands() {
    let (ann, phone) = (person(1, 1), person(1, 2));
    let mut world = World::new();
    let a = world.group(&[ann, phone]);
    let p = world.join(phone);
    let old = phone.frame(GROUP, 1, "before");
    world.append(p, old.clone());
    world.directory.get_mut(&phone.device).unwrap().revoked = true;
    world.input(Input::Revoked { device: phone.device });
    assert_eq!(world.signs, [(p, "close")]);
    assert!(refused(&world.append(a, phone.frame(GROUP, 2, "after"))));
    assert_eq!(world.append(a, old.clone()), [appended(&old, 2)]);
    // Whatever it still sends on the dead session is ignored.
    assert_eq!(world.append(p, phone.frame(GROUP, 2, "after")), []);
}

#[test]
fn a_revocation_overtakes_a_look_up_that_was_under_way() {
    let (ann, phone) = (person(1, 1), person(1, 2));
    let mut world = World::new();
    let a = world.group(&[ann, phone]);
    world.request(a, Request::Append { frame: phone.frame(GROUP, 1, "x") });
    // The answer to the look-up is already on its way when the device is revoked.
    assert_eq!(world.tasks.len(), 1);
    world.directory.get_mut(&phone.device).unwrap().revoked = true;
    world.input(Input::Revoked { device: phone.device });
    world.settle();
    assert!(refused(&world.events(a)));
}

#[test]
fn what_waits_for_a_batch_is_refused_when_its_author_is_revoked() {
    let (ann, phone) = (person(1, 1), person(1, 2));
    let mut world = World::new();
    let a = world.group(&[ann, phone]);
    world.append(a, phone.frame(GROUP, 1, "known"));
    world.request(a, Request::Append { frame: ann.frame(GROUP, 1, "holds the writer") });
    world.request(a, Request::Append { frame: phone.frame(GROUP, 2, "waits") });
    world.input(Input::Revoked { device: phone.device });
    world.settle();
    let events = world.events(a);
    assert!(refused(&events[..1]), "{events:?}");
    assert_eq!(events[1], appended(&ann.frame(GROUP, 1, "holds the writer"), 3));
}

#[test]
fn a_disabled_account_loses_all_its_sockets() {
    let (ann, phone, bob) = (person(1, 1), person(1, 2), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, phone, bob]);
    let p = world.join(phone);
    let b = world.join(bob);
    world.directory.values_mut().filter(|r| r.account == ann.account).for_each(|r| r.revoked = true);
    world.input(Input::Disabled { account: ann.account });
    assert_eq!(world.signs, [(a, "close"), (p, "close")]);
    assert!(refused(&world.append(b, ann.frame(GROUP, 1, "x"))));
}

#[test]
fn missed_revocations_make_everybody_sign_in_again() {
    let (ann, bob) = (person(1, 1), person(2, 1));
    let mut world = World::new();
    let a = world.group(&[ann, bob]);
    let b = world.join(bob);
    world.directory.get_mut(&ann.device).unwrap().revoked = true;
    world.input(Input::RevocationsMissed);
    assert_eq!(world.signs, [(a, "close"), (b, "close")]);
    let b = world.join(bob);
    assert!(refused(&world.append(b, ann.frame(GROUP, 1, "x"))));
}

//! Groups as members and the relay see them, from forming to leaving.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LATER, NOW, account, agree, device, group, listed, name, package, policy, restored, talk};
use sotto_mls::storage::Storage;
use sotto_mls::{Changes, CheckedKeyPackage, Group, MlsError, Policy, PolicyError, Processed, PublicView};
use sotto_protocol::{ConversationKind, UnixMillis};

#[test]
fn a_group_is_formed_and_everybody_reads_everybody() {
    let devices = [device(1, 1), device(1, 2), device(2, 1), device(3, 1)];
    let devices: Vec<_> = devices.iter().collect();
    let (mut groups, relay) = group(&devices, &policy(&[1, 2, 3]));
    agree(&groups, &relay);
    talk(&mut groups, &devices);
}

#[test]
fn members_come_and_go_by_commits_that_the_relay_orders() {
    let (a, b, c) = (device(1, 1), device(2, 1), device(3, 1));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));

    // Both commit against one epoch: the relay takes the first.
    let add = Changes { add: vec![package(&a, &c)], policy: Some(policy(&[1, 2, 3])), ..Changes::default() };
    let first = groups[0].commit(&a, add, &listed).unwrap();
    let second = groups[1].commit(&b, Changes::default(), &listed).unwrap();
    relay.process(&first.commit, Some(&first.group_info), &listed).unwrap();
    assert_eq!(
        relay.process(&second.commit, Some(&second.group_info), &listed),
        Err(MlsError::PastEpoch(1)),
        "of two commits against one epoch the second is refused"
    );
    groups[0].accepted(&a).unwrap();
    groups[1].refused(&b).unwrap();
    let Processed::Commit(committed) = groups[1].process(&b, &first.commit, &listed).unwrap() else {
        panic!("a commit is a commit");
    };
    assert_eq!(committed.added, [c.leaf()]);
    groups.push(Group::join(&c, name(), &first.welcome.unwrap(), &listed).unwrap());
    agree(&groups, &relay);
    talk(&mut groups, &[&a, &b, &c]);

    // One's own commit comes back by the log.
    let out = Changes { policy: Some(policy(&[1, 3])), ..Changes::default() };
    let removal = groups[0].commit(&a, out, &listed).unwrap();
    relay.process(&removal.commit, Some(&removal.group_info), &listed).unwrap();
    for (at, device) in [&a, &b, &c].into_iter().enumerate() {
        let Processed::Commit(committed) = groups[at].process(device, &removal.commit, &listed).unwrap()
        else {
            panic!("a commit is a commit");
        };
        assert_eq!(committed.removed, [b.leaf()]);
    }
    let mut removed = groups.remove(1);
    assert!(!removed.is_active());
    assert_eq!(removed.seal(&b, b"", b"still here?"), Err(MlsError::NotAMember));
    agree(&groups, &relay);
    talk(&mut groups, &[&a, &c]);
}

#[test]
fn who_leaves_is_taken_out_by_the_next_commit_and_others_send_meanwhile() {
    let (a, b, c) = (device(1, 1), device(2, 1), device(3, 1));
    let (mut groups, mut relay) = group(&[&a, &b, &c], &policy(&[1, 2, 3]));
    let leave = groups[0].leave(&a).unwrap();
    assert_eq!(relay.process(&leave, None, &listed), Ok(Processed::Leaves(a.leaf())));
    assert_eq!(relay.leaving().unwrap(), [a.leaf()]);
    for (at, device) in [(1, &b), (2, &c)] {
        assert_eq!(groups[at].process(device, &leave, &listed), Ok(Processed::Leaves(a.leaf())));
    }
    let sealed = groups[1].seal(&b, b"", b"meanwhile").unwrap();
    assert_eq!(groups[2].open(&c, &sealed).unwrap().content, b"meanwhile");

    let commit = groups[2].commit(&c, Changes::default(), &listed).unwrap();
    relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
    groups[2].accepted(&c).unwrap();
    groups[1].process(&b, &commit.commit, &listed).unwrap();
    assert!(groups[0].process(&a, &commit.commit, &listed).is_ok());
    assert!(!groups[0].is_active());
    groups.remove(0);
    agree(&groups, &relay);
    let after = relay.policy().unwrap();
    assert!(!after.has(&account(1)));
    assert!(after.is_admin(&account(2)), "the only admin left: a member took over, so that nobody is stuck");
    talk(&mut groups, &[&b, &c]);
}

#[test]
fn a_device_of_a_member_joins_by_itself_and_comes_back_after_losing_its_state() {
    let (a, b, b2) = (device(1, 1), device(2, 1), device(2, 2));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
    let info = groups[0].group_info(&a).unwrap();
    let (joined, proposed) = Group::join_by_commit(&b2, name(), &info, &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    groups[0].process(&a, &proposed.commit, &listed).unwrap();
    groups[1].process(&b, &proposed.commit, &listed).unwrap();
    groups.push(joined);
    agree(&groups, &relay);
    talk(&mut groups, &[&a, &b, &b2]);

    // The same device with nothing stored: its old leaf goes with the same commit.
    let b2_again = restored(2, 2, Storage::default(), 1);
    let info = groups[0].group_info(&a).unwrap();
    let (joined, proposed) = Group::join_by_commit(&b2_again, name(), &info, &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    groups[0].process(&a, &proposed.commit, &listed).unwrap();
    groups[1].process(&b, &proposed.commit, &listed).unwrap();
    groups[2] = joined;
    agree(&groups, &relay);
    talk(&mut groups, &[&a, &b, &b2_again]);

    let stranger = device(9, 1);
    let info = groups[0].group_info(&a).unwrap();
    assert_eq!(
        Group::join_by_commit(&stranger, name(), &info, &listed).map(|_| ()),
        Err(MlsError::Policy(PolicyError::Leaf("a leaf of an account that is not a member")))
    );
}

#[test]
fn a_device_that_died_at_any_point_uses_no_key_twice_and_reads_on() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, _) = group(&[&a, &b], &policy(&[1, 2]));
    let stored: Vec<_> =
        a.take_changes().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    // Sent and read after what was stored, then dead.
    for _ in 0..5 {
        let sealed = groups[0].seal(&a, b"", b"before").unwrap();
        groups[1].open(&b, &sealed).unwrap();
    }
    let heard = groups[1].seal(&b, b"", b"heard").unwrap();
    groups[0].open(&a, &heard).unwrap();
    assert!(a.take_changes().is_empty(), "messages write nothing by themselves");

    let again = restored(1, 1, Storage::restore(stored), 1);
    let mut group = Group::restore(&again, name(), Some(16)).unwrap().unwrap();
    let sealed = group.seal(&again, b"", b"after").unwrap();
    assert_eq!(groups[1].open(&b, &sealed).unwrap().content, b"after");
    assert_eq!(group.open(&again, &heard).unwrap().content, b"heard", "what was not stored is read again");

    // Without skipping, the first message would use a key that the others have seen used.
    let stored: Vec<_> = restored_rows(&again);
    let careless = restored(1, 1, Storage::restore(stored), 2);
    let mut group = Group::restore(&careless, name(), None).unwrap().unwrap();
    let sealed = group.seal(&careless, b"", b"careless").unwrap();
    assert_eq!(groups[1].open(&b, &sealed), Err(MlsError::KeyUsed));
}

/// What a device that was restored and stored nothing since would find.
fn restored_rows(device: &sotto_mls::Device) -> Vec<(Vec<u8>, Vec<u8>)> {
    device.rows()
}

#[test]
fn what_is_flushed_is_there_after_a_restart() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, relay) = group(&[&a, &b], &policy(&[1, 2]));
    for _ in 0..3 {
        let sealed = groups[0].seal(&a, b"", b"x").unwrap();
        groups[1].open(&b, &sealed).unwrap();
    }
    assert!(groups[0].flush(&a).unwrap());
    assert!(!groups[0].flush(&a).unwrap(), "nothing new");
    let again = restored(1, 1, Storage::restore(a.rows()), 1);
    let mut group = Group::restore(&again, name(), None).unwrap().unwrap();
    assert_eq!(group.epoch(), relay.epoch());
    let sealed = group.seal(&again, b"", b"on").unwrap();
    assert_eq!(groups[1].open(&b, &sealed).unwrap().content, b"on");

    let relay_again = PublicView::restore(name(), relay.rows()).unwrap().unwrap();
    assert_eq!(relay_again.leaves().unwrap(), relay.leaves().unwrap());
}

#[test]
fn messages_of_other_epochs_are_read_late_kept_early_or_refused() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
    let old = groups[0].seal(&a, b"", b"old").unwrap();
    let very_old = groups[0].seal(&a, b"", b"very old").unwrap();
    let mut commits = Vec::new();
    for _ in 0..sotto_mls::PAST_EPOCHS {
        let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
        relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
        groups[0].accepted(&a).unwrap();
        commits.push(commit.commit);
    }
    let ahead = groups[0].seal(&a, b"", b"ahead").unwrap();
    assert_eq!(groups[1].open(&b, &ahead), Err(MlsError::FutureEpoch(relay.epoch())));
    for commit in &commits {
        groups[1].process(&b, commit, &listed).unwrap();
    }
    assert_eq!(groups[1].open(&b, &ahead).unwrap().content, b"ahead");
    assert_eq!(groups[1].open(&b, &old).unwrap().content, b"old");
    assert_eq!(groups[1].open(&b, &old), Err(MlsError::KeyUsed), "a second copy is not a second message");

    let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    groups[0].accepted(&a).unwrap();
    groups[1].process(&b, &commit.commit, &listed).unwrap();
    assert_eq!(groups[1].open(&b, &very_old), Err(MlsError::PastEpoch(1)));
    assert_eq!(groups[1].process(&b, &commits[0], &listed), Err(MlsError::PastEpoch(1)));
}

#[test]
fn key_packages_expire_and_the_last_resort_serves_again() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (_, bytes) = b.key_package(LATER, true).unwrap();
    assert!(matches!(CheckedKeyPackage::check(a.provider(), &bytes, LATER), Err(MlsError::Refused(_))));
    for incarnation in 1..=2 {
        let package = CheckedKeyPackage::check(a.provider(), &bytes, NOW).unwrap();
        assert_eq!(package.leaf, b.leaf());
        let name = sotto_mls::GroupName { incarnation, ..name() };
        let (_, _, proposed) = Group::create(&a, name, &policy(&[1, 2]), vec![package]).unwrap();
        Group::join(&b, name, &proposed.welcome.unwrap(), &listed).unwrap();
    }
    let (name_of, bytes) = b.key_package(LATER, false).unwrap();
    b.forget_key_package(&name_of).unwrap();
    let package = CheckedKeyPackage::check(a.provider(), &bytes, UnixMillis(0)).unwrap();
    let name = sotto_mls::GroupName { incarnation: 3, ..name() };
    let (_, _, proposed) = Group::create(&a, name, &policy(&[1, 2]), vec![package]).unwrap();
    assert!(Group::join(&b, name, &proposed.welcome.unwrap(), &listed).is_err(), "its private half is gone");
}

#[test]
fn a_direct_conversation_takes_its_two_accounts_and_their_devices_only() {
    let (a, b, b2, c) = (device(1, 1), device(2, 1), device(2, 2), device(3, 1));
    let two = Policy::new(ConversationKind::Direct, [account(2)], account(1)).unwrap();
    let (mut groups, mut relay) = group(&[&a, &b], &two);
    let third = Policy { accounts: policy(&[1, 2, 3]).accounts, ..two.clone() };
    let changes = Changes { add: vec![package(&a, &c)], policy: Some(third), ..Changes::default() };
    let refused = groups[0]
        .commit(&a, changes, &listed)
        .map(|proposed| relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap_err());
    assert!(matches!(refused, Ok(MlsError::Policy(_))), "{refused:?}");
    groups[0].refused(&a).unwrap();
    let second = Changes { add: vec![package(&a, &b2)], ..Changes::default() };
    let proposed = groups[0].commit(&a, second, &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    assert_eq!(relay.leaves().unwrap().len(), 3);
}

#[test]
fn a_text_of_200_bytes_stays_small() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, _) = group(&[&a, &b], &policy(&[1, 2]));
    let sealed = groups[0].seal(&a, &[7; 40], &[b'x'; 200]).unwrap();
    assert!(sealed.len() <= 420, "{} bytes", sealed.len());
    let longer = groups[0].seal(&a, &[7; 40], &[b'x'; 203]).unwrap();
    assert_eq!(sealed.len(), longer.len(), "lengths that are close look the same");
}

//! What servers and members may try, and how it ends: refused, with nothing changed; or seen, so that the group can
//! be formed anew.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LATER, NOW, account, agree, device, group, listed, name, package, policy, talk};
use proptest::prelude::*;
use sotto_mls::{
    Changes, CheckedKeyPackage, Group, GroupName, MAX_HANDSHAKE, MlsError, PolicyError, Processed,
    PublicView, message_group,
};
use sotto_protocol::{AccountId, DeviceId};

fn not_allowed<T: std::fmt::Debug>(result: Result<T, MlsError>) -> &'static str {
    match result {
        Err(MlsError::Policy(
            PolicyError::NotAllowed(why) | PolicyError::Leaf(why) | PolicyError::Policy(why),
        )) => why,
        other => panic!("expected a refusal by the rules, got {other:?}"),
    }
}

#[test]
fn a_commit_with_a_wrong_confirmation_tag_is_refused_by_members_and_the_group_is_formed_anew_without_its_author()
 {
    let (a, b, evil) = (device(1, 1), device(2, 1), device(3, 1));
    let (mut groups, mut relay) = group(&[&a, &b, &evil], &policy(&[1, 2, 3]));
    let commit = groups[2].commit(&evil, Changes::default(), &listed).unwrap();
    // The tag is at the end, before the membership tag: 1 + 32 bytes each.
    let mut forged = commit.commit.clone();
    let tag = forged.len() - 33 - 16;
    forged[tag] ^= 1;
    relay
        .process(&forged, Some(&commit.group_info), &listed)
        .expect("without a key nobody can check the tag");
    for (at, device) in [&a, &b].into_iter().enumerate() {
        let epoch = groups[at].epoch();
        assert!(groups[at].process(device, &forged, &listed).is_err());
        assert_eq!(groups[at].epoch(), epoch, "a refused commit changes nothing");
    }
    talk(&mut groups[..2], &[&a, &b]);

    // The group under its next incarnation, by the admin, without the offender.
    let again = GroupName { incarnation: 2, ..name() };
    let (first, info, proposed) = Group::create(&a, again, &policy(&[1, 2]), vec![package(&a, &b)]).unwrap();
    let mut relay = PublicView::create(&info, again, &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    let mut anew = vec![first, Group::join(&b, again, &proposed.welcome.unwrap(), &listed).unwrap()];
    anew[0].accepted(&a).unwrap();
    agree(&anew, &relay);
    talk(&mut anew, &[&a, &b]);
}

#[test]
fn who_is_no_admin_changes_no_accounts() {
    let (a, b, c, d) = (device(1, 1), device(2, 1), device(3, 1), device(4, 1));
    let (mut groups, mut relay) = group(&[&a, &b, &c], &policy(&[1, 2, 3]));
    for changes in [
        Changes { add: vec![package(&b, &d)], policy: Some(policy(&[1, 2, 3, 4])), ..Changes::default() },
        Changes { policy: Some(policy(&[1, 2])), ..Changes::default() },
        Changes { add: vec![package(&b, &d)], ..Changes::default() },
        Changes { remove: [c.leaf().device].into(), ..Changes::default() },
        Changes {
            policy: Some(sotto_mls::Policy { admins: policy(&[2]).admins, ..policy(&[1, 2, 3]) }),
            ..Changes::default()
        },
    ] {
        let commit = groups[1].commit(&b, changes, &listed).unwrap();
        not_allowed(relay.process(&commit.commit, Some(&commit.group_info), &listed));
        not_allowed(groups[0].process(&a, &commit.commit, &listed));
        not_allowed(groups[2].process(&c, &commit.commit, &listed));
        groups[1].refused(&b).unwrap();
        agree(&groups, &relay);
    }
    talk(&mut groups, &[&a, &b, &c]);
}

#[test]
fn a_ghost_device_that_no_account_lists_gets_in_nowhere() {
    let (a, b, ghost) = (device(1, 1), device(2, 1), device(2, 9));
    let ghost_device = ghost.leaf().device;
    let signed = move |_: &AccountId, device: &DeviceId| *device != ghost_device;
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));

    // By its key package, which the server slipped in.
    let add = || Changes { add: vec![package(&a, &ghost)], ..Changes::default() };
    not_allowed(groups[0].commit(&a, add(), &signed));
    let commit = groups[0].commit(&a, add(), &listed).unwrap();
    not_allowed(relay.process(&commit.commit, Some(&commit.group_info), &signed));
    not_allowed(groups[1].process(&b, &commit.commit, &signed));
    groups[0].refused(&a).unwrap();

    // By itself, with a group info from the server.
    let info = groups[0].group_info(&a).unwrap();
    let (_, joined) = Group::join_by_commit(&ghost, name(), &info, &listed).unwrap();
    not_allowed(relay.process(&joined.commit, Some(&joined.group_info), &signed));
    not_allowed(groups[0].process(&a, &joined.commit, &signed));
    agree(&groups, &relay);

    // A welcome to a group in which one sits.
    let c = device(3, 1);
    let other = GroupName { incarnation: 5, ..name() };
    let (_, _, proposed) =
        Group::create(&a, other, &policy(&[1, 2, 3]), vec![package(&a, &ghost), package(&a, &c)]).unwrap();
    not_allowed(Group::join(&c, other, &proposed.welcome.unwrap(), &signed));
}

#[test]
fn a_welcome_for_another_group_or_another_device_opens_nothing() {
    let (a, b, c) = (device(1, 1), device(2, 1), device(3, 1));
    let (_, _, proposed) = Group::create(&a, name(), &policy(&[1, 2]), vec![package(&a, &b)]).unwrap();
    let welcome = proposed.welcome.unwrap();
    let other = GroupName { incarnation: 9, ..name() };
    assert_eq!(Group::join(&b, other, &welcome, &listed).map(|_| ()), Err(MlsError::OtherGroup));
    assert!(matches!(Group::join(&c, name(), &welcome, &listed), Err(MlsError::Refused(_))));
    assert!(matches!(Group::join(&b, name(), &proposed.commit, &listed), Err(MlsError::Malformed)));
}

#[test]
fn replayed_reordered_and_forked_commits_move_nobody() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
    let first = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    groups[0].accepted(&a).unwrap();
    let second = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    assert_eq!(groups[1].process(&b, &second.commit, &listed), Err(MlsError::FutureEpoch(2)));
    assert_eq!(
        relay.process(&second.commit, Some(&second.group_info), &listed),
        Err(MlsError::FutureEpoch(2))
    );
    groups[1].process(&b, &first.commit, &listed).unwrap();
    relay.process(&first.commit, Some(&first.group_info), &listed).unwrap();
    assert_eq!(groups[1].process(&b, &first.commit, &listed), Err(MlsError::PastEpoch(1)));
    assert_eq!(relay.process(&first.commit, Some(&first.group_info), &listed), Err(MlsError::PastEpoch(1)));

    // A server that shows two commits of one epoch to two members: the same epoch, and other authenticators.
    groups[0].accepted(&a).unwrap();
    let fork = groups[1].commit(&b, Changes::default(), &listed).unwrap();
    groups[1].accepted(&b).unwrap();
    assert_eq!(groups[0].epoch(), groups[1].epoch());
    assert_ne!(groups[0].authenticator(), groups[1].authenticator(), "what peers compare over their links");
    assert!(groups[0].process(&a, &fork.commit, &listed).is_err());
}

#[test]
fn an_old_group_info_and_one_of_another_group_are_refused() {
    let (a, b, b2) = (device(1, 1), device(2, 1), device(2, 2));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
    let old = groups[0].group_info(&a).unwrap();
    let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    let lie = relay.process(&commit.commit, Some(&old), &listed);
    assert_eq!(not_allowed(lie), "a group info of another group");
    relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
    groups[0].accepted(&a).unwrap();
    groups[1].process(&b, &commit.commit, &listed).unwrap();

    let (late, proposed) = Group::join_by_commit(&b2, name(), &old, &listed).unwrap();
    assert_eq!(
        relay.process(&proposed.commit, Some(&proposed.group_info), &listed),
        Err(MlsError::PastEpoch(1)),
        "who joins with it is told to start anew"
    );
    late.delete(&b2).unwrap();
    let info = groups[0].group_info(&a).unwrap();
    let (joined, proposed) = Group::join_by_commit(&b2, name(), &info, &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    groups[0].process(&a, &proposed.commit, &listed).unwrap();
    groups[1].process(&b, &proposed.commit, &listed).unwrap();
    groups.push(joined);
    agree(&groups, &relay);
}

#[test]
fn a_removed_member_reads_and_says_nothing_any_more() {
    let (a, b, c) = (device(1, 1), device(2, 1), device(3, 1));
    let (mut groups, mut relay) = group(&[&a, &b, &c], &policy(&[1, 2, 3]));
    let out = Changes { policy: Some(policy(&[1, 2])), ..Changes::default() };
    let commit = groups[0].commit(&a, out, &listed).unwrap();
    relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
    groups[0].accepted(&a).unwrap();
    groups[1].process(&b, &commit.commit, &listed).unwrap();
    // It does not take in its own removal, and goes on.
    let secret = groups[0].seal(&a, b"", b"without c").unwrap();
    assert_eq!(groups[2].open(&c, &secret), Err(MlsError::FutureEpoch(2)));
    let proposed = groups[2].commit(&c, Changes::default(), &listed).unwrap();
    assert_eq!(
        relay.process(&proposed.commit, Some(&proposed.group_info), &listed),
        Err(MlsError::PastEpoch(1))
    );
    let info = groups[0].group_info(&a).unwrap();
    not_allowed(Group::join_by_commit(&c, name(), &info, &listed));
}

#[test]
fn a_group_does_not_keep_a_member_who_left() {
    let (a, b, c) = (device(1, 1), device(2, 1), device(3, 1));
    let (mut groups, mut relay) = group(&[&a, &b, &c], &policy(&[1, 2, 3]));
    // This admin has not heard of it, and commits without.
    let leave = groups[2].leave(&c).unwrap();
    assert_eq!(relay.process(&leave, None, &listed), Ok(Processed::Leaves(c.leaf())));
    let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    not_allowed(relay.process(&commit.commit, Some(&commit.group_info), &listed));
    groups[0].refused(&a).unwrap();
    assert_eq!(groups[0].process(&a, &leave, &listed), Ok(Processed::Leaves(c.leaf())));
    let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
    relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
    assert_eq!(relay.leaves().unwrap().len(), 2);
    assert!(!relay.policy().unwrap().has(&account(3)));
}

#[test]
fn an_expired_swapped_or_oversized_key_package_is_refused() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (_, bytes) = b.key_package(NOW, false).unwrap();
    assert!(matches!(CheckedKeyPackage::check(a.provider(), &bytes, NOW), Err(MlsError::Refused(_))));
    let (_, bytes) = b.key_package(LATER, false).unwrap();
    assert!(matches!(CheckedKeyPackage::check(a.provider(), &vec![0; 10_000], NOW), Err(MlsError::TooLarge)));
    // A server that puts another account's name on it breaks the leaf's signature.
    let at = bytes.windows(32).position(|window| window == [2; 32]).unwrap();
    let mut swapped = bytes.clone();
    swapped[at..at + 32].fill(9);
    assert!(matches!(CheckedKeyPackage::check(a.provider(), &swapped, NOW), Err(MlsError::Refused(_))));
}

#[test]
fn what_is_too_large_is_not_even_read() {
    let (a, b) = (device(1, 1), device(2, 1));
    let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
    let large = vec![0; MAX_HANDSHAKE + 1];
    assert_eq!(groups[0].process(&a, &large, &listed), Err(MlsError::TooLarge));
    assert_eq!(groups[0].open(&a, &large), Err(MlsError::TooLarge));
    assert_eq!(relay.process(&large, None, &listed), Err(MlsError::TooLarge));
    assert_eq!(Group::join(&b, name(), &vec![0; 300_000], &listed).map(|_| ()), Err(MlsError::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A flipped bit anywhere, in anything: an error, nothing changed, and the true message still works after.
    #[test]
    fn a_flipped_bit_is_refused_and_harms_nothing(bit in 0usize..100_000) {
        let (a, b) = (device(1, 1), device(2, 1));
        let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let sealed = groups[0].seal(&a, b"aad", b"content").unwrap();
        prop_assert!(groups[1].open(&b, &flip(&sealed)).is_err());
        prop_assert_eq!(groups[1].open(&b, &sealed).unwrap().content, b"content");

        let commit = groups[0].commit(&a, Changes::default(), &listed).unwrap();
        let epoch = groups[1].epoch();
        prop_assert!(groups[1].process(&b, &flip(&commit.commit), &listed).is_err());
        prop_assert_eq!(groups[1].epoch(), epoch);
        prop_assert!(relay.process(&commit.commit, Some(&flip(&commit.group_info)), &listed).is_err());
        prop_assert_eq!(relay.epoch(), epoch);
        relay.process(&commit.commit, Some(&commit.group_info), &listed).unwrap();
        groups[1].process(&b, &commit.commit, &listed).unwrap();

        let (_, bytes) = b.key_package(LATER, false).unwrap();
        prop_assert!(CheckedKeyPackage::check(a.provider(), &flip(&bytes), NOW).is_err());
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u8..6) {
        let (a, b) = (device(1, 1), device(2, 1));
        let (mut groups, mut relay) = group(&[&a, &b], &policy(&[1, 2]));
        // With the header of a message of MLS 1.0 of some kind, so that it gets further than the first byte.
        let bytes = [&[0, 1, 0, kind][..], &bytes].concat();
        let _ = message_group(&bytes);
        prop_assert!(groups[0].process(&a, &bytes, &listed).is_err());
        prop_assert!(groups[0].open(&a, &bytes).is_err());
        prop_assert!(relay.process(&bytes, None, &listed).is_err());
        prop_assert!(Group::join(&b, name(), &bytes, &listed).is_err());
        prop_assert!(Group::join_by_commit(&b, name(), &bytes, &listed).is_err());
        prop_assert!(PublicView::create(&bytes, name(), &listed).is_err());
        prop_assert!(CheckedKeyPackage::check(a.provider(), &bytes, NOW).is_err());
    }
}

//! The relay's frames as bytes: each comes back as it was, has the bytes it had in the last release, and no bytes make
//! the decoder panic.

#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use sotto_protocol::cbor::{self, Blob, Bounded, Text};
use sotto_protocol::limits::{MAX_RELAY_MESSAGE, MAX_RUN};
use sotto_protocol::membership::{Action, Change, Membership, SignedChange};
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Held, RELAY_VERSION, Request, Run};
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, FrameBody, Hash, LogEpoch, MembershipEpoch,
    Position, Seq, Signature,
};

const ID: ConversationId = ConversationId([2; 16]);
const DEVICE: DeviceId = DeviceId([3; 16]);
const ACCOUNT: AccountId = AccountId([4; 32]);

fn frames(count: u64) -> Vec<Frame> {
    let bodies = (1..=count).map(|seq| FrameBody {
        conversation: ID,
        device: DEVICE,
        seq: Seq(seq),
        sealed: Blob::new(&b"sealed"[..]).unwrap(),
    });
    Frame::sign_all(bodies.collect(), |_| Signature([5; 64]))
}

fn change() -> SignedChange {
    let change = Change {
        conversation: ID,
        epoch: MembershipEpoch(1),
        account: ACCOUNT,
        device: DEVICE,
        action: Action::Create {
            kind: ConversationKind::Group,
            members: Bounded::new(vec![ACCOUNT]).unwrap(),
        },
    };
    SignedChange::sign(&change, |_| Signature([6; 64]))
}

fn requests() -> Vec<Request> {
    vec![
        Request::Authenticate { version: RELAY_VERSION, token: Text::new("token").unwrap() },
        Request::Commit { change: change() },
        Request::Append { frame: frames(1).remove(0) },
        Request::Append { frame: frames(3).remove(1) },
        Request::Subscribe { conversation: ID, log_epoch: LogEpoch(1), after: Position(300), held: None },
        Request::Subscribe {
            conversation: ID,
            log_epoch: LogEpoch(1),
            after: Position(300),
            held: Held::of(&[Hash([7; 32]), Hash([8; 32])]),
        },
        Request::Unsubscribe { conversation: ID },
        Request::Cursor { conversation: ID, position: Position(7), receipt: Blob::new(&b"r"[..]) },
        Request::Cursor { conversation: ID, position: Position(7), receipt: None },
        Request::Ephemeral { conversation: ID, sealed: Blob::new(&b"typing"[..]).unwrap() },
    ]
}

fn events() -> Vec<Event> {
    let (conversation, device) = (ID, DEVICE);
    let entry = |body| Event::Entry { conversation, position: Position(9), body };
    vec![
        Event::Ready { version: RELAY_VERSION, account: ACCOUNT, device },
        Event::Conversation {
            conversation,
            membership: Membership {
                kind: ConversationKind::Group,
                epoch: MembershipEpoch(2),
                members: [(ACCOUNT, Position(1)), (AccountId([1; 32]), Position(4))].into(),
            },
            log_epoch: LogEpoch(1),
            head: Position(9),
        },
        Event::Listed {},
        Event::Subscribed { conversation, log_epoch: LogEpoch(1), head: Position(9), last_seq: Seq(3) },
        Event::RolledBack { conversation, log_epoch: LogEpoch(2), common: Position(5) },
        Event::Trimmed { conversation, floor: Position(6) },
        entry(EntryBody::Message(frames(1).remove(0))),
        entry(EntryBody::Membership(change())),
        entry(EntryBody::Known(device, Seq(3), Run::new(40).unwrap())),
        Event::Live { conversation, head: Position(9) },
        Event::Appended {
            conversation,
            device,
            seq: Seq(3),
            position: Position(9),
            run: Run::new(40).unwrap(),
        },
        Event::Conflict { conversation, device, seq: Seq(2), position: Position(8), last_seq: Seq(3) },
        Event::Nack { conversation, device, expected: Seq(4) },
        Event::AppendRefused { conversation, device, seq: Seq(3), code: ErrorCode::BadAuthor },
        Event::Committed { conversation, epoch: MembershipEpoch(2) },
        Event::CommitRefused {
            conversation,
            current: MembershipEpoch(2),
            code: ErrorCode::Epoch,
            detail: Text::truncated("why"),
        },
        Event::Cursor { conversation, device, position: Position(7), receipt: Blob::new(&b"r"[..]) },
        Event::Ephemeral { conversation, device, sealed: Blob::new(&b"typing"[..]).unwrap() },
        Event::Error {
            code: ErrorCode::Unavailable,
            conversation: Some(conversation),
            detail: Text::truncated("why"),
        },
        Event::Drain { reconnect_in_ms: 1_500 },
    ]
}

#[test]
fn every_frame_comes_back_as_it_was_alone_and_in_sequence() {
    for request in requests() {
        assert_eq!(cbor::decode::<Request>(&cbor::encode(&request), MAX_RELAY_MESSAGE), Ok(request));
    }
    let mut together = Vec::new();
    for event in events() {
        cbor::encode_into(&event, &mut together);
        assert_eq!(cbor::decode::<Event>(&cbor::encode(&event), MAX_RELAY_MESSAGE), Ok(event));
    }
    assert_eq!(cbor::decode_sequence::<Event>(&together, MAX_RELAY_MESSAGE), Ok(events()));
}

#[test]
fn the_bytes_of_a_frame_do_not_change_between_versions() {
    let mut text = String::new();
    for request in requests() {
        text += &line(&format!("{request:?}"), &cbor::encode(&request));
    }
    for event in events() {
        text += &line(&format!("{event:?}"), &cbor::encode(&event));
    }
    insta::assert_snapshot!("relay_frames", text);
}

/// A frame's name, its length, its first bytes and a hash of all.
fn line(name: &str, bytes: &[u8]) -> String {
    let name = name.split([' ', '{']).next().unwrap_or_default();
    let start: String = bytes.iter().take(24).map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {} {start} {}\n", bytes.len(), Hash::of(&[bytes]))
}

#[test]
fn a_frame_cut_short_anywhere_is_refused() {
    for request in requests() {
        let bytes = cbor::encode(&request);
        for end in 0..bytes.len() {
            assert!(cbor::decode_sequence::<Request>(&bytes[..end], MAX_RELAY_MESSAGE).is_err());
        }
    }
}

#[test]
fn what_is_over_its_bound_is_refused_and_named() {
    // A receipt of a byte too many.
    let good = Request::Cursor {
        conversation: ID,
        position: Position(1),
        receipt: Blob::new(vec![0; sotto_protocol::limits::MAX_RECEIPT]),
    };
    let mut bytes = cbor::encode(&good);
    let length = bytes.len() - sotto_protocol::limits::MAX_RECEIPT - 2;
    bytes[length + 1] += 1;
    bytes.push(0);
    let error = cbor::decode::<Request>(&bytes, MAX_RELAY_MESSAGE).unwrap_err();
    assert!(error.to_string().contains("16385 bytes, 16384 allowed"), "{error}");
}

#[test]
fn a_run_has_at_least_one_message_and_no_more_than_a_batch() {
    let appended =
        |run| Event::Appended { conversation: ID, device: DEVICE, seq: Seq(1), position: Position(2), run };
    let bytes = cbor::encode(&appended(Run::new(MAX_RUN as usize).unwrap()));
    // The run is the last field: an integer of three bytes.
    let with = |run: u16| {
        let head = &bytes[..bytes.len() - 3];
        let run = if run < 24 { vec![run as u8] } else { [&[0x19][..], &run.to_be_bytes()].concat() };
        cbor::decode::<Event>(&[head, &run].concat(), MAX_RELAY_MESSAGE)
    };
    assert_eq!(with(1), Ok(appended(Run::ONE)));
    for run in [0, MAX_RUN as u16 + 1, u16::MAX] {
        let error = with(run).unwrap_err().to_string();
        assert!(error.contains(&format!("run of {run}, 1 to {MAX_RUN} allowed")), "{error}");
    }
    let places: Vec<_> = Run::new(3).unwrap().places(Seq(7), Position(9)).collect();
    assert_eq!(places, [(Seq(7), Position(9)), (Seq(8), Position(10)), (Seq(9), Position(11))]);
    let last = Run::new(2).unwrap().places(Seq(u64::MAX), Position(u64::MAX)).last();
    assert_eq!(last, Some((Seq(u64::MAX), Position(u64::MAX))), "hostile numbers do not wrap");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = cbor::decode_sequence::<Request>(&bytes, MAX_RELAY_MESSAGE);
        let _ = cbor::decode_sequence::<Event>(&bytes, MAX_RELAY_MESSAGE);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_means_something_else(which in 0usize..9, bit in 0usize..4_000) {
        let request = requests().remove(which);
        let mut bytes = cbor::encode(&request);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_ne!(cbor::decode::<Request>(&bytes, MAX_RELAY_MESSAGE), Ok(request));
    }
}

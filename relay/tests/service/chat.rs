use std::sync::atomic::Ordering;

use sotto_protocol::cbor;
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Request, Run};
use sotto_protocol::{MembershipEpoch, Position, Seq};

use crate::server::{GROUP, Server, appended, person};

#[tokio::test]
async fn two_clients_meet_in_a_conversation_and_see_each_others_messages_in_one_order() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    a.send(&ann.create(&[&ann, &bob])).await;
    let committed = Event::Committed { conversation: GROUP, epoch: MembershipEpoch(1) };
    assert_eq!(a.next().await, Some(committed));
    b.find(|event| matches!(event, Event::Conversation { .. })).await;
    for client in [&mut a, &mut b] {
        client.subscribe(0).await;
        client.find(|event| matches!(event, Event::Live { .. })).await;
    }
    let (hello, hi) = (ann.frame(1, "hello"), bob.frame(1, "hi"));
    a.append(&hello).await;
    assert_eq!(a.next().await, Some(appended(&hello, 2)));
    b.append(&hi).await;
    let expected =
        [(2, EntryBody::Known(ann.device, hello.id().seq, Run::ONE)), (3, EntryBody::Message(hi.clone()))];
    for (position, body) in expected {
        let entry = Event::Entry { conversation: GROUP, position: Position(position), body };
        assert_eq!(a.next().await, Some(entry));
    }
    b.find(|event| *event == appended(&hi, 3)).await;
}

#[tokio::test]
async fn two_thousand_messages_sent_at_once_arrive_in_order_and_share_batches() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    a.send(&ann.create(&[&ann, &bob])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    b.find(|event| matches!(event, Event::Conversation { .. })).await;
    b.subscribe(0).await;
    let before = server.relay.metrics().batches.load(Ordering::Relaxed);
    let frames: Vec<_> = (1..=2_000).map(|seq| ann.frame(seq, "of a burst")).collect();
    let sender = async {
        // Several requests in a message, as a client that catches up sends them.
        for some in frames.chunks(50) {
            let mut message = Vec::new();
            for frame in some {
                cbor::encode_into(&Request::Append { frame: frame.clone() }, &mut message);
            }
            a.send_raw(message).await;
            let (mut next, last) = (some[0].id().seq, some[some.len() - 1].id().seq);
            while next <= last {
                let Some(Event::Appended { seq, position, run, .. }) = a.next().await else {
                    panic!("an append is not acknowledged")
                };
                assert_eq!((seq, position), (next, Position(next.0 + 1)));
                next = Seq(next.0 + run.messages());
            }
        }
    };
    let receiver = async {
        for expected in 1..=2_001 {
            let entry = b.find(|event| matches!(event, Event::Entry { .. })).await;
            assert!(matches!(entry, Event::Entry { position: Position(at), .. } if at == expected));
        }
    };
    tokio::join!(sender, receiver);
    let batches = server.relay.metrics().batches.load(Ordering::Relaxed) - before;
    assert!(batches <= 100, "{batches} batches for 2,000 messages in 40 frames");
    assert_eq!(server.relay.metrics().appended.load(Ordering::Relaxed), 2_000);
}

#[tokio::test]
async fn a_full_disk_is_answered_unavailable_and_the_next_try_is_stored() {
    let server = Server::start().await;
    let ann = person(1);
    let mut a = server.sign_in(&ann).await;
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    server.disk.full.store(true, Ordering::SeqCst);
    let frame = ann.frame(1, "kept by its sender");
    a.append(&frame).await;
    let refused = a.next().await;
    let code = ErrorCode::Unavailable;
    assert!(
        matches!(&refused, Some(Event::Error { code: c, conversation: Some(GROUP), .. }) if *c == code),
        "{refused:?}"
    );
    server.disk.full.store(false, Ordering::SeqCst);
    a.append(&frame).await;
    assert_eq!(a.next().await, Some(appended(&frame, 2)));
    assert_eq!(server.relay.metrics().failures.load(Ordering::Relaxed), 1);
}

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_relay::access::Revocation;
use sotto_relay::{Config, Timing};

use crate::bad_input::upgrade;
use crate::server::{AWAY, NEVER, Server, appended, person};

fn unauthenticated(event: &Event) -> bool {
    matches!(event, Event::Error { code: ErrorCode::Unauthenticated, .. })
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let server = Server::start().await;
    let mut a = server.open().await;
    a.authenticate(&person(1).token(Duration::from_millis(400))).await;
    let events = a.rest().await;
    assert!(matches!(events[0], Event::Ready { .. }), "{events:?}");
    assert!(unauthenticated(events.last().unwrap()), "{events:?}");
}

#[tokio::test]
async fn a_renewed_token_keeps_the_socket() {
    let server = Server::start().await;
    let ann = person(1);
    let mut a = server.open().await;
    let until = Instant::now() + Duration::from_millis(1_500);
    a.authenticate(&ann.token(Duration::from_millis(1_500))).await;
    a.authenticate(&ann.token(Duration::from_secs(600))).await;
    a.find(|event| matches!(event, Event::Listed {})).await;
    tokio::time::sleep_until((until + Duration::from_millis(100)).into()).await;
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Committed { .. })).await;
}

#[tokio::test]
async fn a_renewal_that_cannot_be_checked_now_leaves_the_socket_as_it_was() {
    let server = Server::start().await;
    let ann = person(1);
    let mut a = server.sign_in(&ann).await;
    a.authenticate(AWAY).await;
    let answer = a.next().await;
    assert!(matches!(answer, Some(Event::Error { code: ErrorCode::Unavailable, .. })), "{answer:?}");
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Committed { .. })).await;
}

#[tokio::test]
async fn another_devices_token_does_not_renew() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let mut a = server.sign_in(&ann).await;
    a.authenticate(&bob.token(Duration::from_secs(600))).await;
    assert!(a.rest().await.iter().any(unauthenticated));
}

#[tokio::test]
async fn a_revoked_devices_socket_closes_within_a_second() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    let start = Instant::now();
    server.revocations.send(Revocation::Device(ann.device)).unwrap();
    assert!(a.rest().await.iter().any(unauthenticated));
    server.revocations.send(Revocation::Account(bob.account)).unwrap();
    assert!(b.rest().await.iter().any(unauthenticated));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_revoked_device_that_does_not_read_is_closed_as_well() {
    let server = Server::start().await;
    let ann = person(1);
    let a = server.sign_in(&ann).await;
    server.revocations.send(Revocation::Device(ann.device)).unwrap();
    server.until("closed", |metrics| metrics.sockets.load(Ordering::Relaxed) == 0).await;
    drop(a);
}

#[tokio::test]
async fn the_relay_goes_on_when_nobody_can_revoke_any_more() {
    let mut server = Server::start().await;
    let (unused, _) = tokio::sync::broadcast::channel(1);
    drop(std::mem::replace(&mut server.revocations, unused));
    let ann = person(1);
    let mut a = server.sign_in(&ann).await;
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Committed { .. })).await;
}

#[tokio::test]
async fn a_connection_that_is_lost_is_no_malformed_frame() {
    let server = Server::start().await;
    drop(server.sign_in(&person(1)).await);
    server.until("closed", |metrics| metrics.sockets.load(Ordering::Relaxed) == 0).await;
    assert_eq!(server.relay.metrics().malformed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go() {
    let timing = Timing { ping: Duration::from_millis(100), ..Timing::default() };
    let server = Server::with(Config::default(), timing).await;
    let mut lively = server.sign_in(&person(2)).await;
    let silent = server.sign_in(&person(1)).await;
    // The lively one answers pings as it reads; the other is not even polled.
    let reading = lively.next();
    let gone = server.until("gone", |metrics| metrics.sockets.load(Ordering::Relaxed) == 1);
    tokio::select! {
        event = reading => panic!("the lively client got {event:?}"),
        () = gone => {}
    }
    drop(silent);
}

#[tokio::test]
async fn a_drain_acknowledges_what_is_under_way_tells_when_to_come_back_and_closes() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    // The disk is slow: the append is under way when the drain begins.
    let gate = server.disk.gate.acquire().await.unwrap();
    let frame = ann.frame(1, "last words");
    a.append(&frame).await;
    // Handled once a later request of the same socket is answered.
    let conversation = sotto_protocol::ConversationId::group([8; 15]);
    a.send(&Request::Ephemeral { conversation, sealed: Default::default() }).await;
    a.find(|event| matches!(event, Event::Error { .. })).await;
    let relay = server.relay.clone();
    let drain = tokio::spawn(async move { relay.drain(Duration::from_secs(8)).await });
    let told = [a.next().await.unwrap(), b.next().await.unwrap()];
    let waits = told.map(|event| match event {
        Event::Drain { reconnect_in_ms } => reconnect_in_ms,
        other => panic!("expected a drain, got {other:?}"),
    });
    assert_ne!(waits[0], waits[1], "all would come back at once");
    assert!(waits.iter().all(|wait| *wait <= 8_000));
    assert!(!drain.is_finished());
    let refused = upgrade(&server, "").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    drop(gate);
    assert_eq!(a.rest().await, [appended(&frame, 2)]);
    assert!(b.rest().await.is_empty());
    tokio::time::timeout(NEVER, drain).await.unwrap().unwrap();
}

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::SinkExt;
use sotto_protocol::cbor::{self, Blob, Text};
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{ConversationId, LogEpoch, Position, Seq, limits};
use sotto_relay::{Config, Timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{GROUP, NEVER, Server, appended, person};

fn code(events: &[Event]) -> Option<(ErrorCode, String)> {
    match events {
        [Event::Error { code, detail, .. }] => Some((*code, detail.to_string())),
        _ => None,
    }
}

#[tokio::test]
async fn malformed_frames_are_named_and_end_the_socket_alone() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let mut b = server.sign_in(&bob).await;
    let frame = cbor::encode(&Request::Append { frame: ann.frame(1, "whole") });
    let mut flipped = frame.clone();
    flipped[1] ^= 0x20;
    let two_fields = [&frame[..], &[0xff]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("noise", vec![0xde, 0xad, 0xbe, 0xef]),
        ("truncated", frame[..frame.len() - 1].to_vec()),
        ("of another shape", flipped),
        ("with bytes after it", two_fields),
        ("of a length that lies", vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("too long", vec![0; limits::MAX_RELAY_MESSAGE + 1]),
        ("nested deeply", vec![0x81; 1_000]),
    ];
    let count = cases.len() as u64;
    for (name, bytes) in cases {
        let mut a = server.sign_in(&ann).await;
        a.send_raw(bytes).await;
        let events = a.rest().await;
        let (code, detail) = code(&events).unwrap_or_else(|| panic!("{name}: {events:?}"));
        assert_eq!(code, ErrorCode::Malformed, "{name}");
        assert!(!detail.is_empty());
    }
    let mut a = server.sign_in(&ann).await;
    let subscribe =
        Request::Subscribe { conversation: GROUP, log_epoch: LogEpoch(0), after: Position(0), held: None };
    let mut wrong = cbor::encode(&subscribe);
    *wrong.last_mut().unwrap() = 0xf5; // true, where `after` is a number
    a.send_raw(wrong).await;
    let (code_of_wrong, detail) = code(&a.rest().await).unwrap();
    assert_eq!(code_of_wrong, ErrorCode::Malformed);
    assert!(detail.starts_with("field 1.2: "), "{detail}");
    let mut a = server.sign_in(&ann).await;
    a.socket.send(Message::Text("{}".into())).await.unwrap();
    assert_eq!(code(&a.rest().await).unwrap().0, ErrorCode::Malformed);
    assert_eq!(server.relay.metrics().malformed.load(Ordering::Relaxed), count + 2);
    // Nobody else noticed.
    b.send(&bob.create(&[&bob])).await;
    b.find(|event| matches!(event, Event::Committed { .. })).await;
}

#[tokio::test]
async fn without_a_good_token_first_nothing_is_answered_but_the_error() {
    let server = Server::start().await;
    let ann = person(1);
    let authenticate =
        |version, token: String| Request::Authenticate { version, token: Text::new(token).unwrap() };
    let good = ann.token(Duration::from_secs(60));
    let cases = [
        (authenticate(1, "forged".into()), ErrorCode::Unauthenticated),
        (authenticate(1, String::new()), ErrorCode::Unauthenticated),
        (authenticate(1, ann.token(Duration::ZERO)), ErrorCode::Unauthenticated),
        (authenticate(2, good), ErrorCode::Version),
        (Request::Append { frame: ann.frame(1, "first") }, ErrorCode::Unauthenticated),
    ];
    for (request, expected) in cases {
        let mut client = server.open().await;
        client.send(&request).await;
        assert_eq!(code(&client.rest().await).unwrap().0, expected);
    }
    let mut client = server.open().await;
    client.send_raw(vec![0xff]).await;
    assert_eq!(code(&client.rest().await).unwrap().0, ErrorCode::Malformed);
}

#[tokio::test]
async fn who_does_not_say_who_it_is_in_time_is_let_go() {
    let timing = Timing { authenticate: Duration::from_millis(50), ..Timing::default() };
    let server = Server::with(Config::default(), timing).await;
    let mut client = server.open().await;
    assert_eq!(code(&client.rest().await).unwrap().0, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_socket_that_never_reads_is_cut_off_and_the_others_are_unharmed() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    a.send(&ann.create(&[&ann, &bob])).await;
    a.find(|event| matches!(event, Event::Committed { .. })).await;
    b.find(|event| matches!(event, Event::Conversation { .. })).await;
    // Bob asks and asks, and reads no answer.
    let mut many = Vec::new();
    for _ in 0..1_000 {
        let request = Request::Subscribe {
            conversation: ConversationId::group([9; 15]),
            log_epoch: LogEpoch(0),
            after: Position(0),
            held: None,
        };
        cbor::encode_into(&request, &mut many);
    }
    let flood = async { while b.socket.send(Message::Binary(many.clone().into())).await.is_ok() {} };
    let chat = async {
        let mut seq = 0;
        while server.relay.metrics().cut.load(Ordering::Relaxed) == 0 {
            seq += 1;
            let frame = ann.frame(seq, "goes on");
            a.append(&frame).await;
            a.find(|event| *event == appended(&frame, seq + 1)).await;
        }
    };
    tokio::time::timeout(NEVER, async { tokio::join!(flood, chat) }).await.expect("never cut off");
    server.until("closed", |metrics| metrics.sockets.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_socket_that_takes_no_entries_is_cut_off_too() {
    let timing = Timing { stall: Duration::from_millis(300), ..Timing::default() };
    let server = Server::with(Config::default(), timing).await;
    let (ann, bob) = (person(1), person(2));
    let (mut a, mut b) = (server.sign_in(&ann).await, server.sign_in(&bob).await);
    a.send(&ann.create(&[&ann, &bob])).await;
    a.find(|event| matches!(event, Event::Committed { .. })).await;
    b.find(|event| matches!(event, Event::Conversation { .. })).await;
    b.subscribe(0).await;
    let text = "long ".repeat(6_000);
    let mut seq = 0;
    while server.relay.metrics().cut.load(Ordering::Relaxed) == 0 {
        seq += 1;
        let frame = ann.frame(seq, &text);
        a.append(&frame).await;
        a.find(|event| *event == appended(&frame, seq + 1)).await;
    }
    server.until("closed", |metrics| metrics.sockets.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_answered_one_by_one() {
    let server = Server::start().await;
    let ann = person(1);
    let mut a = server.sign_in(&ann).await;
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    for n in 0u32..10_000 {
        let mut random = [7; 15];
        random[..4].copy_from_slice(&n.to_be_bytes());
        let conversation = ConversationId::group(random);
        let request =
            Request::Subscribe { conversation, log_epoch: LogEpoch(0), after: Position(0), held: None };
        a.send(&request).await;
        let answer = a.next().await;
        assert!(
            matches!(&answer, Some(Event::Error { code: ErrorCode::NotAMember, conversation: Some(c), .. })
                if *c == conversation),
            "{answer:?}"
        );
    }
    a.subscribe(0).await;
    a.find(|event| matches!(event, Event::Live { .. })).await;
}

#[tokio::test]
async fn a_position_beyond_the_head_is_refused_and_the_socket_stays() {
    let server = Server::start().await;
    let ann = person(1);
    let mut a = server.sign_in(&ann).await;
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    for position in [2, u64::MAX] {
        let position = Position(position);
        a.send(&Request::Cursor { conversation: GROUP, position, receipt: None }).await;
        let answer = a.next().await;
        assert!(
            matches!(&answer, Some(Event::Error { code: ErrorCode::BeyondHead, detail, .. })
                if detail.starts_with("position")),
            "{answer:?}"
        );
    }
    a.subscribe(u64::MAX).await;
    let answer = a.next().await;
    assert!(matches!(answer, Some(Event::RolledBack { common: Position(1), .. })), "{answer:?}");
}

#[tokio::test]
async fn who_is_no_member_is_told_so_for_whatever_it_asks_and_nobody_else_hears_of_it() {
    let server = Server::start().await;
    let (ann, eve) = (person(1), person(9));
    let (mut a, mut e) = (server.sign_in(&ann).await, server.sign_in(&eve).await);
    a.send(&ann.create(&[&ann])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    a.subscribe(0).await;
    a.find(|event| matches!(event, Event::Live { .. })).await;
    let sealed = Blob::new(&b"typing"[..]).unwrap();
    for request in [
        Request::Subscribe { conversation: GROUP, log_epoch: LogEpoch(0), after: Position(0), held: None },
        Request::Cursor { conversation: GROUP, position: Position(1), receipt: None },
        Request::Ephemeral { conversation: GROUP, sealed },
    ] {
        e.send(&request).await;
        let answer = e.next().await;
        assert!(
            matches!(&answer, Some(Event::Error { code: ErrorCode::NotAMember, conversation: Some(GROUP), detail })
                if detail.starts_with("conversation: ")),
            "{answer:?}"
        );
    }
    e.append(&eve.frame(1, "let me in")).await;
    let answer = e.next().await;
    assert!(matches!(answer, Some(Event::AppendRefused { code: ErrorCode::NotAMember, .. })), "{answer:?}");
    e.send(&eve.leave()).await;
    let answer = e.next().await;
    assert!(
        matches!(&answer, Some(Event::CommitRefused { code: ErrorCode::NotAMember, current, detail, .. })
            if current.0 == 0 && detail.starts_with("conversation: ")),
        "{answer:?}"
    );
    // Her socket stays, and Ann's next event is of her own doing.
    e.send(&Request::Unsubscribe { conversation: GROUP }).await;
    let frame = ann.frame(1, "alone");
    a.append(&frame).await;
    assert_eq!(a.next().await, Some(appended(&frame, 2)));
}

#[tokio::test]
async fn seqs_that_go_back_jump_or_are_used_twice_and_forged_frames_are_answered_and_the_socket_stays() {
    let server = Server::start().await;
    let (ann, bob) = (person(1), person(2));
    let mut a = server.sign_in(&ann).await;
    a.send(&ann.create(&[&ann, &bob])).await;
    a.find(|event| matches!(event, Event::Conversation { .. })).await;
    let frames = [ann.frame(1, "one"), ann.frame(2, "two"), ann.frame(3, "three")];
    for (frame, position) in frames.iter().zip(2..) {
        a.append(frame).await;
        assert_eq!(a.next().await, Some(appended(frame, position)));
    }
    let (conversation, device) = (GROUP, ann.device);
    // Back, and the same: it stands where it stood.
    a.append(&frames[0]).await;
    assert_eq!(a.next().await, Some(appended(&frames[0], 2)));
    for seq in [5, 1_000_000, u64::MAX] {
        a.append(&ann.frame(seq, "jumps")).await;
        assert_eq!(a.next().await, Some(Event::Nack { conversation, device, expected: Seq(4) }));
    }
    a.append(&ann.frame(2, "another two")).await;
    let conflict =
        Event::Conflict { conversation, device, seq: Seq(2), position: Position(3), last_seq: Seq(3) };
    assert_eq!(a.next().await, Some(conflict));
    // In Bob's name, by Ann's key.
    let forged = ann.frame_in_the_name_of(&bob, 1, "I owe Ann 100");
    a.append(&forged).await;
    let answer = a.next().await;
    assert!(
        matches!(answer, Some(Event::AppendRefused { device, code: ErrorCode::BadAuthor, .. }) if device == bob.device),
        "{answer:?}"
    );
    let four = ann.frame(4, "four");
    a.append(&four).await;
    assert_eq!(a.next().await, Some(appended(&four, 5)), "nothing of all that took a place");
}

#[tokio::test]
async fn a_request_that_is_no_websocket_is_a_problem_document() {
    let server = Server::start().await;
    let answer = ask(&server, "GET /v1/relay HTTP/1.1\r\nConnection: close\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("application/problem+json"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let problem: sotto_protocol::rest::Problem = serde_json::from_str(body).unwrap();
    assert_eq!((problem.status, problem.kind.as_str()), (426, "urn:sotto:problem:not-a-websocket"));
}

#[tokio::test]
async fn only_pages_of_allowed_origins_get_in() {
    let config = Config { origins: vec!["https://chat.example".into()], ..Config::default() };
    let server = Server::with(config, Timing::default()).await;
    for (origin, expected) in [
        ("Origin: https://chat.example\r\n", "HTTP/1.1 101"),
        ("", "HTTP/1.1 101"),
        ("Origin: https://evil.example\r\n", "HTTP/1.1 403"),
        ("Origin: https://chat.example.evil\r\n", "HTTP/1.1 403"),
        ("Origin: null\r\n", "HTTP/1.1 403"),
        ("Origin: \u{ff}\r\n", "HTTP/1.1 403"),
    ] {
        let answer = upgrade(&server, origin).await;
        assert!(answer.starts_with(expected), "{origin}: {answer}");
        if expected.ends_with("403") {
            assert!(answer.contains("application/problem+json"));
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            let problem: sotto_protocol::rest::Problem = serde_json::from_str(body).unwrap();
            assert_eq!((problem.status, problem.field.as_deref()), (403, Some("Origin")));
        }
    }
}

/// What the server says to a hand-made upgrade.
pub async fn upgrade(server: &Server, headers: &str) -> String {
    let upgrade = "GET /v1/relay HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    ask(server, &format!("{upgrade}{headers}")).await
}

/// What the server says to a request by hand, without its Host and its end.
async fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("{request}Host: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !complete(&answer) {
        let mut some = [0; 1_024];
        let read = stream.read(&mut some).await.unwrap();
        assert!(read > 0, "closed early");
        answer.extend_from_slice(&some[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

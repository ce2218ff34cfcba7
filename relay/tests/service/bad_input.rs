use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::SinkExt;
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{ConversationId, LogEpoch, Position, limits};
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
    a.socket.send(Message::Text("{}".into())).await.unwrap();
    assert_eq!(code(&a.rest().await).unwrap().0, ErrorCode::Malformed);
    assert_eq!(server.relay.metrics().malformed.load(Ordering::Relaxed), count + 1);
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
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /v1/relay HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n",
        server.address
    );
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

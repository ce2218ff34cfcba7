use std::time::Duration;

use serde_json::json;
use sotto_protocol::limits::{MAX_SIGNAL_MESSAGE, MAX_SIGNAL_PAYLOAD};
use sotto_signaling::{Config, Rate, RateLimits, Signaling};

use crate::harness::{ORIGIN, Server, config, pool, until};
use crate::people::{Person, Socket};

const UPGRADE: &str = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

#[tokio::test]
async fn a_signal_reaches_the_device_with_its_sender_named() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let (mut a, mut b) = (alice.socket(&server).await, bob.socket(&server).await);
    a.send(json!({"type": "signal", "to": bob.device.device(), "payload": "offer"})).await;
    let signal = json!({
        "type": "signal", "from": alice.device.device(), "account": alice.account(), "payload": "offer",
    });
    assert_eq!(b.next().await, signal);
    a.send(json!({"type": "ping"})).await;
    assert_eq!(a.next().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_signal_to_a_device_that_is_not_there_is_unreachable() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let mut a = alice.socket(&server).await;
    bob.socket(&server).await.say_goodbye().await;
    until("bob's socket is gone", async || server.signaling.metrics().sockets == 1).await;
    for to in [bob.device.device().to_string(), "00".repeat(16)] {
        a.send(json!({"type": "signal", "to": to, "payload": ""})).await;
        assert_eq!(a.next().await, json!({"type": "unreachable", "to": to}));
    }
}

#[tokio::test]
async fn bad_messages_name_the_field_and_the_socket_lives_on() {
    let server = Server::start().await;
    let mut socket = Person::join(&server, "alice").await.socket(&server).await;
    let too_long = "x".repeat(MAX_SIGNAL_PAYLOAD + 1);
    let padded = format!("{}{{\"type\":\"ping\"}}", " ".repeat(MAX_SIGNAL_MESSAGE));
    for (text, code, named) in [
        ("{".to_owned(), "malformed", "EOF"),
        ("[]".into(), "malformed", ""),
        (r#"{"type":"signal","to":"x","payload":""}"#.into(), "malformed", "to: "),
        (r#"{"type":"presence_set","state":"busy"}"#.into(), "malformed", "state: "),
        (
            format!(r#"{{"type":"signal","to":"{}","payload":"{too_long}"}}"#, "0".repeat(32)),
            "limit",
            "payload",
        ),
        (padded, "limit", "message bytes"),
        (r#"{"type":"ping","surprise":1}"#.into(), "malformed", "surprise"),
        (r#"{"type":"ping","type":"ping"}"#.into(), "malformed", "type"),
        (r#"{"type":"signal","to":"x","to":"y","payload":""}"#.into(), "malformed", "to"),
    ] {
        socket.send_text(&text).await;
        let error = socket.next().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
        assert!(error["detail"].as_str().unwrap().contains(named), "{error}");
        socket.send(json!({"type": "ping"})).await;
        assert_eq!(socket.next().await, json!({"type": "pong"}));
    }
    for _ in 0..8 {
        socket.send_binary(vec![1, 2, 3]).await;
    }
    assert_eq!(socket.closed().await, Some(1008), "after several in a row the socket closes");
}

#[tokio::test]
async fn a_message_far_beyond_the_limit_closes_the_socket() {
    let server = Server::start().await;
    let mut socket = Person::join(&server, "alice").await.socket(&server).await;
    socket.send_text(&"x".repeat(3 * MAX_SIGNAL_MESSAGE)).await;
    assert_eq!(socket.next().await["code"], "limit");
    // TCP may reset before the close frame is read, for bytes of the message were still unread.
    assert!(matches!(socket.closed().await, Some(1009) | None));
}

#[tokio::test]
async fn a_socket_that_does_not_authenticate_is_closed() {
    let server = Server::with(Config { authenticate_within: Duration::from_millis(100), ..config() }).await;
    let mut silent = Socket::open(&server).await;
    assert_eq!(silent.next().await["code"], "unauthenticated");
    assert_eq!(silent.closed().await, Some(4401));

    let patient = Server::start().await;
    for first in [r#"{"type":"ping"}"#, "nonsense", r#"{"type":"authenticate","token":"a.b.c"}"#] {
        let mut socket = Socket::open(&patient).await;
        socket.send_text(first).await;
        assert_eq!(socket.next().await["code"], "unauthenticated", "{first}");
        assert_eq!(socket.closed().await, Some(4401));
    }
    until("all are gone", async || patient.signaling.metrics().sockets == 0).await;
}

#[tokio::test]
async fn a_socket_lives_as_long_as_its_token_is_renewed() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let mut renewed = alice.socket(&server).await;
    // Well within the silence that would end them for another reason.
    let steps = 10;
    for _ in 0..steps {
        server.advance(Duration::from_secs(59));
        renewed.send(json!({"type": "ping"})).await;
        assert_eq!(renewed.next().await["type"], "pong");
    }
    renewed.send(json!({"type": "authenticate", "token": alice.token(&server).await})).await;
    assert_eq!(renewed.next().await["type"], "ready");
    server.advance(Duration::from_secs(59));
    renewed.send(json!({"type": "ping"})).await;
    assert_eq!(renewed.next().await["type"], "pong", "the first token would be over by now");
    for _ in 0..steps {
        server.advance(Duration::from_secs(59));
        if !renewed.try_send_text(r#"{"type":"ping"}"#).await {
            break;
        }
    }
    assert_eq!(renewed.closed().await, Some(4401));
}

#[tokio::test]
async fn a_renewal_that_cannot_be_checked_now_leaves_the_socket_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let storage = pool(&dir.path().join("signaling.db")).await;
    let server = Server::serving(Signaling::open(storage.clone(), config()).await.unwrap()).await;
    let alice = Person::join(&server, "alice").await;
    let token = alice.token(&server).await;
    let mut socket = alice.socket(&server).await;
    storage.close().await;
    socket.send(json!({"type": "authenticate", "token": token})).await;
    assert_eq!(socket.next().await["code"], "unavailable");
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["type"], "pong");
}

#[tokio::test]
async fn another_devices_token_does_not_renew_a_socket() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let mut socket = alice.socket(&server).await;
    socket.send(json!({"type": "authenticate", "token": bob.token(&server).await})).await;
    assert_eq!(socket.next().await["code"], "unauthenticated");
    assert_eq!(socket.closed().await, Some(4401));
}

#[tokio::test]
async fn a_silent_socket_is_closed_in_the_end() {
    let server = Server::start().await;
    let mut socket = Person::join(&server, "alice").await.socket(&server).await;
    server.advance(Duration::from_secs(90));
    assert_eq!(socket.closed().await, Some(4408));
}

#[tokio::test]
async fn a_device_that_connects_again_replaces_its_socket() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let mut old = alice.socket(&server).await;
    let mut new = alice.socket(&server).await;
    assert_eq!(old.closed().await, Some(4409));
    until("the old one is gone", async || server.signaling.metrics().sockets == 1).await;
    let mut b = bob.socket(&server).await;
    b.send(json!({"type": "signal", "to": alice.device.device(), "payload": "hi"})).await;
    assert_eq!(new.next().await["payload"], "hi");
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off_and_others_are_unharmed() {
    let server = Server::start().await;
    let (alice, bob, carol) = (
        Person::join(&server, "alice").await,
        Person::join(&server, "bob").await,
        Person::join(&server, "carol").await,
    );
    let mut a = alice.socket(&server).await;
    let mut c = carol.socket(&server).await;
    let mut deaf = Socket::open_narrow(&server).await;
    deaf.send(json!({"type": "authenticate", "token": bob.token(&server).await})).await;
    assert_eq!(deaf.next().await["type"], "ready", "the last that it reads");

    let payload = "x".repeat(MAX_SIGNAL_PAYLOAD);
    until("bob's queue is full", async || {
        a.send(json!({"type": "signal", "to": bob.device.device(), "payload": payload})).await;
        a.send(json!({"type": "ping"})).await;
        let answer = a.next().await;
        if answer["type"] == "unreachable" {
            assert_eq!(a.next().await["type"], "pong");
        }
        answer["type"] == "unreachable"
    })
    .await;
    until("bob's socket is cut off", async || {
        let metrics = server.signaling.metrics();
        metrics.slow_sockets == 1 && metrics.sockets == 2
    })
    .await;
    a.send(json!({"type": "signal", "to": carol.device.device(), "payload": "still here"})).await;
    assert_eq!(c.next().await["payload"], "still here");
}

#[tokio::test]
async fn messages_beyond_the_rate_are_refused_and_the_socket_lives_on() {
    let messages = Rate { burst: 3, per_second: 0.001 };
    let limits = RateLimits { messages, ..config().limits };
    let server = Server::with(Config { limits, ..config() }).await;
    let mut socket = Person::join(&server, "alice").await.socket(&server).await;
    for _ in 0..3 {
        socket.send(json!({"type": "ping"})).await;
        assert_eq!(socket.next().await["type"], "pong");
    }
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["code"], "rate_limited");
    // Not as long as a token lives, nor as long as a silent socket.
    server.advance(Duration::from_secs(60));
    assert!(server.signaling.metrics().rate_limited >= 1);
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["code"], "rate_limited");
}

#[tokio::test]
async fn pages_of_other_origins_open_no_socket() {
    let server =
        Server::with(Config { cors_origins: vec!["https://embedder.example".into()], ..config() }).await;
    let evil =
        server.raw("GET", "/v1/signal", &format!("{UPGRADE}origin: https://evil.example\r\n"), b"").await;
    evil.assert_problem(403, "origin-not-allowed", None);
    for origin in [ORIGIN, "https://embedder.example"] {
        let headers = format!("{UPGRADE}origin: {origin}\r\n");
        // Without the connection header of an upgrade: past the Origin check, and no socket left behind.
        server.raw("GET", "/v1/signal", &headers, b"").await.assert_problem(426, "not-a-websocket", None);
    }
    server.get("/v1/signal", None).await.assert_problem(426, "not-a-websocket", None);
}

#[tokio::test]
async fn a_drain_tells_every_socket_when_to_come_back() {
    let server = Server::start().await;
    let mut sockets = Vec::new();
    for n in 0..5 {
        sockets.push(Person::join(&server, &format!("user{n}")).await.socket(&server).await);
    }
    let drained = tokio::spawn({
        let signaling = server.signaling.clone();
        async move { signaling.drain().await }
    });
    for socket in &mut sockets {
        let drain = socket.next().await;
        assert_eq!(drain["type"], "drain");
        assert!((500..1_500).contains(&drain["reconnect_in_ms"].as_u64().unwrap()), "{drain}");
        assert_eq!(socket.closed().await, Some(1012));
    }
    drained.await.unwrap();
    let late = tokio_tungstenite::connect_async(format!("ws://{}/v1/signal", server.address)).await;
    assert!(
        matches!(late, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 503)
    );
}

#[tokio::test]
async fn sockets_beyond_the_configured_number_are_sent_away() {
    let server = Server::with(Config { max_sockets: 1, ..config() }).await;
    let _first = Person::join(&server, "alice").await.socket(&server).await;
    let second = tokio_tungstenite::connect_async(format!("ws://{}/v1/signal", server.address)).await;
    assert!(
        matches!(second, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 503)
    );
}

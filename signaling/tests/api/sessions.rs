use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sotto_protocol::rest::Session;
use sotto_signaling::Config;

use crate::harness::{ORIGIN, Server, config};
use crate::people::{Key, Person, Socket, nonce, session_request, sign_in};

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let nonce = nonce(&server, alice.device.device()).await;
    let request = session_request(&alice.device, nonce, ORIGIN);
    let session: Session = server.post("/v1/sessions", &request).await.read(200);
    assert_eq!((session.account, session.expires_in_ms), (alice.account(), 600_000));
    let replayed = server.post("/v1/sessions", &request).await;
    replayed.assert_problem(401, "challenge-invalid", Some("nonce"));
}

#[tokio::test]
async fn a_challenge_is_its_devices_own_and_expires() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let bob = Person::join(&server, "bob").await;
    let bobs = nonce(&server, bob.device.device()).await;
    let answer = server.post("/v1/sessions", &session_request(&alice.device, bobs, ORIGIN)).await;
    answer.assert_problem(401, "challenge-invalid", Some("nonce"));
    let late = nonce(&server, alice.device.device()).await;
    server.advance(Duration::from_secs(60));
    let answer = server.post("/v1/sessions", &session_request(&alice.device, late, ORIGIN)).await;
    answer.assert_problem(401, "challenge-invalid", Some("nonce"));
}

#[tokio::test]
async fn a_challenge_passed_on_by_another_server_is_worth_nothing() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let relayed = nonce(&server, alice.device.device()).await;
    let mut request = session_request(&alice.device, relayed, "https://evil.example");
    let answer = server.post("/v1/sessions", &request).await;
    answer.assert_problem(403, "origin-mismatch", Some("origin"));

    request.nonce = nonce(&server, alice.device.device()).await;
    request = session_request(&alice.device, request.nonce, "https://evil.example");
    request.origin = ORIGIN.into();
    server.post("/v1/sessions", &request).await.assert_problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn a_stranger_learns_nothing_from_signing_in() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let stranger = sign_in(&server, &Key::new()).await;
    let forged = {
        let nonce = nonce(&server, alice.device.device()).await;
        let mut request = session_request(&Key::new(), nonce, ORIGIN);
        request.device = alice.device.device();
        server.post("/v1/sessions", &request).await
    };
    stranger.assert_problem(401, "unauthenticated", None);
    assert_eq!(stranger.body, forged.body, "a device that exists looks like one that does not");
}

#[tokio::test]
async fn tokens_that_are_forged_foreign_or_expired_are_refused() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let good = alice.token(&server).await;
    let get = async |token: &str| server.get("/v1/handles/alice", Some(token)).await;
    assert_eq!(get(&good).await.status, 200);

    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hs256 = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let others = encode(&decoded.replace(&alice.account().to_string(), &"0".repeat(64)));
    for forged in [
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{hs256}.{claims}.{signature}"),
        format!("{header}.{others}.{signature}"),
        format!("{header}.{claims}.{}", "A".repeat(86)),
        format!("{header}.{claims}."),
        String::new(),
        "x".repeat(3_000),
    ] {
        let answer = get(&forged).await;
        answer.assert_problem(401, "unauthenticated", None);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_no_socket(&server, &forged).await;
    }

    let elsewhere = server.beside(Config { origins: vec!["https://other.example".into()], ..config() }).await;
    elsewhere.get("/v1/handles/alice", Some(&good)).await.assert_problem(401, "unauthenticated", None);
    assert_no_socket(&elsewhere, &good).await;
    let same = server.beside(config()).await;
    assert_eq!(same.get("/v1/handles/alice", Some(&good)).await.status, 200, "tokens survive a restart");

    server.advance(Duration::from_secs(600));
    let expired = get(&good).await;
    expired.assert_problem(401, "unauthenticated", None);
    assert!(expired.json()["detail"].as_str().unwrap().contains("expired"));
    assert_no_socket(&server, &good).await;
}

/// That a token opens no socket either.
async fn assert_no_socket(server: &Server, token: &str) {
    let mut socket = Socket::open(server).await;
    socket.send(serde_json::json!({"type": "authenticate", "token": token})).await;
    assert_eq!(socket.next().await["code"], "unauthenticated");
    assert_eq!(socket.closed().await, Some(4401));
}

#[tokio::test]
async fn a_token_counts_in_one_authorization_header_and_nowhere_else() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let token = alice.token(&server).await;
    let get = async |path: &str, headers: &str| server.raw("GET", path, headers, b"").await.status;
    assert_eq!(get("/v1/handles/alice", &format!("Authorization: bearer {token}\r\n")).await, 200);
    assert_eq!(get(&format!("/v1/handles/alice?access_token={token}&token={token}"), "").await, 401);
    assert_eq!(get("/v1/handles/alice", &format!("Cookie: token={token}\r\n")).await, 401);
    assert_eq!(get("/v1/handles/alice", &format!("Authorization: Basic {token}\r\n")).await, 401);
    let twice = format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(get("/v1/handles/alice", &twice).await, 401);
}

//! Tokens that are not good here open nothing: not REST, not signaling's socket, not the relay's. (Expiry: the libraries'
//! own tests, which have a clock to turn.)

#![allow(clippy::unwrap_used)]

mod process;

use futures::{SinkExt, StreamExt};
use process::person::Person;
use process::sockets::{connect, on_sockets};
use process::{PATIENCE, Running};
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::relay::{ErrorCode, Event, RELAY_VERSION, Request};
use sotto_protocol::signal::{ClientMessage, ServerMessage, SignalError};
use tokio_tungstenite::tungstenite::Message;

#[test]
fn forged_unsigned_and_foreign_tokens_open_nothing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, other) = (Running::start(here.path(), &[]), Running::start(there.path(), &[]));
    let alice = Person::new("alice");
    assert_eq!(alice.sign_up(&server, None).status, 201);
    assert_eq!(alice.sign_up(&other, None).status, 201);
    let good = alice.token(&server);
    on_sockets(&server, &good, async |_, _| {});

    let (head, signature) = good.rsplit_once('.').unwrap();
    let claims = head.split_once('.').unwrap().1;
    // {"alg":"none","typ":"JWT"} and {"alg":"HS256","typ":"JWT"}
    let (none, hs256) = ("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9");
    for bad in [
        String::new(),
        "nonsense".to_owned(),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{hs256}.{claims}.{signature}"),
        format!("{head}.{}", "A".repeat(signature.len())),
        format!("{head}."),
        alice.token(&other),
    ] {
        opens_nothing(&server, &bad);
    }
}

#[test]
fn a_token_for_another_audience_opens_nothing_though_its_key_is_this_servers() {
    let data = tempfile::tempdir().unwrap();
    let alice = Person::new("alice");
    let token = {
        let mut server = Running::start(data.path(), &[]);
        assert_eq!(alice.sign_up(&server, None).status, 201);
        let token = alice.token(&server);
        server.signal("TERM");
        assert!(server.ended().success());
        token
    };
    // The same data at another address: whoever signed in to that one did not sign in to this one.
    let moved = Running::start(data.path(), &[]);
    opens_nothing(&moved, &token);
}

#[tokio::main(flavor = "current_thread")]
async fn opens_nothing(server: &Running, token: &str) {
    let authorization = format!("Bearer {token}");
    let answer = server.get("/v1/handles/alice", &[("Authorization", &authorization)]);
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (401, Some("urn:sotto:problem:unauthenticated"))
    );
    let sockets = async {
        let mut signal = connect(server, "/v1/signal").await;
        let hello = ClientMessage::Authenticate { token: token.to_owned() };
        signal.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
        let answer = signal.next().await.unwrap().unwrap().into_text().unwrap();
        let answer = serde_json::from_str(&answer).unwrap();
        assert!(
            matches!(answer, ServerMessage::Error { code: SignalError::Unauthenticated, .. }),
            "{token}: {answer:?}"
        );
        let close = signal.next().await.unwrap().unwrap();
        assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 4401), "{close:?}");

        let mut relay = connect(server, "/v1/relay").await;
        let hello = Request::Authenticate { version: RELAY_VERSION, token: Text::new(token).unwrap() };
        relay.send(Message::binary(cbor::encode(&hello))).await.unwrap();
        let answer = relay.next().await.unwrap().unwrap().into_data();
        let answer = cbor::decode::<Event>(&answer, answer.len()).unwrap();
        assert!(
            matches!(&answer, Event::Error { code: ErrorCode::Unauthenticated, detail, .. } if detail.contains("token")),
            "{token}: {answer:?}"
        );
        let close = relay.next().await;
        assert!(matches!(close, Some(Ok(Message::Close(_))) | None), "{close:?}");
    };
    tokio::time::timeout(PATIENCE, sockets).await.expect("the sockets hang");
}

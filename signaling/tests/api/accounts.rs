use std::time::Duration;

use serde_json::json;
use sotto_protocol::Signature;
use sotto_protocol::keys::base64url;
use sotto_signaling::{Config, SignUpPolicy};

use crate::harness::{Server, config};
use crate::people::{Key, Person, Socket};

#[tokio::test]
async fn a_sign_up_leads_to_a_session_and_a_socket() {
    let server = Server::start().await;
    let alice = Person::new("Alice");
    let answer = alice.sign_up(&server).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json(), json!({"account": alice.account(), "handle": "alice", "profile": {}}));

    let token = alice.token(&server).await;
    for path in [&format!("/v1/accounts/{}", alice.account()), "/v1/handles/alice", "/v1/handles/@ALICE"] {
        let answer = server.get(path, Some(&token)).await;
        assert_eq!(answer.json()["account"], alice.account().to_string(), "{path}");
    }
    let mut socket = Socket::open(&server).await;
    socket.send(json!({"type": "authenticate", "token": token})).await;
    let ready = json!({
        "type": "ready", "account": alice.account(), "device": alice.device.device(), "lease_ms": 45_000,
    });
    assert_eq!(socket.next().await, ready);
    assert_eq!(server.signaling.metrics().sign_ups, 1);
}

#[tokio::test]
async fn a_handle_belongs_to_one_account_whatever_its_case() {
    let server = Server::start().await;
    Person::join(&server, "alice").await;
    for taken in ["alice", "ALICE", "@aLiCe"] {
        Person::new(taken).sign_up(&server).await.assert_problem(409, "handle-taken", Some("handle"));
    }
}

#[tokio::test]
async fn reserved_and_impossible_handles_are_refused_by_name() {
    let server = Server::start().await;
    for bad in ["admin", "Root", "a", "9lives", "a b", "аlice", "alice-", &"a".repeat(33), ""] {
        Person::new(bad).sign_up(&server).await.assert_problem(422, "invalid-field", Some("handle"));
    }
    let answer = Person::new("sotto").sign_up(&server).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("reserved"));
}

#[tokio::test]
async fn the_same_sign_up_again_is_answered_as_before() {
    let server = Server::start().await;
    let alice = Person::new("alice");
    let first = alice.sign_up(&server).await;
    let again = alice.sign_up(&server).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json(), again.json());

    let renamed = Person { handle: "alicia".into(), ..alice };
    renamed.sign_up(&server).await.assert_problem(409, "account-exists", Some("account"));
}

#[tokio::test]
async fn a_second_account_with_the_same_device_key_is_refused() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let mallory = Person::with_device("mallory", alice.device);
    mallory.sign_up(&server).await.assert_problem(409, "device-exists", Some("device"));
    let bob = Person::new("mallory");
    assert_eq!(bob.sign_up(&server).await.status, 201, "nothing of the refused sign-up was kept");
}

#[tokio::test]
async fn a_first_entry_that_its_keys_did_not_sign_is_refused() {
    let server = Server::start().await;
    let mut alice = Person::new("alice");
    let good = alice.first.clone();
    alice.first.signature = Signature([7; 64]);
    alice.sign_up(&server).await.assert_problem(422, "invalid-field", Some("device"));
    alice.first = good.clone();
    alice.first.possession = None;
    alice.sign_up(&server).await.assert_problem(422, "invalid-field", Some("device"));
    alice.first = good.clone();
    alice.root = Key::new();
    alice.sign_up(&server).await.assert_problem(422, "invalid-field", Some("device"));
}

#[tokio::test]
async fn sign_up_by_invitation_wants_a_code_that_is_still_good() {
    let server = Server::with(Config { sign_up: SignUpPolicy::Invite, ..config() }).await;
    let invited = |handle: &str, code: &str| {
        let mut body = Person::new(handle).sign_up_body();
        body["invite"] = json!(code);
        body
    };
    Person::new("alice").sign_up(&server).await.assert_problem(403, "invite-required", Some("invite"));
    for unknown in ["", "nonsense", "00000-00000-00000-00000"] {
        let answer = server.post("/v1/accounts", &invited("alice", unknown)).await;
        answer.assert_problem(403, "invite-invalid", Some("invite"));
    }

    let code = server.signaling.create_invite(2, Duration::from_secs(3_600)).await.unwrap();
    let alice = invited("alice", &code);
    assert_eq!(server.post("/v1/accounts", &alice).await.status, 201);
    assert_eq!(
        server.post("/v1/accounts", &alice).await.status,
        200,
        "a repeated sign-up uses no second use"
    );
    let taken = server.post("/v1/accounts", &invited("alice", &code)).await;
    taken.assert_problem(409, "handle-taken", Some("handle"));
    let typed = code.to_lowercase().replace('-', " ");
    assert_eq!(server.post("/v1/accounts", &invited("bob", &typed)).await.status, 201);
    let third = server.post("/v1/accounts", &invited("carol", &code)).await;
    third.assert_problem(403, "invite-used-up", Some("invite"));

    let code = server.signaling.create_invite(1, Duration::from_secs(60)).await.unwrap();
    server.advance(Duration::from_secs(61));
    let late = server.post("/v1/accounts", &invited("dave", &code)).await;
    late.assert_problem(403, "invite-expired", Some("invite"));
    assert!(server.signaling.create_invite(0, Duration::from_secs(1)).await.is_err());
}

#[tokio::test]
async fn a_profile_is_seen_by_others_and_bounded() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let bob = Person::join(&server, "bob").await;
    let token = alice.token(&server).await;
    let put = async |profile: serde_json::Value| {
        server.request("PUT", "/v1/profile", Some(&token), Some(profile.to_string())).await
    };
    let png = |width: u32| {
        let size = [width.to_be_bytes(), 96_u32.to_be_bytes()].concat();
        base64url::encode(&[&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &size, b"\x08\x06\0\0\0"].concat())
    };
    let profile = json!({"display_name": "Alice 🦊", "status_text": "at sea", "avatar": png(96)});
    assert_eq!(put(profile.clone()).await.json(), profile);
    let seen = server.get("/v1/handles/alice", Some(&bob.token(&server).await)).await;
    assert_eq!(seen.json()["profile"], profile);

    for (field, value) in [
        ("display_name", "x".repeat(65)),
        ("display_name", " ".into()),
        ("status_text", "x".repeat(257)),
        ("status_text", "a\u{7}b".into()),
        ("avatar", "AAAA".into()),
        ("avatar", png(96) + &"A".repeat(33_000)),
        ("avatar", png(100_000)),
    ] {
        put(json!({field: value})).await.assert_problem(422, "invalid-field", Some(field));
    }
    let answer = server.request("PUT", "/v1/profile", None, Some("{}".into())).await;
    answer.assert_problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_handle_stays_taken() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let bob = Person::join(&server, "bob").await;
    let mut revocations = server.signaling.revocations();
    let mut socket = alice.socket(&server).await;
    let token = alice.token(&server).await;

    assert_eq!(server.request("DELETE", "/v1/account", Some(&token), None).await.status, 204);
    assert_eq!(revocations.recv().await.unwrap(), sotto_signaling::Revoked::Account(alice.account()));
    assert_eq!(socket.closed().await, Some(4403));
    server.get("/v1/handles/bob", Some(&token)).await.assert_problem(403, "device-revoked", Some("device"));
    assert!(server.signaling.device(alice.device.device()).await.unwrap().unwrap().revoked);
    assert!(!server.signaling.account_exists(alice.account()).await.unwrap());

    let bobs = bob.token(&server).await;
    server.get("/v1/handles/alice", Some(&bobs)).await.assert_problem(404, "not-found", Some("handle"));
    let devices = server.get(&format!("/v1/accounts/{}/devices", alice.account()), None).await;
    devices.assert_problem(404, "not-found", Some("account"));
    alice.sign_up(&server).await.assert_problem(409, "account-exists", Some("account"));
    Person::new("alice").sign_up(&server).await.assert_problem(409, "handle-taken", Some("handle"));
}

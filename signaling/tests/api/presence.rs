use serde_json::{Value, json};
use sotto_protocol::presence::Capability;

use crate::harness::{Server, config, until};
use crate::people::{Person, Socket};

fn capability(n: u8) -> Capability {
    Capability([n; 16])
}

async fn set(socket: &mut Socket, state: &str, capabilities: &[Capability]) {
    let hashes: Vec<_> = capabilities.iter().map(Capability::hash).collect();
    socket.send(json!({"type": "presence_set", "state": state, "text": "hi", "capabilities": hashes})).await;
    sync(socket).await;
}

async fn watch(socket: &mut Socket, capabilities: &[Capability]) {
    socket.send(json!({"type": "presence_subscribe", "capabilities": capabilities})).await;
}

/// What was sent before has been handled.
async fn sync(socket: &mut Socket) {
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next_signal().await["type"], "pong");
}

/// The next change of one capability.
async fn change(socket: &mut Socket, of: Capability) -> Value {
    loop {
        let update = socket.next().await;
        let Some(changes) = update["changes"].as_array() else { continue };
        if let Some(change) = changes.iter().find(|change| change["capability"] == of.to_string()) {
            return change.clone();
        }
    }
}

#[tokio::test]
async fn who_holds_a_capability_sees_presence_until_it_is_revoked() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let (mut a, mut b) = (alice.socket(&server).await, bob.socket(&server).await);
    set(&mut a, "online", &[capability(1)]).await;
    watch(&mut b, &[capability(1), capability(2)]).await;

    let update = b.next().await;
    let changes = update["changes"].as_array().unwrap();
    let of = |n: u8| changes.iter().find(|c| c["capability"] == capability(n).to_string()).unwrap();
    assert_eq!(*of(1), json!({"capability": capability(1), "state": "online", "text": "hi"}));
    assert_eq!(
        *of(2),
        json!({"capability": capability(2), "state": "offline"}),
        "nobody's looks like offline"
    );

    set(&mut a, "away", &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "away");
    set(&mut a, "away", &[capability(2)]).await;
    let granted = change(&mut b, capability(2)).await;
    assert_eq!(granted["state"], "away");
    set(&mut a, "online", &[]).await;
    assert_eq!(change(&mut b, capability(2)).await, json!({"capability": capability(2), "state": "offline"}));
    set(&mut a, "away", &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "away");
}

#[tokio::test]
async fn who_left_is_offline_with_a_last_seen_that_outlives_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (Person::join(&server, "alice").await, Person::join(&server, "bob").await);
    let (mut a, mut b) = (alice.socket(&server).await, bob.socket(&server).await);
    set(&mut a, "online", &[capability(1)]).await;
    watch(&mut b, &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "online");
    a.say_goodbye().await;
    let left = change(&mut b, capability(1)).await;
    assert_eq!((&left["state"], left["last_seen"].is_u64()), (&json!("offline"), true));

    until("it is stored", async || {
        let account = server.signaling.list_accounts().await.unwrap();
        account.iter().any(|row| row.last_seen.map(|at| at.0) == left["last_seen"].as_u64())
    })
    .await;
    let restarted = server.beside(config()).await;
    let mut b = bob.socket(&restarted).await;
    watch(&mut b, &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await, left);
}

#[tokio::test]
async fn a_capability_stays_its_owners_even_revoked() {
    let server = Server::start().await;
    let (alice, mallory) = (Person::join(&server, "alice").await, Person::join(&server, "mallory").await);
    let bob = Person::join(&server, "bob").await;
    let (mut a, mut m) = (alice.socket(&server).await, mallory.socket(&server).await);
    let mut b = bob.socket(&server).await;
    set(&mut a, "away", &[capability(1)]).await;
    set(&mut m, "online", &[capability(1)]).await;
    watch(&mut b, &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "away", "the first owner's");
    set(&mut a, "online", &[]).await;
    set(&mut m, "online", &[]).await;
    set(&mut m, "online", &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "offline");
    set(&mut a, "away", &[capability(1)]).await;
    assert_eq!(change(&mut b, capability(1)).await["state"], "away");
}

#[tokio::test]
async fn presence_texts_and_lists_are_bounded() {
    let server = Server::start().await;
    let mut socket = Person::join(&server, "alice").await.socket(&server).await;
    socket.send(json!({"type": "presence_set", "state": "online", "text": "x".repeat(257)})).await;
    assert_eq!(socket.next().await["code"], "malformed");
    // 64 KiB of message hold fewer capabilities than the limit of the list: whichever is first, it is refused.
    socket.send(json!({"type": "presence_subscribe", "capabilities": vec![capability(1); 4_097]})).await;
    assert_eq!(socket.next().await["code"], "limit");
    let many: Vec<Capability> = (0..2_000_u128).map(|n| Capability(n.to_be_bytes())).collect();
    watch(&mut socket, &many).await;
    let mut heard = 0;
    while heard < many.len() {
        heard += socket.next().await["changes"].as_array().unwrap().len();
    }
    assert_eq!(heard, many.len());
}

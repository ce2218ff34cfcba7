use std::collections::HashSet;

use sotto_protocol::device_list::{DeviceChange, DeviceList, Signer};
use sotto_protocol::keys::Hash;
use sotto_protocol::rest::DeviceChain;
use sotto_protocol::{Signature, Verify};
use sotto_signaling::Revoked;

use crate::harness::Server;
use crate::people::{self, Key, Person, add, entry, revoke, sign_in};

struct Ring;

impl Verify for Ring {
    fn verify(&self, key: &sotto_protocol::PublicKey, message: &[u8], signature: &Signature) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key.0);
        key.verify(message, &signature.0).is_ok()
    }
}

fn path(person: &Person) -> String {
    format!("/v1/accounts/{}/devices", person.account())
}

#[tokio::test]
async fn a_second_device_added_by_the_first_can_sign_in() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let phone = Key::new();
    people::sign_in(&server, &phone).await.assert_problem(401, "unauthenticated", None);

    let by_device = Signer::Device(alice.device.device());
    let entry = add(alice.account(), 1, alice.head(), by_device, &alice.device, &phone);
    let chain: DeviceChain = server.post(&path(&alice), &entry).await.read(201);
    let list = DeviceList::verify_chain(alice.account(), &chain.entries, &Ring).unwrap();
    assert_eq!(
        list.devices().map(|device| device.id).collect::<Vec<_>>(),
        [alice.device.device(), phone.device()]
    );
    assert_eq!(server.get(&path(&alice), None).await.read::<DeviceChain>(200), chain);
    assert_eq!(sign_in(&server, &phone).await.status, 200);
    let record = server.signaling.device(phone.device()).await.unwrap().unwrap();
    assert_eq!((record.account, record.key, record.revoked), (alice.account(), phone.public(), false));

    assert_eq!(server.post(&path(&alice), &entry).await.status, 200, "a repeated append does no harm");
}

#[tokio::test]
async fn of_many_appends_at_once_exactly_one_wins() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let by_device = Signer::Device(alice.device.device());
    let keys: Vec<Key> = (0..8).map(|_| Key::new()).collect();
    let path = path(&alice);
    let appends = keys.iter().map(|key| {
        let entry = add(alice.account(), 1, alice.head(), by_device, &alice.device, key);
        let (server, path) = (&server, &path);
        async move { server.post(path, &entry).await }
    });
    let answers = futures::future::join_all(appends).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for lost in answers.iter().filter(|answer| answer.status != 201) {
        lost.assert_problem(409, "stale-device-list", Some("previous"));
    }
    assert_eq!(server.get(&path, None).await.read::<DeviceChain>(200).entries.len(), 2);
}

#[tokio::test]
async fn a_device_key_is_in_one_list_only() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let bob = Person::join(&server, "bob").await;
    let entry = add(bob.account(), 1, bob.head(), Signer::Root, &bob.root, &alice.device);
    server.post(&path(&bob), &entry).await.assert_problem(409, "device-exists", Some("device"));
    assert_eq!(server.get(&path(&bob), None).await.read::<DeviceChain>(200).entries.len(), 1);
    let twice = add(alice.account(), 1, alice.head(), Signer::Root, &alice.root, &alice.device);
    server.post(&path(&alice), &twice).await.assert_problem(422, "invalid-field", Some("key"));
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_at_once_and_for_good() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let mut revocations = server.signaling.revocations();
    let mut socket = alice.socket(&server).await;
    let token = alice.token(&server).await;
    let stolen = alice.device.device();

    let entry = revoke(alice.account(), 1, alice.head(), Signer::Root, &alice.root, stolen);
    assert_eq!(server.post(&path(&alice), &entry).await.status, 201);
    assert_eq!(revocations.recv().await.unwrap(), Revoked::Device(stolen));
    assert_eq!(socket.closed().await, Some(4403));
    server.get("/v1/handles/alice", Some(&token)).await.assert_problem(403, "device-revoked", Some("device"));
    sign_in(&server, &alice.device).await.assert_problem(403, "device-revoked", Some("device"));
    let mut again = people::Socket::open(&server).await;
    again.send(serde_json::json!({"type": "authenticate", "token": token})).await;
    assert_eq!(again.next().await["code"], "unauthenticated");
    assert_eq!(again.closed().await, Some(4403));

    let head = Hash::of(&[&entry.payload]);
    let back = add(alice.account(), 2, head, Signer::Device(stolen), &alice.device, &Key::new());
    server.post(&path(&alice), &back).await.assert_problem(422, "invalid-field", Some("signer"));
    let same = add(alice.account(), 2, head, Signer::Root, &alice.root, &alice.device);
    server.post(&path(&alice), &same).await.assert_problem(422, "invalid-field", Some("key"));
}

#[tokio::test]
async fn entries_that_prove_nothing_are_refused_by_the_field() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let bob = Person::join(&server, "bob").await;
    let stranger = Key::new();
    let rename = |previous, signer| {
        let change = DeviceChange::Rename {
            device: stranger.device(),
            name: sotto_protocol::cbor::Text::new("x").unwrap(),
        };
        entry(alice.account(), 1, previous, signer, change)
    };
    let signed = |by: &Key, entry| {
        sotto_protocol::device_list::SignedEntry::sign(&entry, |input| by.sign(input), None)
    };
    let mut garbage = alice.first.clone();
    garbage.payload = vec![0xff; 40];
    let mut trailing = alice.first.clone();
    trailing.payload = people::payload(&rename(alice.head(), Signer::Root));
    trailing.payload.push(0);
    for (entry, field) in [
        (garbage, "payload"),
        (trailing, "payload"),
        (bob.first.clone(), "account"),
        (signed(&stranger, rename(alice.head(), Signer::Root)), "signature"),
        (signed(&stranger, rename(alice.head(), Signer::Device(stranger.device()))), "signer"),
        (signed(&alice.root, rename(alice.head(), Signer::Root)), "device"),
    ] {
        server.post(&path(&alice), &entry).await.assert_problem(422, "invalid-field", Some(field));
    }
    let forked = signed(&alice.root, rename(Hash([9; 32]), Signer::Root));
    server.post(&path(&alice), &forked).await.assert_problem(409, "stale-device-list", Some("previous"));
    let nobody = format!("/v1/accounts/{}/devices", "00".repeat(32));
    server.post(&nobody, &alice.first).await.assert_problem(404, "not-found", Some("account"));
    server.get("/v1/accounts/xyz/devices", None).await.assert_problem(422, "invalid-field", Some("account"));
}

#[tokio::test]
async fn names_of_devices_survive_a_restart() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let change = DeviceChange::Rename {
        device: alice.device.device(),
        name: sotto_protocol::cbor::Text::new("old laptop").unwrap(),
    };
    let rename = entry(alice.account(), 1, alice.head(), Signer::Root, change);
    let rename =
        sotto_protocol::device_list::SignedEntry::sign(&rename, |input| alice.root.sign(input), None);
    assert_eq!(server.post(&path(&alice), &rename).await.status, 201);

    let restarted = server.beside(crate::harness::config()).await;
    let chain: DeviceChain = restarted.get(&path(&alice), None).await.read(200);
    let list = DeviceList::verify_chain(alice.account(), &chain.entries, &Ring).unwrap();
    let names: HashSet<&str> = list.devices().map(|device| device.name.as_str()).collect();
    assert_eq!(names, HashSet::from(["old laptop"]));
}

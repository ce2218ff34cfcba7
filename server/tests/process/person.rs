//! Somebody with an account and a device.

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sotto_protocol::cbor::{Blob, Bounded, Text};
use sotto_protocol::device_list::{DeviceChange, Entry, SignedEntry, Signer};
use sotto_protocol::membership::{Action, Change, SignedChange};
use sotto_protocol::relay::Request;
use sotto_protocol::rest::{
    Challenge, ChallengeRequest, Session, SessionRequest, SignUp, session_signing_input,
};
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, FrameBody, Handle, Hash, MembershipEpoch,
    PublicKey, Seq, Signature, UnixMillis,
};

use super::{Answer, Running};

pub struct Person {
    pub handle: Handle,
    pub account: AccountId,
    pub device: DeviceId,
    root: Ed25519KeyPair,
    key: Ed25519KeyPair,
}

impl Person {
    pub fn new(handle: &str) -> Self {
        let (root, key) = (new_key(), new_key());
        Self {
            handle: Handle::parse(handle).unwrap(),
            account: AccountId(public(&root).0),
            device: DeviceId::of(&public(&key)),
            root,
            key,
        }
    }

    pub fn sign_up(&self, server: &Running, invite: Option<&str>) -> Answer {
        let entry = Entry {
            account: self.account,
            index: 0,
            previous: Hash([0; 32]),
            change: DeviceChange::Add { key: public(&self.key), name: Text::new("laptop").unwrap() },
            signer: Signer::Root,
            at: UnixMillis(0),
        };
        let possession = |message: &[u8]| sign(&self.key, message);
        let device = SignedEntry::sign(&entry, |message| sign(&self.root, message), Some(&possession));
        let body = SignUp {
            handle: self.handle.clone(),
            account: self.account,
            device,
            invite: invite.map(str::to_owned),
        };
        server.post("/v1/accounts", &body)
    }

    pub fn sign_in(&self, server: &Running) -> Answer {
        let answer = server.post("/v1/challenges", &ChallengeRequest { device: self.device });
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let challenge: Challenge = serde_json::from_str(&answer.body).unwrap();
        let origin = server.url.clone();
        let signature = sign(&self.key, &session_signing_input(&origin, &challenge.nonce));
        server.post(
            "/v1/sessions",
            &SessionRequest { device: self.device, nonce: challenge.nonce, origin, signature },
        )
    }

    pub fn token(&self, server: &Running) -> String {
        let answer = self.sign_in(server);
        serde_json::from_str::<Session>(&answer.body)
            .unwrap_or_else(|error| panic!("{error}: {answer:?}"))
            .token
    }

    /// A group of its own.
    pub fn creates_a_group(&self) -> Request {
        let members = Bounded::new(vec![self.account]).unwrap();
        let change = Change {
            conversation: ConversationId::group([7; 15]),
            epoch: MembershipEpoch(1),
            account: self.account,
            device: self.device,
            action: Action::Create { kind: ConversationKind::Group, members },
        };
        Request::Commit { change: SignedChange::sign(&change, |message| sign(&self.key, message)) }
    }

    /// A message in it.
    pub fn writes(&self, seq: u64, text: &str) -> Frame {
        let sealed = Blob::new(text.as_bytes().to_vec()).unwrap();
        let conversation = ConversationId::group([7; 15]);
        let body = FrameBody { conversation, device: self.device, seq: Seq(seq), sealed };
        Frame::sign_all(vec![body], |message| sign(&self.key, message)).remove(0)
    }
}

fn new_key() -> Ed25519KeyPair {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).unwrap();
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

fn public(key: &Ed25519KeyPair) -> PublicKey {
    PublicKey(key.public_key().as_ref().try_into().unwrap())
}

fn sign(key: &Ed25519KeyPair, message: &[u8]) -> Signature {
    Signature(key.sign(message).as_ref().try_into().unwrap())
}

//! Our groups with members that run another implementation of RFC 9420, `mls-rs`: what we say is the standard's, not
//! only openmls's.
//!
//! One thing of ours is left out: leaving. `mls-rs` puts SelfRemove (draft-ietf-mls-extensions) under a number of its
//! own, 0xF003, and reads 0x000A as a proposal with content; its clients only declare 0x000A here, which is what our
//! groups require of a member.

#![allow(clippy::unwrap_used)]

mod common;

use common::{LATER, NOW, account, device, listed, name, package, policy};
use ed25519_dalek::SigningKey;
use mls_rs::client_builder::{MlsConfig, PaddingMode};
use mls_rs::crypto::{SignaturePublicKey, SignatureSecretKey};
use mls_rs::extension::ExtensionType;
use mls_rs::extension::built_in::RequiredCapabilitiesExt;
use mls_rs::group::{CommitEffect, CommitOutput, ReceivedMessage, proposal::ProposalType};
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::identity::{CredentialType, SigningIdentity};
use mls_rs::mls_rs_codec::MlsEncode as _;
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions};
use mls_rs::{CipherSuite, Client, Extension, ExtensionList, IdentityProvider, MlsMessage};
use mls_rs_core::identity::MemberValidationContext;
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use sotto_mls::policy::POLICY_EXTENSION;
use sotto_mls::{
    Changes, CheckedKeyPackage, Device, EXPIRY_EXTENSION, Group, Leaf, Policy, Processed, Proposed,
    PublicView, padding,
};
use sotto_protocol::{DeviceId, PublicKey, cbor};

/// SelfRemove, as draft-ietf-mls-extensions numbers it.
const SELF_REMOVE: u16 = 0x000A;

/// In front of a bare key package this makes it an MLSMessage (RFC 9420 §6): version mls10, format mls_key_package.
const KEY_PACKAGE_MESSAGE: [u8; 4] = [0, 1, 0, 5];

/// A member is a device: its identity is the account and the key, since an account may have several in a group.
#[derive(Clone)]
struct Devices;

impl IdentityProvider for Devices {
    type Error = mls_rs::identity::basic::BasicIdentityProviderError;

    fn validate_member(
        &self,
        identity: &SigningIdentity,
        time: Option<mls_rs::time::MlsTime>,
        context: MemberValidationContext<'_>,
    ) -> Result<(), Self::Error> {
        BasicIdentityProvider.validate_member(identity, time, context)
    }

    fn validate_external_sender(
        &self,
        identity: &SigningIdentity,
        time: Option<mls_rs::time::MlsTime>,
        extensions: Option<&ExtensionList>,
    ) -> Result<(), Self::Error> {
        BasicIdentityProvider.validate_external_sender(identity, time, extensions)
    }

    fn identity(
        &self,
        identity: &SigningIdentity,
        extensions: &ExtensionList,
    ) -> Result<Vec<u8>, Self::Error> {
        let account = BasicIdentityProvider.identity(identity, extensions)?;
        Ok([&account, identity.signature_key.as_bytes()].concat())
    }

    fn valid_successor(
        &self,
        before: &SigningIdentity,
        after: &SigningIdentity,
        _: &ExtensionList,
    ) -> Result<bool, Self::Error> {
        Ok(before == after)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![CredentialType::BASIC]
    }
}

/// A device of an account that runs `mls-rs`, and whose leaf it has.
fn theirs(owner: u8) -> (Client<impl MlsConfig>, Leaf) {
    let key = SigningKey::from_bytes(&[owner.wrapping_mul(16).wrapping_add(15); 32]);
    let public = PublicKey(key.verifying_key().to_bytes());
    let credential = BasicCredential::new(account(owner).0.to_vec()).into_credential();
    let identity = SigningIdentity::new(credential, SignaturePublicKey::new_slice(&public.0));
    let rules = DefaultMlsRules::new()
        .with_commit_options(CommitOptions::new().with_path_required(true).with_allow_external_commit(true))
        .with_encryption_options(EncryptionOptions::new(false, PaddingMode::None));
    let suite = CipherSuite::CURVE25519_CHACHA;
    let client = Client::builder()
        .crypto_provider(RustCryptoProvider::with_enabled_cipher_suites(vec![suite]))
        .identity_provider(Devices)
        .mls_rules(rules)
        .extension_types([ExtensionType::new(POLICY_EXTENSION), ExtensionType::new(EXPIRY_EXTENSION)])
        .custom_proposal_type(ProposalType::new(SELF_REMOVE))
        .signing_identity(identity, SignatureSecretKey::new_slice(&key.to_keypair_bytes()), suite)
        .build();
    (client, Leaf { account: account(owner), device: DeviceId::of(&public), key: public })
}

/// Their key package, as one of our devices has checked it.
fn their_package(by: &Device, of: &Client<impl MlsConfig>) -> CheckedKeyPackage {
    let expiry = Extension::new(ExtensionType::new(EXPIRY_EXTENSION), LATER.0.to_be_bytes().to_vec());
    let message = of
        .generate_key_package_message(ExtensionList::from(vec![expiry]), ExtensionList::new(), None)
        .unwrap();
    let bytes = message.into_key_package().unwrap().mls_encode_to_vec().unwrap();
    CheckedKeyPackage::check(by.provider(), &bytes, NOW).unwrap()
}

/// Our key package, as they take it in.
fn our_package(of: &Device) -> MlsMessage {
    let (_, bytes) = of.key_package(LATER, false).unwrap();
    MlsMessage::from_bytes(&[&KEY_PACKAGE_MESSAGE[..], &bytes].concat()).unwrap()
}

/// A commit of theirs, as the relay and we get it.
fn proposed(output: &CommitOutput) -> Proposed {
    let group_info = output.external_commit_group_info.as_ref().unwrap().to_bytes().unwrap();
    let welcome = output.welcome_messages.first().map(|welcome| welcome.to_bytes().unwrap());
    Proposed { commit: output.commit_message.to_bytes().unwrap(), welcome, group_info }
}

/// One group: our devices, theirs, and the relay.
struct Conversation<'a, C: MlsConfig> {
    ours: Vec<(&'a Device, Group)>,
    theirs: mls_rs::Group<C>,
    their_leaf: Leaf,
    relay: PublicView,
}

impl<C: MlsConfig> Conversation<'_, C> {
    /// One of our devices commits; the relay and everybody else follow.
    fn we_commit(&mut self, who: usize, changes: Changes) -> Proposed {
        let (device, group) = &mut self.ours[who];
        let proposed = group.commit(device, changes, &listed).unwrap();
        self.relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
        group.accepted(device).unwrap();
        let by = device.leaf();
        for (at, (device, group)) in self.ours.iter_mut().enumerate().filter(|(at, _)| *at != who) {
            let processed = group.process(device, &proposed.commit, &listed).unwrap();
            assert!(matches!(processed, Processed::Commit(done) if done.by == by), "our device {at}");
        }
        let message = MlsMessage::from_bytes(&proposed.commit).unwrap();
        let received = self.theirs.process_incoming_message(message).unwrap();
        assert!(matches!(received, ReceivedMessage::Commit(_)));
        proposed
    }

    /// They have prepared a commit; the relay and we follow.
    fn they_committed(&mut self, output: &CommitOutput) -> Proposed {
        let proposed = proposed(output);
        self.relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
        self.theirs.apply_pending_commit().unwrap();
        for (device, group) in &mut self.ours {
            let processed = group.process(device, &proposed.commit, &listed).unwrap();
            assert!(matches!(processed, Processed::Commit(done) if done.by == self.their_leaf));
        }
        proposed
    }

    /// All agree on everything, and everybody reads everybody.
    fn agree_and_talk(&mut self) {
        let authenticator = self.theirs.epoch_authenticator().unwrap();
        assert_eq!(self.theirs.current_epoch(), self.relay.epoch());
        for (_, group) in &self.ours {
            assert_eq!(group.epoch(), self.relay.epoch());
            assert_eq!(group.authenticator(), authenticator.as_bytes());
            assert_eq!(group.leaves().unwrap(), self.relay.leaves().unwrap());
            assert_eq!(group.policy().unwrap(), self.relay.policy().unwrap());
        }
        assert_eq!(self.theirs.roster().members_iter().count(), self.ours.len() + 1);

        for author in 0..self.ours.len() {
            let text = format!("from our device {author}");
            let (device, group) = &mut self.ours[author];
            let sealed = group.seal(device, b"name", text.as_bytes()).unwrap();
            let message = MlsMessage::from_bytes(&sealed).unwrap();
            let ReceivedMessage::ApplicationMessage(read) =
                self.theirs.process_incoming_message(message).unwrap()
            else {
                panic!("a message is a message");
            };
            assert_eq!(padding::unpad(read.data().to_vec()).unwrap(), text.as_bytes());
            assert_eq!(read.authenticated_data, b"name");
            let leaf = self.ours[author].0.leaf();
            let sender = self.theirs.member_at_index(read.sender_index).unwrap();
            assert_eq!(sender.signing_identity.signature_key.as_bytes(), leaf.key.0);
            for (reader, (device, group)) in self.ours.iter_mut().enumerate() {
                if reader != author {
                    assert_eq!(group.open(device, &sealed).unwrap().content, text.as_bytes());
                }
            }
        }
        let padded = padding::pad(b"from theirs");
        let sealed = self.theirs.encrypt_application_message(&padded, b"their name".to_vec()).unwrap();
        let sealed = sealed.to_bytes().unwrap();
        for (device, group) in &mut self.ours {
            let opened = group.open(device, &sealed).unwrap();
            assert_eq!(opened.author, self.their_leaf);
            assert_eq!(opened.epoch, self.relay.epoch());
            assert_eq!(opened.aad, b"their name");
            assert_eq!(opened.content, b"from theirs");
        }
    }
}

#[test]
fn another_implementation_joins_our_group_talks_commits_and_is_removed() {
    let (a, b) = (device(1, 1), device(1, 2));
    let (client, their_leaf) = theirs(2);
    let package_of_theirs = their_package(&a, &client);
    assert_eq!(package_of_theirs.leaf, their_leaf);
    assert_eq!(package_of_theirs.expires_at, LATER);

    let (mut group, first, proposed) =
        Group::create(&a, name(), &policy(&[1, 2]), vec![package_of_theirs]).unwrap();
    let mut relay = PublicView::create(&first, name(), &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    group.accepted(&a).unwrap();
    let welcome = MlsMessage::from_bytes(&proposed.welcome.unwrap()).unwrap();
    let (theirs, _) = client.join_group(None, &welcome, None).unwrap();
    let mut all = Conversation { ours: vec![(&a, group)], theirs, their_leaf, relay };
    all.agree_and_talk();

    // They renew their keys.
    let output = all.theirs.commit(Vec::new()).unwrap();
    all.they_committed(&output);
    all.agree_and_talk();

    // They add our second device.
    let output = all.theirs.commit_builder().add_member(our_package(&b)).unwrap().build().unwrap();
    let welcome = all.they_committed(&output).welcome.unwrap();
    all.ours.push((&b, Group::join(&b, name(), &welcome, &listed).unwrap()));
    all.agree_and_talk();

    // Each of our devices renews its keys.
    for who in [0, 1] {
        all.we_commit(who, Changes::default());
        all.agree_and_talk();
    }

    // They are removed, by a commit that changes the policy too.
    let (device, group) = &mut all.ours[0];
    let out = Changes { policy: Some(policy(&[1])), ..Changes::default() };
    let removal = group.commit(device, out, &listed).unwrap();
    all.relay.process(&removal.commit, Some(&removal.group_info), &listed).unwrap();
    let message = MlsMessage::from_bytes(&removal.commit).unwrap();
    let ReceivedMessage::Commit(received) = all.theirs.process_incoming_message(message).unwrap() else {
        panic!("a commit is a commit");
    };
    assert!(matches!(received.effect, CommitEffect::Removed { .. }));
}

#[test]
fn our_device_joins_a_group_of_another_implementation() {
    let (a, b) = (device(1, 1), device(1, 2));
    let (client, their_leaf) = theirs(2);
    let policy: Policy = policy(&[2, 1]);
    let group_id = [&name().conversation.0[..], &name().incarnation.to_be_bytes()].concat();
    let mut context = ExtensionList::new();
    context.set(Extension::new(ExtensionType::new(POLICY_EXTENSION), cbor::encode(&policy)));
    context
        .set_from(RequiredCapabilitiesExt::new(
            vec![ExtensionType::new(POLICY_EXTENSION)],
            vec![ProposalType::new(SELF_REMOVE)],
            Vec::new(),
        ))
        .unwrap();
    let theirs = client.create_group_with_id(group_id, context, ExtensionList::new(), None).unwrap();
    let first = theirs.group_info_message_allowing_ext_commit(true).unwrap().to_bytes().unwrap();
    let relay = PublicView::create(&first, name(), &listed).unwrap();
    let mut all = Conversation { ours: Vec::new(), theirs, their_leaf, relay };

    let output = all.theirs.commit_builder().add_member(our_package(&a)).unwrap().build().unwrap();
    let welcome = all.they_committed(&output).welcome.unwrap();
    all.ours.push((&a, Group::join(&a, name(), &welcome, &listed).unwrap()));
    assert_eq!(all.ours[0].1.policy().unwrap(), policy);
    all.agree_and_talk();

    // We add our second device.
    let add = Changes { add: vec![package(&a, &b)], ..Changes::default() };
    let welcome = all.we_commit(0, add).welcome.unwrap();
    all.ours.push((&b, Group::join(&b, name(), &welcome, &listed).unwrap()));
    all.agree_and_talk();

    // They renew their keys, and we ours.
    let output = all.theirs.commit(Vec::new()).unwrap();
    all.they_committed(&output);
    all.agree_and_talk();
    all.we_commit(1, Changes::default());
    all.agree_and_talk();
}

//! RFC 9420's test vectors, as far as what we use of openmls runs them; where they come from: `vectors/README.md`.
//!
//! Run here: *deserialization* (lengths), and *messages*: every kind of message that goes over the network is read and
//! written back, and the signatures of the key package and the group info hold. Its records are of ciphersuite 1, whose
//! encoding and signatures are those of ours.
//!
//! Not run, since openmls gives their steps to nobody outside: *crypto-basics*, *key-schedule*, *secret-tree*,
//! *psk_secret*, *tree-math*, *tree-operations*, *tree-validation*, *treekem*, *transcript-hashes*,
//! *message-protection*, and of *messages* the parts that are no message by themselves. Not run, since they are of
//! several hundred kilobytes and more: *passive-client-\** (joining and following a group). Not run: *welcome*: the copy
//! at hand, of openmls's commit 85ac0ff, does not open (its group info is under another key). What the last two are
//! for, `interop.rs` does with another implementation.

#![allow(clippy::unwrap_used)]

use openmls::prelude::tls_codec::{DeserializeBytes as _, Serialize as _, vlen};
use openmls::prelude::{
    KeyPackageIn, KeyPackageVerifyError, MlsMessageBodyIn, MlsMessageIn, OpenMlsSignaturePublicKey,
    ProtocolVersion, SignatureScheme, Verifiable as _,
};
use openmls_traits::OpenMlsProvider as _;
use serde::Deserialize;
use sotto_mls::Provider;
use sotto_mls::storage::Storage;

/// Bytes, which the vectors have in hexadecimal.
#[derive(Deserialize)]
struct Hex(#[serde(with = "hex::serde")] Vec<u8>);

#[derive(Deserialize)]
struct Length {
    vlbytes_header: Hex,
    length: usize,
}

#[derive(Deserialize)]
struct Messages {
    mls_welcome: Hex,
    mls_group_info: Hex,
    mls_key_package: Hex,
    public_message_application: Hex,
    public_message_proposal: Hex,
    public_message_commit: Hex,
    private_message: Hex,
}

fn key_package(message: &[u8]) -> KeyPackageIn {
    match MlsMessageIn::tls_deserialize_exact_bytes(message).unwrap().extract() {
        MlsMessageBodyIn::KeyPackage(package) => package,
        other => panic!("no key package: {other:?}"),
    }
}

fn signer(key: Vec<u8>) -> OpenMlsSignaturePublicKey {
    OpenMlsSignaturePublicKey::new(key.into(), SignatureScheme::ED25519).unwrap()
}

#[test]
fn lengths_are_read_and_written() {
    let vectors: Vec<Length> = serde_json::from_str(include_str!("vectors/deserialization.json")).unwrap();
    assert_eq!(vectors.len(), 14);
    for Length { vlbytes_header: Hex(header), length } in vectors {
        assert_eq!(vlen::read_length(&mut &header[..]).unwrap(), (length, header.len()));
        let mut written = Vec::new();
        vlen::write_length(&mut written, length).unwrap();
        assert_eq!(written, header);
    }
}

#[test]
fn messages_are_read_and_written_back() {
    let vectors: Vec<Messages> = serde_json::from_str(include_str!("vectors/messages.json")).unwrap();
    assert_eq!(vectors.len(), 1);
    let provider = Provider::new([3; 32], Storage::default());
    for vector in vectors {
        let read = |bytes: &[u8]| {
            let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap();
            assert_eq!(message.tls_serialize_detached().unwrap(), bytes);
            assert!(MlsMessageIn::tls_deserialize_exact_bytes(&bytes[..bytes.len() - 1]).is_err());
            message.extract()
        };
        assert!(matches!(read(&vector.mls_welcome.0), MlsMessageBodyIn::Welcome(_)));
        for public in
            [vector.public_message_application, vector.public_message_proposal, vector.public_message_commit]
        {
            assert!(matches!(read(&public.0), MlsMessageBodyIn::PublicMessage(_)));
        }
        assert!(matches!(read(&vector.private_message.0), MlsMessageBodyIn::PrivateMessage(_)));

        // Both are signed by one key. The key package is of 2023: all else about it is valid.
        assert!(matches!(read(&vector.mls_key_package.0), MlsMessageBodyIn::KeyPackage(_)));
        let package = key_package(&vector.mls_key_package.0);
        let key = package.unverified_credential().signature_key.as_slice().to_vec();
        let refused = package.validate(provider.crypto(), ProtocolVersion::Mls10).unwrap_err();
        assert!(matches!(refused, KeyPackageVerifyError::LifetimeError(_)), "{refused}");
        let MlsMessageBodyIn::GroupInfo(info) = read(&vector.mls_group_info.0) else {
            panic!("no group info")
        };
        info.verify_no_out(provider.crypto(), &signer(key)).unwrap();
    }
}

//! Access tokens: JWTs (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037) and nothing else, whatever a header asks for.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sotto_protocol::keys::Nonce;
use sotto_protocol::{AccountId, DeviceId, UnixMillis, limits};

/// Whom a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: AccountId,
    /// The device that signed in.
    pub device: DeviceId,
    /// When the token stops being valid.
    pub expires_at: UnixMillis,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this server's making.
    #[error("token: malformed")]
    Malformed,
    /// Signed by something else than EdDSA, or not at all.
    #[error("token: alg: expected EdDSA")]
    Algorithm,
    /// Not signed by this server.
    #[error("token: bad signature")]
    Signature,
    /// Made for another server.
    #[error("token: aud: made for another server")]
    Audience,
    /// Not valid any more.
    #[error("token: expired; sign in again")]
    Expired,
    /// The device was taken off its account's list, or the account was deleted.
    #[error("token: device: taken off its account's device list")]
    Revoked,
    /// The account was disabled.
    #[error("token: account: disabled by the server's administrator")]
    Disabled,
    /// Whether it is still good cannot be found out now.
    #[error("token: cannot be checked now")]
    Unavailable(#[source] sqlx::Error),
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11); there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: DeviceId,
    account: AccountId,
    iat: u64,
    exp: u64,
    jti: Nonce,
    /// The exact end in milliseconds, which `exp` rounds up.
    exp_ms: UnixMillis,
}

/// The server's signing key and audience.
pub(crate) struct TokenKey {
    pair: Ed25519KeyPair,
    audience: String,
}

impl TokenKey {
    /// A new key, as PKCS#8.
    pub(crate) fn generate() -> Result<Vec<u8>, ring::error::Unspecified> {
        Ok(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?.as_ref().to_vec())
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8], audience: &str) -> Result<Self, ring::error::KeyRejected> {
        Ok(Self { pair: Ed25519KeyPair::from_pkcs8(pkcs8)?, audience: audience.to_owned() })
    }

    /// A token for a device from `now` on.
    pub(crate) fn issue(
        &self,
        now: UnixMillis,
        lifetime: Duration,
        account: AccountId,
        device: DeviceId,
        id: Nonce,
    ) -> String {
        let lifetime = lifetime.as_millis().try_into().unwrap_or(u64::MAX);
        let exp_ms = UnixMillis(now.0.saturating_add(lifetime));
        let claims = Claims {
            aud: self.audience.clone(),
            sub: device,
            account,
            iat: now.0 / 1_000,
            exp: exp_ms.0.div_ceil(1_000),
            jti: id,
            exp_ms,
        };
        let header = Header { alg: "EdDSA".into(), typ: Some("JWT".into()), crit: None };
        let json =
            |value: Result<Vec<u8>, serde_json::Error>| URL_SAFE_NO_PAD.encode(value.unwrap_or_default());
        let signed = format!("{}.{}", json(serde_json::to_vec(&header)), json(serde_json::to_vec(&claims)));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Whom a token speaks for, as far as the token itself can tell.
    pub(crate) fn verify(&self, now: UnixMillis, token: &str) -> Result<Principal, TokenError> {
        if token.len() > limits::MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = part(header)?;
        if header.alg != "EdDSA" {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() || header.typ.as_deref() != Some("JWT") {
            return Err(TokenError::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        UnparsedPublicKey::new(&ED25519, self.pair.public_key())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let claims: Claims = part(claims)?;
        if claims.aud != self.audience {
            return Err(TokenError::Audience);
        }
        if claims.exp_ms <= now {
            return Err(TokenError::Expired);
        }
        Ok(Principal { account: claims.account, device: claims.sub, expires_at: claims.exp_ms })
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_500);
    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn key() -> TokenKey {
        TokenKey::from_pkcs8(&TokenKey::generate().unwrap(), "https://chat.example").unwrap()
    }

    fn issue(key: &TokenKey) -> String {
        key.issue(NOW, TEN_MINUTES, AccountId([1; 32]), DeviceId([2; 16]), Nonce([3; 16]))
    }

    fn with_header(token: &str, header: &str) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), token.split_once('.').unwrap().1)
    }

    #[test]
    fn a_token_says_whose_it_is_until_it_expires() {
        let key = key();
        let token = issue(&key);
        let expires_at = UnixMillis(NOW.0 + 600_000);
        let principal = key.verify(NOW, &token).unwrap();
        assert_eq!(
            principal,
            Principal { account: AccountId([1; 32]), device: DeviceId([2; 16]), expires_at }
        );
        assert!(key.verify(UnixMillis(expires_at.0 - 1), &token).is_ok());
        assert!(matches!(key.verify(expires_at, &token), Err(TokenError::Expired)));
    }

    #[test]
    fn no_other_algorithm_passes() {
        let key = key();
        let token = issue(&key);
        for alg in ["none", "None", "HS256", "RS256", "eddsa", ""] {
            let forged = with_header(&token, &format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
            assert!(matches!(key.verify(NOW, &forged), Err(TokenError::Algorithm)), "{alg}");
        }
        let unsigned =
            format!("{}.", with_header(&token, r#"{"alg":"EdDSA","typ":"JWT"}"#).rsplit_once('.').unwrap().0);
        assert!(matches!(key.verify(NOW, &unsigned), Err(TokenError::Signature)));
    }

    #[test]
    fn another_servers_token_is_refused() {
        let pkcs8 = TokenKey::generate().unwrap();
        let here = TokenKey::from_pkcs8(&pkcs8, "https://here.example").unwrap();
        let there = TokenKey::from_pkcs8(&pkcs8, "https://there.example").unwrap();
        assert!(matches!(here.verify(NOW, &issue(&there)), Err(TokenError::Audience)));
        assert!(matches!(here.verify(NOW, &issue(&key())), Err(TokenError::Signature)));
    }

    #[test]
    fn hostile_texts_are_refused_without_a_panic() {
        let key = key();
        let token = issue(&key);
        let critical = with_header(&token, r#"{"alg":"EdDSA","typ":"JWT","crit":["x"]}"#);
        let long = "a".repeat(limits::MAX_TOKEN + 1);
        for bad in
            ["", ".", "..", "...", "a.b.c", "e30.e30.e30", &critical, &long, &token[1..], &token.repeat(2)]
        {
            assert!(key.verify(NOW, bad).is_err(), "{bad}");
        }
        let tampered = token.replace('.', "A.");
        assert!(key.verify(NOW, &tampered).is_err());
    }
}

//! Handles: the short names people type for each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A handle in its one spelling: lower case, 2 to 32 of `a-z 0-9 . _ -`, starting with a letter and ending with a
/// letter or digit. Handles that differ only by case are the same handle.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(String);

/// Why a text is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Shorter than 2 or longer than 32 characters.
    #[error("handle: expected 2 to 32 characters")]
    Length,
    /// Holds something other than letters, digits, `.`, `_` and `-`, or starts or ends with a mark.
    #[error(
        "handle: expected letters a-z, digits, '.', '_' or '-', starting with a letter and ending with a letter or digit"
    )]
    Characters,
    /// Kept back, so that nobody poses as the server.
    #[error("handle: this name is reserved")]
    Reserved,
}

/// Names nobody may sign up with: each would pass for the server's own voice or for everybody.
const RESERVED: &[&str] = &[
    "abuse",
    "admin",
    "administrator",
    "all",
    "channel",
    "everyone",
    "help",
    "here",
    "info",
    "moderator",
    "null",
    "postmaster",
    "root",
    "security",
    "server",
    "sotto",
    "support",
    "system",
    "undefined",
    "webmaster",
];

impl Handle {
    /// Parses what a person typed, with or without the leading `@`, in any case.
    pub fn parse(raw: &str) -> Result<Self, HandleError> {
        let name = raw.strip_prefix('@').unwrap_or(raw);
        if !(2..=32).contains(&name.chars().count()) {
            return Err(HandleError::Length);
        }
        let name = name.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !name.chars().all(allowed) || !starts || !ends {
            return Err(HandleError::Characters);
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(HandleError::Reserved);
        }
        Ok(Self(name))
    }

    /// The handle without `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl FromStr for Handle {
    type Err = HandleError;
    fn from_str(raw: &str) -> Result<Self, HandleError> {
        Self::parse(raw)
    }
}

impl Serialize for Handle {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Handle {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Handle {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::parse(d.str()?).map_err(|e| minicbor::decode::Error::message(e).at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_the_at_sign_do_not_make_another_handle() {
        assert_eq!(Handle::parse("@Alice"), Handle::parse("alice"));
    }

    #[test]
    fn what_is_no_handle_says_why() {
        assert_eq!(Handle::parse("a"), Err(HandleError::Length));
        assert_eq!(Handle::parse(&"a".repeat(33)), Err(HandleError::Length));
        for bad in ["1ab", "-ab", "ab-", "a b", "аlice", "a\u{200b}b", "al/ice", "al@ice", ".."] {
            assert_eq!(Handle::parse(bad), Err(HandleError::Characters), "{bad}");
        }
        assert_eq!(Handle::parse("ADMIN"), Err(HandleError::Reserved));
    }
}

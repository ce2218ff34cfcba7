//! Seals content for the members of a conversation, and opens it.
//!
//! **This is not encryption yet.** It only keeps the boundary: outside this module sealed bytes are opaque, so
//! that MLS (RFC 9420) can take its place without another module noticing. README says so to users.

use minicbor::{Decode, Encode};
use sotto_protocol::cbor::{self, Blob};

/// The first byte of what this version seals; MLS messages will have another.
const PLAIN: u8 = 0;

/// The content cannot be read: sealed in another way, damaged, or of a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("content cannot be opened")]
pub(crate) struct CannotOpen;

/// Seals content; `None` if it is larger than `MAX`.
pub(crate) fn seal<T: Encode<()>, const MAX: usize>(content: &T) -> Option<Blob<MAX>> {
    let mut sealed = vec![PLAIN];
    cbor::encode_into(content, &mut sealed);
    Blob::new(sealed)
}

/// Opens sealed content.
pub(crate) fn open<T: for<'b> Decode<'b, ()>>(sealed: &[u8]) -> Result<T, CannotOpen> {
    let Some((&PLAIN, content)) = sealed.split_first() else { return Err(CannotOpen) };
    cbor::decode(content, sealed.len()).map_err(|_| CannotOpen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Ephemeral;

    #[test]
    fn what_is_sealed_opens_and_anything_else_does_not() {
        let sealed: Blob<64> = seal(&Ephemeral { typing: true }).unwrap();
        assert_eq!(open(&sealed), Ok(Ephemeral { typing: true }));
        for hostile in [&[][..], &[PLAIN], &[1, 2, 3], &sealed[..sealed.len() - 1]] {
            assert_eq!(open::<Ephemeral>(hostile), Err(CannotOpen));
        }
        assert_eq!(seal::<_, 1>(&Ephemeral { typing: true }), None);
    }
}

//! What can go wrong.

use crate::policy::PolicyError;
use crate::storage::StorageError;

/// An MLS operation that did not succeed. Says nothing of keys or content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MlsError {
    /// Bytes that are no MLS message of the expected kind.
    #[error("not an MLS message of the expected kind")]
    Malformed,
    /// Longer than the bound.
    #[error("larger than allowed")]
    TooLarge,
    /// Of another group, or of another incarnation of it.
    #[error("of another group")]
    OtherGroup,
    /// Of an epoch that has not come yet here: keep it until then.
    #[error("of epoch {0}, which has not come yet")]
    FutureEpoch(u64),
    /// Of an epoch whose keys are gone.
    #[error("of epoch {0}, whose keys are gone")]
    PastEpoch(u64),
    /// The message was opened before, or its key was.
    #[error("its key was used before")]
    KeyUsed,
    /// Written by this very device: MLS does not open one's own messages.
    #[error("written by this device")]
    Own,
    /// Valid MLS that the rules do not allow.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// Not valid: forged, damaged, or made for others.
    #[error("refused: {0}")]
    Refused(String),
    /// This device is not in the group (any more).
    #[error("this device is not in the group")]
    NotAMember,
    /// One's own commit waits for the relay's answer: no second one before it.
    #[error("a commit is under way")]
    CommitPending,
    /// The stored state cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl MlsError {
    /// What openmls refuses, in its words: they name checks of the RFC, never content.
    pub(crate) fn other(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }
}

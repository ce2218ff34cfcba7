//! What an administrator does. Works from any process on the same database: a running server notices within a second.

use std::time::Duration;

use sotto_protocol::{AccountId, Handle};

use crate::Signaling;
use crate::store::{AccountRow, CODE_CHARS, InviteCode};

/// Why an administrator's wish was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No such account, or it is so already.
    #[error("no account to change: it does not exist, was deleted, or is so already")]
    Unchanged,
    /// An invitation needs at least one use and some time.
    #[error("invite: expected at least 1 use and more than 0 seconds")]
    Invite,
    /// The database failed.
    #[error("the signaling database cannot be read or written")]
    Database(#[from] sqlx::Error),
}

impl Signaling {
    /// Makes an invitation for `uses` sign-ups. Its code is not stored and cannot be shown again.
    pub async fn create_invite(&self, uses: u32, valid_for: Duration) -> Result<String, AdminError> {
        if uses == 0 || valid_for.is_zero() {
            return Err(AdminError::Invite);
        }
        let mut random = [0; CODE_CHARS];
        self.fill_random(&mut random);
        let (text, code) = InviteCode::generate(random);
        self.0.store.create_invite(self.0.config.now(), code, uses, valid_for).await?;
        Ok(text)
    }

    /// All accounts, oldest first, deleted ones too.
    pub async fn list_accounts(&self) -> Result<Vec<AccountRow>, AdminError> {
        Ok(self.0.store.accounts().await?)
    }

    /// An account by its handle.
    pub async fn find_account(&self, handle: &Handle) -> Result<Option<AccountRow>, AdminError> {
        Ok(self.0.store.account_by_handle(handle).await?)
    }

    /// Refuses the account everywhere and closes its sockets, until it is enabled again.
    pub async fn disable_account(&self, account: AccountId) -> Result<(), AdminError> {
        let changed = self.0.store.set_disabled(self.0.config.now(), account, true).await?;
        self.apply_revocations().await?;
        if changed { Ok(()) } else { Err(AdminError::Unchanged) }
    }

    /// Lets a disabled account in again.
    pub async fn enable_account(&self, account: AccountId) -> Result<(), AdminError> {
        let changed = self.0.store.set_disabled(self.0.config.now(), account, false).await?;
        if changed { Ok(()) } else { Err(AdminError::Unchanged) }
    }

    /// Deletes an account for good: its profile, devices and capabilities. Its handle stays taken, so that nobody can
    /// pass for it.
    pub async fn delete_account(&self, account: AccountId) -> Result<(), AdminError> {
        let changed = self.0.store.delete_account(self.0.config.now(), account).await?;
        self.apply_revocations().await?;
        if changed { Ok(()) } else { Err(AdminError::Unchanged) }
    }
}

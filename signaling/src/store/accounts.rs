//! Accounts and their profiles.

use sotto_protocol::device_list::SignedEntry;
use sotto_protocol::rest::Profile;
use sotto_protocol::{AccountId, DeviceId, Handle, PublicKey, UnixMillis};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::admin::{consume_invite, record_account};
use super::devices::insert_entry;
use super::{InviteCode, Store, bytes, millis, unix};
use crate::problem::ApiError;

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// It may.
    Active,
    /// Not until an administrator enables it again.
    Disabled,
    /// Never again.
    Deleted,
}

impl AccountState {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "active" => Self::Active,
            "disabled" => Self::Disabled,
            // The table's CHECK leaves only this one; an unknown state must not let anybody in.
            _ => Self::Deleted,
        }
    }
}

/// An account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its id.
    pub account: AccountId,
    /// Its handle.
    pub handle: Handle,
    /// Whether it may be used.
    pub state: AccountState,
    /// Its profile.
    pub profile: Profile,
    /// When it signed up.
    pub created_at: UnixMillis,
    /// When its presence was last not offline.
    pub last_seen: Option<UnixMillis>,
}

const COLUMNS: &str = "SELECT id, handle, state, profile, created_at, last_seen FROM account";

fn account(row: &SqliteRow) -> Result<AccountRow, sqlx::Error> {
    let decode = |index: &str, source: String| sqlx::Error::ColumnDecode {
        index: index.into(),
        source: source.into(),
    };
    Ok(AccountRow {
        account: AccountId(bytes(row, "id")?),
        handle: Handle::parse(row.try_get("handle")?).map_err(|e| decode("handle", e.to_string()))?,
        state: AccountState::parse(row.try_get("state")?),
        profile: serde_json::from_str(row.try_get("profile")?)
            .map_err(|e| decode("profile", e.to_string()))?,
        created_at: unix(row.try_get("created_at")?),
        last_seen: row.try_get::<Option<i64>, _>("last_seen")?.map(unix),
    })
}

/// A sign-up whose first entry was verified.
pub(crate) struct NewAccount<'a> {
    pub(crate) account: AccountId,
    pub(crate) handle: &'a Handle,
    pub(crate) device: DeviceId,
    pub(crate) key: PublicKey,
    pub(crate) entry: &'a SignedEntry,
    /// `None` where everybody may sign up.
    pub(crate) invite: Option<InviteCode>,
}

impl Store {
    pub(crate) async fn sign_up(&self, now: UnixMillis, new: &NewAccount<'_>) -> Result<(), ApiError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO account (id, handle, created_at) VALUES (?, ?, ?)")
            .bind(&new.account.0[..])
            .bind(new.handle.as_str())
            .bind(millis(now))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO device (id, account, key) VALUES (?, ?, ?)")
            .bind(&new.device.0[..])
            .bind(&new.account.0[..])
            .bind(&new.key.0[..])
            .execute(&mut *tx)
            .await?;
        insert_entry(&mut tx, new.account, 0, new.entry).await?;
        // Last, so that a handle that is taken does not use up an invitation.
        if let Some(code) = new.invite {
            consume_invite(&mut tx, now, code).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(crate) async fn account(&self, id: AccountId) -> Result<Option<AccountRow>, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = ?"));
        let row = sqlx::query(sql).bind(&id.0[..]).fetch_optional(&self.pool).await?;
        row.as_ref().map(account).transpose()
    }

    pub(crate) async fn account_by_handle(&self, handle: &Handle) -> Result<Option<AccountRow>, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE handle = ?"));
        let row = sqlx::query(sql).bind(handle.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(account).transpose()
    }

    /// All accounts, oldest first.
    pub(crate) async fn accounts(&self) -> Result<Vec<AccountRow>, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY created_at, handle"));
        sqlx::query(sql).fetch_all(&self.pool).await?.iter().map(account).collect()
    }

    pub(crate) async fn set_profile(&self, id: AccountId, profile: &Profile) -> Result<(), ApiError> {
        let json = serde_json::to_string(profile).map_err(|e| sqlx::Error::Encode(e.into()))?;
        let changed = sqlx::query("UPDATE account SET profile = ? WHERE id = ? AND state = 'active'")
            .bind(json)
            .bind(&id.0[..])
            .execute(&self.pool)
            .await?;
        if changed.rows_affected() == 0 { Err(ApiError::Unknown("account")) } else { Ok(()) }
    }

    /// Disables an active account or enables a disabled one; false if there is nothing to change.
    pub(crate) async fn set_disabled(
        &self,
        now: UnixMillis,
        id: AccountId,
        disabled: bool,
    ) -> Result<bool, sqlx::Error> {
        let (from, to) = if disabled { ("active", "disabled") } else { ("disabled", "active") };
        let mut tx = self.begin().await?;
        let changed = sqlx::query("UPDATE account SET state = ? WHERE id = ? AND state = ?")
            .bind(to)
            .bind(&id.0[..])
            .bind(from)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if changed == 1 && disabled {
            record_account(&mut tx, now, id).await?;
        }
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Deletes what an account said and could do; false if there is no such account. Its handle and its devices' ids
    /// stay taken.
    pub(crate) async fn delete_account(&self, now: UnixMillis, id: AccountId) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE account SET state = 'deleted', profile = '{}', last_seen = NULL WHERE id = ? AND state != 'deleted'",
        )
        .bind(&id.0[..])
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if changed == 1 {
            for sql in [
                "UPDATE device SET revoked = 1 WHERE account = ?",
                "DELETE FROM device_entry WHERE account = ?",
                "DELETE FROM capability WHERE account = ?",
            ] {
                sqlx::query(sql).bind(&id.0[..]).execute(&mut *tx).await?;
            }
            record_account(&mut tx, now, id).await?;
        }
        tx.commit().await?;
        Ok(changed == 1)
    }
}

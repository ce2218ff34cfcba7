//! Device lists, and the devices that follow from them.

use sotto_protocol::device_list::SignedEntry;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId, PublicKey, Signature, UnixMillis};
use sqlx::{Row, Sqlite, Transaction};

use super::admin::record_device;
use super::{AccountState, Store, bytes};
use crate::problem::ApiError;

/// What a verified entry changes among the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceEffect {
    Add(DeviceId, PublicKey),
    Rename,
    Revoke(DeviceId),
}

pub(super) async fn insert_entry(
    tx: &mut Transaction<'static, Sqlite>,
    account: AccountId,
    position: u32,
    entry: &SignedEntry,
) -> Result<bool, ApiError> {
    let inserted = sqlx::query(
        "INSERT INTO device_entry (account, position, payload, signature, possession) \
         SELECT id, ?, ?, ?, ? FROM account WHERE id = ? AND state = 'active'",
    )
    .bind(position)
    .bind(&entry.payload[..])
    .bind(&entry.signature.0[..])
    .bind(entry.possession.as_ref().map(|signature| &signature.0[..]))
    .bind(&account.0[..])
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

impl Store {
    /// The whole list; empty for an account that is not known or was deleted.
    pub(crate) async fn device_entries(&self, account: AccountId) -> Result<Vec<SignedEntry>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT payload, signature, possession FROM device_entry WHERE account = ? ORDER BY position",
        )
        .bind(&account.0[..])
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let possession = match row.try_get::<Option<&[u8]>, _>("possession")? {
                    Some(_) => Some(Signature(bytes(row, "possession")?)),
                    None => None,
                };
                let signature = Signature(bytes(row, "signature")?);
                Ok(SignedEntry { payload: row.try_get("payload")?, signature, possession })
            })
            .collect()
    }

    /// Appends a verified entry, if nobody else took its position meanwhile.
    pub(crate) async fn append_entry(
        &self,
        now: UnixMillis,
        account: AccountId,
        position: u32,
        entry: &SignedEntry,
        effect: DeviceEffect,
    ) -> Result<(), ApiError> {
        let mut tx = self.begin().await?;
        if !insert_entry(&mut tx, account, position, entry).await? {
            return Err(ApiError::Unknown("account"));
        }
        match effect {
            DeviceEffect::Add(device, key) => {
                sqlx::query("INSERT INTO device (id, account, key) VALUES (?, ?, ?)")
                    .bind(&device.0[..])
                    .bind(&account.0[..])
                    .bind(&key.0[..])
                    .execute(&mut *tx)
                    .await?;
            }
            DeviceEffect::Rename => {}
            DeviceEffect::Revoke(device) => {
                sqlx::query("UPDATE device SET revoked = 1 WHERE id = ?")
                    .bind(&device.0[..])
                    .execute(&mut *tx)
                    .await?;
                record_device(&mut tx, now, device).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// A device and its account's state.
    pub(crate) async fn device(
        &self,
        device: DeviceId,
    ) -> Result<Option<(DeviceRecord, AccountState)>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT d.account, d.key, d.revoked, a.state FROM device d JOIN account a ON a.id = d.account WHERE d.id = ?",
        )
        .bind(&device.0[..])
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let record = DeviceRecord {
            account: AccountId(bytes(&row, "account")?),
            device,
            key: PublicKey(bytes(&row, "key")?),
            revoked: row.try_get("revoked")?,
        };
        Ok(Some((record, AccountState::parse(row.try_get("state")?))))
    }
}

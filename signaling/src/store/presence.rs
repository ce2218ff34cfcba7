//! Presence that outlives a socket: capabilities and when an account was last seen.

use std::collections::HashSet;

use sotto_protocol::keys::Hash;
use sotto_protocol::{AccountId, UnixMillis};
use sqlx::{QueryBuilder, Row};

use super::{Store, bytes, millis, unix};

/// Revoked capabilities kept for each account, so that an earlier holder cannot claim one as its own.
const KEEP_REVOKED: i64 = 1_024;

/// Hashes in one statement, well under SQLite's limit of variables.
const CHUNK: usize = 400;

/// Who owns a live capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) hash: Hash,
    pub(crate) account: AccountId,
    pub(crate) last_seen: Option<UnixMillis>,
}

impl Store {
    /// Makes these the account's live capabilities and returns them. One that belongs to another account stays
    /// that account's.
    pub(crate) async fn set_capabilities(
        &self,
        now: UnixMillis,
        account: AccountId,
        wanted: &HashSet<Hash>,
    ) -> Result<HashSet<Hash>, sqlx::Error> {
        let live = self.capabilities(account).await?;
        if live == *wanted {
            return Ok(live);
        }
        let mut tx = self.begin().await?;
        for hash in live.difference(wanted) {
            sqlx::query("UPDATE capability SET live = 0, at = ? WHERE hash = ? AND account = ?")
                .bind(millis(now))
                .bind(&hash.0[..])
                .bind(&account.0[..])
                .execute(&mut *tx)
                .await?;
        }
        for hash in wanted.difference(&live) {
            sqlx::query(
                "INSERT INTO capability (hash, account, live, at) VALUES (?, ?, 1, ?) ON CONFLICT (hash) \
                 DO UPDATE SET live = 1, at = excluded.at WHERE account = excluded.account",
            )
            .bind(&hash.0[..])
            .bind(&account.0[..])
            .bind(millis(now))
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "DELETE FROM capability WHERE hash IN (SELECT hash FROM capability WHERE account = ? AND live = 0 \
             ORDER BY at DESC LIMIT -1 OFFSET ?)",
        )
        .bind(&account.0[..])
        .bind(KEEP_REVOKED)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.capabilities(account).await
    }

    async fn capabilities(&self, account: AccountId) -> Result<HashSet<Hash>, sqlx::Error> {
        let rows = sqlx::query("SELECT hash FROM capability WHERE account = ? AND live = 1")
            .bind(&account.0[..])
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(Hash(bytes(row, "hash")?))).collect()
    }

    /// The owners of those of these capabilities that are live.
    pub(crate) async fn owners(&self, hashes: &[Hash]) -> Result<Vec<Owned>, sqlx::Error> {
        let mut owners = Vec::new();
        for chunk in hashes.chunks(CHUNK) {
            let mut query = QueryBuilder::new(
                "SELECT c.hash, c.account, a.last_seen FROM capability c JOIN account a ON a.id = c.account \
                 WHERE c.live = 1 AND c.hash IN (",
            );
            let mut list = query.separated(", ");
            for hash in chunk {
                list.push_bind(&hash.0[..]);
            }
            query.push(")");
            for row in query.build().fetch_all(&self.pool).await? {
                owners.push(Owned {
                    hash: Hash(bytes(&row, "hash")?),
                    account: AccountId(bytes(&row, "account")?),
                    last_seen: row.try_get::<Option<i64>, _>("last_seen")?.map(unix),
                });
            }
        }
        Ok(owners)
    }

    pub(crate) async fn set_last_seen(&self, seen: &[(AccountId, UnixMillis)]) -> Result<(), sqlx::Error> {
        if seen.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for (account, at) in seen {
            sqlx::query("UPDATE account SET last_seen = ? WHERE id = ? AND state != 'deleted'")
                .bind(millis(*at))
                .bind(&account.0[..])
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}

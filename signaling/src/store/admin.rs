//! What administrators do, from this process or another one: invitations, and the list of whom to cut off.

use std::time::Duration;

use sotto_protocol::keys::Hash;
use sotto_protocol::{AccountId, DeviceId, UnixMillis};
use sqlx::{Row, Sqlite, Transaction};

use super::{Store, bytes, millis};
use crate::problem::ApiError;

/// How long revocations are kept for other processes to see, in milliseconds. They look several times a second, and
/// one that starts later asks the tables themselves.
const KEEP_MS: u64 = 3_600_000;

/// Crockford's alphabet: nothing in it looks like anything else in it.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a code: 100 bits.
pub(crate) const CODE_CHARS: usize = 20;

/// An invitation code's hash; codes themselves are not stored.
#[derive(Clone, Copy)]
pub(crate) struct InviteCode(Hash);

impl InviteCode {
    /// What a person typed: case and dashes do not matter.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > 4 * CODE_CHARS {
            return None;
        }
        let code: Vec<u8> = text
            .bytes()
            .filter(|byte| !matches!(byte, b'-' | b' '))
            .map(|byte| byte.to_ascii_uppercase())
            .collect();
        let plausible = code.len() == CODE_CHARS && code.iter().all(|byte| ALPHABET.contains(byte));
        plausible.then(|| Self::of(&code))
    }

    /// A new code as people see it, from randomness.
    pub(crate) fn generate(random: [u8; CODE_CHARS]) -> (String, Self) {
        let code = random.map(|byte| ALPHABET[usize::from(byte % 32)]);
        let groups: Vec<String> =
            code.chunks(5).map(|part| part.iter().copied().map(char::from).collect()).collect();
        (groups.join("-"), Self::of(&code))
    }

    fn of(code: &[u8]) -> Self {
        Self(Hash::of(&[b"sotto invite v1", code]))
    }
}

/// Somebody whose sockets must close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    Device(DeviceId),
    Account(AccountId),
}

async fn record(
    tx: &mut Transaction<'static, Sqlite>,
    now: UnixMillis,
    kind: &str,
    subject: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM revocation WHERE at < ?")
        .bind(millis(UnixMillis(now.0.saturating_sub(KEEP_MS))))
        .execute(&mut **tx)
        .await?;
    sqlx::query("INSERT INTO revocation (kind, subject, at) VALUES (?, ?, ?)")
        .bind(kind)
        .bind(subject)
        .bind(millis(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn record_device(
    tx: &mut Transaction<'static, Sqlite>,
    now: UnixMillis,
    device: DeviceId,
) -> Result<(), sqlx::Error> {
    record(tx, now, "device", &device.0).await
}

pub(super) async fn record_account(
    tx: &mut Transaction<'static, Sqlite>,
    now: UnixMillis,
    account: AccountId,
) -> Result<(), sqlx::Error> {
    record(tx, now, "account", &account.0).await
}

/// Takes one use of an invitation.
pub(super) async fn consume_invite(
    tx: &mut Transaction<'static, Sqlite>,
    now: UnixMillis,
    code: InviteCode,
) -> Result<(), ApiError> {
    let row =
        sqlx::query("SELECT used < uses AS left, expires_at > ? AS valid FROM invite WHERE code_hash = ?")
            .bind(millis(now))
            .bind(&code.0.0[..])
            .fetch_optional(&mut **tx)
            .await?
            .ok_or(ApiError::InviteUnknown)?;
    if !row.try_get::<bool, _>("valid")? {
        return Err(ApiError::InviteExpired);
    }
    if !row.try_get::<bool, _>("left")? {
        return Err(ApiError::InviteUsedUp);
    }
    sqlx::query("UPDATE invite SET used = used + 1 WHERE code_hash = ?")
        .bind(&code.0.0[..])
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Store {
    /// Stores an invitation.
    pub(crate) async fn create_invite(
        &self,
        now: UnixMillis,
        code: InviteCode,
        uses: u32,
        valid_for: Duration,
    ) -> Result<(), sqlx::Error> {
        let valid_ms = u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX);
        sqlx::query("INSERT INTO invite (code_hash, uses, expires_at) VALUES (?, ?, ?)")
            .bind(&code.0.0[..])
            .bind(uses)
            .bind(millis(UnixMillis(now.0.saturating_add(valid_ms))))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The newest revocation's number.
    pub(crate) async fn last_revocation(&self) -> Result<i64, sqlx::Error> {
        // From SQLite's own counter: the newest row itself may have been cleared away.
        let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'revocation'";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await
    }

    /// Revocations after a number, each with its own.
    pub(crate) async fn revocations_after(
        &self,
        sequence: i64,
    ) -> Result<Vec<(i64, Revocation)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT sequence, kind, subject FROM revocation WHERE sequence > ? ORDER BY sequence LIMIT 1000",
        )
        .bind(sequence)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let revocation = match row.try_get("kind")? {
                    "device" => Revocation::Device(DeviceId(bytes(row, "subject")?)),
                    _ => Revocation::Account(AccountId(bytes(row, "subject")?)),
                };
                Ok((row.try_get("sequence")?, revocation))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_without_dashes_and_in_lower_case() {
        let (text, code) = InviteCode::generate(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(text.len(), CODE_CHARS + 3);
        let typed = text.replace('-', "").to_lowercase();
        assert_eq!(InviteCode::parse(&typed).unwrap().0, code.0);
        for bad in ["", "AAAAA", &"A".repeat(21), &"U".repeat(20), &"é".repeat(10), &"A-".repeat(1_000)] {
            assert!(InviteCode::parse(bad).is_none(), "{bad}");
        }
    }
}

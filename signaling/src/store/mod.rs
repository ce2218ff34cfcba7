//! The SQLite file: schema with a version, and one file of statements for each thing kept. A write has committed,
//! and is on the disk, before its function returns.

mod accounts;
mod admin;
mod devices;
mod presence;

use std::path::Path;
use std::time::Duration;

use sotto_protocol::UnixMillis;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};

pub(crate) use accounts::NewAccount;
pub use accounts::{AccountRow, AccountState};
pub(crate) use admin::{CODE_CHARS, InviteCode, Revocation};
pub(crate) use devices::DeviceEffect;
pub(crate) use presence::Owned;

use crate::token::TokenKey;

/// One script a version, in order; a script that shipped never changes.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/0001.sql")];

/// `PRAGMA application_id` of our files ("SoSi"), so that a relay's log is not taken for one.
const APPLICATION_ID: i64 = 0x536f_5369;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting makes no sense.
    #[error("signaling: {0}")]
    Config(String),
    /// Written by a later release.
    #[error(
        "signaling: the database has version {found}, this release knows up to {known}: run the newer release, or restore the backup from before the upgrade"
    )]
    Newer {
        /// Its version.
        found: i64,
        /// The newest that this release knows.
        known: i64,
    },
    /// Some other program's file.
    #[error(
        "signaling: the database belongs to another program (application id {0:#x}): give the server another data folder"
    )]
    Foreign(i64),
    /// Commits would not be on the disk when they return.
    #[error("signaling: the database connection must use synchronous=FULL")]
    NotDurable,
    /// The signing key in the database is damaged.
    #[error("signaling: the signing key in the database cannot be read")]
    Key,
    /// The disk is full.
    #[error("signaling: the disk is full: make room; nothing that was acknowledged is lost")]
    Full,
    /// The database may not be written to.
    #[error("signaling: the database is read-only: let this user write its file, its folder and its disk")]
    ReadOnly,
    /// The file cannot be opened.
    #[error("signaling: the database cannot be opened: its folder must exist, and this user own both")]
    CannotOpen,
    /// The disk failed, or a limit on file sizes was met.
    #[error(
        "signaling: the disk does not take writes (a quota, a limit on file sizes, or a broken disk): {0}"
    )]
    Disk(String),
    /// Not a database (any more).
    #[error(
        "signaling: this is no database, or a damaged one: restore it from a backup; all accounts and device lists are in it"
    )]
    Damaged,
    /// SQLite failed.
    #[error("signaling: the database failed: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
        // The low byte is the kind, the rest its details (https://www.sqlite.org/rescode.html).
        match code.map(|code| code & 0xff) {
            Some(8) => Self::ReadOnly,
            Some(10) => Self::Disk(error.to_string()),
            Some(11 | 26) => Self::Damaged,
            Some(13) => Self::Full,
            Some(14) => Self::CannotOpen,
            Some(_) | None => Self::Database(error),
        }
    }
}

/// How to connect to a file: write-ahead log, every commit on the disk before it returns.
pub fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
}

#[derive(Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

impl Store {
    pub(crate) async fn open(pool: SqlitePool) -> Result<Self, OpenError> {
        let store = Self { pool };
        let pragma = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&store.pool);
        if pragma("PRAGMA synchronous").await? < 2 {
            return Err(OpenError::NotDurable);
        }
        let application = pragma("PRAGMA application_id").await?;
        if application != 0 && application != APPLICATION_ID {
            return Err(OpenError::Foreign(application));
        }
        let known = MIGRATIONS.len() as i64;
        let found = pragma("PRAGMA user_version").await?;
        let tables = pragma("SELECT count(*) FROM sqlite_schema").await?;
        if found == 0 && application == 0 && tables != 0 {
            return Err(OpenError::Foreign(application));
        }
        if found > known {
            return Err(OpenError::Newer { found, known });
        }
        if found < known {
            store.migrate().await?;
        }
        Ok(store)
    }

    async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut tx = self.begin().await?;
        // Read again under the write lock: another process may have been faster.
        let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await?;
        for (version, script) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
            tracing::info!(version = version + 1, "migrating the signaling database");
            sqlx::raw_sql(*script).execute(&mut *tx).await?;
            let set =
                format!("PRAGMA user_version = {}; PRAGMA application_id = {APPLICATION_ID}", version + 1);
            sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await?;
        }
        tx.commit().await
    }

    /// A write transaction. Taking the lock at once spares the failure of upgrading a read to a write.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// The server's signing key, made on first use. Two processes that race for it end with the same one.
    pub(crate) async fn signing_key(&self) -> Result<Vec<u8>, OpenError> {
        let select = "SELECT value FROM secret WHERE name = 'token-signing-key'";
        if let Some(row) = sqlx::query(select).fetch_optional(&self.pool).await? {
            return Ok(row.try_get(0)?);
        }
        let key = TokenKey::generate().map_err(|_| OpenError::Key)?;
        sqlx::query(
            "INSERT INTO secret (name, value) VALUES ('token-signing-key', ?) ON CONFLICT DO NOTHING",
        )
        .bind(key)
        .execute(&self.pool)
        .await?;
        Ok(sqlx::query(select).fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// Whether the disk takes writes, found out by writing.
    pub(crate) async fn probe(&self, now: UnixMillis) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO probe (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
        )
        .bind(millis(now))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// SQLite's integers are signed.
fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn unix(at: i64) -> UnixMillis {
    UnixMillis(u64::try_from(at).unwrap_or(0))
}

/// A column of fixed-size bytes.
fn bytes<const N: usize>(
    row: &sqlx::sqlite::SqliteRow,
    column: &'static str,
) -> Result<[u8; N], sqlx::Error> {
    let value: &[u8] = row.try_get(column)?;
    value.try_into().map_err(|_| sqlx::Error::ColumnDecode {
        index: column.into(),
        source: format!("expected {N} bytes, found {}", value.len()).into(),
    })
}

//! The log in SQLite: WAL and synchronous=FULL, one connection that writes and a few that read.
//!
//! A statement costs about 20 µs on its way through sqlx, so rows go in many to a statement. Their number is one of
//! [`CHUNKS`], so that each statement is prepared once.

mod checkpoint;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sotto_protocol::ConversationId;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection as _};

use checkpoint::Checkpoints;

use super::{
    Answer, Batch, BumpRow, ConversationRow, CursorRow, EntryRow, MemberRow, Query, Record, SenderRow, Store,
    StoreError, TrimRow,
};

/// `PRAGMA user_version` of this schema.
const SCHEMA_VERSION: i64 = 1;

/// `PRAGMA application_id` of our files ("SoRe"), so that another program's file is not taken for a log.
const APPLICATION_ID: i64 = 0x536f_5265;

/// Rows of one statement, largest first: any number up to 511 takes at most nine statements. 256 rows of 7 values stay
/// far below SQLite's 32,766, and the statements of all tables fit sqlx's cache of 100.
const CHUNKS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Connections that read: catch-up is short pages, and there are few cores.
const READERS: u32 = 4;

type Sql<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

/// The log in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    checkpoints: Checkpoints,
}

impl SqliteStore {
    /// Opens the database at `path`, or makes it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0") // `checkpoints` does it.
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await;
        let writer = writer.map_err(database)?;
        migrate(&writer, path).await?;
        let checkpoints = Checkpoints::open(options.clone()).await.map_err(database)?;
        let options = options.read_only(true).create_if_missing(false);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await;
        Ok(Self { writer, readers: readers.map_err(database)?, checkpoints })
    }

    /// Closes all connections; the last one folds the WAL into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.checkpoints.close().await;
        self.writer.close().await;
    }
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.map_err(database)?;
    let connection = &mut *transaction;
    let application = number_of(connection, "PRAGMA application_id").await?;
    let found = number_of(connection, "PRAGMA user_version").await?;
    let tables = number_of(connection, "SELECT count(*) FROM sqlite_schema").await?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        return Err(StoreError::Foreign(application));
    }
    if found > SCHEMA_VERSION {
        let database = path.display().to_string();
        return Err(StoreError::Newer { database, found, known: SCHEMA_VERSION });
    }
    if found < SCHEMA_VERSION {
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *connection).await.map_err(database)?;
    }
    // Written at every start: SQLite takes a file that it may only read for writing until something is written.
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}");
    sqlx::raw_sql(AssertSqlSafe(mark)).execute(connection).await.map_err(database)?;
    transaction.commit().await.map_err(database)
}

async fn number_of(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(sql).fetch_one(connection).await.map_err(database)
}

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(database)?;
        self.checkpoints.before_write(&mut connection).await.map_err(database)?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(database)?;
        let bodies = write_rows(&mut transaction, batch).await.map_err(database)?;
        transaction.commit().await.map_err(database)?;
        self.checkpoints.after_write(batch.rows(), bodies);
        Ok(())
    }

    async fn read(&self, query: &Query) -> Result<Answer, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(database)?;
        read::answer(&mut connection, query).await
    }
}

/// Answers how many bytes the entries' bodies have.
async fn write_rows(connection: &mut SqliteConnection, batch: &Batch) -> Result<u64, sqlx::Error> {
    // Encoded once: its length counts for retention, and then it is bound.
    let bodies: Vec<Vec<u8>> = batch.entries.iter().map(|entry| entry.record.to_bytes()).collect();
    let mut sizes: BTreeMap<ConversationId, i64> = BTreeMap::new();
    for (entry, body) in batch.entries.iter().zip(&bodies) {
        *sizes.entry(entry.conversation).or_default() += body.len() as i64;
    }
    let bytes = bodies.iter().map(|body| body.len() as u64).sum();
    let conversations =
        batch.conversations.iter().map(|row| (row, sizes.get(&row.conversation).copied().unwrap_or(0)));
    insert(connection, &conversation(), conversations).await?;
    insert(connection, &entry(), batch.entries.iter().zip(bodies)).await?;
    insert(connection, &sender(), batch.senders.iter()).await?;
    for member in &batch.members {
        write_member(connection, member).await?;
    }
    insert(connection, &cursor(), batch.cursors.iter()).await?;
    for bump in &batch.bumps {
        write_bumps(connection, bump).await?;
    }
    for trim in &batch.trims {
        write_trim(connection, trim).await?;
    }
    Ok(bytes)
}

/// How rows of one kind are inserted.
struct Insert<T> {
    before: &'static str,
    columns: usize,
    after: &'static str,
    bind: for<'q> fn(Sql<'q>, T) -> Sql<'q>,
}

impl<T> Insert<T> {
    /// The statement for as many of the rows as one takes; `None` once there are none.
    fn next(&self, rows: &mut impl ExactSizeIterator<Item = T>) -> Option<Sql<'static>> {
        let size = CHUNKS.into_iter().find(|size| *size <= rows.len())?;
        let row = format!("({})", vec!["?"; self.columns].join(","));
        let values = vec![row.as_str(); size].join(",");
        let text = format!("{} VALUES {values} {}", self.before, self.after);
        Some(rows.by_ref().take(size).fold(sqlx::query(AssertSqlSafe(text)), self.bind))
    }
}

/// While one statement runs on the connection's thread, the next one is made on this.
async fn insert<T>(
    connection: &mut SqliteConnection,
    how: &Insert<T>,
    mut rows: impl ExactSizeIterator<Item = T>,
) -> Result<(), sqlx::Error> {
    let mut next = how.next(&mut rows);
    while let Some(sql) = next {
        let (done, made) = tokio::join!(sql.execute(&mut *connection), async { how.next(&mut rows) });
        done?;
        next = made;
    }
    Ok(())
}

fn conversation<'a>() -> Insert<(&'a ConversationRow, i64)> {
    Insert {
        before: "INSERT INTO conv (id, log_epoch, head, membership, bytes)",
        columns: 5,
        after: "ON CONFLICT (id) DO UPDATE SET log_epoch = excluded.log_epoch, head = excluded.head, \
                membership = excluded.membership, bytes = bytes + excluded.bytes",
        bind: |sql, (row, bytes)| {
            sql.bind(row.conversation.0.to_vec())
                .bind(number(row.log_epoch.0))
                .bind(number(row.head.0))
                .bind(number(row.membership.0))
                .bind(bytes)
        },
    }
}

fn entry<'a>() -> Insert<(&'a EntryRow, Vec<u8>)> {
    Insert {
        before: "INSERT INTO entry (conv, pos, device, seq, hash, body, logged_at)",
        columns: 7,
        after: "",
        bind: |sql, (row, body)| {
            let message = match &row.record {
                Record::Message(frame, hash) => Some((frame.body(), hash)),
                Record::Membership(_) => None,
            };
            sql.bind(row.conversation.0.to_vec())
                .bind(number(row.position.0))
                .bind(message.map(|(body, _)| body.device.0.to_vec()))
                .bind(message.map(|(body, _)| number(body.seq.0)))
                .bind(message.map(|(_, hash)| hash.0.to_vec()))
                .bind(body)
                .bind(number(row.logged_at.0))
        },
    }
}

fn sender<'a>() -> Insert<&'a SenderRow> {
    Insert {
        before: "INSERT INTO sender (conv, device, last_seq)",
        columns: 3,
        after: "ON CONFLICT (conv, device) DO UPDATE SET last_seq = excluded.last_seq",
        bind: |sql, row| {
            sql.bind(row.conversation.0.to_vec()).bind(row.device.0.to_vec()).bind(number(row.last_seq.0))
        },
    }
}

fn cursor<'a>() -> Insert<&'a CursorRow> {
    Insert {
        before: "INSERT INTO cursor (conv, device, account, pos, receipt)",
        columns: 5,
        after: "ON CONFLICT (conv, device) DO UPDATE SET account = excluded.account, pos = excluded.pos, \
                receipt = excluded.receipt",
        bind: |sql, row| {
            sql.bind(row.conversation.0.to_vec())
                .bind(row.device.0.to_vec())
                .bind(row.account.0.to_vec())
                .bind(number(row.position.0))
                .bind(row.receipt.as_ref().map(|receipt| receipt.to_vec()))
        },
    }
}

async fn write_member(connection: &mut SqliteConnection, row: &MemberRow) -> Result<(), sqlx::Error> {
    let sql = match row.joined {
        Some(joined) => sqlx::query(
            "INSERT INTO member (conv, account, joined) VALUES (?, ?, ?) \
             ON CONFLICT (conv, account) DO UPDATE SET joined = excluded.joined",
        )
        .bind(&row.conversation.0[..])
        .bind(&row.account.0[..])
        .bind(number(joined.0)),
        None => sqlx::query("DELETE FROM member WHERE conv = ? AND account = ?")
            .bind(&row.conversation.0[..])
            .bind(&row.account.0[..]),
    };
    sql.execute(connection).await.map(drop)
}

async fn write_bumps(connection: &mut SqliteConnection, row: &BumpRow) -> Result<(), sqlx::Error> {
    let id = &row.conversation.0[..];
    sqlx::query("DELETE FROM bump WHERE conv = ?").bind(id).execute(&mut *connection).await?;
    for bump in &row.bumps {
        sqlx::query("INSERT INTO bump (conv, epoch, common) VALUES (?, ?, ?)")
            .bind(id)
            .bind(number(bump.epoch.0))
            .bind(number(bump.common.0))
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("UPDATE cursor SET pos = min(pos, (SELECT head FROM conv WHERE id = conv)) WHERE conv = ?")
        .bind(id)
        .execute(connection)
        .await
        .map(drop)
}

async fn write_trim(connection: &mut SqliteConnection, row: &TrimRow) -> Result<(), sqlx::Error> {
    let (id, floor) = (&row.conversation.0[..], number(row.floor.0));
    sqlx::query(
        "UPDATE conv SET bytes = bytes - (SELECT coalesce(sum(length(body)), 0) FROM entry \
         WHERE conv = conv.id AND pos >= conv.floor AND pos < ?2) WHERE id = ?1 AND floor < ?2",
    )
    .bind(id)
    .bind(floor)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE entry SET body = x'' WHERE conv = ?1 AND pos < ?2 \
         AND pos >= (SELECT floor FROM conv WHERE id = ?1)",
    )
    .bind(id)
    .bind(floor)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE conv SET floor = max(floor, ?2) WHERE id = ?1")
        .bind(id)
        .bind(floor)
        .execute(connection)
        .await
        .map(drop)
}

/// SQLite has no unsigned integers. Counters start small and rise by ones; only a value from outside could be
/// beyond, and the log compares those with its own before they come here.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn database(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
    // The low byte is the kind, the rest its details (https://www.sqlite.org/rescode.html).
    match code.map(|code| code & 0xff) {
        Some(8) => StoreError::ReadOnly,
        Some(10) => StoreError::Disk(error.to_string()),
        Some(11 | 26) => StoreError::Damaged,
        Some(13) => StoreError::Full,
        Some(14) => StoreError::CannotOpen,
        Some(_) | None => StoreError::Database(Box::new(error)),
    }
}

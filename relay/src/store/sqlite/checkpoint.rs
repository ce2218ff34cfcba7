//! Folds the write-ahead log (WAL) into the database on a connection of its own. SQLite by itself does so inside every
//! thousandth page's commit, and whoever waits for that commit waits three times as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};

/// Bytes written, by [`Checkpoints::after_write`]'s estimate, after which the WAL is folded in.
const AFTER: u64 = 2 * 1024 * 1024;

/// What a transaction writes beside its entries' bodies: a few pages of its own, and something for each row.
const TRANSACTION: u64 = 32 * 1024;
const ROW: u64 = 100;

/// Pages of WAL (of 4 KiB: 64 MiB) at which the writer itself folds it in and starts it over. Only writes that never pause
/// get there: a WAL can start over only while nobody adds to it.
const MOST_PAGES: i64 = 16_384;

#[derive(Debug, Clone)]
pub(super) struct Checkpoints(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: SqlitePool,
    /// Bytes written since the last one began.
    written: AtomicU64,
    running: AtomicBool,
    /// The WAL is too large: the writer is to start it over.
    due: AtomicBool,
}

impl Checkpoints {
    pub(super) async fn open(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let connection = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let shared = Shared {
            connection,
            written: AtomicU64::new(0),
            running: AtomicBool::new(false),
            due: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Starts a WAL over that has grown too large.
    pub(super) async fn before_write(&self, writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if self.0.due.swap(false, Ordering::Relaxed) {
            // If a reader holds on to it, a later write tries again.
            checkpoint(writer, "PRAGMA wal_checkpoint(RESTART)").await?;
        }
        Ok(())
    }

    /// Begins folding in, if there is enough; nobody waits for it.
    pub(super) fn after_write(&self, rows: usize, bodies: u64) {
        let bytes = TRANSACTION + rows as u64 * ROW + bodies;
        let written = self.0.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written < AFTER || self.0.running.swap(true, Ordering::Relaxed) {
            return;
        }
        self.0.written.store(0, Ordering::Relaxed);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            match shared.run().await {
                Ok(pages) if pages >= MOST_PAGES => shared.due.store(true, Ordering::Relaxed),
                Ok(_) => {}
                // Nothing is lost: it is all in the WAL. If the disk is at its end, the next write says so.
                Err(error) => tracing::warn!(%error, "the log's write-ahead log could not be folded in"),
            }
            shared.running.store(false, Ordering::Relaxed);
        });
    }

    /// Waits until none is running.
    #[cfg(test)]
    pub(super) async fn idle(&self) {
        while self.0.running.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    /// As if the WAL had grown too large.
    #[cfg(test)]
    pub(super) fn owe(&self) {
        self.0.due.store(true, Ordering::Relaxed);
    }

    pub(super) async fn close(&self) {
        self.0.connection.close().await;
    }
}

impl Shared {
    async fn run(&self) -> Result<i64, sqlx::Error> {
        let mut connection = self.connection.acquire().await?;
        checkpoint(&mut connection, "PRAGMA wal_checkpoint(PASSIVE)").await
    }
}

/// Answers how many pages the WAL has.
async fn checkpoint(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, sqlx::Error> {
    let (_busy, pages, _folded): (i64, i64, i64) = sqlx::query_as(sql).fetch_one(connection).await?;
    Ok(pages)
}

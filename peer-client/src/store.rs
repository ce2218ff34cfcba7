//! A profile: one SQLite file (WAL, synchronous=FULL) with a table of keys and values for each of the brain's
//! tables, locked against a second process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sotto_peer_core::{Query, Row as Pair, Snapshot, Table, WriteSet};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row};

/// `PRAGMA user_version` of this layout.
const VERSION: i64 = 1;

/// Rows of one statement: sqlx costs about 20 µs a statement.
const CHUNK: usize = 128;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another process has it.
    #[error("the profile {0} is in use by another sotto; close it, or choose another with --profile")]
    Locked(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("the profile {path} cannot be used: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A later version of this program made it.
    #[error("the profile is of a newer version ({0}; this one knows {VERSION}): update sotto")]
    Newer(i64),
    /// The database says no: disk full, read-only, damaged.
    #[error("the profile cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// An open profile.
#[derive(Debug)]
pub struct Store {
    pool: SqlitePool,
    _lock: File,
}

impl Store {
    /// Opens the profile in a folder, or makes it; nobody else may have it open.
    pub async fn open(folder: &Path) -> Result<Self, ProfileError> {
        let io = |error| ProfileError::Io { path: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(io)?;
        restrict(folder).map_err(io)?;
        let lock = File::create(folder.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(ProfileError::Locked(folder.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let options = SqliteConnectOptions::new()
            .filename(folder.join("profile.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&pool).await?.try_get(0)?;
        if found > VERSION {
            return Err(ProfileError::Newer(found));
        }
        for table in Table::ALL {
            let name = table.name();
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {name} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {VERSION}"))).execute(&pool).await?;
        Ok(Self { pool, _lock: lock })
    }

    /// Makes a write durable, all of it or nothing.
    pub async fn apply(&self, writes: &WriteSet) -> Result<(), ProfileError> {
        let mut transaction = self.pool.begin().await?;
        for (table, from, to) in &writes.delete_ranges {
            let sql = format!("DELETE FROM {} WHERE key >= ? AND key < ?", table.name());
            sqlx::query(AssertSqlSafe(sql)).bind(&from[..]).bind(&to[..]).execute(&mut *transaction).await?;
        }
        for table in Table::ALL {
            let rows = || writes.rows.iter().filter(|((t, _), _)| *t == table);
            let gone: Vec<&Vec<u8>> =
                rows().filter(|(_, value)| value.is_none()).map(|((_, key), _)| key).collect();
            for keys in gone.chunks(CHUNK) {
                let marks = vec!["?"; keys.len()].join(",");
                let sql = format!("DELETE FROM {} WHERE key IN ({marks})", table.name());
                let query =
                    keys.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, key| query.bind(&key[..]));
                query.execute(&mut *transaction).await?;
            }
            let put: Vec<_> = rows().filter_map(|((_, key), value)| Some((key, value.as_ref()?))).collect();
            for pairs in put.chunks(CHUNK) {
                let marks = vec!["(?,?)"; pairs.len()].join(",");
                let sql = format!("INSERT OR REPLACE INTO {} (key, value) VALUES {marks}", table.name());
                let query = pairs.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (key, value)| {
                    query.bind(&key[..]).bind(&value[..])
                });
                query.execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Reads a range.
    pub async fn load(&self, query: &Query) -> Result<Vec<Pair>, ProfileError> {
        let order = if query.descending { "DESC" } else { "ASC" };
        let table = query.table.name();
        let sql =
            format!("SELECT key, value FROM {table} WHERE key >= ? AND key < ? ORDER BY key {order} LIMIT ?");
        let query =
            sqlx::query(AssertSqlSafe(sql)).bind(&query.from[..]).bind(&query.to[..]).bind(query.limit);
        query.fetch_all(&self.pool).await?.iter().map(pair).collect()
    }

    /// Everything that a starting brain reads.
    pub async fn snapshot(&self) -> Result<Snapshot, ProfileError> {
        let mut snapshot = Snapshot::default();
        for table in Table::HOT {
            let sql = format!("SELECT key, value FROM {} ORDER BY key", table.name());
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
            snapshot.tables.insert(table, rows.iter().map(pair).collect::<Result<_, _>>()?);
        }
        Ok(snapshot)
    }
}

fn pair(row: &sqlx::sqlite::SqliteRow) -> Result<Pair, ProfileError> {
    Ok(Pair { key: row.try_get(0)?, value: row.try_get(1)? })
}

/// The profile holds keys: nobody else may read it.
fn restrict(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_again_and_nobody_else_may_open_it() {
        let folder = std::env::temp_dir().join(format!("sotto-store-{}", std::process::id()));
        let store = Store::open(&folder).await.unwrap();
        let mut writes = WriteSet::default();
        for number in 0..300u32 {
            writes.rows.insert((Table::Event, number.to_be_bytes().to_vec()), Some(vec![number as u8]));
        }
        store.apply(&writes).await.unwrap();
        assert!(matches!(Store::open(&folder).await, Err(ProfileError::Locked(_))));
        let (from, to) = (10u32.to_be_bytes().to_vec(), 20u32.to_be_bytes().to_vec());
        let query =
            Query { table: Table::Event, from: from.clone(), to: to.clone(), limit: 3, descending: true };
        let rows = store.load(&query).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.value[0]).collect::<Vec<_>>(), [19, 18, 17]);
        let mut writes = WriteSet::default();
        writes.delete_ranges.push((Table::Event, from, to));
        writes.rows.insert((Table::Event, 5u32.to_be_bytes().to_vec()), None);
        store.apply(&writes).await.unwrap();
        assert!(store.load(&query).await.unwrap().is_empty());
        drop(store);
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! The profile's SQLite file: a table of keys and values for each of the core's tables, WAL, synchronous=FULL.
//!
//! A statement costs about 20 µs on its way through sqlx, so rows go in many to a statement. Their number is one
//! of [`CHUNKS`], so that each statement is prepared once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_peer_core::{Query, Row, Snapshot, Table, WriteSet};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

/// `PRAGMA user_version` of this layout.
const VERSION: i64 = 1;

/// `PRAGMA application_id` of our files ("SoPe"), so that another program's file is not taken for one.
const APPLICATION_ID: i64 = 0x536f_5065;

/// Rows of one statement, largest first: any number of rows goes in few. 128 rows of 2 values stay far below
/// SQLite's 32,766.
const CHUNKS: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// Prepared statements kept: an upsert and a delete for each table and chunk, and the reads.
const STATEMENTS: usize = 2 * Table::ALL.len() * CHUNKS.len() + 4 * Table::ALL.len();

/// Why a store cannot be opened, read or written. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Written by a later version of this program.
    #[error(
        "it was written by a newer version of sotto (format {found}, this one knows {VERSION}): update sotto"
    )]
    Newer {
        /// Its format.
        found: i64,
    },
    /// Another program's file.
    #[error("profile.db belongs to another program (application id {0:#x}): choose another folder")]
    Foreign(i64),
    /// No room.
    #[error("the disk is full: make room and start again; nothing that was acknowledged is lost")]
    Full,
    /// No writing.
    #[error(
        "it cannot be written: its disk or its files are read-only. Let this user write them, or choose another folder"
    )]
    ReadOnly,
    /// The disk failed, or a limit on file sizes was met.
    #[error("its disk does not take writes (disk full, a quota, or a broken disk): {0}")]
    Disk(String),
    /// Not a database any more.
    #[error("profile.db is damaged: restore it from a backup, or start with a new profile")]
    Damaged,
    /// The file cannot be opened.
    #[error("profile.db cannot be opened: let this user read and write it and its folder")]
    CannotOpen,
    /// Anything else.
    #[error("its database failed: {0}")]
    Sqlite(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()?.parse::<u32>().ok());
        // The low byte is the kind, the rest its details (https://sqlite.org/rescode.html).
        match code.map(|code| code & 0xff) {
            Some(8) => Self::ReadOnly,
            Some(10) => Self::Disk(error.to_string()),
            Some(11 | 26) => Self::Damaged,
            Some(13) => Self::Full,
            Some(14) => Self::CannotOpen,
            _ => Self::Sqlite(error),
        }
    }
}

/// An open store. Writes and reads are in the order of their calls.
#[derive(Debug)]
pub struct Store {
    connection: SqliteConnection,
    statements: Statements,
}

impl Store {
    /// Opens the database file at `path`, or makes it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(STATEMENTS)
            // A slow disk is worth a line at this level, not at every write.
            .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1))
            .log_statements(tracing::log::LevelFilter::Off)
            .connect()
            .await?;
        prepare(&mut connection).await?;
        Ok(Self { connection, statements: Statements::new() })
    }

    /// Writes all of it or nothing; once this returns, it is on the disk.
    pub async fn apply(&mut self, writes: &WriteSet) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for (table, from, to) in &writes.delete_ranges {
            let sql = Arc::clone(&self.statements.of(*table).delete_range);
            let query = sqlx::query(AssertSqlSafe(sql)).bind(&from[..]).bind(&to[..]);
            query.execute(&mut *transaction).await?;
        }
        let mut rows = writes.rows.iter().peekable();
        while let Some(((table, _), _)) = rows.peek() {
            let table = *table;
            let (mut gone, mut put) = (Vec::new(), Vec::new());
            while let Some(((_, key), value)) = rows.next_if(|((of, _), _)| *of == table) {
                match value {
                    Some(value) => put.push((&key[..], &value[..])),
                    None => gone.push(&key[..]),
                }
            }
            for (sql, keys) in chunks(&self.statements.of(table).delete, &gone) {
                let query = keys.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, key| query.bind(*key));
                query.execute(&mut *transaction).await?;
            }
            for (sql, rows) in chunks(&self.statements.of(table).put, &put) {
                let query = rows.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (key, value)| {
                    query.bind(*key).bind(*value)
                });
                query.execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Reads a range.
    pub async fn load(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let statements = self.statements.of(query.table);
        let sql = if query.descending { &statements.load_down } else { &statements.load_up };
        let query = sqlx::query(AssertSqlSafe(Arc::clone(sql)))
            .bind(&query.from[..])
            .bind(&query.to[..])
            .bind(i64::from(query.limit));
        Ok(query.fetch_all(&mut self.connection).await?.iter().map(row).collect::<Result<_, _>>()?)
    }

    /// Everything that a starting peer needs.
    pub async fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        for table in Table::HOT {
            let sql = format!("SELECT key, value FROM {} ORDER BY key", table.name());
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await?;
            snapshot.tables.insert(table, rows.iter().map(row).collect::<Result<_, _>>()?);
        }
        Ok(snapshot)
    }

    /// From here on every write fails.
    #[cfg(test)]
    pub(crate) async fn break_writes(&mut self) {
        sqlx::raw_sql("PRAGMA query_only = ON").execute(&mut self.connection).await.unwrap();
    }

    /// Closes the file, folding its write-ahead log in.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    Ok(Row { key: row.try_get(0)?, value: row.try_get(1)? })
}

/// Checks whose file it is, and makes the tables of a new one.
async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let pragma = |name: &'static str| sqlx::query_scalar::<_, i64>(name);
    let application = pragma("PRAGMA application_id").fetch_one(&mut *transaction).await?;
    let found = pragma("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let objects = pragma("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await?;
    if application != APPLICATION_ID && (application != 0 || objects != 0) {
        return Err(StoreError::Foreign(application));
    }
    if found > VERSION {
        return Err(StoreError::Newer { found });
    }
    if found == VERSION {
        return Ok(());
    }
    for table in Table::ALL {
        // Rows are found by their key only, so they live in the key's own tree.
        let name = table.name();
        let sql = format!("CREATE TABLE {name} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    }
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}");
    sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// The statements' texts, by table; made once.
#[derive(Debug)]
struct Statements(Vec<TableStatements>);

#[derive(Debug)]
struct TableStatements {
    /// For each of [`CHUNKS`].
    put: Vec<Arc<str>>,
    delete: Vec<Arc<str>>,
    delete_range: Arc<str>,
    load_up: Arc<str>,
    load_down: Arc<str>,
}

impl Statements {
    fn new() -> Self {
        Self(Table::ALL.iter().map(|table| TableStatements::new(table.name())).collect())
    }

    fn of(&self, table: Table) -> &TableStatements {
        // `Table::ALL` is in the order of the enum.
        &self.0[table as usize]
    }
}

impl TableStatements {
    fn new(name: &str) -> Self {
        let put = |rows| {
            let values = vec!["(?,?)"; rows].join(",");
            format!(
                "INSERT INTO {name} (key, value) VALUES {values} \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value"
            )
        };
        let delete = |rows| format!("DELETE FROM {name} WHERE key IN ({})", vec!["?"; rows].join(","));
        let load = |order| {
            format!("SELECT key, value FROM {name} WHERE key >= ? AND key < ? ORDER BY key {order} LIMIT ?")
        };
        Self {
            put: CHUNKS.map(|rows| put(rows).into()).to_vec(),
            delete: CHUNKS.map(|rows| delete(rows).into()).to_vec(),
            delete_range: format!("DELETE FROM {name} WHERE key >= ? AND key < ?").into(),
            load_up: load("ASC").into(),
            load_down: load("DESC").into(),
        }
    }
}

/// The rows in portions that a statement is there for.
fn chunks<'a, T>(statements: &[Arc<str>], mut rows: &'a [T]) -> Vec<(Arc<str>, &'a [T])> {
    let mut portions = Vec::new();
    for (size, sql) in CHUNKS.into_iter().zip(statements) {
        while let Some((portion, rest)) = rows.split_at_checked(size) {
            portions.push((Arc::clone(sql), portion));
            rows = rest;
        }
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    fn writes(table: Table, rows: impl IntoIterator<Item = (u32, Option<&'static str>)>) -> WriteSet {
        let row = |(number, value): (u32, Option<&str>)| ((table, key(number)), value.map(|v| v.into()));
        WriteSet { rows: rows.into_iter().map(row).collect(), delete_ranges: Vec::new() }
    }

    fn range(table: Table, from: u32, to: u32) -> Query {
        Query { table, from: key(from), to: key(to), limit: 10_000, descending: false }
    }

    async fn numbers(store: &mut Store, query: &Query) -> Vec<u32> {
        let rows = store.load(query).await.unwrap();
        rows.iter().map(|row| u32::from_be_bytes(row.key[..].try_into().unwrap())).collect()
    }

    #[test]
    fn the_tables_are_in_the_order_of_their_enum() {
        assert!(Table::ALL.iter().enumerate().all(|(at, table)| *table as usize == at));
    }

    #[tokio::test]
    async fn what_is_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.db");
        let mut store = Store::open(&path).await.unwrap();
        // More than the largest statement takes, and a rest for each of the smaller ones.
        store.apply(&writes(Table::Tail, (0..300).map(|n| (n, Some("old"))))).await.unwrap();
        let mixed = (0..300).map(|n| (n, (n % 2 == 0).then_some("new")));
        store.apply(&writes(Table::Tail, mixed)).await.unwrap();
        store.apply(&writes(Table::History, [(1, Some("cold"))])).await.unwrap();
        store.close().await.unwrap();

        let mut store = Store::open(&path).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let tail = &snapshot.tables[&Table::Tail];
        assert_eq!(tail.len(), 150);
        assert!(tail.iter().all(|row| row.value == b"new"));
        assert!(!snapshot.tables.contains_key(&Table::History), "history is read when asked for");
        assert_eq!(numbers(&mut store, &range(Table::History, 0, 9)).await, [1]);
    }

    #[tokio::test]
    async fn a_range_has_its_first_key_and_not_its_last_and_comes_either_way_round() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("profile.db")).await.unwrap();
        store.apply(&writes(Table::Index, (0..10).map(|n| (n, Some("x"))))).await.unwrap();
        assert_eq!(numbers(&mut store, &range(Table::Index, 3, 6)).await, [3, 4, 5]);
        let down = Query { limit: 2, descending: true, ..range(Table::Index, 3, 6) };
        assert_eq!(numbers(&mut store, &down).await, [5, 4]);
        assert_eq!(numbers(&mut store, &range(Table::Event, 0, 99)).await, [0; 0]);
    }

    #[tokio::test]
    async fn ranges_are_deleted_before_rows_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("profile.db")).await.unwrap();
        store.apply(&writes(Table::Event, (0..10).map(|n| (n, Some("old"))))).await.unwrap();
        let mut set = writes(Table::Event, [(4, Some("new"))]);
        set.delete_ranges.push((Table::Event, key(2), key(8)));
        store.apply(&set).await.unwrap();
        assert_eq!(numbers(&mut store, &range(Table::Event, 0, 99)).await, [0, 1, 4, 8, 9]);
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_or_of_another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.db");
        let mut store = Store::open(&path).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 7").execute(&mut store.connection).await.unwrap();
        store.close().await.unwrap();
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 7 }), "{error}");

        let other = folder.path().join("other.db");
        let mut connection =
            SqliteConnectOptions::new().filename(&other).create_if_missing(true).connect().await.unwrap();
        sqlx::raw_sql("CREATE TABLE recipes (name)").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        assert!(matches!(Store::open(&other).await.unwrap_err(), StoreError::Foreign(0)));

        let text = folder.path().join("text.db");
        std::fs::write(&text, "not a database, but long enough to look at".repeat(100)).unwrap();
        assert!(matches!(Store::open(&text).await.unwrap_err(), StoreError::Damaged));
    }

    #[tokio::test]
    async fn a_full_disk_is_a_clear_error_and_leaves_no_half_of_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.db");
        let mut store = Store::open(&path).await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 40").execute(&mut store.connection).await.unwrap();
        store.apply(&writes(Table::Meta, [(0, Some("before"))])).await.unwrap();
        let mut large = WriteSet::default();
        for number in 1..100 {
            large.rows.insert((Table::Meta, key(number)), Some(vec![7; 4_096]));
        }
        let error = store.apply(&large).await.unwrap_err();
        assert!(matches!(error, StoreError::Full), "{error}");
        assert!(error.to_string().contains("disk is full"));
        drop(store);
        let mut store = Store::open(&path).await.unwrap();
        assert_eq!(store.snapshot().await.unwrap().tables[&Table::Meta].len(), 1);
    }
}

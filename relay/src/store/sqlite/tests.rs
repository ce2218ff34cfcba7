use std::sync::{Arc, Mutex};

use sqlx::Row;

use super::*;
use crate::store::{MemoryStore, conformance};

async fn open() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("relay.db")).await.unwrap();
    (folder, store)
}

fn conversation(n: u64) -> ConversationRow {
    let mut random = [0; 15];
    random[..8].copy_from_slice(&n.to_be_bytes());
    ConversationRow {
        conversation: ConversationId::group(random),
        log_epoch: sotto_protocol::LogEpoch(1),
        head: sotto_protocol::Position(0),
        membership: sotto_protocol::MembershipEpoch(1),
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    let (_folder, store) = open().await;
    conformance::run(Arc::new(store)).await;
}

#[tokio::test]
async fn the_store_in_memory_conforms() {
    conformance::run(Arc::new(Mutex::new(MemoryStore::default()))).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_opening() {
    let (folder, store) = open().await;
    let row = conversation(1);
    store.write(&Batch { conversations: vec![row.clone()], ..Batch::default() }).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(folder.path().join("relay.db")).await.unwrap();
    let answer = store.read(&Query::Conversation(row.conversation)).await.unwrap();
    assert!(matches!(answer, Answer::Conversation(Some(_))));
}

#[tokio::test]
async fn a_database_from_a_newer_version_says_so() {
    let (folder, store) = open().await;
    sqlx::query("PRAGMA user_version = 7").execute(&store.writer).await.unwrap();
    store.close().await;
    let error = SqliteStore::open(folder.path().join("relay.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, known: SCHEMA_VERSION, .. }));
    assert!(error.to_string().contains("relay.db: schema version 7"), "{error}");
}

#[tokio::test]
async fn every_connection_is_as_durable_as_promised() {
    let (_folder, store) = open().await;
    for (pragma, expected) in [("synchronous", 2), ("foreign_keys", 1)] {
        let sql = AssertSqlSafe(format!("PRAGMA {pragma}"));
        let row = sqlx::query(sql).fetch_one(&store.writer).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), expected, "{pragma}");
    }
    let row = sqlx::query("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
}

#[tokio::test]
async fn a_full_disk_is_named_stores_nothing_and_passes() {
    let (_folder, store) = open().await;
    let limit = |pages: u64| {
        let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(sql).execute(&store.writer)
    };
    limit(1).await.unwrap(); // no fewer than there are: no more than there are
    let rows: Vec<ConversationRow> = (0..20_000).map(conversation).collect();
    let first = Query::Conversation(rows[0].conversation);
    let batch = Batch { conversations: rows, ..Batch::default() };
    assert!(matches!(store.write(&batch).await, Err(StoreError::Full)));
    assert_eq!(store.read(&first).await.unwrap(), Answer::Conversation(None));
    limit(1_000_000).await.unwrap();
    store.write(&batch).await.unwrap();
    assert!(matches!(store.read(&first).await.unwrap(), Answer::Conversation(Some(_))));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(folder.path().join("no").join("relay.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::CannotOpen), "{error}");
    assert!(error.to_string().contains("its folder must exist"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_or_damaged_is_named_and_left_as_it_is() {
    let (folder, store) = open().await;
    store.write(&Batch { conversations: vec![conversation(1)], ..Batch::default() }).await.unwrap();
    store.close().await;
    let file = folder.path().join("relay.db");
    let mut damaged = std::fs::read(&file).unwrap();
    damaged[100..4_000].fill(0x5a);
    for bytes in [damaged, "not a database, but long enough to look at".repeat(100).into_bytes()] {
        std::fs::write(&file, &bytes).unwrap();
        let error = SqliteStore::open(&file).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged), "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, sql, expected) in [
        ("recipes.db", "CREATE TABLE recipes (name)", 0),
        ("signaling.db", "PRAGMA application_id = 7; PRAGMA user_version = 1", 7),
    ] {
        let file = folder.path().join(name);
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
        let error = SqliteStore::open(&file).await.unwrap_err();
        assert!(matches!(error, StoreError::Foreign(id) if id == expected), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_became_read_only_is_named_stores_nothing_and_is_read_on() {
    let (_folder, store) = open().await;
    let first = Batch { conversations: vec![conversation(1)], ..Batch::default() };
    store.write(&first).await.unwrap();
    let query_only = |on| sqlx::raw_sql(on).execute(&store.writer);
    query_only("PRAGMA query_only = ON").await.unwrap();
    let second = Batch { conversations: vec![conversation(2)], ..Batch::default() };
    let error = store.write(&second).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    assert!(error.to_string().contains("let this user write"), "{error}");
    let read = async |n| store.read(&Query::Conversation(conversation(n).conversation)).await.unwrap();
    assert!(matches!(read(1).await, Answer::Conversation(Some(_))));
    assert_eq!(read(2).await, Answer::Conversation(None));
    query_only("PRAGMA query_only = OFF").await.unwrap();
    store.write(&second).await.unwrap();
}

#[tokio::test]
async fn a_stored_body_that_is_no_frame_is_reported_not_sent() {
    let (_folder, store) = open().await;
    let row = conversation(1);
    store.write(&Batch { conversations: vec![row.clone()], ..Batch::default() }).await.unwrap();
    sqlx::query("INSERT INTO entry (conv, pos, seq, body, logged_at) VALUES (?, 1, 1, x'ff', 0)")
        .bind(&row.conversation.0[..])
        .execute(&store.writer)
        .await
        .unwrap();
    let query = Query::Page {
        conversation: row.conversation,
        after: sotto_protocol::Position(0),
        through: sotto_protocol::Position(1),
        limit: 1,
        bytes: 1,
    };
    assert!(matches!(store.read(&query).await, Err(StoreError::Corrupt { what: "entry.body", .. })));
}

/// SQLite's own checkpoints are off; small transactions alone must not make the write-ahead log grow for ever.
#[tokio::test]
async fn the_write_ahead_log_is_folded_in_beside_the_writes() {
    let (folder, store) = open().await;
    let row = conversation(1);
    store.write(&Batch { conversations: vec![row.clone()], ..Batch::default() }).await.unwrap();
    let cursor = |position| CursorRow {
        conversation: row.conversation,
        device: sotto_protocol::DeviceId([7; 16]),
        account: sotto_protocol::AccountId([7; 32]),
        position: sotto_protocol::Position(position),
        receipt: None,
    };
    for position in 0..2_000 {
        store.write(&Batch { cursors: vec![cursor(position)], ..Batch::default() }).await.unwrap();
        store.checkpoints.idle().await;
    }
    let wal = std::fs::metadata(folder.path().join("relay.db-wal")).unwrap().len();
    // A page at least for each write, if it were never started over.
    assert!(wal < 1_000 * 4_096, "{wal} bytes");
}

/// Writes that never pause keep the WAL from starting over, until the writer does it.
#[tokio::test]
async fn the_writer_starts_over_a_write_ahead_log_that_is_too_large() {
    let (folder, store) = open().await;
    let row = conversation(1);
    store.write(&Batch { conversations: vec![row.clone()], ..Batch::default() }).await.unwrap();
    store.checkpoints.owe();
    store.write(&Batch { conversations: vec![row], ..Batch::default() }).await.unwrap();
    let size = || std::fs::metadata(folder.path().join("relay.db-wal")).unwrap().len();
    let before = size();
    for n in 2..4 {
        store.write(&Batch { conversations: vec![conversation(n)], ..Batch::default() }).await.unwrap();
    }
    assert_eq!(size(), before, "the file is written from its beginning");
}

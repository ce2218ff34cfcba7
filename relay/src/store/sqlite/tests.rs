use std::sync::{Arc, Mutex};

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
    assert!(matches!(error, StoreError::Database(_)), "{error}");
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

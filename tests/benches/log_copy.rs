//! What a server's log has written, read from its database beside it, as rows for bare SQLite.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Row};

use crate::bare_sqlite::{Transaction, Value, log_rows};

pub struct LogCopy {
    database: SqliteConnection,
    /// Everything up to here was handed out: entries in the order of (conv, pos).
    seen: i64,
}

impl LogCopy {
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        Self { database: options.connect().await.unwrap(), seen: 0 }
    }

    /// All entries that are new, in one transaction.
    pub async fn rest(&mut self) -> Vec<Transaction> {
        self.new_entries(1).await
    }

    /// All entries that are new, in this many transactions of equal size. Each has, as the log's own, its conversation's
    /// and its sender's row, and the receiver's cursor.
    pub async fn new_entries(&mut self, transactions: usize) -> Vec<Transaction> {
        let sql =
            "SELECT conv, pos, device, seq, hash, body, logged_at FROM entry WHERE pos > ? ORDER BY pos";
        let rows = sqlx::query(sql).bind(self.seen).fetch_all(&mut self.database).await.unwrap();
        let Some(last) = rows.last() else { return Vec::new() };
        self.seen = last.get(1);
        let size = rows.len().div_ceil(transactions.max(1));
        rows.chunks(size).map(transaction).collect()
    }
}

fn transaction(entries: &[SqliteRow]) -> Transaction {
    let blob = |row: &SqliteRow, column| match row.get::<Option<Vec<u8>>, _>(column) {
        Some(bytes) => Value::Blob(bytes),
        None => Value::Null,
    };
    let int = |row: &SqliteRow, column| row.get::<Option<i64>, _>(column).map_or(Value::Null, Value::Int);
    let last = entries.last().unwrap();
    let bytes: i64 = entries.iter().map(|row| row.get::<Vec<u8>, _>(5).len() as i64).sum();
    let conversation = vec![blob(last, 0), Value::Int(1), int(last, 1), Value::Int(1), Value::Int(bytes)];
    let senders = entries.iter().rev().find(|row| row.get::<Option<i64>, _>(3).is_some());
    let senders: Vec<_> =
        senders.into_iter().map(|row| vec![blob(row, 0), blob(row, 2), int(row, 3)]).collect();
    let cursors = senders.iter().map(|row| {
        let position = int(last, 1);
        vec![row[0].clone(), row[1].clone(), row[1].clone(), position, Value::Blob(vec![0; 100])]
    });
    let cursors = cursors.collect();
    let entries = entries.iter().map(|row| {
        let (device, seq, hash) = (blob(row, 2), int(row, 3), blob(row, 4));
        vec![blob(row, 0), int(row, 1), device, seq, hash, blob(row, 5), int(row, 6)]
    });
    log_rows(vec![conversation], entries.collect(), senders, Vec::new(), cursors)
}

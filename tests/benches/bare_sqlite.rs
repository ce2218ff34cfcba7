//! Bare SQLite: rows that are there already go into a database of the same schema and pragmas, in given transactions.
//! Nothing is decided, encoded, signed or sent.

use std::path::Path;

use sotto_peer_core::{Table, WriteSet};
use sotto_relay::store::{Batch, Record};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// Rows of one statement, as in our stores: with one row a statement bare SQLite would look slow.
const CHUNKS: [usize; 8] = [128, 64, 32, 16, 8, 4, 2, 1];

/// A value to bind.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    Blob(Vec<u8>),
}

/// Rows that take the same statement.
#[derive(Debug, Clone)]
pub struct Rows {
    before: String,
    after: &'static str,
    rows: Vec<Vec<Value>>,
}

/// One transaction.
pub type Transaction = Vec<Rows>;

pub struct BareSqlite(SqliteConnection);

impl BareSqlite {
    /// Opens a database whose tables are there.
    pub async fn open(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .statement_cache_capacity(400)
            .disable_statement_logging();
        Self(options.connect().await.unwrap())
    }

    /// Writes them one after another.
    pub async fn write(&mut self, transactions: &[Transaction]) {
        for transaction in transactions {
            self.write_one(transaction).await;
        }
    }

    /// Writes one; it is on the disk then.
    pub async fn write_one(&mut self, transaction: &Transaction) {
        let mut open = self.0.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for rows in transaction {
            let row = format!("({})", vec!["?"; rows.rows[0].len()].join(","));
            let mut rest = &rows.rows[..];
            for size in CHUNKS {
                while let Some((chunk, others)) = rest.split_at_checked(size) {
                    rest = others;
                    let values = vec![row.as_str(); size].join(",");
                    let text = format!("{} {values} {}", rows.before, rows.after);
                    let sql = sqlx::query(AssertSqlSafe(text));
                    chunk.iter().flatten().fold(sql, bind).execute(&mut *open).await.unwrap();
                }
            }
        }
        open.commit().await.unwrap();
    }
}

type Sql<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bind<'q>(sql: Sql<'q>, value: &'q Value) -> Sql<'q> {
    match value {
        Value::Null => sql.bind(None::<i64>),
        Value::Int(number) => sql.bind(*number),
        Value::Blob(bytes) => sql.bind(&bytes[..]),
    }
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap())
}

/// What a profile wrote, as bare rows.
pub fn of_profile(writes: &WriteSet) -> Transaction {
    assert!(writes.delete_ranges.is_empty(), "ranges end only with conversations and kept events");
    let mut transaction = Transaction::new();
    for table in Table::ALL {
        let name = table.name();
        let of_table = || writes.rows.iter().filter(move |((of, _), _)| *of == table);
        let gone: Vec<_> =
            of_table().filter(|(_, value)| value.is_none()).map(|((_, key), _)| vec![blob(key)]).collect();
        let put: Vec<_> =
            of_table().filter_map(|((_, key), value)| Some(vec![blob(key), blob(value.as_ref()?)])).collect();
        if !gone.is_empty() {
            let before = format!("DELETE FROM {name} WHERE key IN (VALUES");
            transaction.push(Rows { before, after: ")", rows: gone });
        }
        if !put.is_empty() {
            let before = format!("INSERT INTO {name} (key, value) VALUES");
            let after = "ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            transaction.push(Rows { before, after, rows: put });
        }
    }
    transaction
}

/// What the relay's log wrote, as bare rows.
pub fn of_log(batch: &Batch) -> Transaction {
    assert!(batch.bumps.is_empty() && batch.trims.is_empty(), "neither happens here");
    let sizes = |id| {
        let of = batch.entries.iter().filter(|entry| entry.conversation == id);
        of.map(|entry| entry.record.size() as u64).sum()
    };
    let conversations = batch.conversations.iter().map(|row| {
        let id = row.conversation;
        vec![blob(&id.0), int(row.log_epoch.0), int(row.head.0), int(row.membership.0), int(sizes(id))]
    });
    let entries = batch.entries.iter().map(|row| {
        let [device, seq, hash] = match &row.record {
            Record::Message(frame, hash) => {
                let body = frame.body();
                [blob(&body.device.0), int(body.seq.0), blob(&hash.0)]
            }
            Record::Membership(_) => [Value::Null, Value::Null, Value::Null],
        };
        let (body, at) = (blob(&row.record.to_bytes()), int(row.logged_at.0));
        vec![blob(&row.conversation.0), int(row.position.0), device, seq, hash, body, at]
    });
    let senders = batch
        .senders
        .iter()
        .map(|row| vec![blob(&row.conversation.0), blob(&row.device.0), int(row.last_seq.0)]);
    let members = batch
        .members
        .iter()
        .filter_map(|row| Some(vec![blob(&row.conversation.0), blob(&row.account.0), int(row.joined?.0)]));
    let cursors = batch.cursors.iter().map(|row| {
        let receipt = row.receipt.as_ref().map_or(Value::Null, |receipt| blob(receipt));
        let position = int(row.position.0);
        vec![blob(&row.conversation.0), blob(&row.device.0), blob(&row.account.0), position, receipt]
    });
    log_rows(
        conversations.collect(),
        entries.collect(),
        senders.collect(),
        members.collect(),
        cursors.collect(),
    )
}

/// Rows of the log's tables as one transaction.
pub fn log_rows(
    conversations: Vec<Vec<Value>>,
    entries: Vec<Vec<Value>>,
    senders: Vec<Vec<Value>>,
    members: Vec<Vec<Value>>,
    cursors: Vec<Vec<Value>>,
) -> Transaction {
    let of = |before: &str, after, rows: Vec<_>| Rows { before: before.to_owned(), after, rows };
    let mut transaction = vec![
        of(
            "INSERT INTO conv (id, log_epoch, head, membership, bytes) VALUES",
            "ON CONFLICT (id) DO UPDATE SET log_epoch = excluded.log_epoch, head = excluded.head, \
             membership = excluded.membership, bytes = bytes + excluded.bytes",
            conversations,
        ),
        of("INSERT INTO entry (conv, pos, device, seq, hash, body, logged_at) VALUES", "", entries),
        of(
            "INSERT INTO sender (conv, device, last_seq) VALUES",
            "ON CONFLICT (conv, device) DO UPDATE SET last_seq = excluded.last_seq",
            senders,
        ),
        of(
            "INSERT INTO member (conv, account, joined) VALUES",
            "ON CONFLICT (conv, account) DO UPDATE SET joined = excluded.joined",
            members,
        ),
        of(
            "INSERT INTO cursor (conv, device, account, pos, receipt) VALUES",
            "ON CONFLICT (conv, device) DO UPDATE SET account = excluded.account, pos = excluded.pos, \
             receipt = excluded.receipt",
            cursors,
        ),
    ];
    transaction.retain(|rows| !rows.rows.is_empty());
    transaction
}

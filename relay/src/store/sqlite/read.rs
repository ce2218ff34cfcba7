//! Answers to queries.

use futures::TryStreamExt;
use sotto_protocol::cbor::{self, Blob};
use sotto_protocol::membership::Membership;
use sotto_protocol::relay::EntryBody;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, Hash, LogEpoch, MembershipEpoch, Position,
    Seq, UnixMillis, limits,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row};

use super::{StoreError, database, number};
use crate::store::{
    Answer, Bump, CursorRow, Query, Receipt, StoredConversation, StoredEntry, Summary, TrimRow,
};

/// Entries of one conversation that one step of retention lets go: a few milliseconds of the writer.
const MAX_TRIM: i64 = 1_000;

/// Entries that all trims of one answer let go together, with the same reason.
const MAX_TRIMS: u64 = 4_096;

pub(super) async fn answer(connection: &mut SqliteConnection, query: &Query) -> Result<Answer, StoreError> {
    match query {
        Query::Conversation(id) => conversation(connection, *id).await.map(Answer::Conversation),
        Query::Page { conversation, after, through, limit, bytes } => {
            page(connection, *conversation, (*after, *through), *limit, *bytes).await
        }
        Query::Entry { conversation, device, seq } => {
            entry(connection, *conversation, *device, *seq).await.map(Answer::Entry)
        }
        Query::Listing { account, after, limit } => {
            listing(connection, *account, *after, *limit).await.map(Answer::Listing)
        }
        Query::Cursors { conversation, after, limit, bytes } => {
            cursors(connection, *conversation, *after, *limit, *bytes).await.map(Answer::Cursors)
        }
        Query::Counts { accounts } => counts(connection, accounts).await.map(Answer::Counts),
        Query::Trimmable { after, limit, older_than, bytes } => {
            trimmable(connection, *after, *limit, *older_than, *bytes).await
        }
    }
}

async fn conversation(
    connection: &mut SqliteConnection,
    id: ConversationId,
) -> Result<Option<StoredConversation>, StoreError> {
    // In one transaction, or a batch between two statements would show half.
    let mut connection = connection.begin().await.map_err(database)?;
    let row = sqlx::query("SELECT log_epoch, head, membership, floor FROM conv WHERE id = ?")
        .bind(&id.0[..])
        .fetch_optional(&mut *connection)
        .await
        .map_err(database)?;
    let Some(row) = row else { return Ok(None) };
    let membership = membership(&mut connection, id, MembershipEpoch(counter(&row, 2)?)).await?;
    let senders = sqlx::query("SELECT device, last_seq FROM sender WHERE conv = ?")
        .bind(&id.0[..])
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
    let bumps = sqlx::query("SELECT epoch, common FROM bump WHERE conv = ? ORDER BY epoch")
        .bind(&id.0[..])
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
    Ok(Some(StoredConversation {
        log_epoch: LogEpoch(counter(&row, 0)?),
        head: Position(counter(&row, 1)?),
        floor: Position(counter(&row, 3)?),
        membership,
        senders: senders
            .iter()
            .map(|row| Ok((DeviceId(bytes(row, 0)?), Seq(counter(row, 1)?))))
            .collect::<Result<_, StoreError>>()?,
        bumps: bumps
            .iter()
            .map(|row| Ok(Bump { epoch: LogEpoch(counter(row, 0)?), common: Position(counter(row, 1)?) }))
            .collect::<Result<_, StoreError>>()?,
    }))
}

async fn membership(
    connection: &mut SqliteConnection,
    id: ConversationId,
    epoch: MembershipEpoch,
) -> Result<Membership, StoreError> {
    let rows = sqlx::query("SELECT account, joined FROM member WHERE conv = ?")
        .bind(&id.0[..])
        .fetch_all(connection)
        .await
        .map_err(database)?;
    let members = rows.iter().map(|row| Ok((AccountId(bytes(row, 0)?), Position(counter(row, 1)?))));
    let kind = id.kind().unwrap_or(ConversationKind::Group);
    Ok(Membership { kind, epoch, members: members.collect::<Result<_, StoreError>>()? })
}

async fn page(
    connection: &mut SqliteConnection,
    id: ConversationId,
    (after, through): (Position, Position),
    limit: usize,
    most_bytes: usize,
) -> Result<Answer, StoreError> {
    let mut entries = Vec::new();
    let mut size = 0;
    {
        let mut rows = sqlx::query(
            "SELECT pos, seq IS NOT NULL, body FROM entry WHERE conv = ? AND pos > ? AND pos <= ? \
             AND length(body) > 0 ORDER BY pos LIMIT ?",
        )
        .bind(&id.0[..])
        .bind(number(after.0))
        .bind(number(through.0))
        .bind(number(limit as u64))
        .fetch(&mut *connection);
        while size < most_bytes
            && let Some(row) = rows.try_next().await.map_err(database)?
        {
            let body: &[u8] = row.try_get(2).map_err(database)?;
            size += body.len();
            let is_message: bool = row.try_get(1).map_err(database)?;
            let body = parse_body(body, is_message)?;
            entries.push(StoredEntry { position: Position(counter(&row, 0)?), body });
        }
    }
    // After the entries: a trim between the two then only says that some of these are gone by now.
    let row = sqlx::query("SELECT floor FROM conv WHERE id = ?")
        .bind(&id.0[..])
        .fetch_optional(connection)
        .await
        .map_err(database)?;
    let floor = Position(row.map_or(Ok(1), |row| counter(&row, 0))?);
    Ok(Answer::Page { floor, entries })
}

fn parse_body(body: &[u8], is_message: bool) -> Result<EntryBody, StoreError> {
    let parsed = if is_message {
        Frame::from_bytes(body).map(EntryBody::Message)
    } else {
        cbor::decode(body, limits::MAX_RELAY_MESSAGE).map(EntryBody::Membership)
    };
    parsed.map_err(|e| StoreError::Corrupt { what: "entry.body", detail: e.to_string() })
}

async fn entry(
    connection: &mut SqliteConnection,
    id: ConversationId,
    device: DeviceId,
    seq: Seq,
) -> Result<Option<(Position, Hash)>, StoreError> {
    let row = sqlx::query("SELECT pos, hash FROM entry WHERE conv = ? AND device = ? AND seq = ?")
        .bind(&id.0[..])
        .bind(&device.0[..])
        .bind(number(seq.0))
        .fetch_optional(connection)
        .await
        .map_err(database)?;
    row.map(|row| Ok((Position(counter(&row, 0)?), Hash(bytes(&row, 1)?)))).transpose()
}

async fn listing(
    connection: &mut SqliteConnection,
    account: AccountId,
    after: Option<ConversationId>,
    limit: usize,
) -> Result<Vec<Summary>, StoreError> {
    let mut connection = connection.begin().await.map_err(database)?;
    let rows = sqlx::query(
        "SELECT c.id, c.log_epoch, c.head, c.membership FROM member m JOIN conv c ON c.id = m.conv \
         WHERE m.account = ? AND m.conv > ? ORDER BY m.conv LIMIT ?",
    )
    .bind(&account.0[..])
    .bind(after.map_or(Vec::new(), |after| after.0.to_vec()))
    .bind(number(limit as u64))
    .fetch_all(&mut *connection)
    .await
    .map_err(database)?;
    let mut summaries = Vec::with_capacity(rows.len());
    for row in rows {
        let conversation = ConversationId(bytes(&row, 0)?);
        let epoch = MembershipEpoch(counter(&row, 3)?);
        summaries.push(Summary {
            conversation,
            membership: membership(&mut connection, conversation, epoch).await?,
            log_epoch: LogEpoch(counter(&row, 1)?),
            head: Position(counter(&row, 2)?),
        });
    }
    Ok(summaries)
}

async fn cursors(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    after: Option<DeviceId>,
    limit: usize,
    most_bytes: usize,
) -> Result<Vec<CursorRow>, StoreError> {
    let mut rows = sqlx::query(
        "SELECT device, account, pos, receipt FROM cursor WHERE conv = ? AND device > ? ORDER BY device LIMIT ?",
    )
    .bind(&conversation.0[..])
    .bind(after.map_or(Vec::new(), |after| after.0.to_vec()))
    .bind(number(limit as u64))
    .fetch(connection);
    let mut cursors = Vec::new();
    let mut size = 0;
    while size < most_bytes
        && let Some(row) = rows.try_next().await.map_err(database)?
    {
        let receipt: Option<Vec<u8>> = row.try_get(3).map_err(database)?;
        size += receipt.as_ref().map_or(0, Vec::len);
        let receipt = receipt.map(|bytes| {
            let detail = format!("{} bytes, {} allowed", bytes.len(), limits::MAX_RECEIPT);
            Receipt::new(bytes).ok_or(StoreError::Corrupt { what: "cursor.receipt", detail })
        });
        let receipt: Option<Blob<{ limits::MAX_RECEIPT }>> = receipt.transpose()?;
        cursors.push(CursorRow {
            conversation,
            device: DeviceId(bytes(&row, 0)?),
            account: AccountId(bytes(&row, 1)?),
            position: Position(counter(&row, 2)?),
            receipt,
        });
    }
    Ok(cursors)
}

async fn counts(connection: &mut SqliteConnection, accounts: &[AccountId]) -> Result<Vec<u64>, StoreError> {
    let mut counts = Vec::with_capacity(accounts.len());
    for account in accounts {
        let row = sqlx::query("SELECT count(*) FROM member WHERE account = ?")
            .bind(&account.0[..])
            .fetch_one(&mut *connection)
            .await
            .map_err(database)?;
        counts.push(counter(&row, 0)?);
    }
    Ok(counts)
}

async fn trimmable(
    connection: &mut SqliteConnection,
    after: Option<ConversationId>,
    limit: usize,
    older_than: Option<UnixMillis>,
    most_bytes: Option<u64>,
) -> Result<Answer, StoreError> {
    let rows = sqlx::query("SELECT id, floor, bytes FROM conv WHERE id > ? ORDER BY id LIMIT ?")
        .bind(after.map_or(Vec::new(), |after| after.0.to_vec()))
        .bind(number(limit as u64))
        .fetch_all(&mut *connection)
        .await
        .map_err(database)?;
    let at_end = rows.len() < limit;
    let mut trims = Vec::new();
    let mut next = None;
    let mut total = 0;
    for row in rows {
        let conversation = ConversationId(bytes(&row, 0)?);
        let (floor, mut left) = (Position(counter(&row, 1)?), counter(&row, 2)?);
        next = Some(conversation);
        // An age needs a look at the oldest entries; a size is in the row.
        if older_than.is_none() && most_bytes.is_none_or(|bytes| left <= bytes) {
            continue;
        }
        let mut entries = sqlx::query(
            "SELECT pos, length(body), logged_at FROM entry WHERE conv = ? AND pos >= ? ORDER BY pos LIMIT ?",
        )
        .bind(&conversation.0[..])
        .bind(number(floor.0))
        .bind(MAX_TRIM)
        .fetch(&mut *connection);
        let mut new_floor = floor;
        while let Some(row) = entries.try_next().await.map_err(database)? {
            let too_old = older_than.is_some_and(|cutoff| counter(&row, 2).is_ok_and(|at| at < cutoff.0));
            if !too_old && most_bytes.is_none_or(|bytes| left <= bytes) {
                break;
            }
            left = left.saturating_sub(counter(&row, 1)?);
            new_floor = Position(counter(&row, 0)?).next();
        }
        drop(entries);
        if new_floor > floor {
            total += new_floor.0 - floor.0;
            trims.push(TrimRow { conversation, floor: new_floor });
        }
        if total >= MAX_TRIMS {
            return Ok(Answer::Trimmable { trims, next });
        }
    }
    Ok(Answer::Trimmable { trims, next: next.filter(|_| !at_end) })
}

fn counter(row: &SqliteRow, index: usize) -> Result<u64, StoreError> {
    let value: i64 = row.try_get(index).map_err(database)?;
    u64::try_from(value)
        .map_err(|_| StoreError::Corrupt { what: "a counter", detail: format!("{value} is negative") })
}

fn bytes<const N: usize>(row: &SqliteRow, index: usize) -> Result<[u8; N], StoreError> {
    let value: &[u8] = row.try_get(index).map_err(database)?;
    value.try_into().map_err(|_| StoreError::Corrupt {
        what: "an id",
        detail: format!("{} bytes, {N} expected", value.len()),
    })
}

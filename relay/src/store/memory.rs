//! A store of a few maps, for simulators and tests: not async, and cloned to keep what a crash leaves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sotto_protocol::membership::Membership;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Hash, Position, Seq, UnixMillis,
};

use super::{
    Answer, Batch, Bump, ConversationRow, CursorRow, Query, Record, Store, StoreError, StoredConversation,
    StoredEntry, Summary, TrimRow,
};

/// What a real store keeps in tables.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryStore {
    conversations: BTreeMap<ConversationId, Kept>,
}

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    row: ConversationRow,
    floor: Position,
    entries: BTreeMap<Position, (Record, UnixMillis)>,
    places: BTreeMap<(DeviceId, Seq), (Position, Hash)>,
    senders: BTreeMap<DeviceId, Seq>,
    members: BTreeMap<AccountId, Position>,
    cursors: BTreeMap<DeviceId, CursorRow>,
    bumps: Vec<Bump>,
}

impl MemoryStore {
    /// Writes a batch. Says which key a row collides with; then nothing was written.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), String> {
        let mut after = self.clone();
        after.write_rows(batch)?;
        *self = after;
        Ok(())
    }

    fn write_rows(&mut self, batch: &Batch) -> Result<(), String> {
        for row in &batch.conversations {
            let kept = self.conversations.entry(row.conversation).or_insert_with(|| Kept {
                row: row.clone(),
                floor: Position(1),
                entries: BTreeMap::new(),
                places: BTreeMap::new(),
                senders: BTreeMap::new(),
                members: BTreeMap::new(),
                cursors: BTreeMap::new(),
                bumps: Vec::new(),
            });
            kept.row = row.clone();
        }
        for row in &batch.entries {
            let kept = self.kept(row.conversation)?;
            let there = kept.entries.insert(row.position, (row.record.clone(), row.logged_at));
            if there.is_some() {
                return Err(format!("position {} is taken", row.position));
            }
            if let Record::Message(frame, hash) = &row.record {
                let body = frame.body();
                if kept.places.insert((body.device, body.seq), (row.position, *hash)).is_some() {
                    return Err(format!("{} is taken", frame.id()));
                }
            }
        }
        for row in &batch.senders {
            self.kept(row.conversation)?.senders.insert(row.device, row.last_seq);
        }
        for row in &batch.members {
            let members = &mut self.kept(row.conversation)?.members;
            match row.joined {
                Some(joined) => members.insert(row.account, joined),
                None => members.remove(&row.account),
            };
        }
        for row in &batch.cursors {
            self.kept(row.conversation)?.cursors.insert(row.device, row.clone());
        }
        for row in &batch.bumps {
            let kept = self.kept(row.conversation)?;
            kept.bumps = row.bumps.clone();
            let head = kept.row.head;
            kept.cursors.values_mut().for_each(|cursor| cursor.position = cursor.position.min(head));
        }
        for row in &batch.trims {
            let kept = self.kept(row.conversation)?;
            kept.floor = kept.floor.max(row.floor);
            kept.entries = kept.entries.split_off(&kept.floor);
        }
        Ok(())
    }

    fn kept(&mut self, id: ConversationId) -> Result<&mut Kept, String> {
        self.conversations.get_mut(&id).ok_or_else(|| format!("no conversation {id}"))
    }

    /// Answers a query.
    pub fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Conversation(id) => Answer::Conversation(self.conversations.get(id).map(Kept::stored)),
            Query::Page { conversation, after, through, limit, bytes } => {
                let kept = self.conversations.get(conversation);
                let mut entries = Vec::new();
                let mut size = 0;
                let all = kept.map(|kept| kept.entries.range(after.next()..)).into_iter().flatten();
                for (position, (record, _)) in all.take_while(|(at, _)| *at <= through).take(*limit) {
                    if size >= *bytes {
                        break;
                    }
                    size += record.size();
                    entries.push(StoredEntry { position: *position, body: record.body() });
                }
                Answer::Page { floor: kept.map_or(Position(1), |kept| kept.floor), entries }
            }
            Query::Entry { conversation, device, seq } => {
                let kept = self.conversations.get(conversation);
                Answer::Entry(kept.and_then(|kept| kept.places.get(&(*device, *seq)).copied()))
            }
            Query::Listing { account, after, limit } => {
                let all = self.conversations.iter().filter(|(id, kept)| {
                    after.is_none_or(|after| **id > after) && kept.members.contains_key(account)
                });
                Answer::Listing(all.take(*limit).map(|(_, kept)| kept.summary()).collect())
            }
            Query::Cursors { conversation, after, limit, bytes } => {
                let kept = self.conversations.get(conversation);
                let mut rows = Vec::new();
                let mut size = 0;
                let all = kept.iter().flat_map(|kept| kept.cursors.values());
                let all = all.filter(|row| after.is_none_or(|after| row.device > after));
                for row in all.take(*limit) {
                    if size >= *bytes {
                        break;
                    }
                    size += row.receipt.as_ref().map_or(0, |receipt| receipt.len());
                    rows.push(row.clone());
                }
                Answer::Cursors(rows)
            }
            Query::Counts { accounts } => {
                let count = |account| {
                    self.conversations.values().filter(|kept| kept.members.contains_key(account)).count()
                };
                Answer::Counts(accounts.iter().map(|account| count(account) as u64).collect())
            }
            Query::Trimmable { after, limit, older_than, bytes } => {
                let all = self.conversations.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
                let looked_at: Vec<_> = all.take(*limit).collect();
                let next =
                    (looked_at.len() == *limit).then(|| looked_at.last().map(|(id, _)| **id)).flatten();
                let trims = looked_at.iter().filter_map(|(id, kept)| {
                    let floor = kept.floor_by(*older_than, *bytes);
                    (floor > kept.floor).then_some(TrimRow { conversation: **id, floor })
                });
                Answer::Trimmable { trims: trims.collect(), next }
            }
        }
    }

    /// Forgets everything of a conversation's log beyond a position, as a store restored from a backup does.
    pub fn roll_back(&mut self, id: ConversationId, head: Position) {
        let Some(kept) = self.conversations.get_mut(&id) else { return };
        kept.row.head = head;
        kept.entries.retain(|position, _| *position <= head);
        kept.places.retain(|_, (position, _)| *position <= head);
        kept.senders.clear();
        for (device, seq) in kept.places.keys() {
            let last = kept.senders.entry(*device).or_default();
            *last = (*last).max(*seq);
        }
    }
}

impl Kept {
    fn membership(&self) -> Membership {
        let kind = self.row.conversation.kind().unwrap_or(ConversationKind::Group);
        Membership { kind, epoch: self.row.membership, members: self.members.clone() }
    }

    fn stored(&self) -> StoredConversation {
        StoredConversation {
            log_epoch: self.row.log_epoch,
            head: self.row.head,
            floor: self.floor,
            membership: self.membership(),
            senders: self.senders.iter().map(|(device, seq)| (*device, *seq)).collect(),
            bumps: self.bumps.clone(),
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            conversation: self.row.conversation,
            membership: self.membership(),
            log_epoch: self.row.log_epoch,
            head: self.row.head,
        }
    }

    fn floor_by(&self, older_than: Option<UnixMillis>, bytes: Option<u64>) -> Position {
        let mut left: u64 = self.entries.values().map(|(record, _)| record.size() as u64).sum();
        let mut floor = self.floor;
        for (position, (record, logged_at)) in &self.entries {
            let too_old = older_than.is_some_and(|cutoff| *logged_at < cutoff);
            let too_much = bytes.is_some_and(|bytes| left > bytes);
            if !too_old && !too_much {
                break;
            }
            left -= record.size() as u64;
            floor = position.next();
        }
        floor
    }
}

/// The same maps behind the trait, so that the conformance suite holds for them too.
#[async_trait]
impl Store for std::sync::Mutex<MemoryStore> {
    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut store = self.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        store.apply(batch).map_err(|detail| StoreError::Database(detail.into()))
    }

    async fn read(&self, query: &Query) -> Result<Answer, StoreError> {
        let store = self.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(store.answer(query))
    }
}

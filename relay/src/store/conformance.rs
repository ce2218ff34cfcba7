//! What every store must do. A test opens an empty store and hands it to [`run`]; a failure panics and says where.

use std::sync::Arc;

use sotto_protocol::cbor::{Blob, Bounded};
use sotto_protocol::membership::{Action, Change, Membership, SignedChange};
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, FrameBody, Hash, LogEpoch, MembershipEpoch,
    Position, Seq, Signature, UnixMillis, limits,
};

use super::{
    Answer, Batch, Bump, BumpRow, ConversationRow, CursorRow, EntryRow, MemberRow, Query, Record, SenderRow,
    Store, StoredConversation, StoredEntry, Summary, TrimRow,
};

/// Runs the whole suite on one empty store. Each part uses conversations of its own.
pub async fn run(store: Arc<dyn Store>) {
    let store = &*store;
    an_empty_store_knows_nothing(store).await;
    a_conversation_comes_back_as_written(store).await;
    entries_come_in_pages(store).await;
    messages_are_found_by_name(store).await;
    a_batch_that_collides_leaves_no_trace(store).await;
    large_batches_and_bodies_come_back_whole(store).await;
    accounts_list_their_conversations_in_order(store).await;
    the_latest_cursor_counts(store).await;
    a_bump_replaces_the_remembered_and_lowers_cursors(store).await;
    retention_finds_what_is_old_or_too_much(store).await;
    a_trim_takes_bodies_and_leaves_names(store).await;
}

fn conversation(part: u8, n: u8) -> ConversationId {
    let mut random = [0; 15];
    (random[0], random[1]) = (part, n);
    ConversationId::group(random)
}

fn account(part: u8, n: u8) -> AccountId {
    let mut id = [n; 32];
    id[0] = part;
    AccountId(id)
}

fn device(n: u8) -> DeviceId {
    DeviceId([n; 16])
}

fn frame(conversation: ConversationId, author: u8, seq: u64, length: usize) -> Frame {
    let sealed = vec![seq as u8; length.min(limits::MAX_SEALED)];
    let body = FrameBody {
        conversation,
        device: device(author),
        seq: Seq(seq),
        sealed: Blob::new(sealed).unwrap_or_default(),
    };
    Frame::sign_all(vec![body], |_| Signature([7; 64])).remove(0)
}

fn entry(position: u64, at: u64, frame: &Frame) -> EntryRow {
    EntryRow {
        conversation: frame.id().conversation,
        position: Position(position),
        record: Record::Message(frame.clone(), frame.hash()),
        logged_at: UnixMillis(at),
    }
}

fn row(conversation: ConversationId, head: u64) -> ConversationRow {
    ConversationRow {
        conversation,
        log_epoch: LogEpoch(1),
        head: Position(head),
        membership: MembershipEpoch(1),
    }
}

/// A conversation of `part` with messages at positions 1 to `count`, logged at 1, 2, 3 …
async fn fill(store: &dyn Store, id: ConversationId, count: u64, length: usize) -> Vec<Frame> {
    let frames: Vec<Frame> = (1..=count).map(|seq| frame(id, 1, seq, length)).collect();
    let entries = frames.iter().zip(1..).map(|(frame, n)| entry(n, n, frame)).collect();
    let sender = SenderRow { conversation: id, device: device(1), last_seq: Seq(count) };
    let batch =
        Batch { conversations: vec![row(id, count)], entries, senders: vec![sender], ..Batch::default() };
    write(store, &batch).await;
    frames
}

async fn write(store: &dyn Store, batch: &Batch) {
    if let Err(error) = store.write(batch).await {
        panic!("the store refused a good batch: {error}");
    }
}

async fn read(store: &dyn Store, query: Query) -> Answer {
    match store.read(&query).await {
        Ok(answer) => answer,
        Err(error) => panic!("the store did not answer {query:?}: {error}"),
    }
}

async fn page(store: &dyn Store, id: ConversationId, after: u64, through: u64) -> (u64, Vec<StoredEntry>) {
    let query = Query::Page {
        conversation: id,
        after: Position(after),
        through: Position(through),
        limit: 1_000_000,
        bytes: usize::MAX,
    };
    match read(store, query).await {
        Answer::Page { floor, entries } => (floor.0, entries),
        other => panic!("expected a page, got {other:?}"),
    }
}

async fn stored(store: &dyn Store, id: ConversationId) -> StoredConversation {
    match read(store, Query::Conversation(id)).await {
        Answer::Conversation(Some(stored)) => stored,
        other => panic!("expected a conversation, got {other:?}"),
    }
}

fn positions(entries: &[StoredEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.position.0).collect()
}

async fn an_empty_store_knows_nothing(store: &dyn Store) {
    let id = conversation(0, 1);
    assert_eq!(read(store, Query::Conversation(id)).await, Answer::Conversation(None));
    assert_eq!(page(store, id, 0, 10).await, (1, vec![]));
    let entry = Query::Entry { conversation: id, device: device(1), seq: Seq(1) };
    assert_eq!(read(store, entry).await, Answer::Entry(None));
    let accounts = vec![account(0, 1), account(0, 2)];
    assert_eq!(read(store, Query::Counts { accounts }).await, Answer::Counts(vec![0, 0]));
    let listing = Query::Listing { account: account(0, 1), after: None, limit: 10 };
    assert_eq!(read(store, listing).await, Answer::Listing(vec![]));
    write(store, &Batch::default()).await;
}

async fn a_conversation_comes_back_as_written(store: &dyn Store) {
    let id = conversation(1, 1);
    let change = Change {
        conversation: id,
        epoch: MembershipEpoch(1),
        account: account(1, 1),
        device: device(1),
        action: Action::Create {
            kind: ConversationKind::Group,
            members: Bounded::truncated(vec![account(1, 1), account(1, 2)]),
        },
    };
    let signed = SignedChange::sign(&change, |_| Signature([3; 64]));
    let member = |n, joined: u64| MemberRow {
        conversation: id,
        account: account(1, n),
        joined: Some(Position(joined)),
    };
    let created = EntryRow {
        conversation: id,
        position: Position(1),
        record: Record::Membership(signed.clone()),
        logged_at: UnixMillis(5),
    };
    let batch = Batch {
        conversations: vec![row(id, 1)],
        entries: vec![created],
        members: vec![member(1, 1), member(2, 1)],
        ..Batch::default()
    };
    write(store, &batch).await;
    let message = frame(id, 1, 1, 20);
    let gone = MemberRow { conversation: id, account: account(1, 2), joined: None };
    let batch = Batch {
        conversations: vec![ConversationRow {
            log_epoch: LogEpoch(4),
            membership: MembershipEpoch(3),
            ..row(id, 2)
        }],
        entries: vec![entry(2, 6, &message)],
        senders: vec![SenderRow { conversation: id, device: device(1), last_seq: Seq(1) }],
        members: vec![gone, member(3, 2)],
        ..Batch::default()
    };
    write(store, &batch).await;
    let membership = Membership {
        kind: ConversationKind::Group,
        epoch: MembershipEpoch(3),
        members: [(account(1, 1), Position(1)), (account(1, 3), Position(2))].into(),
    };
    let expected = StoredConversation {
        log_epoch: LogEpoch(4),
        head: Position(2),
        floor: Position(1),
        membership,
        senders: vec![(device(1), Seq(1))],
        bumps: vec![],
    };
    assert_eq!(stored(store, id).await, expected);
    let (_, entries) = page(store, id, 0, 2).await;
    let bodies: Vec<_> = entries.into_iter().map(|entry| entry.body).collect();
    assert_eq!(
        bodies,
        [Record::Membership(signed).body(), Record::Message(message.clone(), message.hash()).body()]
    );
}

async fn entries_come_in_pages(store: &dyn Store) {
    let id = conversation(2, 1);
    fill(store, id, 20, 100).await;
    assert_eq!(positions(&page(store, id, 0, 100).await.1), (1..=20).collect::<Vec<_>>());
    assert_eq!(positions(&page(store, id, 7, 12).await.1), [8, 9, 10, 11, 12]);
    assert_eq!(positions(&page(store, id, 20, u64::MAX).await.1), [0; 0]);
    for (limit, bytes, expected) in [(3, usize::MAX, 3), (20, 1, 1), (20, 0, 0), (20, 450, 3)] {
        let (after, through) = (Position(5), Position(20));
        let query = Query::Page { conversation: id, after, through, limit, bytes };
        let Answer::Page { entries, .. } = read(store, query).await else { panic!("expected a page") };
        assert_eq!(entries.len(), expected, "limit {limit}, bytes {bytes}");
    }
}

async fn messages_are_found_by_name(store: &dyn Store) {
    let id = conversation(3, 1);
    let frames = fill(store, id, 5, 30).await;
    let query = |author, seq| Query::Entry { conversation: id, device: device(author), seq: Seq(seq) };
    let expected: Option<(Position, Hash)> = Some((Position(4), frames[3].hash()));
    assert_eq!(read(store, query(1, 4)).await, Answer::Entry(expected));
    assert_eq!(read(store, query(2, 4)).await, Answer::Entry(None));
    assert_eq!(read(store, query(1, 6)).await, Answer::Entry(None));
    assert_eq!(read(store, query(1, u64::MAX)).await, Answer::Entry(None));
}

async fn a_batch_that_collides_leaves_no_trace(store: &dyn Store) {
    let (id, other) = (conversation(4, 1), conversation(4, 2));
    fill(store, id, 3, 30).await;
    let before = stored(store, id).await;
    let taken_position = entry(3, 9, &frame(id, 1, 4, 30));
    let taken_name = entry(4, 9, &frame(id, 1, 3, 31));
    for collision in [taken_position, taken_name] {
        let batch = Batch {
            conversations: vec![row(id, 4), row(other, 1)],
            entries: vec![entry(1, 9, &frame(other, 1, 1, 30)), collision],
            ..Batch::default()
        };
        assert!(store.write(&batch).await.is_err(), "a taken place was overwritten");
        assert_eq!(stored(store, id).await, before);
        assert_eq!(read(store, Query::Conversation(other)).await, Answer::Conversation(None));
        assert_eq!(positions(&page(store, id, 0, 10).await.1), [1, 2, 3]);
    }
}

async fn large_batches_and_bodies_come_back_whole(store: &dyn Store) {
    let id = conversation(5, 1);
    let frames = fill(store, id, 1_337, 40).await;
    let (_, entries) = page(store, id, 0, 2_000).await;
    assert_eq!(entries.len(), 1_337);
    for (stored, frame) in entries.into_iter().zip(frames) {
        assert_eq!(stored.body, Record::Message(frame.clone(), frame.hash()).body());
    }
    let id = conversation(5, 2);
    let frames = fill(store, id, 3, limits::MAX_SEALED).await;
    let (_, entries) = page(store, id, 2, 3).await;
    assert_eq!(entries[0].body, Record::Message(frames[2].clone(), frames[2].hash()).body());
}

async fn accounts_list_their_conversations_in_order(store: &dyn Store) {
    let ann = account(6, 1);
    let mut batch = Batch::default();
    for n in [5, 1, 4, 2, 3] {
        let conversation = conversation(6, n);
        batch.conversations.push(row(conversation, u64::from(n)));
        batch.members.push(MemberRow { conversation, account: ann, joined: Some(Position(1)) });
    }
    write(store, &batch).await;
    let listing = |after, limit| Query::Listing { account: ann, after, limit };
    let ids = |answer| match answer {
        Answer::Listing(summaries) => summaries.iter().map(|s: &Summary| s.head.0).collect::<Vec<_>>(),
        other => panic!("expected a listing, got {other:?}"),
    };
    assert_eq!(ids(read(store, listing(None, 3)).await), [1, 2, 3]);
    assert_eq!(ids(read(store, listing(Some(conversation(6, 3)), 3)).await), [4, 5]);
    let accounts = vec![account(6, 9), ann];
    assert_eq!(read(store, Query::Counts { accounts }).await, Answer::Counts(vec![0, 5]));
    let gone = MemberRow { conversation: conversation(6, 2), account: ann, joined: None };
    write(store, &Batch { members: vec![gone], ..Batch::default() }).await;
    assert_eq!(ids(read(store, listing(None, 9)).await), [1, 3, 4, 5]);
}

async fn the_latest_cursor_counts(store: &dyn Store) {
    let id = conversation(7, 1);
    fill(store, id, 9, 10).await;
    let cursor = |n: u8, position, receipt: Option<&'static [u8]>| CursorRow {
        conversation: id,
        device: device(n),
        account: account(7, n),
        position: Position(position),
        receipt: receipt.and_then(Blob::new),
    };
    let first = vec![cursor(1, 3, Some(b"one")), cursor(2, 9, None), cursor(3, 1, Some(b"three"))];
    write(store, &Batch { cursors: first, ..Batch::default() }).await;
    let second = vec![cursor(1, 2, None), cursor(2, 9, Some(b"two"))];
    write(store, &Batch { cursors: second, ..Batch::default() }).await;
    let cursors = |after, limit, bytes| Query::Cursors { conversation: id, after, limit, bytes };
    let all = [cursor(1, 2, None), cursor(2, 9, Some(b"two")), cursor(3, 1, Some(b"three"))];
    assert_eq!(read(store, cursors(None, 9, 1_000)).await, Answer::Cursors(all.to_vec()));
    assert_eq!(read(store, cursors(Some(device(1)), 1, 9)).await, Answer::Cursors(all[1..2].to_vec()));
    assert_eq!(read(store, cursors(None, 9, 1)).await, Answer::Cursors(all[..2].to_vec()));
    assert_eq!(read(store, cursors(Some(device(3)), 9, 9)).await, Answer::Cursors(vec![]));
}

async fn a_bump_replaces_the_remembered_and_lowers_cursors(store: &dyn Store) {
    let id = conversation(8, 1);
    fill(store, id, 5, 10).await;
    let cursor = |n, position| CursorRow {
        conversation: id,
        device: device(n),
        account: account(8, n),
        position: Position(position),
        receipt: None,
    };
    write(store, &Batch { cursors: vec![cursor(1, 3), cursor(2, 99)], ..Batch::default() }).await;
    let bump = |epoch, common| Bump { epoch: LogEpoch(epoch), common: Position(common) };
    for bumps in [vec![bump(2, 5)], vec![bump(2, 4), bump(3, 5)], vec![bump(4, 1)]] {
        let bumped = BumpRow { conversation: id, bumps: bumps.clone() };
        let conversations = vec![ConversationRow { log_epoch: LogEpoch(4), ..row(id, 5) }];
        write(store, &Batch { conversations, bumps: vec![bumped], ..Batch::default() }).await;
        assert_eq!(stored(store, id).await.bumps, bumps);
    }
    let cursors = Query::Cursors { conversation: id, after: None, limit: 9, bytes: 9 };
    assert_eq!(read(store, cursors).await, Answer::Cursors(vec![cursor(1, 3), cursor(2, 5)]));
}

async fn retention_finds_what_is_old_or_too_much(store: &dyn Store) {
    let (id, small) = (conversation(9, 1), conversation(9, 2));
    let size = {
        let frames = fill(store, id, 10, 100).await;
        frames[0].to_bytes().len() as u64
    };
    fill(store, small, 1, 1).await;
    let trims = async |older_than: Option<u64>, bytes| {
        let older_than = older_than.map(UnixMillis);
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let query = Query::Trimmable { after, limit: 2, older_than, bytes };
            let Answer::Trimmable { trims, next } = read(store, query).await else {
                panic!("expected trims")
            };
            found.extend(trims.into_iter().filter(|trim| [id, small].contains(&trim.conversation)));
            after = next;
            if after.is_none() {
                return found;
            }
        }
    };
    let trim = |conversation, floor| TrimRow { conversation, floor: Position(floor) };
    assert_eq!(trims(None, None).await, []);
    assert_eq!(trims(Some(1), Some(size * 10)).await, []);
    assert_eq!(trims(Some(4), None).await, [trim(id, 4), trim(small, 2)]);
    assert_eq!(trims(None, Some(size * 4)).await, [trim(id, 7)]);
    assert_eq!(trims(None, Some(size * 4 - 1)).await, [trim(id, 8)]);
    assert_eq!(trims(Some(9), Some(size * 4)).await[0], trim(id, 9));
    // What is trimmed no longer counts.
    write(store, &Batch { trims: vec![trim(id, 7)], ..Batch::default() }).await;
    assert_eq!(trims(None, Some(size * 4)).await, []);
    assert_eq!(trims(None, Some(size * 3)).await, [trim(id, 8)]);
}

async fn a_trim_takes_bodies_and_leaves_names(store: &dyn Store) {
    let id = conversation(10, 1);
    let frames = fill(store, id, 6, 50).await;
    for (floor, expected) in [(3, 3), (2, 3), (7, 7)] {
        let trim = TrimRow { conversation: id, floor: Position(floor) };
        write(store, &Batch { trims: vec![trim], ..Batch::default() }).await;
        assert_eq!(stored(store, id).await.floor, Position(expected), "a floor never sinks");
        let (floor, entries) = page(store, id, 0, 9).await;
        assert_eq!(floor, expected);
        assert_eq!(positions(&entries), (expected..=6).collect::<Vec<_>>());
    }
    let query = Query::Entry { conversation: id, device: device(1), seq: Seq(2) };
    assert_eq!(read(store, query).await, Answer::Entry(Some((Position(2), frames[1].hash()))));
    assert_eq!(stored(store, id).await.head, Position(6));
    let next = frame(id, 1, 7, 50);
    let batch =
        Batch { conversations: vec![row(id, 7)], entries: vec![entry(7, 9, &next)], ..Batch::default() };
    write(store, &batch).await;
    assert_eq!(positions(&page(store, id, 0, 9).await.1), [7]);
}

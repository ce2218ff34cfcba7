//! Messages through the whole stack: two peers on profiles on the disk, a server process, real sockets; beside the same
//! rows written in the same transactions to the same three databases, and beside the bare channel.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sotto_peer_client::{Client, Command, Event, Pending, ReceiptState, Reply, Store};
use sotto_peer_core::WriteSet;
use sotto_protocol::{ConversationId, MessageId};
use sotto_relay::store::SqliteStore;

use crate::bare_link::BareLink;
use crate::bare_sqlite::{BareSqlite, Transaction, of_profile};
use crate::log_copy::LogCopy;
use crate::people::{Person, linked, text};
use crate::report::{Line, median, median_ratio, percent, rate};
use crate::server::{PATIENCE, Program, ServerProcess, folder, own_cpu};

const MESSAGES: usize = 10_000;
const BARE_MESSAGES: usize = 100_000;
const TARGET: f64 = 0.7;

pub async fn measure(rounds: usize) -> Vec<Line> {
    let data = folder();
    let server = ServerProcess::start(Program::Sotto, data.path(), &[]);
    let (mut near, mut far, conversation) = linked(&server, ["near", "far"]).await;
    let channel = BareLink::open().await;
    let mut bare = Bare::open(data.path()).await;
    let mut log = LogCopy::open(&data.path().join("relay.db")).await;

    let mut figures: [Vec<f64>; 6] = Default::default();
    for round in 0..=rounds {
        bare.catch_up(&near.written(), &far.written(), log.rest().await).await;
        let batches = server.metric("sotto_relay_batches_total").await;
        let cpu = || [own_cpu(), server.cpu()].map(|cpu| cpu.as_micros() as f64 / MESSAGES as f64);
        let (start, before) = (Instant::now(), cpu());
        send_all(&mut near, &mut far, conversation).await;
        let (took, after) = (start.elapsed(), cpu());
        let batches = server.metric("sotto_relay_batches_total").await - batches;

        let (near_writes, far_writes) = (near.written(), far.written());
        let logged = log.new_entries(usize::try_from(batches).unwrap()).await;
        let sizes =
            [near_writes.len(), far_writes.len(), logged.len()].map(|n| MESSAGES as f64 / n.max(1) as f64);
        let alone = bare.replay(&near_writes, &far_writes, &logged).await;
        let per_second = |took: Duration| MESSAGES as f64 / took.as_secs_f64();
        let found = [
            per_second(took),
            per_second(alone),
            channel.rate(BARE_MESSAGES).await,
            sizes[0],
            sizes[1],
            sizes[2],
        ];
        eprintln!(
            "stack {round}/{rounds}: ours {}, its writes alone {}, the bare channel {}; messages a write: {:.0} at the \
             sender, {:.0} at the receiver, {:.0} at the relay; CPU a message: peers {:.0} us, server {:.0} us",
            rate(found[0]),
            rate(found[1]),
            rate(found[2]),
            sizes[0],
            sizes[1],
            sizes[2],
            after[0] - before[0],
            after[1] - before[1]
        );
        if round > 0 {
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        near.settle().await;
        far.settle().await;
    }
    channel.close().await;
    let ratio = median_ratio(&figures[0], &figures[1]);
    let [ours, alone, channel, sender, receiver, relay] = figures.map(|figures| median(&figures));
    vec![
        Line {
            what: "whole stack",
            ours: rate(ours),
            peer: rate(alone),
            ratio: percent(ratio),
            target: format!(">= {}", percent(TARGET)),
            met: Some(ratio >= TARGET),
            note: format!(
                "{MESSAGES} messages of 200 B from one peer to another over a direct link, with the relay's log beside \
                 it, until the sender knows that all are durable at the receiver and in the log. The peer writes the \
                 rows that were written meanwhile to three databases of the same schemas and pragmas, the three side by \
                 side, in transactions as large: {sender:.0} messages each in the sender's profile, {receiver:.0} in \
                 the receiver's, {relay:.0} in the relay's log (there the average of the round). Both peers, the server \
                 and what measures share this machine's cores."
            ),
        },
        Line::told(
            "bare channel",
            rate(channel),
            format!(
                "{BARE_MESSAGES} messages of 200 B one way over a bare data channel, set up as our links are; nothing is kept."
            ),
        ),
    ]
}

/// Sends them all, and returns when the last is delivered and logged, and all were displayed.
async fn send_all(near: &mut Person, far: &mut Person, conversation: ConversationId) {
    let client = near.client.clone();
    let far_device = far.client.device();
    let submit = async move {
        let mut pending = Vec::with_capacity(MESSAGES);
        for number in 0..MESSAGES {
            pending.push(submit(&client, conversation, number).await);
        }
        let mut last = None;
        for pending in pending {
            match pending.reply().await.unwrap() {
                Reply::Sent(id) => last = Some(id),
                other => panic!("{other:?}"),
            }
        }
        last.unwrap()
    };
    let displayed = async {
        for _ in 0..MESSAGES {
            far.message().await;
        }
    };
    let mut arrived: [Option<MessageId>; 2] = [None, None];
    let receipts = async {
        let (sent, mut done) = (tokio::spawn(submit), None);
        let mut sent = Some(sent);
        loop {
            if done.is_none() && sent.as_ref().is_some_and(|sent| sent.is_finished()) {
                done = Some(sent.take().unwrap().await.unwrap());
            }
            if done.is_some() && arrived.iter().all(|at| at.is_some_and(|at| at.seq >= done.unwrap().seq)) {
                return;
            }
            let next = tokio::time::timeout(PATIENCE, near.events.next()).await.unwrap().unwrap();
            if let Event::Receipt { id, device, state } = next.event {
                match state {
                    ReceiptState::Logged => arrived[0] = Some(id),
                    ReceiptState::Delivered if device == far_device => arrived[1] = Some(id),
                    ReceiptState::Delivered | ReceiptState::Read => {}
                }
            }
        }
    };
    tokio::join!(displayed, receipts);
}

async fn submit(client: &Client, conversation: ConversationId, number: usize) -> Pending {
    client.submit(Command::Send { conversation, text: text(number) }).await.unwrap()
}

/// The three databases, with nothing around them.
struct Bare {
    near: BareSqlite,
    far: BareSqlite,
    log: BareSqlite,
}

impl Bare {
    async fn open(folder: &Path) -> Self {
        let path = |name: &str| -> PathBuf { folder.join(name) };
        for name in ["bare-near.db", "bare-far.db"] {
            Store::open(&path(name)).await.unwrap().close().await.unwrap();
        }
        SqliteStore::open(path("bare-log.db")).await.unwrap().close().await;
        Self {
            near: BareSqlite::open(&path("bare-near.db")).await,
            far: BareSqlite::open(&path("bare-far.db")).await,
            log: BareSqlite::open(&path("bare-log.db")).await,
        }
    }

    async fn catch_up(&mut self, near: &[WriteSet], far: &[WriteSet], log: Vec<Transaction>) {
        self.near.write(&near.iter().map(of_profile).collect::<Vec<_>>()).await;
        self.far.write(&far.iter().map(of_profile).collect::<Vec<_>>()).await;
        self.log.write(&log).await;
    }

    async fn replay(&mut self, near: &[WriteSet], far: &[WriteSet], log: &[Transaction]) -> Duration {
        let near: Vec<_> = near.iter().map(of_profile).collect();
        let far: Vec<_> = far.iter().map(of_profile).collect();
        let start = Instant::now();
        tokio::join!(self.near.write(&near), self.far.write(&far), self.log.write(log));
        start.elapsed()
    }
}

//! Appends through the relay: its WebSocket, its log and its SQLite store, beside bare SQLite given the same rows in the
//! same batches.

use std::time::Instant;

use sotto_protocol::limits::{MAX_SIGNATURE_BATCH, WINDOW};
use sotto_relay::store::SqliteStore;

use crate::bare_sqlite::{BareSqlite, of_log};
use crate::relay::WatchedRelay;
use crate::report::{Line, median, median_ratio, percent, rate};
use crate::server::folder;

const SENDERS: usize = 8;
const EACH: usize = 3_072;
const TARGET: f64 = 0.7;

pub async fn measure(rounds: usize) -> Vec<Line> {
    let relay = WatchedRelay::start(SENDERS).await;
    let mut sockets = relay.sockets().await;
    let folder = folder();
    let path = folder.path().join("relay.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let mut bare = BareSqlite::open(&path).await;

    let (mut ours, mut peer, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    // The first is not counted: caches are cold and statements are not prepared.
    for round in 0..=rounds {
        let setup: Vec<_> = relay.written().iter().map(of_log).collect();
        bare.write(&setup).await;
        let mut work = Vec::new();
        for (identity, socket) in &mut sockets {
            work.push(socket.bursts(identity, EACH, MAX_SIGNATURE_BATCH));
        }
        let start = Instant::now();
        let appends = sockets.iter_mut().zip(work);
        let appends = appends.map(|((_, socket), bursts)| socket.append_all(bursts, WINDOW as usize));
        futures::future::join_all(appends).await;
        let through_relay = (SENDERS * EACH) as f64 / start.elapsed().as_secs_f64();

        let batches = relay.written();
        let entries: usize = batches.iter().map(|batch| batch.entries.len()).sum();
        assert_eq!(entries, SENDERS * EACH);
        let transactions: Vec<_> = batches.iter().map(of_log).collect();
        let start = Instant::now();
        bare.write(&transactions).await;
        let alone = entries as f64 / start.elapsed().as_secs_f64();
        eprintln!(
            "appends {round}/{rounds}: ours {}, bare {}, {} a batch",
            rate(through_relay),
            rate(alone),
            entries / batches.len()
        );
        if round > 0 {
            ours.push(through_relay);
            peer.push(alone);
            sizes.push(entries as f64 / batches.len() as f64);
        }
    }
    let ratio = median_ratio(&ours, &peer);
    vec![Line {
        what: "relay appends",
        ours: rate(median(&ours)),
        peer: rate(median(&peer)),
        ratio: percent(ratio),
        target: format!(">= {}", percent(TARGET)),
        met: Some(ratio >= TARGET),
        note: format!(
            "{SENDERS} WebSockets append 200 B frames, signed in bursts of {MAX_SIGNATURE_BATCH}, each with up to \
             {WINDOW} under way, until all are acknowledged as durable; the peer writes the same rows in the same \
             transactions ({:.0} entries each) with bare SQLite, which folds its write-ahead log in as it does by itself, \
             inside every thousandth page's commit; ours does that beside \
             the commits. Requests and rows are ready before. The senders \
             share this machine's cores.",
            median(&sizes)
        ),
    }]
}

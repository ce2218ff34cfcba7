//! A message and its answer over a direct link, from `send` to the answer's display, beside a bare data channel's echo and
//! a durable write.

use std::time::Instant;

use sotto_peer_client::Store;
use sotto_peer_core::WriteSet;

use crate::bare_link::BareLink;
use crate::bare_sqlite::{BareSqlite, of_profile};
use crate::people::{Person, linked, text};
use crate::report::{Line, median, millis, ms, quantile};
use crate::server::{Program, ServerProcess, folder};
use sotto_protocol::ConversationId;

const TRIPS: usize = 200;
const FACTOR: f64 = 1.5;

pub async fn measure(rounds: usize) -> Vec<Line> {
    let data = folder();
    let server = ServerProcess::start(Program::Sotto, data.path(), &[]);
    let (mut near, mut far, conversation) = linked(&server, ["near", "far"]).await;
    let bare = BareLink::open().await;
    let path = data.path().join("bare.db");
    Store::open(&path).await.unwrap().close().await.unwrap();
    let mut disk = BareSqlite::open(&path).await;

    let mut figures: [Vec<f64>; 6] = Default::default();
    for round in 0..=rounds {
        near.written();
        far.written();
        let ours = trips(&mut near, &mut far, conversation).await;
        let writes: Vec<WriteSet> = [near.written(), far.written()].concat();
        let echo: Vec<f64> = bare.echo(TRIPS).await.into_iter().map(millis).collect();
        let mut write = Vec::new();
        for writes in &writes {
            let transaction = of_profile(writes);
            let start = Instant::now();
            disk.write_one(&transaction).await;
            write.push(millis(start.elapsed()));
        }
        let found = [
            median(&ours),
            quantile(&ours, 0.99),
            median(&echo),
            quantile(&echo, 0.99),
            median(&write),
            writes.len() as f64 / TRIPS as f64,
        ];
        eprintln!(
            "round-trip {round}/{rounds}: ours p50 {} p99 {}, bare p50 {} p99 {}, a durable write {}, {:.1} of them a trip",
            ms(found[0]),
            ms(found[1]),
            ms(found[2]),
            ms(found[3]),
            ms(found[4]),
            found[5]
        );
        if round > 0 {
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        near.settle().await;
        far.settle().await;
    }
    bare.close().await;
    let [p50, p99, bare_p50, bare_p99, write, writes] = figures.map(|figures| median(&figures));
    let allowed = FACTOR * bare_p50 + write;
    vec![
        Line {
            what: "round trip p50",
            ours: ms(p50),
            peer: format!("{} + write {}", ms(bare_p50), ms(write)),
            ratio: format!("{:.1} x", p50 / bare_p50),
            target: format!("<= 1.5 x bare + a write: {}", ms(allowed)),
            met: Some(p50 <= allowed),
            note: format!(
                "From send() to the display of the answer, which the other peer's program sends when the message is \
                 displayed there, over one direct link; the peer is a bare data channel's echo, set up as our links \
                 are. On this way are four durable writes, one after another: each of the two messages is on the disk \
                 before it leaves, and again before it is displayed. In all {writes:.1} writes were made a trip (log \
                 positions and receipts among them); a bare one takes {}.",
                ms(write)
            ),
        },
        Line {
            what: "round trip p99",
            ours: ms(p99),
            peer: ms(bare_p99),
            ratio: format!("{:.1} x", p99 / bare_p99),
            target: String::new(),
            met: None,
            note: "The same trips.".into(),
        },
    ]
}

async fn trips(near: &mut Person, far: &mut Person, conversation: ConversationId) -> Vec<f64> {
    let mut took = Vec::with_capacity(TRIPS);
    let answers = async {
        for _ in 0..TRIPS {
            far.message().await;
            // Its reply comes when it is durable; the answer's way does not wait for this task.
            far.client.send(conversation, &text(2)).await.unwrap();
        }
    };
    let asks = async {
        for _ in 0..TRIPS {
            let start = Instant::now();
            near.client.send(conversation, &text(1)).await.unwrap();
            near.message().await;
            took.push(millis(start.elapsed()));
        }
    };
    tokio::join!(answers, asks);
    took
}

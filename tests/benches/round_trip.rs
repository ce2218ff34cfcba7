//! A message over a direct link and its durable acknowledgement, beside a bare data channel's echo and a durable write; and
//! a message and its answer.

use std::time::Instant;

use sotto_peer_client::{Event, ReceiptState, Store};
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

    let mut figures: [Vec<f64>; 9] = Default::default();
    for round in 0..=rounds {
        near.written();
        far.written();
        let (acks, from_send) = acks(&mut near, &mut far, conversation).await;
        near.settle().await;
        far.settle().await;
        near.written();
        far.written();
        let answers = answers(&mut near, &mut far, conversation).await;
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
            median(&acks),
            quantile(&acks, 0.99),
            median(&answers),
            quantile(&answers, 0.99),
            median(&echo),
            quantile(&echo, 0.99),
            median(&write),
            writes.len() as f64 / TRIPS as f64,
            median(&from_send),
        ];
        eprintln!(
            "round-trip {round}/{rounds}: acknowledged p50 {} p99 {}, answered p50 {} p99 {}, bare echo p50 {} p99 {}, a durable \
             write {}, {:.1} of them an answer",
            ms(found[0]),
            ms(found[1]),
            ms(found[2]),
            ms(found[3]),
            ms(found[4]),
            ms(found[5]),
            ms(found[6]),
            found[7]
        );
        if round > 0 {
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        near.settle().await;
        far.settle().await;
    }
    bare.close().await;
    let [p50, p99, answer_p50, answer_p99, bare_p50, bare_p99, write, writes, from_send] =
        figures.map(|figures| median(&figures));
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
                "From a message's leaving (the answer to send(): it is durable in the outbox) until the sender is told that it \
                 is durable at the receiver, over one direct link, one message at a time; the relay's log goes on beside it on \
                 the same disk. The peer is a bare data channel's echo, set up as our links are, and one of the \
                 writes made by bare SQLite ({}). From send() itself, with the outbox's write, it is {}.",
                ms(write),
                ms(from_send)
            ),
        },
        beside("round trip p99", (p99, bare_p99), ms(p99), "The same trips.".into()),
        beside(
            "message and answer",
            (answer_p50, bare_p50),
            format!("{}, p99 {}", ms(answer_p50), ms(answer_p99)),
            format!(
                "From send() to the display of the answer, which the other peer's program sends when the message is displayed \
                 there: four durable writes, one after another. In all {writes:.1} were made a trip (log positions and receipts \
                 among them)."
            ),
        ),
    ]
}

/// Told beside the bare channel; no target.
fn beside(what: &'static str, (trip, bare): (f64, f64), ours: String, note: String) -> Line {
    let ratio = format!("{:.1} x", trip / bare);
    Line { what, ours, peer: ms(bare), ratio, target: String::new(), met: None, note }
}

/// Milliseconds from a message's leaving, and from `send`, to its durable acknowledgement.
async fn acks(near: &mut Person, far: &mut Person, conversation: ConversationId) -> (Vec<f64>, Vec<f64>) {
    let device = far.client.device();
    let (mut from_leaving, mut from_send) = (Vec::with_capacity(TRIPS), Vec::with_capacity(TRIPS));
    for _ in 0..TRIPS {
        let called = Instant::now();
        let sent = near.client.send(conversation, &text(1)).await.unwrap();
        let start = Instant::now();
        near.find(|event| match event {
            Event::Receipt { id, device: by, state: ReceiptState::Delivered } if *by == device => {
                (id.seq >= sent.seq).then_some(())
            }
            _ => None,
        })
        .await;
        from_leaving.push(millis(start.elapsed()));
        from_send.push(millis(called.elapsed()));
        far.message().await;
    }
    (from_leaving, from_send)
}

/// Milliseconds from `send` to the answer's display.
async fn answers(near: &mut Person, far: &mut Person, conversation: ConversationId) -> Vec<f64> {
    let mut took = Vec::with_capacity(TRIPS);
    let replies = async {
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
    tokio::join!(replies, asks);
    took
}

//! A first message to somebody there is no link to: the relay carries it. Beside the relay's own round trip.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::device::{Device, RelaySocket, open};
use crate::people::{Person, name, text};
use crate::report::{Line, median, millis, ms};
use crate::server::{Program, ServerProcess, folder};

const ADDED: f64 = 20.0;
const APPENDS: usize = 50;

pub async fn measure(rounds: usize) -> Vec<Line> {
    let data = folder();
    let server = ServerProcess::start(Program::Sotto, data.path(), &[]);
    let here = Ipv4Addr::LOCALHOST;
    let device = Device::join(&server, &server.url, "appender", here).await;
    let socket = open(server.address, "/v1/relay", here).await;
    let mut relay = RelaySocket::join(socket, &device.identity, &device.token).await;

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let handles = [format!("first{round}"), format!("second{round}")];
        let from = Person::join(&server, &handles[0]).await;
        let mut to = Person::join(&server, &handles[1]).await;
        let conversation = from.client.direct(name(&handles[1])).await.unwrap();
        from.client.flush().await.unwrap();
        let start = Instant::now();
        let text = text(1);
        let sent = from.client.send(conversation, &text);
        let shown = async {
            to.message().await;
            millis(start.elapsed())
        };
        let (sent, shown) = tokio::join!(sent, shown);
        sent.unwrap();
        from.client.close().await.unwrap();
        to.client.close().await.unwrap();

        let mut trips = Vec::new();
        for burst in relay.bursts(&device.identity, APPENDS, 1) {
            let start = Instant::now();
            relay.append_all(vec![burst], 1).await;
            trips.push(millis(start.elapsed()));
        }
        let trip = median(&trips);
        eprintln!("first-message {round}/{rounds}: ours {}, the relay's round trip {}", ms(shown), ms(trip));
        if round > 0 {
            ours.push(shown);
            peer.push(trip);
        }
    }
    let (ours, peer) = (median(&ours), median(&peer));
    let allowed = 2.0 * peer + ADDED;
    vec![Line {
        what: "first message",
        ours: ms(ours),
        peer: ms(peer),
        ratio: format!("{:.1} x", ours / peer),
        target: format!("<= 2 x relay + 20 ms: {}", ms(allowed)),
        met: Some(ours <= allowed),
        note: format!(
            "From send() to display, as a request, between two peers that never spoke and are both connected to the \
             server; each round a new pair. On this way the conversation is created in the log, its receiver learns \
             of it and looks the sender up. The peer is the median of {APPENDS} appends on a bare relay socket, from \
             the request to `appended`, durable."
        ),
    }]
}

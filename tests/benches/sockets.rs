//! Memory of an idle signaling socket: a server process's resident size before and after many sign in.

use std::net::Ipv4Addr;

use futures::stream::{StreamExt as _, iter};

use crate::device::{Device, open};
use crate::report::{Line, median, median_ratio};
use crate::server::{Program, ServerProcess, folder};

const SOCKETS: usize = 2_000;
/// Opened before, so that what the first ones make for all is not counted.
const BEFORE: usize = 50;
const TOGETHER: usize = 64;
const TARGET: f64 = 12.0 * 1024.0;
/// The server's name, the same however often it is started, so that tokens stay good.
const ORIGIN: &str = "http://bench.example";

pub async fn measure(rounds: usize) -> Vec<Line> {
    let data = folder();
    // Each device has an address of its own, as in life; the server believes it of a proxy on this machine. Its limits
    // for one address are what they are.
    let settings = [("SOTTO_PUBLIC_URL", ORIGIN), ("SOTTO_TRUSTED_PROXIES", "127.0.0.1")];
    let devices: Vec<Device> = {
        let server = ServerProcess::start(Program::Sotto, data.path(), &settings);
        eprintln!("sockets: signing up {} devices", SOCKETS + BEFORE);
        let join = |n: usize| {
            let server = &server;
            async move { Device::join(server, ORIGIN, &format!("idle{n}"), address(n)).await }
        };
        iter(0..SOCKETS + BEFORE).map(join).buffered(TOGETHER).collect().await
    };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let server = ServerProcess::start(Program::Sotto, data.path(), &settings);
        let signed_in = |n: usize| devices[n].signal(&server, address(n));
        let socket = a_socket(&server, signed_in).await;
        drop(server);
        let server = ServerProcess::start(Program::Bare, data.path(), &[]);
        let bare = a_socket(&server, |n| open(server.address, "/v1/signal", address(n))).await;
        eprintln!("sockets {round}/{rounds}: ours {}, bare {}", kib(socket), kib(bare));
        ours.push(socket);
        peer.push(bare);
    }
    let bytes = median(&ours);
    vec![Line {
        what: "idle signaling socket",
        ours: kib(bytes),
        peer: kib(median(&peer)),
        ratio: format!("{:.1} x", median_ratio(&ours, &peer)),
        target: format!("<= {}", kib(TARGET)),
        met: Some(bytes <= TARGET),
        note: format!(
            "Growth of the server process's resident memory over {SOCKETS} authenticated sockets, each of a device \
             with an address of its own, after {BEFORE} others; the peer is an axum WebSocket with the same buffers \
             that knows nobody and does nothing."
        ),
    }]
}

/// Bytes that one more socket takes.
async fn a_socket<F, S>(server: &ServerProcess, connect: impl Fn(usize) -> F) -> f64
where
    F: Future<Output = S>,
{
    let before: Vec<S> = iter(0..BEFORE).map(&connect).buffered(TOGETHER).collect().await;
    let start = server.memory();
    let sockets: Vec<S> = iter(BEFORE..BEFORE + SOCKETS).map(&connect).buffered(TOGETHER).collect().await;
    let end = server.memory();
    drop((before, sockets));
    end.saturating_sub(start) as f64 / SOCKETS as f64
}

fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + u32::try_from(n).unwrap())
}

fn kib(bytes: f64) -> String {
    format!("{:.1} KiB", bytes / 1024.0)
}

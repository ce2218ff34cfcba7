//! The runtime under `webrtc`: tokio, with four things changed that the crate leaves to its host.
//!
//! 1. **Socket buffers.** The kernel's default of 208 KiB drops packets in any burst, and SCTP answers loss by
//!    slowing down: 16 KiB messages went at 6–12 MB/s on loopback, and at 98–156 MB/s with 2 MiB. The kernel
//!    silently caps the request at `net.core.rmem_max` and `wmem_max`, which are often 208 KiB themselves.
//! 2. **Extra driver passes.** One pass of the crate's driver loop is "write, events, read, wait", so what a relayed
//!    packet sets off is written only after the *next* wake-up: a round trip through TURN took 195 ms instead of
//!    0.5 ms. The loop calls [`Runtime::sleep`] once a pass; after each real wake-up the first two of those calls
//!    return at once, which gives it the two passes that it needs. One is too few.
//! 3. **One datagram a pass, at first.** A wake-up drains up to 64 datagrams before events are looked at. When the
//!    end of the SCTP handshake and the peer's first message are among them, the message reaches a negotiated
//!    channel that is not there yet and is lost, although SCTP has acknowledged it (2 of 3 links here, when the peer
//!    sends as soon as it can). So that drain finds nothing until [`SottoRuntime::settle`].
//! 4. **Faults.** [`LinkFaults`] drops every datagram while a test wants the path dead, under the ICE, DTLS and SCTP
//!    that are to notice.
//!
//! Points 2 and 3 lean on the inside of `webrtc` 0.21.1. Hence the exact version in Cargo.toml, and hence the tests
//! below, and in `tests/link.rs` `the_driver_takes_its_extra_passes` and
//! `messages_sent_before_the_channel_is_open_wait_for_it`.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tracing::debug;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

/// Asked of the kernel for each socket, in each direction: the largest window SCTP uses here (1 MiB), twice.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

/// Passes the driver loop gets after a wake-up, beyond the one it takes by itself.
const EXTRA_PASSES: u8 = 2;

/// A name server that does not answer must not hold up the driver, which resolves inside its loop.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Extra passes taken since the last real wake-up. Set inside drivers only: elsewhere in the crate (`close`,
    /// back-pressure) a `sleep` that returns at once would be a bug.
    static TAKEN: Cell<u8>;
}

/// The runtime to give to [`with_runtime`](webrtc::peer_connection::PeerConnectionBuilder::with_runtime).
#[derive(Debug, Clone, Default)]
pub struct SottoRuntime {
    faults: LinkFaults,
    passes: Arc<AtomicU64>,
    unsettled: Arc<AtomicBool>,
}

impl SottoRuntime {
    /// One whose sockets obey `faults`.
    pub fn new(faults: LinkFaults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// The same for one connection more, whose sockets give one datagram a pass until it is settled.
    pub fn unsettled(&self) -> Self {
        Self { unsettled: Arc::new(AtomicBool::new(true)), ..self.clone() }
    }

    /// The connection's channels are open: its sockets may be drained as the driver likes.
    pub fn settle(&self) {
        self.unsettled.store(false, Ordering::Relaxed);
    }

    /// How many extra passes the drivers on this runtime have taken.
    pub fn extra_passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }
}

impl Runtime for SottoRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(Box::pin(TAKEN.scope(Cell::new(0), future)))
    }

    fn spawn_reactor(
        &self,
        pool_size: usize,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn_reactor(pool_size, Box::pin(TAKEN.scope(Cell::new(0), future)))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let extra = TAKEN.try_with(|taken| {
            let extra = taken.get() < EXTRA_PASSES;
            if !extra {
                taken.set(0);
            }
            extra
        });
        match extra {
            Ok(true) => Box::pin(ExtraPass { total: Arc::clone(&self.passes), polled: false }),
            Ok(false) | Err(_) => TokioRuntime.sleep(duration),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = socket2::SockRef::from(&socket);
        let enlarged = options
            .set_recv_buffer_size(SOCKET_BUFFER)
            .and_then(|()| options.set_send_buffer_size(SOCKET_BUFFER));
        if let Err(error) = enlarged {
            debug!(%error, "socket buffers stay as they are");
        }
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let (faults, unsettled) = (self.faults.clone(), Arc::clone(&self.unsettled));
        Ok(Arc::new(LinkSocket { inner, faults, unsettled }))
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            tokio::time::timeout(RESOLVE_TIMEOUT, TokioRuntime.resolve_host(host))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(async move { TokioRuntime.connect_tcp(remote).await })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "sotto"
    }
}

/// A sleep that is over at once. It counts when it is polled; dropped unpolled, another branch of the driver's
/// `select!` was ready, which is a real wake-up.
struct ExtraPass {
    total: Arc<AtomicU64>,
    polled: bool,
}

impl Future for ExtraPass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if !self.polled {
            self.polled = true;
            self.total.fetch_add(1, Ordering::Relaxed);
            let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
        }
        Poll::Ready(())
    }
}

impl Drop for ExtraPass {
    fn drop(&mut self) {
        if !self.polled {
            let _ = TAKEN.try_with(|taken| taken.set(0));
        }
    }
}

/// Kills and revives the network under links, for tests of running programs: while it is cut, every datagram in
/// and out is dropped silently, so that each layer above has to find out by itself.
#[derive(Clone, Default)]
pub struct LinkFaults {
    cut: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
}

impl LinkFaults {
    /// Cuts (`true`) or heals (`false`) the network under every connection that was given this handle, present
    /// and future.
    pub fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// How many datagrams (or batches of them) it has cost so far: evidence that a cut was felt.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether a datagram on its way is dropped.
    fn drops(&self) -> bool {
        let cut = self.is_cut();
        if cut {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        cut
    }
}

impl fmt::Debug for LinkFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkFaults").field("cut", &self.is_cut()).field("dropped", &self.dropped()).finish()
    }
}

#[derive(Debug)]
struct LinkSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    faults: LinkFaults,
    unsettled: Arc<AtomicBool>,
}

impl AsyncUdpSocket for LinkSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.faults.drops() {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // The driver drains with the no-op waker, whose data is null, and waits with a real one. (`will_wake` cannot
        // tell: its table has an address in every crate.)
        if self.unsettled.load(Ordering::Relaxed) && cx.waker().data().is_null() {
            return Poll::Pending;
        }
        loop {
            let received = ready!(self.inner.poll_recv(cx, bufs, meta));
            // What arrives during a cut is read and thrown away, so that healing does not deliver it late.
            if received.is_ok() && self.faults.drops() {
                continue;
            }
            return Poll::Ready(received);
        }
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Runs `body` as a driver and waits for it.
    async fn as_driver(runtime: &SottoRuntime, body: impl FnOnce() + Send + 'static) {
        let (done, over) = tokio::sync::oneshot::channel();
        runtime.spawn(Box::pin(async move {
            body();
            done.send(()).unwrap();
        }));
        over.await.unwrap();
    }

    #[tokio::test]
    async fn a_driver_gets_two_passes_after_each_real_sleep() {
        let runtime = SottoRuntime::default();
        let inside = runtime.clone();
        as_driver(&runtime, move || {
            for _ in 0..3 {
                assert!(inside.sleep(LONG).now_or_never().is_some());
                assert!(inside.sleep(LONG).now_or_never().is_some());
                assert!(inside.sleep(LONG).now_or_never().is_none());
            }
        })
        .await;
        assert_eq!(runtime.extra_passes(), 6);
    }

    #[tokio::test]
    async fn another_branch_winning_counts_as_a_wake_up() {
        let runtime = SottoRuntime::default();
        let inside = runtime.clone();
        as_driver(&runtime, move || {
            assert!(inside.sleep(LONG).now_or_never().is_some());
            drop(inside.sleep(LONG));
            assert!(inside.sleep(LONG).now_or_never().is_some());
            assert!(inside.sleep(LONG).now_or_never().is_some());
            assert!(inside.sleep(LONG).now_or_never().is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn outside_a_driver_a_sleep_is_a_sleep() {
        let runtime = SottoRuntime::default();
        assert!(runtime.sleep(LONG).now_or_never().is_none());
        assert_eq!(runtime.extra_passes(), 0);
    }

    #[tokio::test]
    async fn an_unsettled_socket_gives_to_who_waits_and_not_to_who_drains() {
        let runtime = SottoRuntime::default().unsettled();
        let socket = runtime.wrap_udp_socket(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let here = socket.local_addr().unwrap();
        let (mut buffer, mut nobody) = ([0; 16], Context::from_waker(Waker::noop()));
        for _ in 0..3 {
            other.send_to(b"one", here).unwrap();
        }
        socket.recv_from(&mut buffer).await.unwrap();
        assert!(socket.recv_from(&mut buffer).as_mut().poll(&mut nobody).is_pending());
        socket.recv_from(&mut buffer).await.unwrap();
        runtime.settle();
        assert!(socket.recv_from(&mut buffer).as_mut().poll(&mut nobody).is_ready());
    }

    #[tokio::test]
    async fn a_cut_socket_loses_what_is_sent_and_what_arrives_and_healing_brings_nothing_back() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let faults = LinkFaults::default();
        let cuttable = SottoRuntime::new(faults.clone()).wrap_udp_socket(bind()).unwrap();
        let (other, mut buffer) = (bind(), [0; 16]);
        let here = cuttable.local_addr().unwrap();
        let there = other.local_addr().unwrap();

        faults.set_cut(true);
        cuttable.send_to(b"lost", there).await.unwrap();
        other.send_to(b"lost", here).unwrap();
        let both_lost = async {
            while faults.dropped() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = cuttable.recv_from(&mut buffer) => panic!("received through a cut"),
            () = both_lost => {}
        }

        faults.set_cut(false);
        other.send_to(b"in", here).unwrap();
        let (length, _) = cuttable.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"in");
        cuttable.send_to(b"out", there).await.unwrap();
        assert_eq!(other.recv(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"out");
    }
}

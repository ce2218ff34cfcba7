//! Accepting connections on the one port, plain or TLS, and letting them end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::client::Peer;

/// A TLS client that has said nothing sensible by then is gone or hostile.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Request lines and headers must be in by then, which also ends idle keep-alive connections.
const HEADERS: Duration = Duration::from_secs(30);

/// Room for request heads: cookies are not used here and tokens are under 2 KiB. Also what an idle connection holds.
const READ_BUFFER: usize = 16 * 1024;

/// After a failed accept (too many open files): long enough not to spin, short enough not to be noticed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the listener counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now, sockets included.
    pub open: AtomicI64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
}

impl Counters {
    /// Connections open now.
    pub fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// Accepts connections and serves `app` on them until `stop` says so; then accepts nothing more and lets each connection end
/// its running request. What is still open then is returned.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    max_connections: usize,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) -> Remaining {
    let slots = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let (ended, all_ended) = mpsc::channel::<Infallible>(1);
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = stopped(&mut stop) => break,
        };
        // The semaphore is never closed, so there is always a slot.
        let Ok(slot) = slot else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // What a client can cause (reset before accept) is no news; running out of files is.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "a connection could not be accepted; raise `ulimit -n` if files ran out");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
                continue;
            }
        };
        let connection = Connection {
            app: app.clone(),
            peer: Peer(peer.ip()),
            stop: stop.clone(),
            counters: counters.clone(),
            open: Open::new(counters.clone(), slot, ended.clone()),
        };
        tokio::spawn(connection.run(stream, tls.clone()));
    }
    Remaining(all_ended)
}

/// Connections that were open when accepting stopped.
pub struct Remaining(mpsc::Receiver<Infallible>);

impl Remaining {
    /// Resolves once all have ended.
    pub async fn ended(mut self) {
        // Each holds a sender and never sends.
        let _ = self.0.recv().await;
    }
}

struct Connection {
    app: Router,
    peer: Peer,
    stop: watch::Receiver<bool>,
    counters: Arc<Counters>,
    open: Open,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Self { app, peer, stop, counters, open } = self;
        // Small frames must leave at once.
        let _ = stream.set_nodelay(true);
        let stream = Tracked { stream, _open: open };
        match tls {
            None => http(stream, app, peer, stop).await,
            Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => http(stream, app, peer, stop).await,
                Ok(Err(_)) | Err(_) => {
                    counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                }
            },
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}

/// Resolves once stopping has begun. A plain future, since what `wait_for` returns holds a lock.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Counts as one open connection for as long as it lives.
struct Open {
    counters: Arc<Counters>,
    _slot: OwnedSemaphorePermit,
    _ended: mpsc::Sender<Infallible>,
}

impl Open {
    fn new(counters: Arc<Counters>, slot: OwnedSemaphorePermit, ended: mpsc::Sender<Infallible>) -> Self {
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self { counters, _slot: slot, _ended: ended }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that counts as open until it is dropped: a WebSocket takes it along when HTTP is over.
struct Tracked {
    stream: TcpStream,
    _open: Open,
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

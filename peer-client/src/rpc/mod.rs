//! JSON-RPC 2.0 over two streams, one object a line: the peer for programs in any language. docs/rpc.md is the
//! contract.
//!
//! - [`lines`]: bytes to lines; [`request`]: lines to calls; [`error`]: this library's errors. What the calls and answers
//!   of a peer look like is the core's: [`sotto_peer_core::rpc`].

mod error;
mod lines;
mod request;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use sotto_peer_core::rpc::{RpcError, view};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::link::LinkFaults;
use crate::{Client, Ended, Events, Options, Origin, Pending, Profile};

pub use lines::{LONGEST_LINE, Line, Lines};
pub use request::{Call, Message, Request};

/// Lines being carried out. A program that sends more waits until its first ones are answered.
const IN_FLIGHT: usize = 1_024;

/// For answers under way when the input ends: the relay's word on a membership change takes no longer.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The input or output failed.
    #[error("standard input or output failed: {0}")]
    Io(#[from] std::io::Error),
    /// The peer does not start, or ended.
    #[error(transparent)]
    Peer(#[from] crate::Error),
}

/// How to serve.
#[derive(Debug, Default)]
pub struct Setup {
    /// How the peer runs.
    pub options: Options,
    /// Lets `debug.cut` cut all links; without it, there is no such method.
    pub faults: Option<LinkFaults>,
}

/// Serves a profile, signed up or not, until the input ends or `stop` resolves; then writes everything out.
pub async fn serve(
    profile: Profile,
    setup: Setup,
    mut input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut server = Server {
        peer: Peer::start(profile, &setup.options).await?,
        setup,
        answers: FuturesUnordered::new(),
        output,
        buffer: Vec::new(),
    };
    let (mut lines, mut bytes) = (Lines::default(), vec![0; 64 * 1024]);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            event = server.peer.next_event() => match event {
                Some(event) => server.line(&event),
                None => return server.fail().await,
            },
            Some(answer) = server.answers.next() => server.answer(answer),
            read = input.read(&mut bytes), if server.answers.len() < IN_FLIGHT => {
                let read = read?;
                for line in lines.push(&bytes[..read]) {
                    server.take(line).await?;
                }
                if read == 0 {
                    for line in lines.finish() {
                        server.take(line).await?;
                    }
                    return server.finish().await;
                }
            }
            () = &mut stop => return server.finish().await,
        }
        server.write_out().await?;
    }
}

type Answer = Pin<Box<dyn Future<Output = Option<Value>> + Send>>;

struct Server<W> {
    peer: Peer,
    setup: Setup,
    /// What is being carried out, each with its answer, if it wants one.
    answers: FuturesUnordered<Answer>,
    output: W,
    buffer: Vec<u8>,
}

/// The profile before and after somebody has signed up in it.
enum Peer {
    Empty(Profile),
    Running(Client, Events),
    /// Between the two, and after the end.
    Gone,
}

impl Peer {
    async fn start(profile: Profile, options: &Options) -> Result<Self, crate::Error> {
        if profile.identity()?.is_none() {
            return Ok(Self::Empty(profile));
        }
        let (client, events) = profile.start(options.clone()).await?;
        Ok(Self::Running(client, events))
    }

    /// The next notification as a line; `None` once the peer has ended.
    async fn next_event(&mut self) -> Option<Value> {
        match self {
            Self::Running(_, events) => events.next().await.map(|event| notification(&event)),
            Self::Empty(_) | Self::Gone => std::future::pending().await,
        }
    }

    fn ready_event(&mut self) -> Option<Value> {
        match self {
            Self::Running(_, events) => events.try_next().map(|event| notification(&event)),
            Self::Empty(_) | Self::Gone => None,
        }
    }
}

impl<W: AsyncWrite + Unpin> Server<W> {
    async fn take(&mut self, line: Line) -> Result<(), ServeError> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong => {
                let why = format!("a line of more than {LONGEST_LINE} bytes; it was left out");
                self.line(&response(Value::Null, Err(RpcError::request(why))));
                return Ok(());
            }
        };
        match Message::parse(&line) {
            Err(error) => self.line(&response(Value::Null, Err(error))),
            Ok(Message::One(request)) => {
                let answer = self.call(request).await;
                self.answers.push(answer);
            }
            Ok(Message::Batch(requests)) => {
                let mut answers = Vec::with_capacity(requests.len());
                for request in requests {
                    answers.push(self.call(request).await);
                }
                let together = futures::future::join_all(answers).map(|answers| {
                    let answers: Vec<Value> = answers.into_iter().flatten().collect();
                    (!answers.is_empty()).then_some(Value::Array(answers))
                });
                self.answers.push(Box::pin(together));
            }
        }
        Ok(())
    }

    /// Hands a call over; the answer comes later. Calls are carried out in the order they came.
    async fn call(&mut self, Request { id, call }: Request) -> Answer {
        let outcome = match call {
            Ok(call) => self.carry_out(call).await,
            Err(error) => Err(error),
        };
        let Some(id) = id else {
            // Not answered, but carried out to the end.
            return Box::pin(async {
                if let Ok(Outcome::Later(pending)) = outcome {
                    drop(pending.reply().await);
                }
                None
            });
        };
        Box::pin(async {
            let result = match outcome {
                Ok(Outcome::Now(value)) => Ok(value),
                Ok(Outcome::Later(pending)) => {
                    pending.reply().await.map(|reply| view::reply(&reply)).map_err(RpcError::from)
                }
                Err(error) => Err(error),
            };
            Some(response(id, result))
        })
    }

    async fn carry_out(&mut self, call: Call) -> Result<Outcome, RpcError> {
        match call {
            Call::SignUp { server, handle, invite, ca } => {
                let origin =
                    Origin::parse(&server).map_err(|error| RpcError::from(crate::Error::from(error)))?;
                let identity = self.sign_up(origin, handle, invite, ca).await?;
                let handle = &identity.handle;
                Ok(Outcome::Now(json!({
                    "account": identity.account, "handle": handle, "device": identity.device,
                })))
            }
            Call::Cut { on } => match &self.setup.faults {
                Some(faults) => {
                    faults.set_cut(on);
                    Ok(Outcome::Now(json!({})))
                }
                None => Err(RpcError::method()),
            },
            Call::Run(command) => match &self.peer {
                Peer::Running(client, _) => Ok(Outcome::Later(client.submit(command).await?)),
                Peer::Empty(_) | Peer::Gone => Err(RpcError::not_signed_up()),
            },
        }
    }

    async fn sign_up(
        &mut self,
        origin: Origin,
        handle: sotto_protocol::Handle,
        invite: Option<String>,
        ca: Option<String>,
    ) -> Result<sotto_peer_core::Identity, RpcError> {
        let Peer::Empty(profile) = &mut self.peer else { return Err(RpcError::signed_up()) };
        if let Some(ca) = ca {
            let trusted = profile.trust(Path::new(&ca));
            trusted.map_err(|error| RpcError::field("ca", error.to_string()))?;
        }
        let identity = profile.sign_up(origin, handle, invite).await?;
        if let Peer::Empty(profile) = std::mem::replace(&mut self.peer, Peer::Gone) {
            self.peer = Peer::start(profile, &self.setup.options).await?;
        }
        Ok(identity)
    }

    fn answer(&mut self, answer: Option<Value>) {
        // What the peer said before it answered is told before the answer: a replay ends with its reply.
        while let Some(event) = self.peer.ready_event() {
            self.line(&event);
        }
        if let Some(answer) = answer {
            self.line(&answer);
        }
    }

    fn line(&mut self, value: &Value) {
        self.buffer.extend_from_slice(value.to_string().as_bytes());
        self.buffer.push(b'\n');
    }

    /// Writes what is there, in as few writes as possible.
    async fn write_out(&mut self) -> Result<(), ServeError> {
        while self.buffer.len() < LONGEST_LINE {
            let answered = self.answers.next().now_or_never().flatten();
            match answered {
                Some(answer) => self.answer(answer),
                None => match self.peer.ready_event() {
                    Some(event) => self.line(&event),
                    None => break,
                },
            }
        }
        if !self.buffer.is_empty() {
            self.output.write_all(&self.buffer).await?;
            self.buffer.clear();
            self.output.flush().await?;
        }
        Ok(())
    }

    /// The input has ended: answers what is under way, writes out, says good-bye.
    async fn finish(mut self) -> Result<(), ServeError> {
        let answered = async {
            while let Some(answer) = self.answers.next().await {
                self.answer(answer);
                self.write_out().await?;
            }
            Ok::<_, ServeError>(())
        };
        if let Ok(result) = timeout(LAST_ANSWERS, answered).await {
            result?;
        }
        let (client, mut events) = match std::mem::replace(&mut self.peer, Peer::Gone) {
            Peer::Running(client, events) => (client, events),
            Peer::Empty(_) | Peer::Gone => return self.write_out().await,
        };
        let closed = client.close().await;
        while let Some(event) = events.try_next() {
            self.line(&notification(&event));
        }
        self.write_out().await?;
        Ok(closed?)
    }

    /// The peer has ended by itself: says so.
    async fn fail(mut self) -> Result<(), ServeError> {
        while let Some(answer) = self.answers.next().await {
            self.answer(answer);
        }
        let ended = match &self.peer {
            Peer::Running(client, _) => client.ended().await,
            Peer::Empty(_) | Peer::Gone => Ended::Broken,
        };
        self.line(&json!({ "jsonrpc": "2.0", "method": "ended", "params": { "why": ended.to_string() } }));
        self.peer = Peer::Gone;
        self.write_out().await?;
        Err(crate::Error::Ended(ended).into())
    }
}

enum Outcome {
    Now(Value),
    Later(Pending),
}

fn notification(event: &sotto_peer_core::Notification) -> Value {
    let (method, params) = view::notification(event);
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

fn response(id: Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() }),
    }
}

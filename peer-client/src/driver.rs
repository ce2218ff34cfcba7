//! One task owns the brain: it gathers what happened, hands it over, and carries out what comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sotto_peer_core::{
    Command, CommandError, CommandId, HttpRequest, HttpResponse, Input, Moment, Notification, Output, Peer,
    Reply,
};
use sotto_protocol::UnixMillis;
use tokio::sync::{mpsc, oneshot};

use crate::link::Links;
use crate::sockets::Sockets;
use crate::store::{ProfileError, Store};

/// How long a request to the server may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(15);

/// Longest answer that is read.
const HTTP_BODY: usize = 1024 * 1024;

pub(crate) type Answer = Result<Reply, CommandError>;

/// A command and where its answer goes.
pub(crate) type Order = (Command, oneshot::Sender<Answer>);

enum Work {
    Persist(sotto_peer_core::WriteToken, sotto_peer_core::WriteSet),
    Load(sotto_peer_core::LoadId, sotto_peer_core::Query),
}

/// The time, twice.
pub(crate) fn moment(start: Instant) -> Moment {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment { monotonic: start.elapsed(), wall: UnixMillis(wall.as_millis() as u64) }
}

pub(crate) struct Driver {
    pub peer: Peer,
    pub start: Instant,
    pub store: Arc<Store>,
    pub http: reqwest::Client,
    pub server: String,
    pub inputs: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    pub orders: mpsc::Receiver<Order>,
    pub events: mpsc::UnboundedSender<Notification>,
}

impl Driver {
    /// Runs until all handles are gone, or the profile cannot be written.
    pub async fn run(self) -> Result<(), ProfileError> {
        let Self { mut peer, start, store, http, server, inputs: (sender, mut inputs), mut orders, events } =
            self;
        let (reports, mut links_say) = mpsc::channel(1_024);
        let links = Links::new(reports, Default::default());
        let mut sockets = Sockets::new(&server, sender.clone());
        let (work, todo) = mpsc::unbounded_channel();
        let mut disk = tokio::spawn(serve_store(store, todo, sender.clone()));
        let mut waiting: HashMap<CommandId, oneshot::Sender<Answer>> = HashMap::new();
        let mut last = 0;
        let result = loop {
            while let Some(output) = peer.poll() {
                match output {
                    Output::Persist { token, writes } => drop(work.send(Work::Persist(token, writes))),
                    Output::Load { id, query } => drop(work.send(Work::Load(id, query))),
                    Output::Http { id, request } => {
                        let (http, url, sender) =
                            (http.clone(), format!("{server}{}", request.path), sender.clone());
                        tokio::spawn(async move {
                            let result = fetch(&http, url, request).await;
                            let _ = sender.send(Input::Http { id, result }).await;
                        });
                    }
                    Output::Socket { socket, command } => sockets.command(socket, command),
                    Output::Link { device, session, command } => links.command(device, session, command),
                    Output::Reply { id, result } => {
                        if let Some(waiting) = waiting.remove(&id) {
                            let _ = waiting.send(result);
                        }
                    }
                    Output::Event(notification) => drop(events.send(notification)),
                }
            }
            let wake = peer.next_timeout().map(|at| start + at);
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(input) = inputs.recv() => {
                    peer.handle(moment(start), input);
                    // Whatever waits already shares the next write.
                    while let Ok(input) = inputs.try_recv() {
                        peer.handle(moment(start), input);
                    }
                }
                Some((device, session, event)) = links_say.recv() => {
                    peer.handle(moment(start), Input::Link { device, session, event });
                    while let Ok((device, session, event)) = links_say.try_recv() {
                        peer.handle(moment(start), Input::Link { device, session, event });
                    }
                }
                order = orders.recv() => {
                    let Some((command, answer)) = order else { break Ok(()) };
                    last += 1;
                    let id = CommandId(last);
                    waiting.insert(id, answer);
                    peer.handle(moment(start), Input::Command { id, command });
                }
                ended = &mut disk => break ended.unwrap_or(Ok(())),
                () = sleep => peer.handle(moment(start), Input::Timeout),
            }
        };
        links.close_all().await;
        result
    }
}

/// Writes and reads in their order; ends with the first write that fails, for nothing after it may be believed.
async fn serve_store(
    store: Arc<Store>,
    mut todo: mpsc::UnboundedReceiver<Work>,
    inputs: mpsc::Sender<Input>,
) -> Result<(), ProfileError> {
    while let Some(work) = todo.recv().await {
        let input = match work {
            Work::Persist(token, writes) => {
                store.apply(&writes).await?;
                Input::Persisted(token)
            }
            Work::Load(id, query) => Input::Loaded { id, rows: store.load(&query).await? },
        };
        if inputs.send(input).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks the server; the error is for people.
pub(crate) async fn fetch(
    http: &reqwest::Client,
    url: String,
    request: HttpRequest,
) -> Result<HttpResponse, String> {
    let method = request.method.parse().map_err(|_| "bad method".to_owned())?;
    let mut builder = http.request(method, url).timeout(HTTP_PATIENCE);
    if let Some(token) = request.token {
        builder = builder.bearer_auth(token);
    }
    if let Some(body) = request.body {
        builder = builder.header("content-type", "application/json").body(body);
    }
    let mut response = builder.send().await.map_err(|error| explain(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        if body.len() + chunk.len() > HTTP_BODY {
            return Err("the server's answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, body })
}

/// The innermost reason, which is the one that helps.
fn explain(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

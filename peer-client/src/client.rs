//! The library's handle on a running peer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use sotto_peer_core::{
    Command, CommandError, Config, HttpRequest, Identity, Notification, Peer, Reply, RestoreError,
};
use sotto_protocol::rest::Problem;
use sotto_protocol::{Handle, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::driver::{Driver, Order, fetch, moment};
use crate::store::{ProfileError, Store};

/// Why a client does not start, or a command fails.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// What the profile holds cannot be used, or nobody has signed up in it.
    #[error("{0}; sign up with `sotto sign-up`, or choose another profile with --profile")]
    Restore(#[from] RestoreError),
    /// Somebody has signed up in this profile already.
    #[error("this profile belongs to @{0} already; choose another with --profile")]
    SignedUp(Handle),
    /// An argument is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server cannot be reached.
    #[error("the server cannot be reached: {0}")]
    Offline(String),
    /// The command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The peer has stopped.
    #[error("the peer has stopped")]
    Stopped,
    /// No random numbers from the operating system.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// A running peer.
pub struct Client {
    orders: mpsc::Sender<Order>,
    events: mpsc::UnboundedReceiver<Notification>,
    driver: JoinHandle<Result<(), ProfileError>>,
}

impl Client {
    /// Makes an account on a server and keeps it in a new profile. The keys are kept before the server hears of
    /// them, so that a crash in between loses nothing: signing up again with the same handle and server goes on.
    pub async fn sign_up(
        profile: &Path,
        server: &str,
        handle: Handle,
        invite: Option<String>,
    ) -> Result<(), ClientError> {
        let server = server.trim_end_matches('/').to_owned();
        let (_, rest) = server
            .split_once("://")
            .filter(|(scheme, rest)| matches!(*scheme, "http" | "https") && !rest.is_empty())
            .ok_or_else(|| {
                ClientError::Invalid("server: expected an address such as http://localhost:8080".into())
            })?;
        if rest.contains(['/', '?', '#', '@']) {
            return Err(ClientError::Invalid("server: expected only scheme, host and port".into()));
        }
        let store = Store::open(profile).await?;
        let snapshot = store.snapshot().await?;
        let kept = Identity::find(&snapshot).map_err(|e| ClientError::Invalid(e.to_string()))?;
        let identity = match kept {
            Some(kept) if kept.handle != handle || kept.server != server => {
                return Err(ClientError::SignedUp(kept.handle));
            }
            Some(kept) => kept,
            None => Identity::generate(handle, server, random()?),
        };
        store.apply(&identity.write_set()).await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = std::env::var("HOSTNAME").unwrap_or_else(|_| "sotto".into());
        let body = identity.sign_up(&name, invite, UnixMillis(now.as_millis() as u64));
        let request = HttpRequest {
            method: "POST",
            path: "/v1/accounts".into(),
            body: serde_json::to_vec(&body).ok(),
            token: None,
        };
        let url = format!("{}/v1/accounts", identity.server);
        let answer = fetch(&reqwest::Client::new(), url, request).await;
        let refused = match answer {
            Ok(answer) if answer.status < 300 => return Ok(()),
            Ok(answer) => {
                let problem = serde_json::from_slice::<Problem>(&answer.body);
                let why = problem.map_or_else(|_| answer.status.to_string(), |p| p.detail.unwrap_or(p.title));
                ClientError::Refused(why)
            }
            Err(why) => ClientError::Offline(why),
        };
        if matches!(refused, ClientError::Refused(_)) {
            // Another handle may be tried in the same profile.
            let mut undo = identity.write_set();
            undo.rows.values_mut().for_each(|value| *value = None);
            store.apply(&undo).await?;
        }
        Err(refused)
    }

    /// Starts the peer of a profile.
    pub async fn open(profile: &Path, config: Config) -> Result<Self, ClientError> {
        let store = Store::open(profile).await?;
        let snapshot = store.snapshot().await?;
        let start = Instant::now();
        let peer = Peer::restore(config, moment(start), random()?, snapshot)?;
        let (orders, taken) = mpsc::channel(1_024);
        let (sender, events) = mpsc::unbounded_channel();
        let driver = Driver {
            server: peer.identity().server.clone(),
            peer,
            start,
            store: Arc::new(store),
            http: reqwest::Client::new(),
            inputs: mpsc::channel(4_096),
            orders: taken,
            events: sender,
        };
        Ok(Self { orders, events, driver: tokio::spawn(driver.run()) })
    }

    /// Runs a command. Its reply is durable.
    pub async fn run(&self, command: Command) -> Result<Reply, ClientError> {
        let (answer, reply) = oneshot::channel();
        self.orders.send((command, answer)).await.map_err(|_| ClientError::Stopped)?;
        Ok(reply.await.map_err(|_| ClientError::Stopped)??)
    }

    /// The next notification; `None` once the peer has stopped.
    pub async fn next(&mut self) -> Option<Notification> {
        self.events.recv().await
    }

    /// Writes out what was accepted, closes all links, and stops.
    pub async fn close(self) -> Result<(), ClientError> {
        let _ = self.run(Command::Flush).await;
        drop(self.orders);
        match self.driver.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ClientError::Stopped),
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], ClientError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| ClientError::Random)?;
    Ok(bytes)
}

//! A relay on a port of its own over its SQLite store, which tells what batches it wrote.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sotto_peer_core::Identity;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId, UnixMillis};
use sotto_relay::access::{Directory, DirectoryError, Principal, TokenError, TokenVerifier};
use sotto_relay::store::{Answer, Batch, Query, SqliteStore, Store, StoreError};
use sotto_relay::{Config, Relay};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::device::{RelaySocket, identity, open};
use crate::server::folder;

/// The store, and the batches that it was given.
struct Watched {
    store: SqliteStore,
    batches: Mutex<Vec<Batch>>,
}

#[async_trait]
impl Store for Watched {
    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.store.write(batch).await?;
        self.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }

    async fn read(&self, query: &Query) -> Result<Answer, StoreError> {
        self.store.read(query).await
    }
}

/// Knows these devices; a token is a device's number among them.
struct People(Vec<DeviceRecord>);

#[async_trait]
impl TokenVerifier for People {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let number: usize = token.parse().map_err(|_| TokenError::Invalid)?;
        let DeviceRecord { account, device, .. } = self.0[number];
        Ok(Principal { account, device, expires_at: UnixMillis(u64::MAX) })
    }
}

#[async_trait]
impl Directory for People {
    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>, DirectoryError> {
        Ok(self.0.iter().find(|record| record.device == device).copied())
    }

    async fn account_exists(&self, account: AccountId) -> Result<bool, DirectoryError> {
        Ok(self.0.iter().any(|record| record.account == account))
    }
}

pub struct WatchedRelay {
    watched: Arc<Watched>,
    address: SocketAddr,
    people: Vec<Identity>,
    _revocations: broadcast::Sender<sotto_relay::access::Revocation>,
    _folder: TempDir,
}

impl WatchedRelay {
    /// With this many people that it knows.
    pub async fn start(people: usize) -> Self {
        let folder = folder();
        let store = SqliteStore::open(folder.path().join("relay.db")).await.unwrap();
        let watched = Arc::new(Watched { store, batches: Mutex::default() });
        let people: Vec<Identity> =
            (0..people).map(|n| identity(&format!("sender{n}"), "http://127.0.0.1")).collect();
        let records = people.iter().map(|identity| DeviceRecord {
            account: identity.account,
            device: identity.device,
            key: identity.key.public(),
            revoked: false,
        });
        let known = Arc::new(People(records.collect()));
        let (revocations, revoked) = broadcast::channel(1);
        let relay = Relay::open(watched.clone(), known.clone(), known, revoked, Config::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = relay.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { watched, address, people, _revocations: revocations, _folder: folder }
    }

    /// A socket of each of its people, each in a group of its own.
    pub async fn sockets(&self) -> Vec<(Identity, RelaySocket)> {
        let mut sockets = Vec::new();
        for (number, identity) in self.people.iter().enumerate() {
            let socket = open(self.address, "/v1/relay", [127, 0, 0, 1].into()).await;
            let socket = RelaySocket::join(socket, identity, &number.to_string()).await;
            sockets.push((identity.clone(), socket));
        }
        sockets
    }

    /// The batches written since this was last asked.
    pub fn written(&self) -> Vec<Batch> {
        std::mem::take(&mut self.watched.batches.lock().unwrap())
    }
}

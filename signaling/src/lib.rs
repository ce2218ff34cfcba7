//! Signaling: accounts and devices by keys, sessions, presence, and signals between devices that want to meet.
//! REST and a WebSocket under `/v1`, as a library over one SQLite file.
//!
//! [`Signaling::open`] gives a service, [`Signaling::router`] its routes. [`token`] and [`presence`] decide without
//! IO; [`api`] and [`socket`] are the wire around them; [`store`] is what is kept.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod api;
mod challenge;
mod config;
mod http;
mod metrics;
mod presence;
mod problem;
mod rate;
mod socket;
mod store;
mod token;
mod verify;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sotto_protocol::keys::Nonce;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId};
use sqlx::SqlitePool;
use tokio::sync::{RwLock, broadcast};

pub use admin::AdminError;
pub use config::{ClientAddr, Clock, Config, RateLimits, SignUpPolicy};
pub use metrics::Metrics;
pub use rate::Rate;
pub use store::{AccountRow, AccountState, OpenError, sqlite_options};
pub use token::{Principal, TokenError};

use challenge::Challenges;
use metrics::{Counters, count};
use presence::Presence;
use rate::Limiter;
use socket::hub::Hub;
use socket::outbound::Close;
use socket::upkeep;
use store::{Revocation, Store};
use token::TokenKey;

/// Revocations a slow listener may be behind before it has to check everyone again (`RecvError::Lagged`).
const REVOCATIONS: usize = 1_024;

/// The service. Clones share it.
#[derive(Clone)]
pub struct Signaling(Arc<Service>);

struct Service {
    config: Config,
    store: Store,
    tokens: TokenKey,
    challenges: Mutex<Challenges>,
    request_limits: Mutex<Limiter<IpAddr>>,
    sign_up_limits: Mutex<Limiter<IpAddr>>,
    write_limits: Mutex<Limiter<DeviceId>>,
    message_limits: Mutex<Limiter<DeviceId>>,
    hub: Hub,
    presence: Mutex<Presence>,
    /// Held to write while capabilities change in the database and in `presence`, to read while both are compared.
    capabilities: RwLock<()>,
    revoked: broadcast::Sender<Revoked>,
    /// The last revocation applied.
    revocation: tokio::sync::Mutex<i64>,
    counters: Counters,
    random: SystemRandom,
}

/// Who lost access, for other parts of the server that hold sockets or caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// This device.
    Device(DeviceId),
    /// All devices of this account.
    Account(AccountId),
}

impl Signaling {
    /// Opens the service on a database of its own, migrating it if it is older. See [`sqlite_options`].
    pub async fn open(pool: SqlitePool, config: Config) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let store = Store::open(pool).await?;
        // SQLite opens a file that it may only read without a word: better known now than at the first sign-up.
        store.probe(config.now()).await?;
        let key = store.signing_key().await?;
        let tokens = TokenKey::from_pkcs8(&key, config.audience()).map_err(|_| OpenError::Key)?;
        let revocation = store.last_revocation().await?;
        let limits = config.limits;
        let service = Arc::new(Service {
            config,
            store,
            tokens,
            challenges: Mutex::default(),
            request_limits: Mutex::new(Limiter::new(limits.requests)),
            sign_up_limits: Mutex::new(Limiter::new(limits.sign_ups)),
            write_limits: Mutex::new(Limiter::new(limits.writes)),
            message_limits: Mutex::new(Limiter::new(limits.messages)),
            hub: Hub::default(),
            presence: Mutex::default(),
            capabilities: RwLock::default(),
            revoked: broadcast::Sender::new(REVOCATIONS),
            revocation: tokio::sync::Mutex::new(revocation),
            counters: Counters::default(),
            random: SystemRandom::new(),
        });
        upkeep::spawn(&service);
        Ok(Self(service))
    }

    /// The routes: `/v1/*` (but not the relay's), `/docs`, and a fallback that answers 404 as a problem document.
    /// Errors, limits, CORS and security headers included. Merge it with routers that have no fallback.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    /// The OpenAPI 3.1 document as JSON, the same text every time.
    pub fn openapi() -> String {
        api::openapi::json()
    }

    /// Whom a token speaks for, if it is this server's, has not expired, and neither its device nor its account was
    /// revoked, as of now in the database.
    pub async fn verify_token(&self, token: &str) -> Result<Principal, TokenError> {
        let principal = self.0.tokens.verify(self.0.config.now(), token)?;
        let known = self.0.store.device(principal.device).await.map_err(TokenError::Unavailable)?;
        match known {
            Some((_, AccountState::Disabled)) => Err(TokenError::Disabled),
            Some((device, AccountState::Active))
                if !device.revoked && device.account == principal.account =>
            {
                Ok(principal)
            }
            Some((_, AccountState::Active | AccountState::Deleted)) | None => Err(TokenError::Revoked),
        }
    }

    /// A device that is or was in an account's list.
    pub async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>, sqlx::Error> {
        Ok(self.0.store.device(device).await?.map(|(record, _)| record))
    }

    /// Whether an account may be used; `None` if there never was one.
    pub async fn account_state(&self, account: AccountId) -> Result<Option<AccountState>, sqlx::Error> {
        Ok(self.0.store.account(account).await?.map(|row| row.state))
    }

    /// Whether there is such an account, disabled or not.
    pub async fn account_exists(&self, account: AccountId) -> Result<bool, sqlx::Error> {
        let row = self.0.store.account(account).await?;
        Ok(row.is_some_and(|row| row.state != AccountState::Deleted))
    }

    /// Everybody who loses access from now on, whichever process revoked it, within a second. A listener that lags
    /// must check whoever it holds again.
    pub fn revocations(&self) -> broadcast::Receiver<Revoked> {
        self.0.revoked.subscribe()
    }

    /// Tells every socket when to come back, closes them all, takes no more, and stores what presence knows.
    pub async fn drain(&self) {
        /// How long sockets may take to say goodbye.
        const PATIENCE: Duration = Duration::from_secs(2);
        let service = &self.0;
        service.hub.start_draining();
        let sockets = service.hub.sockets();
        // At most about 200 come back each second; none within half a second, when nothing listens yet.
        let spread = (sockets.len() as u32).saturating_mul(5).clamp(1_000, 60_000);
        for socket in sockets {
            let reconnect_in_ms = 500 + self.random_below(spread);
            socket.outbound.close(Close::Drain { reconnect_in_ms });
        }
        let gone = async {
            while !service.hub.sockets().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            tracing::debug!("some sockets did not say goodbye");
        }
        let mut last_seen = upkeep::update_presence(service);
        upkeep::save_last_seen(service, &mut last_seen).await;
    }

    /// The counters now.
    pub fn metrics(&self) -> Metrics {
        self.0.counters.read()
    }

    /// Whether the storage takes writes, found out by writing; for readiness checks.
    pub async fn check_storage(&self) -> Result<(), sqlx::Error> {
        self.0.store.probe(self.0.config.now()).await
    }

    /// Cuts off whoever was revoked since the last time, by this process or another.
    pub(crate) async fn apply_revocations(&self) -> Result<(), sqlx::Error> {
        let service = &self.0;
        let mut last = service.revocation.lock().await;
        loop {
            let revocations = service.store.revocations_after(*last).await?;
            if revocations.is_empty() {
                return Ok(());
            }
            for (sequence, revocation) in revocations {
                count(&service.counters.revocations);
                let revoked = match revocation {
                    Revocation::Device(device) => {
                        service.hub.close_device(device);
                        Revoked::Device(device)
                    }
                    Revocation::Account(account) => {
                        service.hub.close_account(account);
                        Revoked::Account(account)
                    }
                };
                // Nobody may be listening, which is fine.
                let _ = service.revoked.send(revoked);
                *last = sequence;
            }
        }
    }

    fn random_nonce(&self) -> Nonce {
        let mut bytes = [0; 16];
        self.fill_random(&mut bytes);
        Nonce(bytes)
    }

    fn random_below(&self, bound: u32) -> u32 {
        let mut bytes = [0; 4];
        self.fill_random(&mut bytes);
        u32::from_be_bytes(bytes) % bound.max(1)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        // getrandom(2) fails on no system that got as far as running this; predictable nonces are no way out.
        #[expect(clippy::expect_used, reason = "no safe way to go on without randomness")]
        self.0.random.fill(bytes).expect("the system's random generator works");
    }
}

/// No code here panics while it holds a lock, so that a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! A server from start to stop: signaling and the relay, opened on one data folder and served on one port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use sotto_protocol::rest::SignUpPolicy;
use sotto_relay::Relay;
use sotto_relay::log::LogConfig;
use sotto_relay::store::SqliteStore;
use sotto_signaling::Signaling;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::access;
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::http::connections::{self, Counters};
use crate::http::health::{self, Health};
use crate::http::metrics::{self, Metrics};
use crate::http::problem::problem;
use crate::http::web_app::{self, WebApp};
use crate::http::{client, requests};
use crate::origin::Origin;
use crate::tls::{Certificates, TlsError};

/// Sockets of the relay are told to come back after a random time within this: a restart takes about a second.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Requests to signaling are short; SQLite has one writer at a time anyway.
const SIGNALING_CONNECTIONS: u32 = 8;

/// Why a server does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", bind_advice(error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A database cannot be used.
    #[error("cannot use the database {path}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The listener is broken.
    #[error("the listening socket cannot be used")]
    Listener(#[source] io::Error),
}

fn bind_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use. Stop the program that has it (another sotto-server?), or choose \
             another port with --listen"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => "permission denied. Ports below 1024 need the capability \
             CAP_NET_BIND_SERVICE; choose a higher one with --listen and put a proxy before it, or grant it"
            .to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address. Choose another with --listen; [::] is all of them"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Listens on an address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Bind { address, error })
}

/// Serves until `shutdown` resolves, then drains.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::start(config, listener).await?.serve(shutdown).await
}

/// A server that has everything open and can begin to answer.
pub struct Server {
    config: Config,
    address: SocketAddr,
    origins: Vec<Origin>,
    listener: TcpListener,
    data: DataDir,
    certificates: Option<Arc<Certificates>>,
    signaling: Signaling,
    accounts: SqlitePool,
    relay: Relay,
    log: SqliteStore,
    web_app: Arc<WebApp>,
}

impl Server {
    /// Opens the data folder, the databases and the certificate. Connections that come in wait until [`Server::serve`].
    pub async fn start(config: Config, listener: TcpListener) -> Result<Self, ServeError> {
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        let origins = config.origins(address);
        let certificates = config.tls.clone().map(Certificates::load).transpose()?;
        let data = DataDir::claim(&config.data_dir)?;
        let (signaling, accounts) = open_signaling(&config, &origins, &data.signaling()).await?;
        let log = open_log(&data.relay()).await?;
        let relay = open_relay(&config, &origins, log.clone(), &signaling);
        let web_app = Arc::new(WebApp::embedded());
        Ok(Self {
            config,
            address,
            origins,
            listener,
            data,
            certificates,
            signaling,
            accounts,
            relay,
            log,
            web_app,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The origins that devices may sign in to, the public one first.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }

    /// Who may sign up.
    pub fn sign_up_policy(&self) -> SignUpPolicy {
        self.config.sign_up_policy()
    }

    /// What it was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it was built with the web app.
    pub fn has_web_app(&self) -> bool {
        self.web_app.is_built()
    }

    /// Answers until `shutdown` resolves. Then sockets are told when to come back, what the relay accepted is written, and
    /// connections get until the drain's timeout to end.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let health = Health::new(self.data.path().to_owned(), self.signaling.clone());
        let counters = Arc::new(Counters::default());
        let metrics = Arc::new(Metrics::new(
            self.signaling.clone(),
            self.relay.clone(),
            counters.clone(),
            self.certificates.clone(),
            self.config.metrics_from.clone(),
        ));
        let app = self.app(health.clone(), metrics);
        let tls = match &self.certificates {
            Some(certificates) => Some(TlsAcceptor::from(certificates.server_config()?)),
            None => None,
        };

        let (stop, stopping) = watch::channel(false);
        let max = self.config.max_connections;
        let accepting = tokio::spawn(connections::serve(self.listener, tls, app, max, counters, stopping));
        shutdown.await;

        tracing::info!(timeout = ?self.config.drain_timeout, "draining");
        let cut = tokio::time::Instant::now() + self.config.drain_timeout;
        health.drain();
        let _ = stop.send(true);
        let remaining = accepting.await;
        let goodbye = async { tokio::join!(self.signaling.drain(), self.relay.drain(RECONNECT_WITHIN)) };
        if tokio::time::timeout_at(cut, goodbye).await.is_err() {
            // Nothing that was acknowledged is lost: that was durable before.
            tracing::warn!("not everything was finished in time");
        }
        let ended = match remaining {
            Ok(remaining) => tokio::time::timeout_at(cut, remaining.ended()).await.is_ok(),
            Err(_) => false,
        };
        // Folds what was written lately into the databases' main files; without it the next start would.
        let databases = async { tokio::join!(self.log.close(), self.accounts.close()) };
        let _ = tokio::time::timeout_at(cut, databases).await;
        tracing::info!(all_connections_ended = ended, "stopped");
        Ok(())
    }

    fn app(&self, health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
        Router::new()
            .merge(health::router(health))
            .merge(metrics::router(metrics.clone()))
            .merge(self.relay.router())
            .method_not_allowed_fallback(async || {
                problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "only GET is answered here")
            })
            .fallback_service(
                self.signaling.router().layer(from_fn_with_state(self.web_app.clone(), web_app::serve)),
            )
            .layer(from_fn_with_state(metrics, requests::observe))
            .layer(from_fn_with_state(Arc::new(self.config.trusted_proxies.clone()), client::identify))
    }
}

/// Accounts, devices, invitations in their own file.
pub(crate) async fn open_signaling(
    config: &Config,
    origins: &[Origin],
    path: &Path,
) -> Result<(Signaling, SqlitePool), ServeError> {
    let database = |error: Box<dyn std::error::Error + Send + Sync>| ServeError::Database {
        path: path.to_owned(),
        error,
    };
    let pool = SqlitePoolOptions::new()
        .max_connections(SIGNALING_CONNECTIONS)
        .connect_with(sotto_signaling::sqlite_options(path))
        .await
        .map_err(|error| database(sotto_signaling::OpenError::from(error).into()))?;
    let config = sotto_signaling::Config {
        origins: texts(origins),
        cors_origins: texts(&config.cors_origins),
        sign_up: config.sign_up_policy(),
        ice_servers: config.ice_servers.clone(),
        max_sockets: config.max_connections,
        ..sotto_signaling::Config::default()
    };
    let signaling = Signaling::open(pool.clone(), config).await.map_err(|error| database(error.into()))?;
    Ok((signaling, pool))
}

async fn open_log(path: &Path) -> Result<SqliteStore, ServeError> {
    SqliteStore::open(path)
        .await
        .map_err(|error| ServeError::Database { path: path.to_owned(), error: error.into() })
}

fn open_relay(config: &Config, origins: &[Origin], log: SqliteStore, signaling: &Signaling) -> Relay {
    let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let access = access::through(signaling);
    let config = sotto_relay::Config {
        log: LogConfig {
            retention_age: config.retention.max_age.map(millis),
            retention_bytes: config.retention.max_bytes,
            ..LogConfig::default()
        },
        origins: texts(origins).into_iter().chain(texts(&config.cors_origins)).collect(),
    };
    Relay::open(Arc::new(log), access.verifier, access.directory, access.revocations, config)
}

fn texts(origins: &[Origin]) -> Vec<String> {
    origins.iter().map(Origin::to_string).collect()
}

//! A profile: the folder that holds a device's keys, contacts and history.
//!
//! - [`folder`]: its folder, held by one process at a time;
//! - [`store`]: its SQLite file;
//! - [`sign_up`]: how it gets an account.

mod folder;
mod sign_up;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sotto_peer_core::{Config, Identity, Peer, RestoreError, Snapshot, WriteSet};
use tokio::sync::{mpsc, watch};

pub use sign_up::SignUpError;
pub use store::{Store, StoreError};

pub(crate) use folder::Folder;

use crate::client::{Client, Ended, Events};
use crate::driver::{Clock, Driver};
use crate::link::LinkOptions;
use crate::net::{CertificateError, Origin, Server};

/// Own certificate authorities, beside the built-in ones.
const AUTHORITIES: &str = "ca.pem";

/// Commands on their way to the driver; a program that has more waits.
const COMMAND_QUEUE: usize = 256;

/// Why a profile cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another process has it.
    #[error(
        "the profile {path} is in use by another process{}: end that one first, or do this in it, or choose another \
         profile", holder.map(|pid| format!(" ({pid})")).unwrap_or_default()
    )]
    InUse {
        /// The profile.
        path: PathBuf,
        /// That process, if known.
        holder: Option<u32>,
    },
    /// The folder, or a file in it, cannot be made, read or written.
    #[error(
        "the profile {path} cannot be used: {source}. Let this user read and write the folder, make room on its disk, or \
         choose another (--profile, SOTTO_PROFILE)"
    )]
    Folder {
        /// The profile.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database in it.
    #[error("the profile {path}: {source}")]
    Store {
        /// The profile.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A row in it was written by a newer version, or is damaged.
    #[error("the profile {path}: {source}")]
    Restore {
        /// The profile.
        path: PathBuf,
        /// Why.
        source: RestoreError,
    },
    /// Nobody has signed up in it.
    #[error(
        "nobody has signed up in the profile {path}: sign up first (sotto sign-up --server URL --handle NAME)"
    )]
    NotSignedUp {
        /// The profile.
        path: PathBuf,
    },
    /// The certificate authorities in it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its server's address.
    #[error("the profile's server: {0}")]
    Server(#[from] crate::net::OriginError),
    /// The system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// How a peer runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Number notifications and keep them in the profile until they are acknowledged; once on, this stays on.
    pub keep_events: bool,
    /// How links are made.
    pub links: LinkOptions,
    /// Gets every write once it is durable.
    pub watcher: Option<WriteWatcher>,
}

/// Where writes go once they are durable. See [`Builder::watch_writes`](crate::Builder::watch_writes).
pub type WriteWatcher = mpsc::UnboundedSender<WriteSet>;

/// An open profile, with nothing running yet. Held against other processes until it is dropped, and, once started,
/// until its [`Client`] is closed.
#[derive(Debug)]
pub struct Profile {
    folder: Folder,
    store: Store,
    snapshot: Snapshot,
}

impl Profile {
    /// Opens the profile in a folder, or makes an empty one.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let folder = Folder::take(path.as_ref())?;
        let file = folder.private_file("profile.db")?;
        let failed = |source| ProfileError::Store { path: folder.path().to_owned(), source };
        let mut store = Store::open(&file).await.map_err(failed)?;
        let snapshot = store.snapshot().await.map_err(failed)?;
        Ok(Self { folder, store, snapshot })
    }

    /// The account that this device belongs to, if somebody has signed up.
    pub fn identity(&self) -> Result<Option<Identity>, ProfileError> {
        Identity::find(&self.snapshot).map_err(|error| ProfileError::Restore {
            path: self.path().to_owned(),
            source: RestoreError::Row { table: "meta", reason: error.to_string() },
        })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Trusts the certificate authorities in a PEM file, beside the built-in ones, from now on: keeps a copy.
    pub fn trust(&self, authorities: &Path) -> Result<(), ProfileError> {
        Server::check_authorities(authorities)?;
        let failed = |source| ProfileError::Folder { path: self.path().to_owned(), source };
        fs::copy(authorities, self.path().join(AUTHORITIES)).map_err(failed)?;
        Ok(())
    }

    /// Starts the peer. Events from the first moment on are in [`Events`].
    pub async fn start(self, options: Options) -> Result<(Client, Events), ProfileError> {
        let identity =
            self.identity()?.ok_or_else(|| ProfileError::NotSignedUp { path: self.path().to_owned() })?;
        let server = self.server(Origin::parse(&identity.server)?)?;
        let clock = Clock::start();
        let config = Config { keep_events: options.keep_events };
        let path = self.folder.path().to_owned();
        let peer = Peer::restore(config, clock.now(), random()?, self.snapshot)
            .map_err(|source| ProfileError::Restore { path, source })?;

        let (orders, taken) = mpsc::channel(COMMAND_QUEUE);
        let (subscriber, subscribed) = mpsc::unbounded_channel();
        let (ended, end_seen) = watch::channel(None);
        let driver = Driver::new(peer, clock, self.folder, self.store, Arc::new(server), options);
        tokio::spawn(driver.run(taken, subscriber, ended));
        let client = Client::new(orders, end_seen.clone(), identity);
        Ok((client, Events::new(subscribed, end_seen)))
    }

    fn server(&self, origin: Origin) -> Result<Server, CertificateError> {
        let own = self.path().join(AUTHORITIES);
        Server::new(origin, own.exists().then_some(own.as_path()))
    }
}

/// Where the driver says why it ended.
pub(crate) type EndSender = watch::Sender<Option<Ended>>;

pub(crate) fn random<const N: usize>() -> Result<[u8; N], ProfileError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| ProfileError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, PathPolicy};

    /// A profile whose server is not there.
    async fn signed_up(folder: &Path) -> Profile {
        let mut profile = Profile::open(folder).await.unwrap();
        let handle = "alice".parse().unwrap();
        let identity = Identity::generate(handle, "http://127.0.0.1:1".into(), random().unwrap());
        profile.store.apply(&identity.write_set()).await.unwrap();
        profile.snapshot = profile.store.snapshot().await.unwrap();
        profile
    }

    #[tokio::test]
    async fn closing_frees_the_profile_with_everything_written() {
        let folder = tempfile::tempdir().unwrap();
        let profile = signed_up(folder.path()).await;
        let (client, mut events) = profile.start(Options::default()).await.unwrap();
        client.path_policy(PathPolicy::Relay).await.unwrap();
        let other = client.clone();
        client.close().await.unwrap();
        while events.next().await.is_some() {}
        assert!(matches!(events.ended().await, Ended::Closed));
        assert!(matches!(other.status().await.unwrap_err(), Error::Ended(Ended::Closed)));
        assert!(other.events().await.next().await.is_none());

        let profile = Profile::open(folder.path()).await.unwrap();
        let (client, _events) = profile.start(Options::default()).await.unwrap();
        assert_eq!(client.status().await.unwrap().policy, PathPolicy::Relay);
    }

    #[tokio::test]
    async fn dropping_the_last_handle_ends_the_peer() {
        let folder = tempfile::tempdir().unwrap();
        let profile = signed_up(folder.path()).await;
        let (client, mut events) = profile.start(Options::default()).await.unwrap();
        drop(client);
        while events.next().await.is_some() {}
        assert!(matches!(events.ended().await, Ended::Closed));
    }

    #[tokio::test]
    async fn a_write_that_fails_ends_the_peer_and_acknowledges_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut profile = signed_up(folder.path()).await;
        profile.store.break_writes().await;
        let (client, mut events) = profile.start(Options::default()).await.unwrap();
        let error = client.path_policy(PathPolicy::Relay).await.unwrap_err();
        assert!(
            matches!(&error, Error::Ended(Ended::Store(why)) if matches!(**why, StoreError::ReadOnly)),
            "{error}"
        );
        while events.next().await.is_some() {}
        assert!(matches!(events.ended().await, Ended::Store(_)));
        assert!(matches!(client.close().await.unwrap_err(), Error::Ended(Ended::Store(_))));
        // And the profile is free.
        Profile::open(folder.path()).await.unwrap();
    }
}

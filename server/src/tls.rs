//! TLS by certificate and key files, read again when they change. What was good stays in use until something
//! better is there: a broken new file is an error in the log, not an outage.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::TlsFiles;

/// How often the files are looked at. Certificates are renewed days ahead: seconds do not matter.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {key} {path}: {error}. Check the path and that this user may read it")]
    Unreadable {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A file holds something else.
    #[error("{key} {path} holds no {wanted} in PEM. It should start with -----BEGIN …")]
    NotPem {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// The key's algorithm is not known.
    #[error(
        "the private key in {path} is of a kind that cannot sign for TLS: use RSA, ECDSA (P-256, P-384) or Ed25519"
    )]
    UnusableKey {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together.
    #[error(
        "the private key in {key} does not belong to the certificate in {certificate}: give the pair that was issued together"
    )]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The TLS library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificate in use, and the files that it comes from.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
    failures: AtomicU64,
}

impl Certificates {
    /// Reads the files for the first time; here a broken one is fatal.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let pair = Pair::read(&files)?;
        let current = RwLock::new(Arc::new(pair.parse(&files)?));
        let certificates = Arc::new(Self { files, current, failures: AtomicU64::new(0) });
        tokio::spawn(watch(Arc::downgrade(&certificates), pair));
        Ok(certificates)
    }

    /// Settings for accepting connections with whatever certificate is current.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// How often a changed file could not be used.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn replace(&self, pair: &Pair) {
        match pair.parse(&self.files) {
            Ok(key) => {
                match self.current.write() {
                    Ok(mut current) => *current = Arc::new(key),
                    Err(poisoned) => *poisoned.into_inner() = Arc::new(key),
                }
                tracing::info!(certificate = %self.files.certificate.display(), "certificate reloaded");
            }
            Err(error) => self.keep(&error),
        }
    }

    fn keep(&self, error: &TlsError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "the changed certificate or key cannot be used; the one in use stays");
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.current.read() {
            Ok(current) => Some(current.clone()),
            Err(poisoned) => Some(poisoned.into_inner().clone()),
        }
    }
}

/// Compares whole contents: they are a few KiB, and time stamps miss what a renewal tool did within a second.
async fn watch(certificates: std::sync::Weak<Certificates>, mut seen: Pair) {
    let mut unreadable = false;
    loop {
        tokio::time::sleep(RELOAD_EVERY).await;
        let Some(certificates) = certificates.upgrade() else { return };
        let files = certificates.files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || Pair::read(&files)).await else { return };
        match read {
            Ok(pair) if pair == seen => unreadable = false,
            Ok(pair) => {
                unreadable = false;
                certificates.replace(&pair);
                seen = pair;
            }
            Err(error) => {
                // Said once, not every second until it is mended.
                if !unreadable {
                    certificates.keep(&error);
                }
                unreadable = true;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Unreadable { key, path: path.to_owned(), error })
        };
        Ok(Self {
            certificate: read("tls.certificate", &files.certificate)?,
            key: read("tls.key", &files.key)?,
        })
    }

    fn parse(&self, files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<_, _>>().unwrap_or_default();
        if chain.is_empty() {
            let path = files.certificate.clone();
            return Err(TlsError::NotPem { key: "tls.certificate", path, wanted: "certificate" });
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NotPem {
            key: "tls.key",
            path: files.key.clone(),
            wanted: "private key",
        })?;
        let signer =
            any_supported_type(&key).map_err(|_| TlsError::UnusableKey { path: files.key.clone() })?;
        let pair = CertifiedKey::new(chain, signer);
        match pair.keys_match() {
            // `Unknown` is a kind of key that cannot say; the handshake will.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
            Err(rustls::Error::InvalidCertificate(_)) => Err(TlsError::NotPem {
                key: "tls.certificate",
                path: files.certificate.clone(),
                wanted: "certificate",
            }),
            Err(_) => {
                Err(TlsError::Mismatch { key: files.key.clone(), certificate: files.certificate.clone() })
            }
        }
    }
}

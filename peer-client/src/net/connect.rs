//! One connection to the server: TCP, and TLS where the origin says so. HTTP and WebSockets both run over it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError as Refused, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Origin;

/// From the first packet to the end of the TLS handshake. The peer tries again on its own.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Why a server could not be asked, for people.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No such name.
    #[error("{0} cannot be found (no such host, or no network)")]
    Resolve(String),
    /// TCP failed.
    #[error("{to} cannot be reached: {why}")]
    Connect {
        /// The origin.
        to: String,
        /// Why.
        why: String,
    },
    /// TLS failed.
    #[error("{to}: {why}")]
    Tls {
        /// The origin.
        to: String,
        /// Why, and what to do.
        why: String,
    },
    /// It took too long to connect.
    #[error("{0} did not answer in time")]
    Unanswered(String),
    /// The request went out, and no good answer came.
    #[error("{0}")]
    Request(String),
}

impl NetError {
    /// Whether the server certainly has not seen the request.
    pub fn never_sent(&self) -> bool {
        !matches!(self, Self::Request(_))
    }
}

/// Why certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read as PEM.
    #[error("the certificate file {path}: expected PEM certificates: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The server and how to reach it.
pub(crate) struct Server {
    origin: Origin,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// `authorities`: a PEM file of certificate authorities to trust beside the built-in ones.
    pub fn new(origin: Origin, authorities: Option<&Path>) -> Result<Self, CertificateError> {
        if !origin.is_tls() {
            return Ok(Self { origin, tls: None });
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = authorities {
            add_authorities(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|_| rustls::Error::General("the server's name cannot be in a certificate".into()))?;
        Ok(Self { origin, tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }

    /// Whether a file holds certificate authorities.
    pub fn check_authorities(path: &Path) -> Result<(), CertificateError> {
        add_authorities(&mut RootCertStore::empty(), path)
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, NetError> {
        let late = || NetError::Unanswered(self.origin.to_string());
        tokio::time::timeout(CONNECT_PATIENCE, self.establish()).await.map_err(|_| late())?
    }

    async fn establish(&self) -> Result<Box<dyn Stream>, NetError> {
        let to = || self.origin.to_string();
        let addresses = tokio::net::lookup_host((self.origin.host(), self.origin.port()))
            .await
            .map_err(|_| NetError::Resolve(self.origin.host().to_owned()))?;
        let mut last = None;
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        let Some(stream) = connected else {
            let why = last.map_or_else(|| "it has no address".to_owned(), |error| plain(&error));
            return Err(NetError::Connect { to: to(), why });
        };
        // Messages are small and somebody waits for each.
        let _ = stream.set_nodelay(true);
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream)) };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(NetError::Tls { to: to(), why: explain_tls(&error) }),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.origin)
    }
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), CertificateError> {
    let bad = |reason: String| CertificateError::File { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(bad("there is none in it".into()));
    }
    Ok(())
}

/// The reason without the operating system's number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused (is the server running?)".into(),
        io::ErrorKind::TimedOut => "it did not answer in time".into(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "no way there (no network?)".into()
        }
        _ => error.to_string(),
    }
}

fn explain_tls(error: &io::Error) -> String {
    let reason = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
    match reason {
        Some(rustls::Error::InvalidCertificate(Refused::UnknownIssuer)) => {
            "its certificate is not from a known authority; if it is your own server, sign up with --ca FILE"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(Refused::Expired | Refused::ExpiredContext { .. })) => {
            "its certificate has expired (or this machine's clock is wrong)".into()
        }
        Some(rustls::Error::InvalidCertificate(
            Refused::NotValidForName | Refused::NotValidForNameContext { .. },
        )) => "its certificate is for another name".into(),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS there: is it http://?".into(),
        Some(reason) => format!("TLS failed: {reason}"),
        None => format!("TLS failed: {}", plain(error)),
    }
}

//! How a profile gets an account.
//!
//! The keys are in the profile before the server hears of them, marked as pending: a crash, or an answer that is
//! lost, leaves an account that can be had by signing up again, not one that nobody holds the keys of. The server
//! answers the very same sign-up with success, however often it comes.

use serde::{Deserialize, Serialize};
use sotto_peer_core::{HttpRequest, HttpResponse, Identity, Row, Snapshot, Table, WriteSet};
use sotto_protocol::keys::base64url;
use sotto_protocol::rest::{Account, PROBLEM_PREFIX, Problem, ServerInfo};
use sotto_protocol::{Handle, UnixMillis};

use super::{Profile, ProfileError, random};
use crate::driver::Clock;
use crate::net::{CertificateError, NetError, Origin};

/// The key of the pending sign-up's row in [`Table::Meta`].
const PENDING: &[u8] = b"pending sign-up";

/// Why signing up failed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Somebody has signed up in this profile.
    #[error("this profile belongs to @{handle} on {server} already: choose another profile")]
    SignedUp {
        /// Who.
        handle: Handle,
        /// Where.
        server: String,
    },
    /// Another sign-up is pending in this profile.
    #[error(
        "signing up as @{handle} on {server} was begun in this profile, and the server's answer was lost: sign up \
         with that handle and server again, or choose another profile"
    )]
    Pending {
        /// As whom.
        handle: Handle,
        /// Where.
        server: String,
    },
    /// The server could not be asked; nothing happened there.
    #[error("the server cannot be reached: {0}")]
    Unreachable(NetError),
    /// The request went out and no answer came: the account may be there or not.
    #[error("the server's answer was lost ({0}): sign up again with the same handle and server")]
    Unanswered(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It is something else than a Sotto server.
    #[error("there is no Sotto server at {0}")]
    NotSotto(Origin),
    /// The server goes by another name.
    #[error("the server at {asked} goes by {known}: use that address (it is the server's public_url)")]
    OtherName {
        /// What was asked for.
        asked: Origin,
        /// What it says it is.
        known: String,
    },
    /// The server said no.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
}

fn refusal(problem: &Problem) -> String {
    match problem.kind.strip_prefix(PROBLEM_PREFIX).unwrap_or_default() {
        "invite-required" => {
            "this server asks for an invitation: sign up with --invite CODE (its administrator makes one with \
             'sotto-server invite create')"
                .into()
        }
        "handle-taken" => "this handle is taken: choose another".into(),
        _ => format!("the server refused: {}", problem.detail.as_deref().unwrap_or(&problem.title)),
    }
}

/// A sign-up under way: everything that makes its request the same again.
#[derive(Serialize, Deserialize)]
struct Pending {
    /// The identity's row, as it will stand once the server has taken it.
    #[serde(with = "base64url")]
    key: Vec<u8>,
    #[serde(with = "base64url")]
    value: Vec<u8>,
    device_name: String,
    at: UnixMillis,
}

impl Profile {
    /// Makes an account on a server, with this device as its first.
    pub async fn sign_up(
        &mut self,
        origin: Origin,
        handle: Handle,
        invite: Option<String>,
    ) -> Result<Identity, SignUpError> {
        if let Some(identity) = self.identity()? {
            return Err(SignUpError::SignedUp { handle: identity.handle, server: identity.server });
        }
        let server = self.server(origin.clone())?;
        let (identity, pending) = match self.pending_sign_up() {
            Some((identity, _)) if identity.handle != handle || identity.server != origin.as_str() => {
                return Err(SignUpError::Pending { handle: identity.handle, server: identity.server });
            }
            Some(begun) => begun,
            None => {
                let info = server.request(get("/v1/server")).await.map_err(SignUpError::Unreachable)?;
                check_name(&origin, &info)?;
                self.begin(handle, &origin).await?
            }
        };
        let body = identity.sign_up(&pending.device_name, invite, pending.at);
        let request = HttpRequest {
            method: "POST",
            path: "/v1/accounts".into(),
            body: serde_json::to_vec(&body).ok(),
            token: None,
        };
        match server.request(request).await {
            Ok(answer) if answer.status < 300 => {
                let account = serde_json::from_slice::<Account>(&answer.body);
                if account.is_ok_and(|account| account.account == identity.account) {
                    self.finish(&identity).await?;
                    return Ok(identity);
                }
                Err(SignUpError::Unanswered("it makes no sense".into()))
            }
            // Decided: another handle or invitation may be tried.
            Ok(answer) if answer.status < 500 => {
                self.forget_pending().await?;
                let problem = serde_json::from_slice(&answer.body);
                Err(problem
                    .map_or(SignUpError::NotSotto(origin), |problem| SignUpError::Refused(Box::new(problem))))
            }
            Ok(answer) => Err(SignUpError::Unanswered(format!("it failed with status {}", answer.status))),
            Err(error) if error.never_sent() => Err(SignUpError::Unreachable(error)),
            Err(error) => Err(SignUpError::Unanswered(error.to_string())),
        }
    }

    fn pending_sign_up(&self) -> Option<(Identity, Pending)> {
        let rows = self.snapshot.tables.get(&Table::Meta)?;
        let row = rows.iter().find(|row| row.key == PENDING)?;
        let pending: Pending = serde_json::from_slice(&row.value).ok()?;
        let row = Row { key: pending.key.clone(), value: pending.value.clone() };
        let identity = Identity::find(&Snapshot { tables: [(Table::Meta, vec![row])].into() }).ok()??;
        Some((identity, pending))
    }

    async fn begin(&mut self, handle: Handle, origin: &Origin) -> Result<(Identity, Pending), ProfileError> {
        let identity = Identity::generate(handle, origin.as_str().to_owned(), random()?);
        let (key, value) = identity
            .write_set()
            .rows
            .into_iter()
            .find_map(|((_, key), value)| Some((key, value?)))
            .unwrap_or_default();
        let pending = Pending { key, value, device_name: device_name(), at: Clock::start().now().wall };
        let mut writes = WriteSet::default();
        writes.rows.insert((Table::Meta, PENDING.to_vec()), serde_json::to_vec(&pending).ok());
        self.write(&writes).await?;
        Ok((identity, pending))
    }

    async fn finish(&mut self, identity: &Identity) -> Result<(), ProfileError> {
        let mut writes = identity.write_set();
        writes.rows.insert((Table::Meta, PENDING.to_vec()), None);
        self.write(&writes).await
    }

    async fn forget_pending(&mut self) -> Result<(), ProfileError> {
        let mut writes = WriteSet::default();
        writes.rows.insert((Table::Meta, PENDING.to_vec()), None);
        self.write(&writes).await
    }

    async fn write(&mut self, writes: &WriteSet) -> Result<(), ProfileError> {
        let failed = |source| ProfileError::Store { path: self.folder.path().to_owned(), source };
        self.store.apply(writes).await.map_err(failed)?;
        self.snapshot = self.store.snapshot().await.map_err(failed)?;
        Ok(())
    }
}

fn get(path: &str) -> HttpRequest {
    HttpRequest { method: "GET", path: path.into(), body: None, token: None }
}

/// A session is bound to the server's name, so one signed up under another name could never sign in.
fn check_name(asked: &Origin, answer: &HttpResponse) -> Result<(), SignUpError> {
    let info = serde_json::from_slice::<ServerInfo>(&answer.body).ok().filter(|_| answer.status == 200);
    let Some(info) = info else { return Err(SignUpError::NotSotto(asked.clone())) };
    if info.origins.iter().any(|origin| origin == asked.as_str()) {
        return Ok(());
    }
    match info.origins.into_iter().next() {
        Some(known) => Err(SignUpError::OtherName { asked: asked.clone(), known }),
        None => Err(SignUpError::NotSotto(asked.clone())),
    }
}

/// What the account's other devices will see this one as.
fn device_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "sotto".into() } else { name }
}

//! Signing up: carries out what [`sotto_peer_core::sign_up`] decides.

use sotto_peer_core::sign_up::{self, Conclusion, SignUp, WrongServer};
use sotto_peer_core::{Identity, WriteSet};
use sotto_protocol::Handle;
use sotto_protocol::rest::{PROBLEM_PREFIX, Problem};

use super::{Profile, ProfileError, random};
use crate::driver::Clock;
use crate::net::{CertificateError, NetError, Origin};

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
    /// No account can be had at this address.
    #[error(transparent)]
    Server(#[from] WrongServer),
    /// The server said no.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
}

fn refusal(problem: &Problem) -> String {
    if problem.kind.strip_prefix(PROBLEM_PREFIX) == Some("invite-required") {
        return "this server asks for an invitation: sign up with --invite CODE (its administrator makes one with \
                'sotto-server invite create')"
            .into();
    }
    sign_up::refusal(problem)
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
        let begun = match SignUp::resume(&self.snapshot) {
            Some(begun) => {
                let Identity { handle: pending, server, .. } = begun.identity();
                if *pending != handle || server != origin.as_str() {
                    return Err(SignUpError::Pending { handle: pending.clone(), server: server.clone() });
                }
                begun
            }
            None => {
                let info = server.request(sign_up::ask_server()).await.map_err(SignUpError::Unreachable)?;
                sign_up::check_server(origin.as_str(), &info)?;
                let now = Clock::start().now().wall;
                let begun = SignUp::begin(handle, origin.as_str().into(), device_name(), now, random()?);
                self.write(&begun.writes()).await?;
                begun
            }
        };
        match server.request(begun.request(invite)).await {
            Ok(answer) => match begun.conclude(&answer) {
                Conclusion::Taken(writes) => {
                    self.write(&writes).await?;
                    Ok(begun.identity().clone())
                }
                Conclusion::Refused { writes, problem } => {
                    self.write(&writes).await?;
                    Err(match problem {
                        Some(problem) => SignUpError::Refused(problem),
                        None => WrongServer::NotSotto { asked: origin.as_str().into() }.into(),
                    })
                }
                Conclusion::Unanswered(why) => Err(SignUpError::Unanswered(why)),
            },
            Err(error) if error.never_sent() => Err(SignUpError::Unreachable(error)),
            Err(error) => Err(SignUpError::Unanswered(error.to_string())),
        }
    }

    async fn write(&mut self, writes: &WriteSet) -> Result<(), ProfileError> {
        let failed = |source| ProfileError::Store { path: self.folder.path().to_owned(), source };
        self.store.apply(writes).await.map_err(failed)?;
        self.snapshot = self.store.snapshot().await.map_err(failed)?;
        Ok(())
    }
}

/// What the account's other devices will see this one as.
fn device_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "sotto".into() } else { name }
}

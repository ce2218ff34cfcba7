//! What a program hears when the peer itself fails, beside the errors of commands.

use sotto_peer_core::rpc::RpcError;

use crate::{Ended, Error, ProfileError, SignUpError};

impl From<Error> for RpcError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Command(error) => error.into(),
            Error::SignUp(error) => error.into(),
            Error::Server(_) => Self::about("server", message),
            Error::Profile(_) | Error::Ended(Ended::Store(_)) => Self::profile(message),
            Error::Ended(Ended::Closed) => Self::ended(message),
            Error::Ended(Ended::Broken) => Self::internal(message),
        }
    }
}

impl From<ProfileError> for RpcError {
    fn from(error: ProfileError) -> Self {
        Self::profile(error.to_string())
    }
}

impl From<SignUpError> for RpcError {
    fn from(error: SignUpError) -> Self {
        let message = error.to_string();
        match error {
            SignUpError::Profile(_) | SignUpError::Certificate(_) => Self::profile(message),
            SignUpError::SignedUp { .. } => Self::signed_up(),
            SignUpError::Pending { .. } => Self::pending(message),
            SignUpError::Unreachable(_) | SignUpError::Unanswered(_) => Self::offline(message),
            SignUpError::Server(error) => error.into(),
            SignUpError::Refused(problem) => Self::problem(&problem, message),
        }
    }
}

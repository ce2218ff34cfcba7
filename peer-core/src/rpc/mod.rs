//! A peer's commands, answers and notifications as the JSON of docs/rpc.md, which programs, the command line and the
//! browser's SDK see.
//!
//! - [`request`]: a method and its parameters to a command; [`view`]: values to JSON; [`error`]: errors.

mod error;
mod request;
pub mod view;

pub use error::RpcError;
pub use request::{Params, command, handle};

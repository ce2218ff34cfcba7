//! The brain of the browser peer: [`sotto_peer_core`] behind a JavaScript interface, for the worker of the SDK.
//!
//! It maps values and decides nothing. What is given wrongly is thrown, as an `Error` with the `code` and `data` of
//! docs/rpc.md; only a bad command is answered instead, for it comes from the user. Bytes are `Uint8Array`s, rows and
//! outputs plain objects that can be posted; their types are in `types.ts`.
//!
//! - [`core`]: the peer; [`sign_up`]: how a profile gets an account;
//! - [`input`], [`output`]: its inputs and outputs; [`rows`]: the store's rows and writes;
//! - [`fields`], [`object`]: reading and making objects; [`thrown`]: errors.

#![cfg_attr(test, allow(clippy::unwrap_used))]
// The module list above names private ones too, for who reads the source.
#![allow(rustdoc::private_intra_doc_links)]

mod core;
mod fields;
mod input;
mod object;
mod output;
mod rows;
mod sign_up;
mod thrown;

use wasm_bindgen::prelude::wasm_bindgen;

pub use core::Core;
pub use sign_up::SignUp;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.ts");

/// A panic is a bug: it is thrown with its words and place, and the object that panicked refuses every later call.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| wasm_bindgen::throw_str(&panic.to_string())));
}

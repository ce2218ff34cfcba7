//! The peer.

use std::collections::VecDeque;

use sotto_peer_core::rpc::RpcError;
use sotto_peer_core::{Config, Peer};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::fields::{moment, random};
use crate::input::{self, Given};
use crate::object::object;
use crate::thrown::Thrown;
use crate::{output, rows};

/// A peer, from what its store holds. After each `handle`, `poll` until it gives nothing; come back at `next_timeout`.
/// The contract with its driver is that of `peer-core`'s `io`.
#[wasm_bindgen]
pub struct Core {
    peer: Peer,
    /// Answers to commands that are none.
    refused: VecDeque<(u64, RpcError)>,
}

#[wasm_bindgen]
impl Core {
    /// Starts from what the store holds; `seed` is 32 random bytes. Throws if nobody has signed up there, or if a row is
    /// damaged or written by a newer version.
    pub fn restore(
        #[wasm_bindgen(unchecked_param_type = "Row[]")] hot: &JsValue,
        #[wasm_bindgen(js_name = "monotonicMs")] monotonic: f64,
        #[wasm_bindgen(js_name = "wallMs")] wall: f64,
        #[wasm_bindgen(unchecked_param_type = "Bytes")] seed: &JsValue,
    ) -> Result<Core, Thrown> {
        let (now, seed) = (moment(monotonic, wall)?, random("seed", seed)?);
        let peer = Peer::restore(Config::default(), now, seed, rows::snapshot(hot)?)?;
        Ok(Self { peer, refused: VecDeque::new() })
    }

    /// Who this is.
    #[wasm_bindgen(unchecked_return_type = "Identity")]
    pub fn identity(&self) -> JsValue {
        let identity = self.peer.identity();
        object([
            ("account", identity.account.to_string().into()),
            ("device", identity.device.to_string().into()),
            ("handle", identity.handle.as_str().into()),
            ("server", identity.server.as_str().into()),
        ])
        .into()
    }

    /// Takes what happened. Throws if it is not an input; a command that is none is answered instead.
    pub fn handle(
        &mut self,
        #[wasm_bindgen(js_name = "monotonicMs")] monotonic: f64,
        #[wasm_bindgen(js_name = "wallMs")] wall: f64,
        #[wasm_bindgen(unchecked_param_type = "Input")] input: &JsValue,
    ) -> Result<(), Thrown> {
        let now = moment(monotonic, wall)?;
        match input::read(input)? {
            Given::Input(input) => self.peer.handle(now, input),
            Given::BadCommand(id, error) => self.refused.push_back((id, error)),
        }
        Ok(())
    }

    /// The next thing to do, until there is none.
    #[wasm_bindgen(unchecked_return_type = "Output | undefined")]
    pub fn poll(&mut self) -> JsValue {
        if let Some((id, error)) = self.refused.pop_front() {
            return output::reply(id, Err(error));
        }
        self.peer.poll().as_ref().map_or(JsValue::UNDEFINED, output::write)
    }

    /// When to come back with a `timeout`, in monotonic milliseconds.
    pub fn next_timeout(&self) -> Option<f64> {
        // Rounded up to what `handle` understands, or a timeout would come too early for itself.
        self.peer.next_timeout().map(|at| at.as_nanos().div_ceil(1_000) as f64 / 1e3)
    }
}

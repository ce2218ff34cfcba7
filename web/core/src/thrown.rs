//! Errors as JavaScript throws them.

use js_sys::{Error, Reflect};
use sotto_peer_core::rpc::RpcError;
use wasm_bindgen::JsValue;

use crate::object;

/// An `Error` with `code` and `data`.
pub struct Thrown(RpcError);

impl<E: Into<RpcError>> From<E> for Thrown {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Thrown> for JsValue {
    fn from(Thrown(error): Thrown) -> Self {
        let json = object::json(&error.to_json());
        let member = |name: &str| Reflect::get(&json, &name.into()).unwrap_or_default();
        let thrown = Error::new(&member("message").as_string().unwrap_or_default());
        for name in ["code", "data"] {
            object::set(&thrown, name, member(name));
        }
        thrown.into()
    }
}

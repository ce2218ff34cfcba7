//! Reading objects of JavaScript, which may hold anything.

use std::time::Duration;

use js_sys::{Array, JSON, Reflect, Uint8Array};
use serde_json::Value;
use sotto_peer_core::Moment;
use sotto_peer_core::rpc::RpcError;
use sotto_protocol::UnixMillis;
use wasm_bindgen::{JsCast, JsValue};

/// The largest whole number that JavaScript counts exactly.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// An object whose members are read by name.
pub struct Fields<'a>(&'a JsValue);

impl<'a> Fields<'a> {
    pub fn of(name: &str, value: &'a JsValue) -> Result<Self, RpcError> {
        if value.is_object() { Ok(Self(value)) } else { Err(RpcError::field(name, "expected an object")) }
    }

    /// Any member; undefined if there is none.
    pub fn get(&self, name: &str) -> Result<JsValue, RpcError> {
        Reflect::get(self.0, &name.into()).map_err(|_| RpcError::field(name, "cannot be read"))
    }

    pub fn text(&self, name: &str) -> Result<String, RpcError> {
        self.get(name)?.as_string().ok_or_else(|| RpcError::field(name, "expected a string"))
    }

    pub fn optional_text(&self, name: &str) -> Result<Option<String>, RpcError> {
        let value = self.get(name)?;
        if value.is_null() || value.is_undefined() { Ok(None) } else { self.text(name).map(Some) }
    }

    pub fn parsed<T: std::str::FromStr<Err: ToString>>(&self, name: &str) -> Result<T, RpcError> {
        self.text(name)?.parse().map_err(|error: T::Err| RpcError::field(name, error.to_string()))
    }

    /// One of the words that a member may be.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, RpcError> {
        let text = self.text(name)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(unknown(name, words.iter().map(|(word, _)| *word))),
        }
    }

    pub fn number(&self, name: &str) -> Result<u64, RpcError> {
        match self.get(name)?.as_f64() {
            Some(number) if (0.0..=MAX_SAFE).contains(&number) && number.fract() == 0.0 => Ok(number as u64),
            _ => Err(RpcError::field(name, "expected a whole number, not negative")),
        }
    }

    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, RpcError> {
        bytes(name, &self.get(name)?)
    }

    pub fn optional_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, RpcError> {
        let value = self.get(name)?;
        if value.is_undefined() { Ok(None) } else { bytes(name, &value).map(Some) }
    }

    /// A member that holds JSON; `None` if there is none.
    pub fn json(&self, name: &str) -> Result<Option<Value>, RpcError> {
        let value = self.get(name)?;
        if value.is_undefined() {
            return Ok(None);
        }
        let wrong = || RpcError::params(format!("{name}: expected what JSON can say"));
        let text = JSON::stringify(&value).ok().and_then(|text| text.as_string()).ok_or_else(wrong)?;
        serde_json::from_str(&text).map(Some).map_err(|_| wrong())
    }
}

/// The error for a word that is none of those.
pub fn unknown<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> RpcError {
    RpcError::field(name, format!("expected one of {}", words.collect::<Vec<_>>().join(", ")))
}

pub fn bytes(name: &str, value: &JsValue) -> Result<Vec<u8>, RpcError> {
    match value.dyn_ref::<Uint8Array>() {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(RpcError::field(name, "expected a Uint8Array")),
    }
}

/// So many random bytes.
pub fn random<const N: usize>(name: &str, value: &JsValue) -> Result<[u8; N], RpcError> {
    let random = bytes(name, value)?;
    random.try_into().map_err(|_| RpcError::field(name, format!("expected {N} random bytes")))
}

pub fn list(name: &str, value: &JsValue) -> Result<Array, RpcError> {
    match value.dyn_ref::<Array>() {
        Some(list) => Ok(list.clone()),
        None => Err(RpcError::field(name, "expected an array")),
    }
}

/// The time, in milliseconds: monotonic (`performance.now()`) and by the wall clock (`Date.now()`).
pub fn moment(monotonic: f64, wall: f64) -> Result<Moment, RpcError> {
    if !(0.0..=MAX_SAFE / 1e3).contains(&monotonic) {
        return Err(RpcError::field("monotonicMs", "expected milliseconds, not negative"));
    }
    Ok(Moment { monotonic: Duration::from_micros((monotonic * 1e3).round() as u64), wall: wall_clock(wall)? })
}

pub fn wall_clock(wall: f64) -> Result<UnixMillis, RpcError> {
    if !(0.0..=MAX_SAFE).contains(&wall) {
        return Err(RpcError::field("wallMs", "expected milliseconds since 1970"));
    }
    Ok(UnixMillis(wall as u64))
}

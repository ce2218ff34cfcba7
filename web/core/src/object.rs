//! Making objects of JavaScript.

use js_sys::{JSON, Object, Reflect, Uint8Array};
use serde_json::Value;
use wasm_bindgen::JsValue;

/// An object with these members.
pub fn object<const N: usize>(members: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    for (name, value) in members {
        set(&object, name, value);
    }
    object
}

/// Sets a member of an object that was just made, which cannot fail.
pub fn set(object: &Object, name: &str, value: impl Into<JsValue>) {
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// A copy that JavaScript owns.
pub fn bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

/// One string over the border is cheaper than a call for each value.
pub fn json(value: &Value) -> JsValue {
    JSON::parse(&value.to_string()).unwrap_or_default()
}

/// A number that the core counts up from 0: it never gets to 2^53.
pub fn number(number: u64) -> JsValue {
    (number as f64).into()
}

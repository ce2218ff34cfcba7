//! How a profile gets an account.

use sotto_peer_core::rpc::{self, RpcError};
use sotto_peer_core::sign_up::{self, Conclusion, WrongServer};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::fields::{bytes, random, wall_clock};
use crate::object::{self, object, set};
use crate::thrown::Thrown;
use crate::{input, output, rows};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = "URL")]
    type Url;

    #[wasm_bindgen(constructor, catch, js_class = "URL")]
    fn new(text: &str) -> Result<Url, JsValue>;

    #[wasm_bindgen(method, getter)]
    fn origin(this: &Url) -> String;
}

/// A sign-up under way. `check` the server, make `writes` durable, send `request`, `conclude` from its answer.
#[wasm_bindgen]
pub struct SignUp(sign_up::SignUp);

#[wasm_bindgen]
impl SignUp {
    /// Makes the keys of a new account; `random` is 64 random bytes.
    pub fn begin(
        handle: &str,
        server: String,
        #[wasm_bindgen(js_name = "deviceName")] device_name: String,
        #[wasm_bindgen(js_name = "wallMs")] wall: f64,
        #[wasm_bindgen(js_name = "random", unchecked_param_type = "Bytes")] bytes: &JsValue,
    ) -> Result<SignUp, Thrown> {
        let handle = rpc::handle("handle", handle)?;
        if !Url::new(&server).is_ok_and(|url| url.origin() == server) {
            return Err(RpcError::field("server", "expected an origin, https://host[:port]").into());
        }
        let (at, random) = (wall_clock(wall)?, random("random", bytes)?);
        Ok(Self(sign_up::SignUp::begin(handle, server, device_name, at, random)))
    }

    /// The one that is pending in a store.
    pub fn resume(
        #[wasm_bindgen(unchecked_param_type = "Row[]")] hot: &JsValue,
    ) -> Result<Option<SignUp>, Thrown> {
        Ok(sign_up::SignUp::resume(&rows::snapshot(hot)?).map(Self))
    }

    /// Throws if the answer to `GET /v1/server` is not that of a Sotto server which goes by this name: nobody who signs
    /// up there under another name could ever sign in.
    pub fn check(
        &self,
        status: u16,
        #[wasm_bindgen(unchecked_param_type = "Bytes")] body: &JsValue,
    ) -> Result<(), Thrown> {
        let answer = input::response(status.into(), bytes("body", body)?)?;
        Ok(sign_up::check_server(&self.0.identity().server, &answer)?)
    }

    /// As whom.
    #[wasm_bindgen(getter)]
    pub fn handle(&self) -> String {
        self.0.identity().handle.to_string()
    }

    /// Where.
    #[wasm_bindgen(getter)]
    pub fn server(&self) -> String {
        self.0.identity().server.clone()
    }

    /// What must be durable before the server hears of it.
    #[wasm_bindgen(unchecked_return_type = "Writes")]
    pub fn writes(&self) -> JsValue {
        rows::writes(&self.0.writes())
    }

    /// What to ask the server, as often as it takes.
    #[wasm_bindgen(unchecked_return_type = "{ method: string; path: string; body: Bytes }")]
    pub fn request(&self, invite: Option<String>) -> JsValue {
        output::http(&self.0.request(invite)).into()
    }

    /// What the answer means.
    #[wasm_bindgen(unchecked_return_type = "Conclusion")]
    pub fn conclude(
        &self,
        status: u16,
        #[wasm_bindgen(unchecked_param_type = "Bytes")] body: &JsValue,
    ) -> Result<JsValue, Thrown> {
        let answer = input::response(status.into(), bytes("body", body)?)?;
        let (writes, error) = match self.0.conclude(&answer) {
            Conclusion::Taken(writes) => (Some(writes), None),
            Conclusion::Refused { writes, problem: Some(problem) } => (Some(writes), Some((*problem).into())),
            Conclusion::Refused { writes, problem: None } => {
                let asked = self.server();
                (Some(writes), Some(WrongServer::NotSotto { asked }.into()))
            }
            Conclusion::Unanswered(why) => {
                let lost = format!(
                    "the server's answer was lost ({why}): sign up again with the same handle and server"
                );
                (None, Some(RpcError::offline(lost)))
            }
        };
        let conclusion = object([("done", error.is_none().into())]);
        if let Some(writes) = writes {
            set(&conclusion, "writes", rows::writes(&writes));
        }
        if let Some(error) = error {
            set(&conclusion, "error", object::json(&error.to_json()));
        }
        Ok(conclusion.into())
    }
}

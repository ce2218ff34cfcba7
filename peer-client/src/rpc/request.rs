//! Requests: from a line to what is asked for.

use serde_json::Value;
use sotto_peer_core::Command;
use sotto_peer_core::rpc::{Params, RpcError, command};
use sotto_protocol::Handle;

/// What a line holds.
#[derive(Debug)]
pub enum Message {
    /// One request.
    One(Request),
    /// Several, answered together (JSON-RPC 2.0 §6).
    Batch(Vec<Request>),
}

/// One request, or why it is none.
#[derive(Debug)]
pub struct Request {
    /// `None`: a notification, which is never answered. Answered with null if it cannot be known.
    pub id: Option<Value>,
    /// What is asked for.
    pub call: Result<Call, RpcError>,
}

/// What a program may ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Make an account.
    SignUp {
        /// The server's origin.
        server: String,
        /// The handle.
        handle: Handle,
        /// Invitation code.
        invite: Option<String>,
        /// PEM file of certificate authorities to trust.
        ca: Option<String>,
    },
    /// Something of the running peer.
    Run(Command),
    /// Cut the network under all links (tests only).
    Cut {
        /// Cut or whole.
        on: bool,
    },
}

impl Message {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self, RpcError> {
        match serde_json::from_slice(line).map_err(|error| RpcError::parse(&error))? {
            Value::Array(batch) if batch.is_empty() => Err(RpcError::request("an empty batch")),
            Value::Array(batch) => Ok(Self::Batch(batch.into_iter().map(Request::parse).collect())),
            value => Ok(Self::One(Request::parse(value))),
        }
    }
}

impl Request {
    fn parse(value: Value) -> Self {
        let Value::Object(mut object) = value else {
            return Self::invalid(Value::Null, "expected an object");
        };
        let id = match object.remove("id") {
            None => None,
            Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => Some(id),
            Some(_) => return Self::invalid(Value::Null, "id: expected a string, a number or null"),
        };
        if object.remove("jsonrpc") != Some(Value::from("2.0")) {
            return Self::invalid(id.unwrap_or_default(), "jsonrpc: expected \"2.0\"");
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Self::invalid(id.unwrap_or_default(), "method: expected a string");
        };
        let call = Params::of(object.remove("params")).and_then(|params| call(&method, params));
        Self { id, call }
    }

    fn invalid(id: Value, why: &str) -> Self {
        Self { id: Some(id), call: Err(RpcError::request(why)) }
    }
}

fn call(method: &str, mut params: Params) -> Result<Call, RpcError> {
    let call = match method {
        "sign_up" => Call::SignUp {
            server: params.text("server")?,
            handle: params.handle("handle")?,
            invite: params.optional_text("invite")?,
            ca: params.optional_text("ca")?,
        },
        "debug.cut" => Call::Cut { on: params.flag("on")? },
        _ => return command(method, params).map(Call::Run),
    };
    params.finish()?;
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(value: Value) -> Request {
        match Message::parse(&serde_json::to_vec(&value).unwrap()).unwrap() {
            Message::One(request) => request,
            Message::Batch(_) => panic!("one was expected"),
        }
    }

    fn error(value: Value) -> Value {
        one(value).call.unwrap_err().to_json()
    }

    fn ask(method: &str, params: Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
    }

    #[test]
    fn what_only_this_program_knows_is_a_request_too() {
        for (method, params) in [
            ("sign_up", json!({ "server": "http://localhost", "handle": "alice" })),
            ("sign_up", json!({ "server": "http://localhost", "handle": "alice", "invite": "x" })),
            ("debug.cut", json!({ "on": true })),
        ] {
            let request = one(ask(method, params));
            assert!(request.call.is_ok(), "{method}: {:?}", request.call);
        }
        let error = error(ask("sign_up", json!({ "server": "http://localhost", "handle": "alice", "x": 1 })));
        assert_eq!(error["data"]["field"], "x");
        assert!(one(json!({ "jsonrpc": "2.0", "id": 1, "method": "status" })).call.is_ok());
    }

    #[test]
    fn what_is_no_request_has_the_code_that_the_standard_gives_it() {
        assert_eq!(Message::parse(b"{nonsense").unwrap_err().to_json()["code"], -32700);
        assert_eq!(Message::parse(b"\xff\xfe").unwrap_err().to_json()["code"], -32700);
        assert_eq!(Message::parse("[".repeat(500).as_bytes()).unwrap_err().to_json()["code"], -32700);
        assert_eq!(Message::parse(b"[]").unwrap_err().to_json()["code"], -32600);
        for bad in [
            json!(7),
            json!({ "id": 1, "method": "status" }),
            json!({ "jsonrpc": "1.0", "id": 1, "method": "status" }),
            json!({ "jsonrpc": "2.0", "id": 1 }),
            json!({ "jsonrpc": "2.0", "id": {}, "method": "status" }),
        ] {
            let request = one(bad.clone());
            assert!(request.id.is_some(), "{bad} must be answered");
            assert_eq!(request.call.unwrap_err().to_json()["code"], -32600, "{bad}");
        }
        assert_eq!(error(ask("dance", json!({})))["code"], -32601);
        assert_eq!(error(ask("direct", json!(["bob"])))["code"], -32602);
    }

    #[test]
    fn a_batch_holds_good_and_bad_requests_side_by_side() {
        let line = br#"[{"jsonrpc":"2.0","id":1,"method":"status"},7,{"jsonrpc":"2.0","method":"status"}]"#;
        let Message::Batch(requests) = Message::parse(line).unwrap() else { panic!("a batch was expected") };
        let ids: Vec<_> = requests.iter().map(|request| request.id.clone()).collect();
        assert_eq!(ids, [Some(json!(1)), Some(Value::Null), None]);
        assert!(requests[0].call.is_ok() && requests[1].call.is_err() && requests[2].call.is_ok());
    }
}

//! Requests: from a line to what is asked for, with every parameter checked.

use serde_json::{Map, Value};
use sotto_peer_core::{Command, PathPolicy};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::{ConversationId, Handle, MessageId};

use super::RpcError;

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
        let call = match object.remove("params") {
            None => call(&method, Params(Map::new())),
            Some(Value::Object(params)) => call(&method, Params(params)),
            Some(_) => Err(RpcError::params("params: expected an object, with parameters by name")),
        };
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
        _ => Call::Run(command(method, &mut params)?),
    };
    params.finish()?;
    Ok(call)
}

fn command(method: &str, params: &mut Params) -> Result<Command, RpcError> {
    Ok(match method {
        "direct" => Command::Direct { handle: params.handle("handle")? },
        "accept" => Command::Accept { conversation: params.conversation()? },
        "block" => Command::Block { handle: params.handle("handle")? },
        "unblock" => Command::Unblock { handle: params.handle("handle")? },
        "group.create" => {
            Command::GroupCreate { name: params.text("name")?, members: params.handles("members")? }
        }
        "group.add" => {
            Command::GroupAdd { conversation: params.conversation()?, handle: params.handle("handle")? }
        }
        "group.leave" => Command::GroupLeave { conversation: params.conversation()? },
        "group.rename" => {
            Command::GroupRename { conversation: params.conversation()?, name: params.text("name")? }
        }
        "conversations" => Command::Conversations,
        "send" => Command::Send { conversation: params.conversation()?, text: params.text("text")? },
        "history" => Command::History {
            conversation: params.conversation()?,
            before: params.optional_message("before")?,
            after: params.optional_message("after")?,
            limit: params.limit()?,
        },
        "mark_read" => Command::MarkRead { conversation: params.conversation()?, id: params.message("id")? },
        "typing" => Command::Typing { conversation: params.conversation()?, on: params.flag("on")? },
        "presence.set" => {
            Command::PresenceSet { state: params.presence()?, text: params.optional_text("text")? }
        }
        "status" => Command::Status,
        "path.policy" => Command::PathPolicy(params.policy()?),
        "events.ack" => Command::EventsAck { sequence: params.number("sequence")? },
        "events.replay" => Command::EventsReplay { after: params.number("after")? },
        _ => return Err(RpcError::method()),
    })
}

/// The parameters that nobody has asked for yet.
struct Params(Map<String, Value>);

impl Params {
    fn text(&mut self, name: &str) -> Result<String, RpcError> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(RpcError::field(name, "expected a string")),
        }
    }

    fn optional_text(&mut self, name: &str) -> Result<Option<String>, RpcError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(RpcError::field(name, "expected a string, or nothing")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, RpcError> {
        match self.0.remove(name) {
            Some(Value::Bool(flag)) => Ok(flag),
            _ => Err(RpcError::field(name, "expected true or false")),
        }
    }

    fn number(&mut self, name: &str) -> Result<u64, RpcError> {
        self.0
            .remove(name)
            .and_then(|value| value.as_u64())
            .ok_or_else(|| RpcError::field(name, "expected a whole number, not negative"))
    }

    fn handle(&mut self, name: &str) -> Result<Handle, RpcError> {
        parse_handle(name, &self.text(name)?)
    }

    fn handles(&mut self, name: &str) -> Result<Vec<Handle>, RpcError> {
        let Some(Value::Array(members)) = self.0.remove(name) else {
            return Err(RpcError::field(name, "expected a list of handles"));
        };
        members
            .iter()
            .map(|member| match member {
                Value::String(text) => parse_handle(name, text),
                _ => Err(RpcError::field(name, "expected a list of handles")),
            })
            .collect()
    }

    fn conversation(&mut self) -> Result<ConversationId, RpcError> {
        let text = self.text("conversation")?;
        text.parse().map_err(|_| RpcError::field("conversation", "expected 32 lower-case hex digits"))
    }

    fn message(&mut self, name: &str) -> Result<MessageId, RpcError> {
        parse_message(name, &self.text(name)?)
    }

    fn optional_message(&mut self, name: &str) -> Result<Option<MessageId>, RpcError> {
        self.optional_text(name)?.map(|text| parse_message(name, &text)).transpose()
    }

    fn limit(&mut self) -> Result<usize, RpcError> {
        let limit = self.number("limit").ok().and_then(|limit| usize::try_from(limit).ok());
        limit
            .filter(|limit| (1..=5_000).contains(limit))
            .ok_or_else(|| RpcError::field("limit", "expected a number from 1 to 5000"))
    }

    fn presence(&mut self) -> Result<PresenceState, RpcError> {
        match self.text("state")?.as_str() {
            "online" => Ok(PresenceState::Online),
            "away" => Ok(PresenceState::Away),
            _ => Err(RpcError::field("state", "expected online or away")),
        }
    }

    fn policy(&mut self) -> Result<PathPolicy, RpcError> {
        match self.text("mode")?.as_str() {
            "auto" => Ok(PathPolicy::Auto),
            "hedge" => Ok(PathPolicy::Hedge),
            "relay" => Ok(PathPolicy::Relay),
            "direct" => Ok(PathPolicy::Direct),
            _ => Err(RpcError::field("mode", "expected auto, hedge, relay or direct")),
        }
    }

    /// A parameter that no method knows is a mistake that would go unseen.
    fn finish(self) -> Result<(), RpcError> {
        match self.0.keys().next() {
            Some(name) => Err(RpcError::field(
                &name.chars().take(64).collect::<String>(),
                "not a parameter of this method",
            )),
            None => Ok(()),
        }
    }
}

fn parse_handle(field: &str, text: &str) -> Result<Handle, RpcError> {
    Handle::parse(text).map_err(|error| {
        let error = error.to_string();
        RpcError::field(field, error.strip_prefix("handle: ").unwrap_or(&error))
    })
}

fn parse_message(field: &str, text: &str) -> Result<MessageId, RpcError> {
    text.parse().map_err(|_| RpcError::field(field, "expected a message id, conversation/device/seq"))
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
    fn every_method_is_known_with_its_parameters() {
        let conversation = "01".repeat(16);
        let id = format!("{conversation}/{}/7", "ab".repeat(16));
        for (method, params) in [
            ("sign_up", json!({ "server": "http://localhost", "handle": "alice" })),
            ("sign_up", json!({ "server": "http://localhost", "handle": "alice", "invite": "x" })),
            ("direct", json!({ "handle": "@Bob" })),
            ("accept", json!({ "conversation": conversation })),
            ("block", json!({ "handle": "bob" })),
            ("unblock", json!({ "handle": "bob" })),
            ("group.create", json!({ "name": "us", "members": ["bob", "carol"] })),
            ("group.add", json!({ "conversation": conversation, "handle": "dave" })),
            ("group.leave", json!({ "conversation": conversation })),
            ("group.rename", json!({ "conversation": conversation, "name": "them" })),
            ("conversations", json!({})),
            ("send", json!({ "conversation": conversation, "text": "hi" })),
            ("history", json!({ "conversation": conversation, "limit": 5000 })),
            ("history", json!({ "conversation": conversation, "before": id, "after": null, "limit": 1 })),
            ("mark_read", json!({ "conversation": conversation, "id": id })),
            ("typing", json!({ "conversation": conversation, "on": true })),
            ("presence.set", json!({ "state": "away", "text": "lunch" })),
            ("status", json!({})),
            ("path.policy", json!({ "mode": "hedge" })),
            ("events.ack", json!({ "sequence": 3 })),
            ("events.replay", json!({ "after": 0 })),
            ("debug.cut", json!({ "on": true })),
        ] {
            let request = one(ask(method, params));
            assert!(request.call.is_ok(), "{method}: {:?}", request.call);
        }
        assert!(one(json!({ "jsonrpc": "2.0", "id": 1, "method": "status" })).call.is_ok());
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let conversation = "01".repeat(16);
        for (method, params, field) in [
            ("direct", json!({}), "handle"),
            ("direct", json!({ "handle": 7 }), "handle"),
            ("direct", json!({ "handle": "no spaces" }), "handle"),
            ("direct", json!({ "handle": "bob", "x": 1 }), "x"),
            ("accept", json!({ "conversation": "01" }), "conversation"),
            ("group.create", json!({ "name": "us", "members": "bob" }), "members"),
            ("group.create", json!({ "name": "us", "members": ["bob", 7] }), "members"),
            ("send", json!({ "conversation": conversation }), "text"),
            ("history", json!({ "conversation": conversation }), "limit"),
            ("history", json!({ "conversation": conversation, "limit": 5001 }), "limit"),
            ("history", json!({ "conversation": conversation, "limit": 0 }), "limit"),
            ("history", json!({ "conversation": conversation, "limit": 1, "before": "a/b/c" }), "before"),
            ("typing", json!({ "conversation": conversation, "on": "yes" }), "on"),
            ("presence.set", json!({ "state": "offline" }), "state"),
            ("path.policy", json!({ "mode": "fast" }), "mode"),
            ("events.ack", json!({ "sequence": -1 }), "sequence"),
            ("events.replay", json!({ "after": 1.5 }), "after"),
        ] {
            let error = error(ask(method, params.clone()));
            assert_eq!(error["code"], -32602, "{method} {params}");
            assert_eq!(error["data"]["field"], field, "{method} {params}");
            assert!(error["message"].as_str().unwrap().starts_with(field), "{error}");
        }
        assert_eq!(error(ask("direct", json!(["bob"])))["code"], -32602);
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

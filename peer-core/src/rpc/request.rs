//! Requests: from a method's name and parameters to what is asked for, with every parameter checked.

use serde_json::{Map, Value};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::{ConversationId, Handle, MessageId};

use super::RpcError;
use crate::io::{Command, PathPolicy, ProfileChange};

/// What a method asks for, with every parameter checked.
pub fn command(method: &str, mut params: Params) -> Result<Command, RpcError> {
    let command = match method {
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
        "profile.get" => Command::ProfileGet { handle: params.optional_handle("handle")? },
        "profile.set" => Command::ProfileSet {
            change: ProfileChange {
                display_name: params.change("display_name")?,
                status_text: params.change("status_text")?,
                avatar: params.change("avatar")?,
            },
        },
        "status" => Command::Status,
        "path.policy" => Command::PathPolicy(params.policy()?),
        "events.ack" => Command::EventsAck { sequence: params.number("sequence")? },
        "events.replay" => Command::EventsReplay { after: params.number("after")? },
        _ => return Err(RpcError::method()),
    };
    params.finish()?;
    Ok(command)
}

/// The parameters of a request that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Params(Map<String, Value>);

impl Params {
    /// Takes what a request gives by name; nothing is none.
    pub fn of(params: Option<Value>) -> Result<Self, RpcError> {
        match params {
            None => Ok(Self::default()),
            Some(Value::Object(params)) => Ok(Self(params)),
            Some(_) => Err(RpcError::params("params: expected an object, with parameters by name")),
        }
    }

    /// A string.
    pub fn text(&mut self, name: &str) -> Result<String, RpcError> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(RpcError::field(name, "expected a string")),
        }
    }

    /// A string, null, or nothing.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, RpcError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(RpcError::field(name, "expected a string, or nothing")),
        }
    }

    /// True or false.
    pub fn flag(&mut self, name: &str) -> Result<bool, RpcError> {
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

    /// A handle.
    pub fn handle(&mut self, name: &str) -> Result<Handle, RpcError> {
        handle(name, &self.text(name)?)
    }

    fn optional_handle(&mut self, name: &str) -> Result<Option<Handle>, RpcError> {
        self.optional_text(name)?.map(|text| handle(name, &text)).transpose()
    }

    /// What becomes of a text: left out, it stays; null or empty takes it away.
    fn change(&mut self, name: &str) -> Result<Option<Option<String>>, RpcError> {
        if !self.0.contains_key(name) {
            return Ok(None);
        }
        Ok(Some(self.optional_text(name)?.filter(|text| !text.is_empty())))
    }

    fn handles(&mut self, name: &str) -> Result<Vec<Handle>, RpcError> {
        let Some(Value::Array(members)) = self.0.remove(name) else {
            return Err(RpcError::field(name, "expected a list of handles"));
        };
        members
            .iter()
            .map(|member| match member {
                Value::String(text) => handle(name, text),
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
    pub fn finish(self) -> Result<(), RpcError> {
        match self.0.keys().next() {
            Some(name) => Err(RpcError::field(
                &name.chars().take(64).collect::<String>(),
                "not a parameter of this method",
            )),
            None => Ok(()),
        }
    }
}

/// Reads a handle that `field` gives.
pub fn handle(field: &str, text: &str) -> Result<Handle, RpcError> {
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

    fn ask(method: &str, params: Value) -> Result<Command, RpcError> {
        command(method, Params::of(Some(params))?)
    }

    #[test]
    fn every_method_is_known_with_its_parameters() {
        let conversation = "01".repeat(16);
        let id = format!("{conversation}/{}/7", "ab".repeat(16));
        for (method, params) in [
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
            ("profile.get", json!({})),
            ("profile.get", json!({ "handle": "@bob" })),
            ("profile.set", json!({ "display_name": "Bob", "status_text": null })),
            ("status", json!({})),
            ("path.policy", json!({ "mode": "hedge" })),
            ("events.ack", json!({ "sequence": 3 })),
            ("events.replay", json!({ "after": 0 })),
        ] {
            let command = ask(method, params);
            assert!(command.is_ok(), "{method}: {command:?}");
        }
        assert_eq!(command("status", Params::of(None).unwrap()), Ok(Command::Status));
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
            ("profile.get", json!({ "handle": 7 }), "handle"),
            ("profile.set", json!({ "avatar": 7 }), "avatar"),
            ("profile.set", json!({ "name": "Bob" }), "name"),
            ("path.policy", json!({ "mode": "fast" }), "mode"),
            ("events.ack", json!({ "sequence": -1 }), "sequence"),
            ("events.replay", json!({ "after": 1.5 }), "after"),
        ] {
            let error = ask(method, params.clone()).unwrap_err().to_json();
            assert_eq!(error["code"], -32602, "{method} {params}");
            assert_eq!(error["data"]["field"], field, "{method} {params}");
            assert!(error["message"].as_str().unwrap().starts_with(field), "{error}");
        }
        assert_eq!(ask("direct", json!(["bob"])).unwrap_err().to_json()["code"], -32602);
        assert_eq!(ask("dance", json!({})).unwrap_err().to_json()["code"], -32601);
    }
}

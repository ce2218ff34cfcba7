//! What to do, for JavaScript.

use js_sys::{Array, Object};
use serde_json::Value;
use sotto_peer_core::rpc::{RpcError, view};
use sotto_peer_core::{Channel, HttpRequest, LinkCommand, Output, Query, Socket, SocketCommand};
use sotto_protocol::link::{DescriptionKind, MSG_CHANNEL, PROBE_CHANNEL};
use wasm_bindgen::JsValue;

use crate::object::{self, bytes, number, object, set};
use crate::rows;

pub fn write(output: &Output) -> JsValue {
    match output {
        Output::Persist { token, writes } => {
            let writes = rows::writes(writes);
            object([("type", "persist".into()), ("token", number(token.0)), ("writes", writes)]).into()
        }
        Output::Load { id, query } => load(id.0, query),
        Output::Http { id, request } => {
            let object = http(request);
            set(&object, "type", "http");
            set(&object, "id", number(id.0));
            object.into()
        }
        Output::Socket { socket, command } => socket_command(*socket, command),
        Output::Link { device, session, command } => object([
            ("type", "link".into()),
            ("device", device.to_string().into()),
            ("session", session.to_string().into()),
            ("command", link_command(command).into()),
        ])
        .into(),
        Output::Reply { id, result } => match result {
            Ok(result) => reply(id.0, Ok(view::reply(result))),
            Err(error) => reply(id.0, Err(error.clone().into())),
        },
        Output::Event(notification) => {
            let (method, params) = view::notification(notification);
            let params = object::json(&params);
            object([("type", "event".into()), ("method", method.into()), ("params", params)]).into()
        }
    }
}

/// The answer to a command.
pub fn reply(id: u64, result: Result<Value, RpcError>) -> JsValue {
    let (name, value) = match result {
        Ok(result) => ("result", result),
        Err(error) => ("error", error.to_json()),
    };
    object([("type", "reply".into()), ("id", number(id)), (name, object::json(&value))]).into()
}

/// A request to the server.
pub fn http(request: &HttpRequest) -> Object {
    let object = object([("method", request.method.into()), ("path", request.path.as_str().into())]);
    if let Some(body) = &request.body {
        set(&object, "body", bytes(body));
    }
    if let Some(token) = &request.token {
        set(&object, "token", token.as_str());
    }
    object
}

fn load(id: u64, query: &Query) -> JsValue {
    object([
        ("type", "load".into()),
        ("id", number(id)),
        ("table", query.table.name().into()),
        ("from", bytes(&query.from)),
        ("to", bytes(&query.to)),
        ("limit", query.limit.into()),
        ("descending", query.descending.into()),
    ])
    .into()
}

fn socket_command(socket: Socket, command: &SocketCommand) -> JsValue {
    let socket = match socket {
        Socket::Signal => "signal",
        Socket::Relay => "relay",
    };
    let (word, message) = match command {
        SocketCommand::Open => ("open", None),
        SocketCommand::Send(message) => ("send", Some(message)),
        SocketCommand::Close => ("close", None),
    };
    let object = object([("type", "socket".into()), ("socket", socket.into()), ("command", word.into())]);
    if let Some(message) = message {
        set(&object, "message", bytes(message));
    }
    object.into()
}

fn link_command(command: &LinkCommand) -> Object {
    match command {
        LinkCommand::Open { ice_servers } => object([
            ("type", "open".into()),
            ("ice_servers", ice_servers.iter().map(JsValue::from).collect::<Array>().into()),
            ("msg_id", MSG_CHANNEL.0.into()),
            ("probe_id", PROBE_CHANNEL.0.into()),
        ]),
        LinkCommand::Offer { restart } => object([("type", "offer".into()), ("restart", (*restart).into())]),
        LinkCommand::SetRemote { kind, sdp } => {
            let kind = match kind {
                DescriptionKind::Offer => "offer",
                DescriptionKind::Answer => "answer",
            };
            object([("type", "set_remote".into()), ("kind", kind.into()), ("sdp", sdp.into())])
        }
        LinkCommand::AddCandidate { candidate, mid } => object([
            ("type", "candidate".into()),
            ("candidate", candidate.into()),
            ("mid", mid.as_ref().map_or(JsValue::NULL, JsValue::from)),
        ]),
        LinkCommand::Send { channel, message } => {
            let channel = match channel {
                Channel::Msg => MSG_CHANNEL.1,
                Channel::Probe => PROBE_CHANNEL.1,
            };
            object([("type", "send".into()), ("channel", channel.into()), ("message", bytes(message))])
        }
        LinkCommand::Close => object([("type", "close".into())]),
    }
}

//! What happened, from JavaScript.

use sotto_peer_core::rpc::{self, Params, RpcError};
use sotto_peer_core::{
    Channel, CommandId, HttpId, HttpResponse, Input, LinkEvent, LinkPath, LoadId, Socket, SocketEvent,
    TransportState, WriteToken,
};
use sotto_protocol::link::DescriptionKind;
use wasm_bindgen::JsValue;

use crate::fields::{Fields, unknown};
use crate::rows;

const INPUTS: [&str; 8] =
    ["command", "persisted", "loaded", "http", "socket", "link", "timeout", "network_changed"];
const LINK_EVENTS: [&str; 7] = ["description", "candidate", "open", "message", "state", "path", "failed"];

/// What an input is.
pub enum Given {
    /// For the peer.
    Input(Input),
    /// A command that is none: its answer.
    BadCommand(u64, RpcError),
}

pub fn read(input: &JsValue) -> Result<Given, RpcError> {
    let fields = Fields::of("input", input)?;
    Ok(Given::Input(match fields.text("type")?.as_str() {
        "command" => {
            let id = fields.number("id")?;
            let method = fields.text("method")?;
            let command = fields.json("params").and_then(Params::of);
            match command.and_then(|params| rpc::command(&method, params)) {
                Ok(command) => Input::Command { id: CommandId(id), command },
                Err(error) => return Ok(Given::BadCommand(id, error)),
            }
        }
        "persisted" => Input::Persisted(WriteToken(fields.number("token")?)),
        "loaded" => {
            Input::Loaded { id: LoadId(fields.number("id")?), rows: rows::loaded(&fields.get("rows")?)? }
        }
        "http" => Input::Http { id: HttpId(fields.number("id")?), result: answer(&fields)? },
        "socket" => {
            let socket = fields.word("socket", &[("signal", Socket::Signal), ("relay", Socket::Relay)])?;
            Input::Socket { socket, event: socket_event(&fields)? }
        }
        "link" => Input::Link {
            device: fields.parsed("device")?,
            session: fields.parsed("session")?,
            event: link_event(&fields.get("event")?)?,
        },
        "timeout" => Input::Timeout,
        "network_changed" => Input::NetworkChanged,
        _ => return Err(unknown("type", INPUTS.into_iter())),
    }))
}

fn answer(fields: &Fields) -> Result<Result<HttpResponse, String>, RpcError> {
    if let Some(why) = fields.optional_text("error")? {
        return Ok(Err(why));
    }
    let body = fields.optional_bytes("body")?.unwrap_or_default();
    response(fields.number("status")?, body).map(Ok)
}

pub fn response(status: u64, body: Vec<u8>) -> Result<HttpResponse, RpcError> {
    let status = u16::try_from(status).map_err(|_| RpcError::field("status", "expected an HTTP status"))?;
    Ok(HttpResponse { status, body })
}

fn socket_event(fields: &Fields) -> Result<SocketEvent, RpcError> {
    match fields.text("event")?.as_str() {
        "opened" => Ok(SocketEvent::Opened),
        "message" => Ok(SocketEvent::Message(fields.bytes("message")?.into())),
        "closed" => Ok(SocketEvent::Closed(fields.optional_text("why")?.unwrap_or_default())),
        _ => Err(unknown("event", ["opened", "message", "closed"].into_iter())),
    }
}

fn link_event(event: &JsValue) -> Result<LinkEvent, RpcError> {
    let fields = Fields::of("event", event)?;
    let channel = || fields.word("channel", &[("msg", Channel::Msg), ("probe", Channel::Probe)]);
    Ok(match fields.text("type")?.as_str() {
        "description" => {
            let kinds = [("offer", DescriptionKind::Offer), ("answer", DescriptionKind::Answer)];
            LinkEvent::Description { kind: fields.word("kind", &kinds)?, sdp: fields.text("sdp")? }
        }
        "candidate" => {
            LinkEvent::Candidate { candidate: fields.text("candidate")?, mid: fields.optional_text("mid")? }
        }
        "open" => LinkEvent::ChannelOpen(channel()?),
        "message" => LinkEvent::Message { channel: channel()?, message: fields.bytes("message")?.into() },
        "state" => LinkEvent::State(fields.word(
            "state",
            &[
                ("connecting", TransportState::Connecting),
                ("connected", TransportState::Connected),
                ("disconnected", TransportState::Disconnected),
                ("failed", TransportState::Failed),
                ("closed", TransportState::Closed),
            ],
        )?),
        "path" => {
            LinkEvent::Path(fields.word("path", &[("direct", LinkPath::Direct), ("turn", LinkPath::Turn)])?)
        }
        "failed" => LinkEvent::Failed(fields.text("why")?),
        _ => return Err(unknown("type", LINK_EVENTS.into_iter())),
    })
}

//! Signaling: signals from device to device, and the parts of the REST API that a peer uses.

use sotto_peer_core::crypto::Ed25519;
use sotto_peer_core::{HttpRequest, HttpResponse, Input, Socket, SocketEvent};
use sotto_protocol::device_list::{DeviceChange, DeviceList, Entry, SignedEntry, Signer};
use sotto_protocol::keys::Nonce;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::signal::{ClientMessage, ServerMessage};
use sotto_protocol::{DeviceId, UnixMillis};
use sotto_relay::log::SessionId;

use super::World;
use super::world::Node;

impl Node {
    fn devices(&self) -> DeviceList {
        DeviceList::verify_chain(self.identity.account, &self.entries, &Ed25519).unwrap()
    }

    fn record(&self) -> DeviceRecord {
        DeviceRecord {
            account: self.identity.account,
            device: self.identity.device,
            key: self.identity.key.public(),
            revoked: self.devices().listed(&self.identity.device).is_none(),
        }
    }
}

impl World {
    /// The account's root key revokes its device. Nobody is told.
    pub fn revoke(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let list = node.devices();
        let entry = Entry {
            account: node.identity.account,
            index: list.length(),
            previous: list.head(),
            change: DeviceChange::Revoke { device: node.identity.device },
            signer: Signer::Root,
            at: UnixMillis(2),
        };
        node.entries.push(SignedEntry::sign(&entry, |message| node.identity.root.sign(message), None));
    }

    pub(super) fn device_record(&self, device: &DeviceId) -> Option<DeviceRecord> {
        self.nodes.iter().find(|node| node.identity.device == *device).map(Node::record)
    }

    pub(super) fn signal(&mut self, index: usize, message: &[u8]) {
        if !self.nodes[index].signal {
            return;
        }
        let identity = &self.nodes[index].identity;
        let (account, device) = (identity.account, identity.device);
        let text = std::str::from_utf8(message).unwrap();
        let (to, answer) = match ClientMessage::parse(text).unwrap() {
            ClientMessage::Authenticate { .. } => {
                (index, ServerMessage::Ready { account, device, lease_ms: 45_000 })
            }
            ClientMessage::Signal { to, payload } => {
                if self.below(100) < u64::from(self.faults.signal_loss) {
                    return;
                }
                self.overhear_signal(index, &payload);
                let found = self.nodes.iter().position(|node| node.identity.device == to && node.signal);
                match found {
                    Some(other) => (other, ServerMessage::Signal { from: device, account, payload }),
                    None => (index, ServerMessage::Unreachable { to }),
                }
            }
            ClientMessage::Ping {} => (index, ServerMessage::Pong {}),
            ClientMessage::PresenceSet { .. } | ClientMessage::PresenceSubscribe { .. } => return,
        };
        self.signal_says(to, &answer);
    }

    pub(super) fn signal_says(&mut self, to: usize, message: &ServerMessage) {
        let event = SocketEvent::Message(serde_json::to_vec(message).unwrap().into());
        // One stream for all signals keeps a description before its candidates.
        let delay = self.in_order(SessionId(u64::MAX - to as u64), false);
        self.tell_peer(to, delay, Input::Socket { socket: Socket::Signal, event });
    }

    pub(super) fn answer(&mut self, index: usize, request: &HttpRequest) -> Result<HttpResponse, String> {
        if self.below(100) < u64::from(self.faults.http) {
            return match self.below(2) {
                0 => Err("connection reset".into()),
                _ => Ok(HttpResponse { status: 503, body: b"<html>".to_vec() }),
            };
        }
        let ok = |body: serde_json::Value| HttpResponse { status: 200, body: body.to_string().into_bytes() };
        let path: Vec<&str> = request.path.trim_start_matches("/v1/").split('/').collect();
        let found = |name: &str| {
            self.nodes
                .iter()
                .find(|n| n.identity.handle.as_str() == name || n.identity.account.to_string() == name)
        };
        Ok(match path.as_slice() {
            ["challenges"] => {
                ok(serde_json::json!({ "nonce": Nonce([7; 16]).to_string(), "expires_in_ms": 60_000 }))
            }
            ["sessions"] => ok(serde_json::json!({
                "token": "token", "expires_in_ms": 600_000, "account": self.nodes[index].identity.account,
            })),
            ["profile"] => {
                let body = request.body.as_deref().unwrap();
                self.nodes[index].profile = serde_json::from_slice(body).unwrap();
                HttpResponse { status: 200, body: body.to_vec() }
            }
            ["handles" | "accounts", name] => match found(name) {
                Some(node) => ok(serde_json::json!({
                    "account": node.identity.account, "handle": node.identity.handle, "profile": node.profile,
                })),
                None => HttpResponse { status: 404, body: Vec::new() },
            },
            ["accounts", name, "devices"] => {
                let node = found(name).unwrap();
                ok(serde_json::json!({ "account": node.identity.account, "entries": node.entries }))
            }
            ["devices", name] => match self.nodes.iter().find(|n| n.identity.device.to_string() == *name) {
                Some(node) => ok(serde_json::json!(node.record())),
                None => HttpResponse { status: 404, body: Vec::new() },
            },
            _ => HttpResponse { status: 404, body: Vec::new() },
        })
    }
}

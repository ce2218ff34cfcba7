//! What programs see: the core's values as JSON. The command line's `--json` prints the same.

use std::time::Duration;

use serde_json::{Value, json};
use sotto_protocol::presence::PresenceState;

use crate::io::{
    ConnectionStatus, ConversationView, Event, GapRange, LinkPath, LinkStatus, MessageBody, MessageState,
    MessageView, Missing, Notification, PathPolicy, ProfileView, Reached, ReceiptState, Reply, Socket,
    Status, TimelineDiff,
};

/// The result of a command.
pub fn reply(reply: &Reply) -> Value {
    match reply {
        Reply::Done => json!({}),
        Reply::Conversation(id) => json!({ "conversation": id }),
        Reply::Sent(id) => json!({ "id": id }),
        Reply::Conversations(views) => {
            json!({ "conversations": views.iter().map(conversation).collect::<Vec<_>>() })
        }
        Reply::History(messages) => json!({ "messages": messages.iter().map(message).collect::<Vec<_>>() }),
        Reply::Profile(view) => profile(view),
        Reply::Status(of) => status(of),
    }
}

/// A notification's method and parameters; kept ones carry their `sequence`.
pub fn notification(notification: &Notification) -> (&'static str, Value) {
    let (method, mut params) = event(&notification.event);
    if notification.sequence > 0
        && let Value::Object(params) = &mut params
    {
        params.insert("sequence".into(), notification.sequence.into());
    }
    (method, params)
}

fn event(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Conversation(view) => ("conversation", conversation(view)),
        Event::Message(view) => ("message", message(view)),
        Event::Receipt { id, device, state } => {
            ("receipt", json!({ "id": id, "device": device, "state": receipt(*state) }))
        }
        Event::Timeline { conversation, diffs } => {
            let diffs: Vec<_> = diffs.iter().map(diff).collect();
            ("timeline", json!({ "conversation": conversation, "diffs": diffs }))
        }
        Event::Presence { handle, state, text, last_seen } => {
            let mut params = json!({ "handle": handle, "state": presence(*state) });
            set(&mut params, "text", text.as_ref());
            set(&mut params, "last_seen", last_seen.as_ref());
            ("presence", params)
        }
        Event::Profile(view) => ("profile", profile(view)),
        Event::Typing { conversation, handle, on } => {
            ("typing", json!({ "conversation": conversation, "handle": handle, "on": on }))
        }
        Event::Path { handle, device, path: way, rtt } => {
            let params =
                json!({ "handle": handle, "device": device, "path": path(*way), "rtt_ms": rtt.map(millis) });
            ("path", params)
        }
        Event::Gap { conversation, range, why } => {
            let mut params = gap(range, why);
            set(&mut params, "conversation", Some(conversation));
            ("gap", params)
        }
        Event::Renumbered { from, to } => ("renumbered", json!({ "from": from, "to": to })),
        Event::Connection { socket: of, up, why } => {
            let mut params = json!({ "socket": socket(*of), "up": up });
            set(&mut params, "why", why.as_ref());
            ("connection", params)
        }
        Event::Alarm { about, advice } => ("alarm", json!({ "about": about, "advice": advice })),
    }
}

fn gap(range: &GapRange, why: &str) -> Value {
    let (from, to) = match range {
        GapRange::Positions(from, to) => (json!(from), json!(to)),
        GapRange::Messages(from, to) => (json!(from), json!(to)),
    };
    json!({ "from": from, "to": to, "why": why })
}

fn missing(missing: &[Missing]) -> Vec<Value> {
    missing.iter().map(|missing| gap(&missing.range, &missing.why)).collect()
}

fn set_state(value: &mut Value, state: &MessageState) {
    set(value, "state", Some(&reached(state.reached)));
    let MessageState { members, delivered, read, .. } = state;
    if *members > 1 {
        let receipts = json!({ "members": members, "delivered": delivered, "read": read });
        set(value, "receipts", Some(&receipts));
    }
}

/// A conversation.
pub fn conversation(view: &ConversationView) -> Value {
    let mut value = json!({
        "conversation": view.id,
        "kind": view.kind,
        "members": view.members,
        "request": view.request,
        "blocked": view.blocked,
        "member": view.member,
        "unread": view.unread,
    });
    set(&mut value, "name", view.name.as_ref());
    value
}

/// A message.
pub fn message(view: &MessageView) -> Value {
    let (kind, text) = match &view.body {
        MessageBody::Text(text) => ("text", Some(text)),
        MessageBody::Renamed(_) => ("renamed", None),
        MessageBody::Unreadable => ("unreadable", None),
    };
    let mut value = json!({
        "conversation": view.id.conversation,
        "id": view.id,
        "from": view.from,
        "kind": kind,
        "text": text,
        "sent_at": view.sent_at,
        "own": view.own,
    });
    set(&mut value, "position", view.position.as_ref());
    if let MessageBody::Renamed(name) = &view.body {
        set(&mut value, "name", Some(name));
    }
    if let Some(state) = &view.state {
        set_state(&mut value, state);
    }
    if !view.missing.is_empty() {
        set(&mut value, "missing", Some(&missing(&view.missing)));
    }
    value
}

fn diff(diff: &TimelineDiff) -> Value {
    match diff {
        TimelineDiff::Insert { item, after } => {
            json!({ "op": "insert", "item": message(item), "after": after })
        }
        TimelineDiff::Move { id, after, position } => {
            let mut value = json!({ "op": "move", "id": id, "after": after });
            set(&mut value, "position", position.as_ref());
            value
        }
        TimelineDiff::State { from, to, state } => {
            let mut value = json!({ "op": "state", "from": from, "to": to });
            set_state(&mut value, state);
            value
        }
        TimelineDiff::Missing { id, missing: of } => {
            json!({ "op": "missing", "id": id, "missing": missing(of) })
        }
        TimelineDiff::Replace { item } => json!({ "op": "replace", "item": message(item) }),
        TimelineDiff::Remove { id } => json!({ "op": "remove", "id": id }),
    }
}

/// What an account says of itself.
pub fn profile(view: &ProfileView) -> Value {
    let mut value = json!({ "handle": view.handle });
    set(&mut value, "display_name", view.profile.display_name.as_ref());
    set(&mut value, "status_text", view.profile.status_text.as_ref());
    set(&mut value, "avatar", view.profile.avatar.as_ref());
    value
}

/// How things stand.
pub fn status(status: &Status) -> Value {
    let conversations: Vec<_> = status
        .conversations
        .iter()
        .map(|conversation| {
            json!({
                "id": conversation.id,
                "head": conversation.head,
                "log_epoch": conversation.log_epoch,
                "last_seq": conversation.last_seq,
                "unacked": conversation.unacked,
                "unlogged": conversation.unlogged,
                "undecryptable": conversation.undecryptable,
            })
        })
        .collect();
    let mut chosen = json!({ "state": presence(status.presence.0) });
    set(&mut chosen, "text", status.presence.1.as_ref());
    json!({
        "account": status.account,
        "handle": status.handle,
        "device": status.device,
        "server": connection(&status.server),
        "relay": connection(&status.relay),
        "policy": policy(status.policy),
        "presence": chosen,
        "conversations": conversations,
        "links": status.links.iter().map(link).collect::<Vec<_>>(),
    })
}

fn connection(status: &ConnectionStatus) -> Value {
    let mut value = json!({ "up": status.up });
    set(&mut value, "why", status.why.as_ref());
    value
}

fn link(link: &LinkStatus) -> Value {
    let mut value = json!({
        "handle": link.handle,
        "device": link.device,
        "path": path(link.path),
        "state": link.state.name(),
        "rtt_ms": link.rtt.map(millis),
    });
    set(&mut value, "why", link.why.as_ref());
    value
}

/// A path's name.
pub fn path(path: LinkPath) -> &'static str {
    match path {
        LinkPath::Direct => "direct",
        LinkPath::Turn => "turn",
        LinkPath::Relay => "relay",
        LinkPath::None => "none",
    }
}

/// How far a message got, in a word.
pub fn reached(reached: Reached) -> &'static str {
    match reached {
        Reached::Waiting => "waiting",
        Reached::Sent => "sent",
        Reached::Delivered => "delivered",
        Reached::Read => "read",
    }
}

/// A receipt's name.
pub fn receipt(state: ReceiptState) -> &'static str {
    match state {
        ReceiptState::Logged => "logged",
        ReceiptState::Delivered => "delivered",
        ReceiptState::Read => "read",
    }
}

/// A presence's name.
pub fn presence(state: PresenceState) -> &'static str {
    match state {
        PresenceState::Online => "online",
        PresenceState::Away => "away",
        PresenceState::Offline => "offline",
    }
}

/// A policy's name.
pub fn policy(policy: PathPolicy) -> &'static str {
    match policy {
        PathPolicy::Auto => "auto",
        PathPolicy::Hedge => "hedge",
        PathPolicy::Relay => "relay",
        PathPolicy::Direct => "direct",
    }
}

fn socket(socket: Socket) -> &'static str {
    match socket {
        Socket::Signal => "server",
        Socket::Relay => "relay",
    }
}

/// Milliseconds, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Sets a member that is left out rather than null.
fn set<T: serde::Serialize>(value: &mut Value, name: &str, member: Option<&T>) {
    if let (Value::Object(object), Some(member)) = (value, member) {
        object.insert(name.to_owned(), json!(member));
    }
}

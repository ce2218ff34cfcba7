//! Values as text for people.

use std::fmt::Write as _;

use chrono::{DateTime, Local};
use sotto_peer_core::rpc::view;
use sotto_protocol::keys::base64url;
use sotto_protocol::{ConversationKind, Handle, UnixMillis};

use super::out::Out;
use super::plain;
use crate::{
    ConnectionStatus, ConversationView, LinkPath, LinkStatus, MessageBody, MessageView, ProfileView, Status,
};

/// A message; `label` says where, if more than one conversation is shown.
pub(super) fn message(out: &Out, message: &MessageView, label: Option<&str>) -> String {
    let time = out.dim(&time(message.sent_at));
    let from = if message.own { "you".to_owned() } else { out.bold(&format!("@{}", message.from)) };
    let label = label.map(|label| format!("{} ", out.dim(&format!("[{label}]")))).unwrap_or_default();
    let body = match &message.body {
        MessageBody::Text(text) => format!(": {}", plain::lines(text, "        ")),
        MessageBody::Renamed(name) => format!(" named the group {:?}", plain::one_line(name)),
        MessageBody::Unreadable => ": (cannot be read by this version of sotto)".to_owned(),
    };
    format!("{time}  {label}{from}{body}")
}

/// Hours and minutes of today, the date too of another day.
fn time(at: UnixMillis) -> String {
    let Some(at) = i64::try_from(at.0).ok().and_then(DateTime::from_timestamp_millis) else {
        return "     ".into();
    };
    let (at, now) = (at.with_timezone(&Local), Local::now());
    let format = if at.date_naive() == now.date_naive() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.format(format).to_string()
}

/// What people call a conversation.
pub(super) fn label(conversation: &ConversationView, own: &Handle) -> String {
    match (conversation.kind, &conversation.name) {
        (ConversationKind::Direct, _) => match conversation.members.iter().find(|member| *member != own) {
            Some(other) => format!("@{other}"),
            None => short(conversation),
        },
        (ConversationKind::Group, Some(name)) => plain::one_line(name),
        (ConversationKind::Group, None) => format!("group {}", short(conversation)),
    }
}

fn short(conversation: &ConversationView) -> String {
    conversation.id.to_string().chars().take(8).collect()
}

/// A request, and how to accept it.
pub(super) fn request(conversation: &ConversationView, own: &Handle) -> String {
    let label = label(conversation, own);
    let (what, to) = match conversation.kind {
        ConversationKind::Direct => ("would like to talk".to_owned(), label.clone()),
        ConversationKind::Group => {
            let members: Vec<_> = conversation.members.iter().map(|member| format!("@{member}")).collect();
            (format!("a group of {}", members.join(", ")), conversation.id.to_string())
        }
    };
    format!("{label}  {what} ({} new)   sotto accept {to}", conversation.unread)
}

/// What somebody says of themselves. The handle comes first: it says who they are.
pub(super) fn profile(out: &Out, view: &ProfileView) -> String {
    let mut text = out.bold(&format!("@{}", view.handle));
    for (label, words) in [("name", &view.profile.display_name), ("status", &view.profile.status_text)] {
        if let Some(words) = words {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{label:<8}{}", plain::one_line(words));
        }
    }
    if let Some(avatar) = &view.profile.avatar {
        let bytes = base64url::decode(avatar).unwrap_or_default().len();
        let _ = write!(text, "\n{:<8}a picture of {bytes} bytes", "avatar");
    }
    text
}

/// How things stand, as a table.
pub(super) fn status(out: &Out, status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}  device {}", out.bold(&format!("@{}", status.handle)), status.device);
    let _ = writeln!(text, "server  {}", connection(out, &status.server));
    let _ = writeln!(text, "relay   {}", connection(out, &status.relay));
    let _ = writeln!(text, "policy  {}", view::policy(status.policy));
    let unacked: u64 = status.conversations.iter().map(|conversation| conversation.unacked).sum();
    let undecryptable: u64 = status.conversations.iter().map(|conversation| conversation.undecryptable).sum();
    let _ =
        write!(text, "outbox  {}", if unacked == 0 { "empty".into() } else { format!("{unacked} waiting") });
    if undecryptable > 0 {
        let _ = write!(text, "\nunread  {}", out.yellow(&format!("{undecryptable} messages cannot be read")));
    }
    if status.links.is_empty() {
        let _ = write!(text, "\nlinks   {}", out.dim("none: nobody whom you talk with is there"));
    } else {
        let _ = write!(text, "\n\n{}", out.dim(&row("WHO", "DEVICE", "PATH", "STATE", "RTT", "WHY")));
        for link in &status.links {
            let _ = write!(text, "\n{}", self::link(out, link));
        }
    }
    text
}

fn link(out: &Out, link: &LinkStatus) -> String {
    let device: String = link.device.to_string().chars().take(8).collect();
    let rtt = link.rtt.map_or_else(|| "-".into(), |rtt| format!("{:.1} ms", view::millis(rtt)));
    let why = link.why.as_deref().map(plain::one_line).unwrap_or_default();
    let text =
        row(&format!("@{}", link.handle), &device, view::path(link.path), link.state.name(), &rtt, &why);
    match link.path {
        LinkPath::Direct => out.green(&text),
        LinkPath::Turn | LinkPath::Relay | LinkPath::None => text,
    }
}

fn row(who: &str, device: &str, path: &str, state: &str, rtt: &str, why: &str) -> String {
    format!("{who:<18}  {device:<8}  {path:<6}  {state:<8}  {rtt:>9}  {why}").trim_end().to_owned()
}

fn connection(out: &Out, status: &ConnectionStatus) -> String {
    match (&status.why, status.up) {
        (_, true) => out.green("connected"),
        (Some(why), false) => out.yellow(&format!("not connected: {}", plain::one_line(why))),
        (None, false) => out.yellow("connecting"),
    }
}

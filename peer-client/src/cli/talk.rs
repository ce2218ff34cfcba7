//! Sending, chatting, listening.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sotto_peer_core::rpc::view;
use sotto_protocol::{ConversationId, DeviceId, MessageId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep_until};

use super::args::{Send, To};
use super::session::{Connections, Session, not_connected};
use super::{Outcome, plain, show};
use crate::{ConversationView, Event, LinkPath, MessageView, Notification, ReceiptState};

/// After this long without a receipt a person wonders why.
const WONDER: Duration = Duration::from_secs(2);

/// Messages shown when a chat begins.
const BEFORE_CHAT: usize = 10;

/// For the last lines typed, when a chat ends.
const CHAT_PATIENCE: Duration = Duration::from_secs(10);

/// Sends one message and waits until somebody else has it too.
pub(super) async fn send(session: &mut Session, flags: Send) -> anyhow::Result<Outcome> {
    let text = match flags.text.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
            text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
        }
        text => text.to_owned(),
    };
    let deadline = Instant::now() + flags.timeout;
    let conversation = session.find_within(flags.timeout, &flags.to).await?;
    let mut id = session.client.send(conversation, &text).await?;
    let mut wonder = Some(Instant::now() + WONDER);
    loop {
        let notification = tokio::select! {
            notification = session.next() => notification?,
            () = sleep_until(wonder.unwrap_or(deadline).min(deadline)) => {
                let status = session.client.status().await?;
                if Instant::now() >= deadline {
                    return queued(session, id, &not_connected(&status));
                }
                wonder = None;
                session.out.note(&format!("{}; Ctrl-C leaves it in the outbox", not_connected(&status)));
                continue;
            }
        };
        let Some(notification) = notification else { return queued(session, id, "stopped") };
        match notification.event {
            Event::Renumbered { from, to } if from == id => id = to,
            Event::Receipt { id: upto, device, state } if covers(upto, id) => {
                if session.out.json {
                    session
                        .out
                        .json(&json!({ "id": id, "state": view::receipt(state), "device": device }))?;
                } else {
                    session.out.note(match state {
                        ReceiptState::Logged => "sent: the relay has it",
                        ReceiptState::Delivered | ReceiptState::Read => "delivered",
                    });
                }
                return Ok(Outcome::Done);
            }
            _ => {}
        }
    }
}

/// A receipt is for a message and all earlier ones of its author.
fn covers(receipt: MessageId, id: MessageId) -> bool {
    receipt.conversation == id.conversation && receipt.device == id.device && receipt.seq >= id.seq
}

fn queued(session: &Session, id: MessageId, why: &str) -> anyhow::Result<Outcome> {
    if session.out.json {
        session.out.json(&json!({ "id": id, "state": "queued", "why": why }))?;
    } else {
        session.out.note(&format!("{why}: the message is in the outbox, and goes out with the next run"));
    }
    Ok(Outcome::Queued)
}

/// Lines typed against lines that come.
pub(super) async fn chat(session: &mut Session, to: &To) -> anyhow::Result<Outcome> {
    let conversation = session.find(to).await?;
    // Who opens a chat wants to talk.
    session.client.accept(conversation).await?;
    let mut shown = Shown::default();
    for message in session.client.history(conversation, None, None, BEFORE_CHAT).await? {
        shown.message(session, &message, None).await?;
    }
    session.out.note("Type a line and Enter to send it; /help lists what else; Ctrl-D ends.");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            // What came before a line was typed is shown before it.
            biased;
            notification = session.next() => {
                let Some(notification) = notification? else { break };
                in_chat(session, &mut shown, conversation, notification).await?;
            }
            line = lines.next_line() => {
                let Some(line) = line.context("standard input")? else { break };
                if !typed(session, conversation, &line).await? {
                    break;
                }
            }
        }
    }
    session.messages_out(CHAT_PATIENCE).await
}

async fn in_chat(
    session: &Session,
    shown: &mut Shown,
    conversation: ConversationId,
    notification: Notification,
) -> anyhow::Result<()> {
    if session.out.json {
        let (method, params) = view::notification(&notification);
        session.out.json(&json!({ "method": method, "params": params }))?;
    }
    match notification.event {
        Event::Message(message) if message.id.conversation == conversation => {
            // The terminal has shown what was typed here.
            let typed_here = message.id.device == session.client.device();
            if !typed_here {
                shown.message(session, &message, None).await?;
            }
        }
        Event::Path { handle, device, path, .. } => {
            let before = shown.paths.insert(device, path);
            // Until the first link is up, the relay is what anybody expects.
            if before.unwrap_or(LinkPath::Relay) != path {
                session.out.note(&match path {
                    LinkPath::Direct => format!("· @{handle} is linked directly"),
                    LinkPath::Turn => format!("· @{handle} is linked through TURN"),
                    LinkPath::Relay | LinkPath::None => {
                        format!("· @{handle} is reached through the relay only")
                    }
                });
            }
        }
        Event::Gap { conversation: of, why, .. } if of == conversation => {
            session.out.note(&format!("· messages are missing here: {}", plain::one_line(&why)));
        }
        event => {
            if let Some(note) = shown.connections.note(&event) {
                session.out.note(&note);
            }
        }
    }
    Ok(())
}

/// Carries out a typed line; `false` ends the chat.
async fn typed(session: &mut Session, conversation: ConversationId, line: &str) -> anyhow::Result<bool> {
    let text = match line.trim() {
        "" => return Ok(true),
        "/quit" => return Ok(false),
        "/help" => {
            session.out.note(
                "/status   how everybody is reached\n/quit     ends, as Ctrl-D does\n//text    sends /text",
            );
            return Ok(true);
        }
        "/status" => {
            let status = session.client.status().await?;
            if session.out.json {
                session.out.json(&view::status(&status))?;
            } else {
                session.out.line(&show::status(&session.out, &status))?;
            }
            return Ok(true);
        }
        command if command.starts_with('/') && !command.starts_with("//") => {
            session.out.note("not a command: /help lists them; //… sends a line that begins with /");
            return Ok(true);
        }
        slashes if slashes.starts_with("//") => &slashes[1..],
        _ => line,
    };
    match session.client.send(conversation, text).await {
        Ok(_) => {}
        Err(crate::Error::Command(error)) => session.out.note(&format!("not sent: {error}")),
        Err(error) => return Err(error.into()),
    }
    Ok(true)
}

/// Everything that comes, of all conversations.
pub(super) async fn listen(session: &mut Session) -> anyhow::Result<Outcome> {
    let own = session.client.handle().clone();
    let mut shown = Shown::default();
    let mut labels: HashMap<ConversationId, String> = HashMap::new();
    let mut known = session.client.conversations().await?;
    known.reverse();
    for conversation in &known {
        labels.insert(conversation.id, show::label(conversation, &own));
        for message in unread(session, conversation).await? {
            shown.message(session, &message, labels.get(&conversation.id)).await?;
        }
    }
    session.out.note("Listening; Ctrl-C ends.");
    while let Some(notification) = session.next().await? {
        if let Event::Message(message) = &notification.event {
            shown.message(session, message, labels.get(&message.id.conversation)).await?;
            continue;
        }
        if session.out.json {
            let (method, params) = view::notification(&notification);
            session.out.json(&json!({ "method": method, "params": params }))?;
        }
        match &notification.event {
            Event::Conversation(conversation) => {
                labels.insert(conversation.id, show::label(conversation, &own));
                if conversation.request && shown.requests.insert(conversation.id) {
                    session.out.note(&format!("· request: {}", show::request(conversation, &own)));
                }
            }
            event => {
                if let Some(note) = shown.connections.note(event) {
                    session.out.note(&note);
                }
            }
        }
    }
    Ok(Outcome::Done)
}

/// The messages of others that nobody has read.
async fn unread(session: &Session, conversation: &ConversationView) -> anyhow::Result<Vec<MessageView>> {
    let Some(count) = usize::try_from(conversation.unread).ok().filter(|count| *count > 0) else {
        return Ok(Vec::new());
    };
    // Own ones stand between them.
    let limit = count.saturating_mul(2).clamp(50, 5_000);
    let mut messages = session.client.history(conversation.id, None, None, limit).await?;
    messages.retain(|message| !message.own);
    messages.drain(..messages.len().saturating_sub(count));
    Ok(messages)
}

/// What was printed already: a message that came between two looks is in both.
#[derive(Default)]
struct Shown {
    messages: HashSet<MessageId>,
    requests: HashSet<ConversationId>,
    paths: HashMap<DeviceId, LinkPath>,
    connections: Connections,
}

impl Shown {
    /// Prints a message, once, and marks it as read.
    async fn message(
        &mut self,
        session: &Session,
        message: &MessageView,
        label: Option<&String>,
    ) -> anyhow::Result<()> {
        if !self.messages.insert(message.id) {
            return Ok(());
        }
        if session.out.json {
            session.out.json(&json!({ "method": "message", "params": view::message(message) }))?;
        } else {
            session.out.line(&show::message(&session.out, message, label.map(String::as_str)))?;
        }
        if !message.own {
            session.client.mark_read(message.id).await?;
        }
        Ok(())
    }
}

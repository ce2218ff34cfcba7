//! What docs/rpc.md promises to programs and to the browser's SDK, example by example.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use sotto_peer_core::rpc::{Params, RpcError, command, view};
use sotto_peer_core::{
    CommandError, ConversationView, Event, GapRange, LinkPath, MessageBody, MessageState, MessageView,
    Missing, Notification, ProfileView, Reached, ReceiptState, Reply, Socket, TimelineDiff,
};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::rest::Profile;
use sotto_protocol::{ConversationId, ConversationKind, DeviceId, MessageId, Position, Seq, UnixMillis};

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rpc.md")).unwrap()
}

/// The lines of JSON-RPC that the document gives as examples, by method.
fn examples() -> Vec<(String, Value)> {
    let document = document();
    let lines = document.lines().filter(|line| line.starts_with("{\"jsonrpc\""));
    let examples = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    examples.filter_map(|value| Some((value["method"].as_str()?.to_owned(), value))).collect()
}

fn conversation() -> ConversationId {
    "01ababababababababababababababab".parse().unwrap()
}

fn message(seq: u64) -> MessageId {
    MessageId { conversation: conversation(), device: DeviceId([0x9f; 16]), seq: Seq(seq) }
}

fn hello() -> MessageView {
    MessageView {
        id: message(17),
        from: "alice".parse().unwrap(),
        body: MessageBody::Text("hello".into()),
        sent_at: UnixMillis(1_795_500_000_000),
        position: Some(Position(42)),
        own: false,
        state: None,
        missing: Vec::new(),
    }
}

fn profile() -> ProfileView {
    let profile = Profile { display_name: Some("Alice Liddell".into()), ..Profile::default() };
    ProfileView { handle: "alice".parse().unwrap(), profile }
}

fn request() -> ConversationView {
    ConversationView {
        id: conversation(),
        kind: ConversationKind::Direct,
        name: None,
        members: vec!["echo".parse().unwrap(), "alice".parse().unwrap()],
        request: true,
        blocked: false,
        member: true,
        unread: 0,
    }
}

#[test]
fn every_request_of_the_document_is_a_command() {
    let requests: Vec<_> = examples().into_iter().filter(|(_, value)| value.get("id").is_some()).collect();
    assert!(requests.len() > 15, "{requests:?}");
    for (method, mut request) in requests {
        let params = request.as_object_mut().unwrap().remove("params");
        let command = Params::of(params).and_then(|params| command(&method, params));
        // It makes an account, which there is no peer without.
        assert_eq!(command.is_ok(), method != "sign_up", "{method}: {command:?}");
    }
}

#[test]
fn every_notification_of_the_document_looks_as_it_says() {
    let alice = || "alice".parse().unwrap();
    let (conversation, device) = (conversation(), DeviceId([0x8e; 16]));
    let moved = TimelineDiff::Move { id: message(17), after: None, position: Some(Position(42)) };
    let state = MessageState { reached: Reached::Delivered, members: 1, delivered: 1, read: 0 };
    let further = TimelineDiff::State { from: message(17), to: message(25), state };
    let range = GapRange::Positions(Position(1), Position(900));
    let rtt = Some(Duration::from_micros(912));
    let last_seen = Some(UnixMillis(1_795_500_000_000));
    let refused = "http://127.0.0.1:8080 cannot be reached: connection refused";
    let trimmed = "the relay no longer keeps them";
    let events = [
        (1, Event::Conversation(request())),
        (2, Event::Message(hello())),
        (3, Event::Receipt { id: message(17), device, state: ReceiptState::Delivered }),
        (0, Event::Timeline { conversation, diffs: vec![moved, further] }),
        (0, Event::Presence { handle: alice(), state: PresenceState::Offline, text: None, last_seen }),
        (0, Event::Profile(profile())),
        (0, Event::Typing { conversation, handle: alice(), on: true }),
        (0, Event::Path { handle: alice(), device, path: LinkPath::Direct, rtt }),
        (4, Event::Gap { conversation, range, why: trimmed.into() }),
        (5, Event::Renumbered { from: message(17), to: message(25) }),
        (0, Event::Connection { socket: Socket::Relay, up: false, why: Some(refused.into()) }),
        (6, Event::Alarm { about: "@alice".into(), advice: "…".into() }),
    ];
    let mut documented = examples();
    documented.retain(|(method, value)| value.get("id").is_none() && method != "ended");
    assert_eq!(documented.len(), events.len());
    for ((sequence, event), (_, documented)) in events.into_iter().zip(documented) {
        let (method, params) = view::notification(&Notification { sequence, event });
        assert_eq!(json!({ "jsonrpc": "2.0", "method": method, "params": params }), documented);
    }
}

#[test]
fn results_have_the_shapes_of_the_document() {
    assert_eq!(view::reply(&Reply::Done), json!({}));
    let direct = view::reply(&Reply::Conversation(conversation()));
    assert_eq!(direct, json!({ "conversation": conversation() }));
    assert_eq!(view::reply(&Reply::Sent(message(17))), json!({ "id": message(17) }));
    let history = view::reply(&Reply::History(vec![hello()]));
    let shown = r#"{"conversation":"01ab…","id":"01ab…/9f3c…/17","from":"alice","kind":"text","text":"hello","sent_at":1795500000000,"own":false,"position":42}"#;
    assert!(document().contains(shown), "the message that is compared is the document's");
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&history["messages"][0]), names(&serde_json::from_str(shown).unwrap()));
    let state = MessageState { reached: Reached::Sent, members: 4, delivered: 3, read: 1 };
    let missing = vec![Missing { range: GapRange::Positions(Position(1), Position(9)), why: "w".into() }];
    let own = view::message(&MessageView { own: true, state: Some(state), missing, ..hello() });
    let counts = r#""own":true,"state":"sent","receipts":{"members":4,"delivered":3,"read":1}"#;
    assert!(document().contains(counts), "the counts that are compared are the document's");
    assert_eq!(own["state"], "sent");
    assert_eq!(own["receipts"], json!({ "members": 4, "delivered": 3, "read": 1 }));
    assert_eq!(own["missing"], json!([{ "from": 1, "to": 9, "why": "w" }]));
    let said = view::reply(&Reply::Profile(profile()));
    assert_eq!(said, json!({ "handle": "alice", "display_name": "Alice Liddell" }));
    let conversations = view::reply(&Reply::Conversations(vec![request()]));
    assert_eq!(conversations["conversations"][0]["members"], json!(["echo", "alice"]));
}

#[test]
fn every_code_and_kind_is_in_the_documents_table() {
    let errors = [
        RpcError::parse(&serde_json::from_str::<Value>("{").unwrap_err()),
        RpcError::request(""),
        RpcError::method(),
        RpcError::internal(""),
        RpcError::not_signed_up(),
        RpcError::signed_up(),
        RpcError::pending(""),
        RpcError::profile(""),
        RpcError::ended(""),
        CommandError::Invalid { field: "text", reason: "expected some text".into() }.into(),
        CommandError::NotFound("@bob".into()).into(),
        CommandError::NotAMember.into(),
        CommandError::Blocked("bob".parse().unwrap()).into(),
        CommandError::Offline(String::new()).into(),
        CommandError::Refused(String::new()).into(),
        CommandError::OutboxFull(1).into(),
    ];
    let document = document();
    for error in errors.map(|error| error.to_json()) {
        let (code, kind) = (&error["code"], error["data"]["kind"].as_str().unwrap());
        let row = document.lines().find(|line| line.starts_with(&format!("| {code} |")));
        assert!(row.is_some_and(|row| row.contains(&format!("`{kind}`"))), "{error}");
    }
}

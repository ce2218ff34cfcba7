//! JSON-RPC through the program's own standard input and output, where no server is needed.

#![allow(clippy::unwrap_used)]

mod program;

use program::{run, sotto, stderr, stdout};
use serde_json::{Value, json};

/// Serves these lines in an empty profile; the answers.
fn serve(input: &[u8]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let output = run(sotto(folder.path()).arg("rpc"), input);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn serve_all(lines: &[Value]) -> Vec<Value> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    serve(text.as_bytes())
}

fn codes(answers: &[Value]) -> Vec<(Value, i64)> {
    answers.iter().map(|a| (a["id"].clone(), a["error"]["code"].as_i64().unwrap_or(0))).collect()
}

#[test]
fn the_end_of_the_input_is_the_end_and_no_error() {
    assert_eq!(serve(b""), [Value::Null; 0]);
    assert_eq!(serve(b"\n\n  \n"), [Value::Null; 0]);
}

#[test]
fn a_malformed_line_is_answered_and_the_next_one_is_served() {
    let answers = serve(b"{nonsense\n\xff\xfe\n{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"status\"}\n");
    assert_eq!(codes(&answers), [(Value::Null, -32700), (Value::Null, -32700), (json!("x"), -32001)]);
    assert!(!answers[0].to_string().contains("nonsense"), "what came is not sent back");
}

#[test]
fn a_line_of_more_than_a_mebibyte_is_refused_and_the_next_one_is_served() {
    let mut input = vec![b' '; 3 << 20];
    input.extend_from_slice(b"\n{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"status\"}\n");
    assert_eq!(codes(&serve(&input)), [(Value::Null, -32600), (json!(7), -32001)]);
}

#[test]
fn a_last_line_without_an_end_is_served_too() {
    assert_eq!(codes(&serve(br#"{"jsonrpc":"2.0","id":1,"method":"dance"}"#)), [(json!(1), -32601)]);
}

#[test]
fn errors_say_what_they_are_about() {
    let answers = serve_all(&[
        json!({ "jsonrpc": "2.0", "id": 1, "method": "sign_up", "params": { "server": "nowhere", "handle": "alice" } }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "sign_up", "params": { "server": "http://localhost", "handle": "a b" } }),
        json!({ "jsonrpc": "2.0", "id": 3, "method": "direct", "params": { "handle": "bob" } }),
        json!({ "jsonrpc": "2.0", "id": 4, "method": "direct", "params": ["bob"] }),
    ]);
    let about = |id: i64| {
        let answer = answers.iter().find(|answer| answer["id"] == id).unwrap();
        (answer["error"]["code"].as_i64().unwrap(), answer["error"]["data"].clone())
    };
    assert_eq!(about(1), (-32602, json!({ "kind": "invalid-params", "field": "server" })));
    assert_eq!(about(2), (-32602, json!({ "kind": "invalid-params", "field": "handle" })));
    assert_eq!(about(3), (-32001, json!({ "kind": "not-signed-up" })));
    assert_eq!(about(4), (-32602, json!({ "kind": "invalid-params" })));
}

#[test]
fn a_batch_is_answered_in_one_line_and_notifications_are_not() {
    let answers = serve_all(&[
        json!([
            { "jsonrpc": "2.0", "id": 1, "method": "status" },
            { "jsonrpc": "2.0", "method": "status" },
            7,
            { "jsonrpc": "2.0", "id": "two", "method": "dance" },
        ]),
        json!([]),
        json!([{ "jsonrpc": "2.0", "method": "status" }]),
        json!({ "jsonrpc": "2.0", "method": "status" }),
    ]);
    assert_eq!(answers.len(), 2, "{answers:?}");
    let batch = answers.iter().find_map(Value::as_array).unwrap();
    assert_eq!(codes(batch), [(json!(1), -32001), (Value::Null, -32600), (json!("two"), -32601)]);
    let empty = answers.iter().find(|answer| answer.is_object()).unwrap();
    assert_eq!(empty["error"]["code"], -32600);
}

#[test]
fn the_network_can_be_cut_only_where_that_was_asked_for() {
    let cut = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"debug.cut\",\"params\":{\"on\":true}}\n";
    assert_eq!(codes(&serve(cut)), [(json!(1), -32601)]);
    let folder = tempfile::tempdir().unwrap();
    let output = run(sotto(folder.path()).arg("rpc").env("SOTTO_DEBUG_FAULTS", "1"), cut);
    assert_eq!(stdout(&output).trim(), r#"{"id":1,"jsonrpc":"2.0","result":{}}"#);
}

#[test]
fn every_method_and_notification_is_in_the_documentation() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rpc.md")).unwrap();
    for name in [
        "sign_up",
        "direct",
        "accept",
        "block",
        "unblock",
        "group.create",
        "group.add",
        "group.leave",
        "group.rename",
        "conversations",
        "send",
        "history",
        "mark_read",
        "typing",
        "presence.set",
        "status",
        "path.policy",
        "events.ack",
        "events.replay",
        "conversation",
        "message",
        "receipt",
        "timeline",
        "presence",
        "path",
        "gap",
        "renumbered",
        "connection",
        "alarm",
        "ended",
    ] {
        assert!(document.contains(&format!("### `{name}`")), "{name} has no section in docs/rpc.md");
    }
    // Its examples are what it says they are.
    for line in document.lines().filter(|line| line.starts_with("{\"jsonrpc\"") || line.starts_with("[{")) {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

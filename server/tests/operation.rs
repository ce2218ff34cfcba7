//! How the server is operated, with the real binary: starting, what stops it from starting, health, stopping.

#![allow(clippy::unwrap_used)]

mod process;

use std::net::TcpListener;

use futures::StreamExt;
use process::person::Person;
use process::sockets::on_sockets;
use process::{Running, eventually, fail, serve, sotto_server, succeed};
use sotto_protocol::cbor;
use sotto_protocol::relay::Event;
use sotto_protocol::signal::ServerMessage;
use tokio_tungstenite::tungstenite::Message;

#[test]
fn it_says_where_it_is_what_it_keeps_and_what_to_do_next() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path(), &[]);
    let url = server.url.clone();
    let path = data.path().canonicalize().unwrap();
    eventually("the banner", || server.log().contains("Ctrl-C"));
    let said = server.log();
    assert!(said.contains(&url) && said.contains(path.to_str().unwrap()), "{said}");
    assert!(said.contains("open: whoever reaches this address"), "{said}");
    assert!(said.contains(&format!("sign-up --server {url} --handle alice")), "{said}");
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = sotto_server(&["--listen", &address, "--data-dir"]);
    command.arg(data.path());
    let error = fail(command, 1);
    assert!(
        error.contains(&address) && error.contains("port is in use") && error.contains("--listen"),
        "{error}"
    );
}

#[test]
fn an_address_of_another_machine_is_said() {
    let error = fail(sotto_server(&["--listen", "192.0.2.1:8080"]), 1);
    assert!(error.contains("no interface of this machine"), "{error}");
}

#[test]
fn a_data_folder_that_is_a_file_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = fail(serve(file.path(), &[]), 1);
    assert!(error.contains(file.path().to_str().unwrap()) && error.contains("--data-dir"), "{error}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _first = Running::start(data.path(), &[]);
    let error = fail(serve(data.path(), &[]), 1);
    assert!(error.contains("another sotto-server is using the data folder"), "{error}");
}

#[test]
fn health_and_readiness_answer() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &[]);
    let health = server.get("/healthz", &[]);
    assert_eq!(health.status, 200);
    assert!(health.head.contains("x-content-type-options: nosniff"), "{health:?}");
    assert_eq!(server.get("/readyz", &[]).status, 200);
    let unknown = server.get("/nowhere", &[]);
    assert_eq!(unknown.status, 404);
    assert!(unknown.head.contains("application/problem+json"), "{unknown:?}");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/relay", "/v1/signal"] {
        let answer = server.post(path, &0);
        assert_eq!(answer.json()["type"], "urn:sotto:problem:method-not-allowed", "{path}: {answer:?}");
        assert_eq!(answer.status, 405);
    }
}

#[test]
fn sign_up_by_invitation_takes_a_code_from_the_command_line() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let server = Running::start(data.path(), &["--sign-up", "invite"]);
    assert_eq!(Person::new("alice").sign_up(&server, None).status, 403);
    let code = succeed(&["invite", "create", "--uses", "2", "--expires", "1h", "--data-dir", folder]);
    let code = code.trim();
    assert_eq!(Person::new("alice").sign_up(&server, Some(code)).status, 201);
    assert_eq!(Person::new("bob").sign_up(&server, Some(code)).status, 201);
    let third = Person::new("carol").sign_up(&server, Some(code));
    assert_eq!(third.status, 403, "{third:?}");
    for bad in [["--uses", "0"], ["--expires", "soon"], ["--expires", "0d"]] {
        let error = fail(sotto_server(&["invite", "create", bad[0], bad[1], "--data-dir", folder]), 2);
        assert!(error.contains(bad[0]) && error.contains(bad[1]), "{error}");
    }
}

#[test]
fn administration_needs_a_server_s_data() {
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    for command in [&["account", "list"][..], &["invite", "create"]] {
        let error = fail(sotto_server(&[command, &["--data-dir", folder]].concat()), 1);
        assert!(error.contains("no server's data in") && error.contains(folder), "{error}");
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "something was created");
}

#[test]
fn a_disabled_account_loses_its_sockets_and_may_come_back() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap().to_owned();
    let server = Running::start(data.path(), &[]);
    let alice = Person::new("alice");
    assert_eq!(alice.sign_up(&server, None).status, 201);
    let token = alice.token(&server);

    let listed = succeed(&["account", "list", "--data-dir", &folder]);
    assert!(listed.contains("@alice") && listed.contains("active"), "{listed}");
    on_sockets(&server, &token, async |mut signal, mut relay| {
        succeed(&["account", "disable", "@alice", "--data-dir", &folder]);
        // Both end, by whatever word or code they are closed with.
        while let Some(Ok(_)) = signal.next().await {}
        while let Some(Ok(_)) = relay.next().await {}
    });
    assert!(!matches!(alice.sign_in(&server).status, 200 | 201));
    let listed = succeed(&["account", "list", "--json", "--data-dir", &folder]);
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!(listed["state"], "disabled");

    succeed(&["account", "enable", "alice", "--data-dir", &folder]);
    alice.token(&server);

    let unsure = fail(sotto_server(&["account", "delete", "alice", "--data-dir", &folder]), 2);
    assert!(unsure.contains("--yes"), "{unsure}");
    succeed(&["account", "delete", "alice", "--yes", "--data-dir", &folder]);
    assert!(!matches!(alice.sign_in(&server).status, 200 | 201));
    let taken = Person::new("alice").sign_up(&server, None);
    assert_eq!(taken.status, 409, "{taken:?}");
    let unknown = fail(sotto_server(&["account", "disable", "@nobody", "--data-dir", &folder]), 1);
    assert!(unknown.contains("no account @nobody"), "{unknown}");
}

#[test]
fn sigterm_tells_the_sockets_when_to_come_back_and_ends_with_0() {
    for stop in ["TERM", "INT"] {
        let data = tempfile::tempdir().unwrap();
        let mut server = Running::start(data.path(), &[]);
        let alice = Person::new("alice");
        assert_eq!(alice.sign_up(&server, None).status, 201);
        let token = alice.token(&server);
        on_sockets(&server, &token, async |mut signal, mut relay| {
            server.signal(stop);
            let mut told = false;
            while let Some(Ok(message)) = signal.next().await {
                if let Message::Text(text) = message
                    && let ServerMessage::Drain { reconnect_in_ms } = serde_json::from_str(&text).unwrap()
                {
                    told = reconnect_in_ms <= 5_000;
                }
            }
            assert!(told, "the signaling socket was not told");
            let mut told = false;
            while let Some(Ok(message)) = relay.next().await {
                if let Message::Binary(bytes) = message {
                    let events = cbor::decode_sequence::<Event>(&bytes, bytes.len()).unwrap();
                    told |= events.iter().any(|event| matches!(event, Event::Drain { reconnect_in_ms } if *reconnect_in_ms <= 5_000));
                }
            }
            assert!(told, "the relay's socket was not told");
        });
        let status = server.ended();
        assert_eq!(status.code(), Some(0), "{}", server.log());
    }
}

#[test]
fn json_logs_are_one_object_a_line_and_hold_no_token() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path(), &["--log-format", "json", "--log-level", "debug"]);
    let alice = Person::new("alice");
    alice.sign_up(&server, None);
    let token = alice.token(&server);
    on_sockets(&server, &token, async |_, _| {});
    server.signal("TERM");
    server.ended();
    eventually("the last line", || server.log().contains("stopped"));
    let log = server.log();
    for line in log.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(object["level"].is_string() && object["message"].is_string(), "{line}");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "a token is in the log");
}

#[test]
fn the_printed_api_is_the_served_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &[]);
    let printed: serde_json::Value = serde_json::from_str(&succeed(&["openapi"])).unwrap();
    assert_eq!(server.get("/v1/openapi.json", &[]).json(), printed);
}

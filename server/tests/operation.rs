//! How the server is operated, with the real binary: starting, what stops it from starting, health, metrics, stopping.

#![allow(clippy::unwrap_used)]

mod process;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use futures::{SinkExt, StreamExt};
use process::person::Person;
use process::{Running, eventually, fail, sotto_server, succeed};
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::relay::{Event, RELAY_VERSION, Request};
use sotto_protocol::signal::{ClientMessage, ServerMessage};
use tokio_tungstenite::tungstenite::Message;

fn serve(data_dir: &Path, more: &[&str]) -> Command {
    let mut command = sotto_server(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir).args(more);
    command
}

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
fn a_read_only_data_folder_is_said() {
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let error = if std::fs::write(data.path().join("root-may"), "").is_ok() {
        // Root writes where it must not, but not to a file system that is mounted read-only.
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o ro none \"$1\" && exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1\"",
        ]);
        command.arg(env!("CARGO_BIN_EXE_sotto-server")).arg(data.path());
        fail(command, 1)
    } else {
        fail(serve(data.path(), &[]), 1)
    };
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(error.contains("cannot be written") && error.contains("permissions"), "{error}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _first = Running::start(data.path(), &[]);
    let error = fail(serve(data.path(), &[]), 1);
    assert!(error.contains("another sotto-server is using the data folder"), "{error}");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    for name in ["signaling.db", "relay.db"] {
        let data = tempfile::tempdir().unwrap();
        let mut server = Running::start(data.path(), &[]);
        server.signal("TERM");
        assert!(server.ended().success());
        let file = data.path().join(name);
        set_version(&file, 9_999);
        let error = fail(serve(data.path(), &[]), 1);
        assert!(error.contains(name) && error.contains("9999"), "{error}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn set_version(file: &Path, version: u32) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let mut database = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}")))
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
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
}

#[test]
fn metrics_are_prometheus_text_for_those_who_may_read_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &["--sign-up", "open"]);
    assert_eq!(Person::new("alice").sign_up(&server, None).status, 201);
    let page = server.get("/metrics", &[]);
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/plain; version=0.0.4"), "{page:?}");
    assert!(page.body.contains("sotto_signaling_sign_ups_total 1\n"), "{}", page.body);
    assert!(page.body.contains("sotto_http_answers_total{class=\"2xx\"}"), "{}", page.body);
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("sotto_") && value.parse::<f64>().is_ok(), "{line}");
        let family = name.split('{').next().unwrap();
        let base =
            family.strip_suffix("_bucket").or(family.strip_suffix("_sum")).or(family.strip_suffix("_count"));
        let typed = |name: &str| page.body.contains(&format!("# TYPE {name} "));
        assert!(typed(family) || base.is_some_and(typed), "{family} has no type");
    }
    // Whoever came through a proxy that is not known could be anybody.
    let forwarded = server.get("/metrics", &[("X-Forwarded-For", "127.0.0.1")]);
    assert_eq!(forwarded.status, 403, "{forwarded:?}");
}

#[test]
fn a_trusted_proxy_says_who_reads_the_metrics() {
    let data = tempfile::tempdir().unwrap();
    let mut command = serve(data.path(), &[]);
    command.env("SOTTO_TRUSTED_PROXIES", "127.0.0.1");
    let server = Running::spawn(command);
    assert_eq!(server.get("/metrics", &[("X-Forwarded-For", "203.0.113.9")]).status, 403);
    assert_eq!(server.get("/metrics", &[("X-Forwarded-For", "127.0.0.1")]).status, 200);
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

#[test]
fn a_full_disk_is_said_and_nothing_is_acknowledged_that_is_not_stored() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=1500k none \"$1\" && exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1\" 2>&2"]);
    command.arg(env!("CARGO_BIN_EXE_sotto-server")).arg(data.path());
    if !may_mount() {
        // Mounting needs rights that not every machine gives to tests.
        return;
    }
    let mut server = Running::spawn(command);
    let reader = Person::new("reader");
    assert_eq!(reader.sign_up(&server, None).status, 201);
    let authorization = format!("Bearer {}", reader.token(&server));
    let mut stored = Vec::new();
    let refused = (0..2_000)
        .find_map(|number| {
            let person = Person::new(&format!("person{number}"));
            let answer = person.sign_up(&server, None);
            match answer.status {
                201 => stored.push(person),
                // Sign-ups of one address are limited; the disk has to fill by other means then.
                429 => std::thread::sleep(std::time::Duration::from_millis(100)),
                _ => return Some(answer),
            }
            None
        })
        .expect("the disk was never full");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("application/problem+json"), "{refused:?}");
    eventually("not ready", || server.get("/readyz", &[]).status == 503);
    assert!(server.running());
    for person in &stored {
        let found = server
            .get(&format!("/v1/handles/{}", person.handle.as_str()), &[("Authorization", &authorization)]);
        assert_eq!(found.status, 200, "{found:?}");
    }
}

fn may_mount() -> bool {
    let tried: std::io::Result<Output> =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    tried.is_ok_and(|output| output.status.success())
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Runs a test with both sockets open and authenticated.
#[tokio::main(flavor = "current_thread")]
async fn on_sockets(server: &Running, token: &str, test: impl AsyncFnOnce(Socket, Socket)) {
    let work = async {
        let signal = signal_socket(server, token).await;
        let relay = relay_socket(server, token).await;
        test(signal, relay).await;
    };
    tokio::time::timeout(process::PATIENCE, work).await.expect("the sockets hang");
}

async fn connect(server: &Running, path: &str) -> Socket {
    let (socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}{path}", server.authority())).await.unwrap();
    socket
}

async fn signal_socket(server: &Running, token: &str) -> Socket {
    let mut socket = connect(server, "/v1/signal").await;
    let hello = ClientMessage::Authenticate { token: token.to_owned() };
    socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(matches!(serde_json::from_str(&answer).unwrap(), ServerMessage::Ready { .. }), "{answer}");
    socket
}

async fn relay_socket(server: &Running, token: &str) -> Socket {
    let mut socket = connect(server, "/v1/relay").await;
    let hello = Request::Authenticate { version: RELAY_VERSION, token: Text::new(token).unwrap() };
    socket.send(Message::binary(cbor::encode(&hello))).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap().into_data();
    let events = cbor::decode_sequence::<Event>(&answer, answer.len()).unwrap();
    assert!(matches!(events[0], Event::Ready { .. }), "{events:?}");
    socket
}

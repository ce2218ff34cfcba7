//! What the server says, and does not say, of a disk that is full, may not be written, or holds something else.

#![allow(clippy::unwrap_used)]

mod process;

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use process::mount::serve_mounted;
use process::person::Person;
use process::sockets::{Socket, on_sockets};
use process::{Running, eventually, fail, serve};
use sotto_protocol::cbor;
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{LogEpoch, Position};
use tokio_tungstenite::tungstenite::Message;

/// A data folder that a server has used.
fn used() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path(), &[]);
    server.signal("TERM");
    assert!(server.ended().success());
    data
}

#[test]
fn a_read_only_data_folder_is_said() {
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let command = if std::fs::write(data.path().join("root-may"), "").is_ok() {
        // Root writes where it must not, but not to a file system that is mounted read-only.
        serve_mounted("mount -t tmpfs -o ro none \"$DISK\"", data.path(), data.path())
    } else {
        serve(data.path(), &[])
    };
    let error = fail(command, 1);
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(error.contains("cannot be written") && error.contains("permissions"), "{error}");
}

#[test]
fn a_database_that_may_not_be_written_is_said_before_anybody_is_served() {
    let (data, used) = (tempfile::tempdir().unwrap(), used());
    for name in ["signaling.db", "relay.db"] {
        let mount = format!(
            "mount -t tmpfs none \"$DISK\" && cp \"$BESIDE\"/*.db \"$DISK\" && cd \"$DISK\" && \
             mount --bind {name} {name} && mount -o remount,bind,ro {name}"
        );
        let error = fail(serve_mounted(&mount, data.path(), used.path()), 1);
        assert!(error.contains(&format!("{}/{name}", data.path().display())), "{error}");
        assert!(error.contains("database is read-only: let this user write its file"), "{error}");
    }
}

#[test]
fn a_file_that_is_no_database_is_said_and_left_as_it_is() {
    let used = used();
    for name in ["signaling.db", "relay.db"] {
        let file = used.path().join(name);
        let good = std::fs::read(&file).unwrap();
        let text = "not a database, but long enough to look at".repeat(100);
        std::fs::write(&file, &text).unwrap();
        let error = fail(serve(used.path(), &[]), 1);
        assert!(error.contains(name) && error.contains("restore it from a backup"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        std::fs::write(&file, good).unwrap();
    }
    Running::start(used.path(), &[]);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    for name in ["signaling.db", "relay.db"] {
        let data = used();
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
fn a_full_disk_is_said_and_nothing_is_acknowledged_that_is_not_stored() {
    let data = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=1500k none \"$DISK\"";
    let mut server = Running::spawn(serve_mounted(mount, data.path(), data.path()));
    let reader = Person::new("reader");
    assert_eq!(reader.sign_up(&server, None).status, 201);
    let token = reader.token(&server);
    on_sockets(&server, &token, async |_signal, relay| fill_the_log(&reader, relay).await);
    let authorization = format!("Bearer {token}");
    let mut stored = Vec::new();
    let refused = (0..2_000)
        .find_map(|number| {
            let person = Person::new(&format!("person{number}"));
            let answer = person.sign_up(&server, None);
            match answer.status {
                201 => stored.push(person),
                // Sign-ups of one address are limited; the disk has to fill by other means then.
                429 => std::thread::sleep(Duration::from_millis(100)),
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

/// Writes until the relay cannot store; then it must have exactly what it acknowledged.
async fn fill_the_log(writer: &Person, relay: Socket) {
    let mut relay = Events { relay, events: VecDeque::new() };
    relay.ask(&writer.creates_a_group()).await;
    while !matches!(relay.next().await, Event::Committed { .. }) {}
    let text = "x".repeat(30_000);
    let mut acknowledged = 0;
    let detail = 'full: loop {
        relay.ask(&Request::Append { frame: writer.writes(acknowledged + 1, &text) }).await;
        loop {
            match relay.next().await {
                Event::Appended { seq, .. } => break acknowledged = seq.0,
                Event::Error { code: ErrorCode::Unavailable, detail, .. } => break 'full detail.to_string(),
                Event::Conversation { .. } | Event::Listed {} => {}
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(detail.contains("nothing was stored"), "{detail}");
    let conversation = writer.writes(1, "").id().conversation;
    relay
        .ask(&Request::Subscribe { conversation, log_epoch: LogEpoch(0), after: Position(0), held: None })
        .await;
    let mut entries = 0;
    loop {
        match relay.next().await {
            Event::Entry { .. } => entries += 1,
            Event::Live { .. } => break,
            _ => {}
        }
    }
    assert_eq!(entries, acknowledged + 1, "the creation and what was acknowledged");
}

struct Events {
    relay: Socket,
    events: VecDeque<Event>,
}

impl Events {
    async fn ask(&mut self, request: &Request) {
        self.relay.send(Message::binary(cbor::encode(request))).await.unwrap();
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let message = self.relay.next().await.unwrap().unwrap();
            if message.is_binary() {
                let bytes = message.into_data();
                self.events = cbor::decode_sequence(&bytes, bytes.len()).unwrap().into();
            }
        }
    }
}

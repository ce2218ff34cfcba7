use std::time::Duration;

use sotto_protocol::Handle;
use sotto_signaling::{AccountState, AdminError, Config, OpenError, Revoked, Signaling};

use crate::harness::{Server, config, pool};
use crate::people::{Person, Socket, sign_in};

#[tokio::test]
async fn an_account_disabled_by_another_process_is_cut_off_and_may_come_back() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    let mut socket = alice.socket(&server).await;
    let token = alice.token(&server).await;
    let mut revocations = server.signaling.revocations();

    let cli = Signaling::open(pool(&server.file()).await, config()).await.unwrap();
    let row = cli.find_account(&Handle::parse("alice").unwrap()).await.unwrap().unwrap();
    cli.disable_account(row.account).await.unwrap();
    assert_eq!(socket.closed().await, Some(4403));
    assert_eq!(revocations.recv().await.unwrap(), Revoked::Account(alice.account()));
    server.get("/v1/handles/alice", Some(&token)).await.assert_problem(
        403,
        "account-disabled",
        Some("account"),
    );
    sign_in(&server, &alice.device).await.assert_problem(403, "account-disabled", Some("account"));
    let path = format!("/v1/accounts/{}/devices", alice.account());
    server.post(&path, &alice.first).await.assert_problem(403, "account-disabled", Some("account"));
    assert!(matches!(cli.disable_account(row.account).await, Err(AdminError::Unchanged)));

    cli.enable_account(row.account).await.unwrap();
    alice.socket(&server).await;
    cli.delete_account(row.account).await.unwrap();
    sign_in(&server, &alice.device).await.assert_problem(403, "device-revoked", Some("device"));
    let states: Vec<AccountState> =
        server.signaling.list_accounts().await.unwrap().iter().map(|row| row.state).collect();
    assert_eq!(states, [AccountState::Deleted]);
}

#[tokio::test]
async fn an_invitation_made_by_another_process_works_at_once() {
    let invite_only = Config { sign_up: sotto_signaling::SignUpPolicy::Invite, ..config() };
    let server = Server::with(invite_only).await;
    let cli = Signaling::open(pool(&server.file()).await, config()).await.unwrap();
    let code = cli.create_invite(1, Duration::from_secs(60)).await.unwrap();
    let mut body = Person::new("alice").sign_up_body();
    body["invite"] = code.into();
    assert_eq!(server.post("/v1/accounts", &body).await.status, 201);
}

#[tokio::test]
async fn a_database_of_a_newer_release_or_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signaling.db");
    drop(Signaling::open(pool(&file).await, config()).await.unwrap());
    let sqlite = pool(&file).await;
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&sqlite).await.unwrap();
    let newer = Signaling::open(sqlite.clone(), config()).await.err().unwrap();
    assert!(matches!(newer, OpenError::Newer { found: 99, known: 1 }), "{newer}");

    sqlx::raw_sql("PRAGMA application_id = 7").execute(&sqlite).await.unwrap();
    let foreign = Signaling::open(sqlite.clone(), config()).await.err().unwrap();
    assert!(matches!(foreign, OpenError::Foreign(7)), "{foreign}");
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = async |options: sqlx::sqlite::SqliteConnectOptions| -> OpenError {
        match sqlx::SqlitePool::connect_with(options).await {
            Ok(pool) => Signaling::open(pool, config()).await.err().unwrap(),
            Err(error) => error.into(),
        }
    };
    let file = dir.path().join("signaling.db");
    Signaling::open(pool(&file).await, config()).await.unwrap();

    let read_only = refused(sotto_signaling::sqlite_options(&file).read_only(true)).await;
    assert!(matches!(read_only, OpenError::ReadOnly), "{read_only}");
    assert!(read_only.to_string().contains("let this user write"), "{read_only}");

    let nowhere = refused(sotto_signaling::sqlite_options(&dir.path().join("no/signaling.db"))).await;
    assert!(matches!(nowhere, OpenError::CannotOpen), "{nowhere}");
    assert!(nowhere.to_string().contains("its folder must exist"), "{nowhere}");

    let text = dir.path().join("text.db");
    std::fs::write(&text, "not a database, but long enough to look at".repeat(100)).unwrap();
    let damaged = refused(sotto_signaling::sqlite_options(&text)).await;
    assert!(matches!(damaged, OpenError::Damaged), "{damaged}");
    assert!(damaged.to_string().contains("restore it from a backup"), "{damaged}");

    let recipes = pool(&dir.path().join("recipes.db")).await;
    sqlx::raw_sql("CREATE TABLE recipes (name)").execute(&recipes).await.unwrap();
    let foreign = Signaling::open(recipes, config()).await.err().unwrap();
    assert!(matches!(foreign, OpenError::Foreign(0)), "{foreign}");

    // A new file that may have no more than three pages is what a full disk looks like.
    let small = sotto_signaling::sqlite_options(&dir.path().join("small.db")).pragma("max_page_count", "3");
    let full = refused(small).await;
    assert!(matches!(full, OpenError::Full), "{full}");
    assert!(full.to_string().contains("make room"), "{full}");
}

#[tokio::test]
async fn settings_and_databases_that_cannot_work_are_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signaling.db");
    for origin in ["chat.example", "https://Chat.example", "https://chat.example/", "https://"] {
        let bad = Config { origins: vec![origin.into()], ..config() };
        let error = Signaling::open(pool(&file).await, bad).await.err().unwrap();
        assert!(error.to_string().contains("origins: "), "{error}");
    }
    let lax = sotto_signaling::sqlite_options(&file).synchronous(sqlx::sqlite::SqliteSynchronous::Normal);
    let lax = sqlx::SqlitePool::connect_with(lax).await.unwrap();
    assert!(matches!(Signaling::open(lax, config()).await, Err(OpenError::NotDurable)));
}

#[tokio::test]
async fn a_storage_that_takes_no_writes_acknowledges_nothing_and_loses_nothing() {
    let server = Server::start().await;
    let alice = Person::join(&server, "alice").await;
    // A connection that may not grow the file any more is what a full disk looks like.
    let full = pool(&server.file()).await;
    let options = sotto_signaling::sqlite_options(&server.file()).pragma("max_page_count", "1");
    drop(full);
    let full = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let broken = crate::harness::Server::serving(Signaling::open(full, config()).await.unwrap()).await;
    let mut refused = 0;
    for n in 0..400 {
        let person = Person::new(&format!("user{n}"));
        let answer = person.sign_up(&broken).await;
        if answer.status != 201 {
            answer.assert_problem(503, "storage-unavailable", None);
            assert!(answer.header("retry-after").is_some());
            refused += 1;
            let token = alice.token(&server).await;
            let lookup = server.get(&format!("/v1/handles/user{n}"), Some(&token)).await;
            lookup.assert_problem(404, "not-found", Some("handle"));
            break;
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(sign_in(&broken, &alice.device).await.status, 200, "reading goes on");
    let mut socket = Socket::open(&broken).await;
    socket.send(serde_json::json!({"type": "authenticate", "token": alice.token(&broken).await})).await;
    assert_eq!(socket.next().await["type"], "ready");
}

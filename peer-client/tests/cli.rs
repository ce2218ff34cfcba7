//! The command line where no server is needed: what it says of itself, and what it refuses.

#![allow(clippy::unwrap_used)]

mod program;

use std::path::Path;

use program::{run, sotto, status_mounted, stderr, stdout};
use sotto_peer_client::{Profile, ProfileError};

/// What `--help` prints; the profile does not matter.
fn help(words: &[&str]) -> String {
    let mut command = sotto(Path::new("unused"));
    command.args(words).arg("--help");
    let output = run(&mut command, b"");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn help_says_what_there_is_with_examples() {
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_sign_up", help(&["sign-up"]));
    insta::assert_snapshot!("help_send", help(&["send"]));
    insta::assert_snapshot!("help_group", help(&["group"]));
}

#[test]
fn nonsense_is_refused_with_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for (words, said) in [
        (&["send"][..], "required"),
        (&["dance"], "unrecognized subcommand"),
        (&["chat", "@b"], "2 to 32 characters"),
        (&["history", "@bob", "--limit", "0"], "1..=5000"),
        (&["history", "@bob", "--limit", "5001"], "1..=5000"),
        (&["send", "@bob", "hi", "--timeout", "soon"], "a number of seconds"),
        (&["sign-up", "--server", "http://localhost", "--handle", "admin"], "reserved"),
        (&["group", "create", "@name", "@bob"], "not starting with @"),
        (&["group", "create", "us"], "required"),
        (&["status", "--log", "sotto=loud"], "--log"),
    ] {
        let output = run(sotto(folder.path()).args(words), b"");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn a_server_address_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["localhost:8080", "ftp://localhost", "http://localhost/path", "http://a:b@localhost"] {
        let output =
            run(sotto(folder.path()).args(["sign-up", "--handle", "alice", "--server", address]), b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("expected an address such as"), "{}", stderr(&output));
    }
}

#[test]
fn a_profile_without_an_account_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["status"][..], &["listen"], &["send", "@bob", "hi"]] {
        let output = run(sotto(folder.path()).args(words), b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("sotto sign-up"), "{}", stderr(&output));
    }
    let output = run(sotto(folder.path()).args(["status", "--json"]), b"");
    let error: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("sign up first"));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and let go: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("http://127.0.0.1:{port}");
    let output = run(sotto(folder.path()).args(["sign-up", "--handle", "alice", "--server", &server]), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&server) && stderr(&output).contains("connection refused"));
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let profile = Profile::open(folder.path()).await.unwrap();
    let output = run(sotto(folder.path()).arg("status"), b"");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains(&format!("({})", std::process::id())), "{said}");
    assert!(matches!(Profile::open(folder.path()).await.unwrap_err(), ProfileError::InUse { .. }));
    drop(profile);
    Profile::open(folder.path()).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_profile_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/profile");
    let profile = Profile::open(&path).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in std::fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(profile);
}

/// A folder where not even root can make files.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let output = run(sotto(Path::new("/proc/sotto")).arg("status"), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the profile /proc/sotto cannot be used"), "{}", stderr(&output));

    // A kernel file system: nothing can be made in it.
    let output = run(sotto(Path::new("/proc/self")).arg("status"), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot be used"), "{}", stderr(&output));
}

#[tokio::test]
async fn a_profile_of_another_version_or_program_or_a_damaged_one_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(Profile::open(folder.path()).await.unwrap());
    let file = folder.path().join("profile.db");
    let refused = || {
        let before = std::fs::read(&file).unwrap();
        let output = run(sotto(folder.path()).arg("status"), b"");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(std::fs::read(&file).unwrap(), before);
        let said = stderr(&output);
        assert!(said.contains(&folder.path().display().to_string()), "{said}");
        said
    };
    let database = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&database).await.unwrap();
    database.close().await;
    let newer = refused();
    assert!(newer.contains("newer version of sotto (format 99") && newer.contains("update sotto"), "{newer}");
    let database = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::raw_sql("PRAGMA application_id = 7").execute(&database).await.unwrap();
    database.close().await;
    let foreign = refused();
    assert!(foreign.contains("belongs to another program"), "{foreign}");
    std::fs::write(&file, "not a database, but long enough to look at".repeat(100)).unwrap();
    let damaged = refused();
    assert!(damaged.contains("profile.db is damaged: restore it from a backup"), "{damaged}");
}

/// A file system mounted read-only, which stops even root.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_profile_on_a_read_only_disk_is_named() {
    let (used, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Profile::open(used.path()).await.unwrap());
    // All of it, or the database alone.
    let database =
        "cd \"$DISK\" && mount --bind profile.db profile.db && mount -o remount,bind,ro profile.db";
    for (last, expected) in [
        ("mount -o remount,ro \"$DISK\"", "cannot be used: Read-only file system"),
        (database, "cannot be used"),
    ] {
        let mounts = format!("mount -t tmpfs none \"$DISK\" && cp \"$BESIDE\"/* \"$DISK\" && {last}");
        let output = run(&mut status_mounted(&mounts, folder.path(), used.path()), b"");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(expected) && said.contains("--profile"), "{said}");
        assert!(said.contains(&folder.path().display().to_string()), "{said}");
    }
}

/// A limit on file sizes stands for a full disk: it needs no mounting.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_no_more_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    // Without the trap, the kernel would kill it.
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_sotto")).arg("--profile").arg(folder.path()).arg("status");
    let output = run(&mut command, b"");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("disk is full") || said.contains("does not take writes"), "{said}");
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
}

#[test]
fn the_profile_comes_from_the_flag_then_the_environment_then_the_home() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let run_with = |set: &[(&str, &Path)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sotto"));
        command.env_remove("SOTTO_PROFILE").env_remove("XDG_DATA_HOME").env("HOME", &home).arg("status");
        for (name, value) in set {
            command.env(name, value);
        }
        run(&mut command, b"")
    };
    run_with(&[]);
    assert!(home.join(".local/share/sotto/profile.db").exists());
    run_with(&[("XDG_DATA_HOME", &folder.path().join("data"))]);
    assert!(folder.path().join("data/sotto/profile.db").exists());
    run_with(&[("SOTTO_PROFILE", &folder.path().join("mine"))]);
    assert!(folder.path().join("mine/profile.db").exists());
}

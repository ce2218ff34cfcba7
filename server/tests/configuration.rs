//! Configuration layers, and that whatever makes no sense stops the program with the key, the value, its source and what
//! is allowed: with the real binary.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use sotto_server::config::keys;
use sotto_server::config::{Config, DEFAULT_TOML, Settings, SignUp};

fn sotto_server(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto-server"));
    command.args(arguments);
    for (name, _) in std::env::vars() {
        if name.starts_with("SOTTO_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The error text, its white space as single blanks.
fn refused(output: &Output) -> String {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(stdout(output), "");
    error.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sotto.toml");
    std::fs::write(&path, text).unwrap();
    let name = path.to_str().unwrap().to_owned();
    (folder, name)
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let (_folder, path) = file("listen = '127.0.0.1:1'\nsign_up = 'invite'\n[log]\nformat = 'json'\n");
    let environment = [("SOTTO_LISTEN", "127.0.0.1:2"), ("SOTTO_LOG_FORMAT", "text")];
    let output = sotto_server(&["config", "--config", &path, "--listen", "127.0.0.1:3"], &environment);
    let shown = stdout(&output);
    assert!(shown.contains("listen = \"127.0.0.1:3\"  # the flag --listen\n"), "{shown}");
    assert!(shown.contains("format = \"text\"  # the environment variable SOTTO_LOG_FORMAT\n"), "{shown}");
    assert!(shown.contains(&format!("sign_up = \"invite\"  # {path}\n")), "{shown}");
    assert!(shown.contains("level = \"info\"  # the defaults\n"), "{shown}");
    assert!(shown.contains("# public_url is not set\n"), "{shown}");
}

#[test]
fn the_shown_configuration_is_a_configuration_file() {
    let lists =
        [("SOTTO_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1"), ("SOTTO_DATA_DIR", "a \"quoted\" folder")];
    let shown = stdout(&sotto_server(&["config"], &lists));
    let (_folder, path) = file(&shown);
    let again = stdout(&sotto_server(&["config", "--config", &path], &[]));
    let values = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split("  # ").next()).map(str::to_owned).collect()
    };
    assert_eq!(values(&again), values(&shown));
}

#[test]
fn the_printed_defaults_are_the_commented_file_and_name_every_key() {
    let printed = stdout(&sotto_server(&["config", "--default"], &[]));
    assert_eq!(printed, DEFAULT_TOML);
    let mut table = String::new();
    let mut named = Vec::new();
    for line in printed.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        }
        let line = line.trim_start_matches("# ");
        if let Some((name, _)) = line.split_once(" = ") {
            named.push(format!("{table}{name}"));
        }
    }
    let known: Vec<&str> = keys::ALL.iter().map(|key| key.name).collect();
    assert_eq!(named, known);
}

#[test]
fn every_key_has_a_bad_value_that_is_refused_from_every_layer() {
    let bad = [
        ("listen", "localhost"),
        ("listen", "127.0.0.1:65536"),
        ("data_dir", ""),
        ("public_url", "chat.example.org"),
        ("public_url", "https://chat.example.org/sotto"),
        ("sign_up", "closed"),
        ("cors_origins", "*"),
        ("trusted_proxies", "10.0.0.0/33"),
        ("ice_servers", "https://stun.example.org"),
        ("metrics_from", "everybody"),
        ("max_connections", "0"),
        ("max_connections", "many"),
        ("tls.certificate", "only-this.pem"),
        ("tls.key", "only-this.pem"),
        ("log.format", "xml"),
        ("log.level", "loud"),
        ("log.level", "sotto_relay="),
        ("retention.max_age", "1s"),
        ("retention.max_age", "90"),
        ("retention.max_bytes", "1KiB"),
        ("drain.timeout", "0s"),
        ("drain.timeout", "2h"),
    ];
    for key in keys::ALL {
        assert!(bad.iter().any(|(name, _)| *name == key.name), "no bad value for {}", key.name);
    }
    for (name, value) in bad {
        let key = keys::Key::named(name).unwrap();
        let written = if key.list { format!("['{value}']") } else { format!("'{value}'") };
        let (_folder, path) = file(&format!("{name} = {written}\n"));
        let from_file = refused(&sotto_server(&["config", "--config", &path], &[]));
        let from_variable = refused(&sotto_server(&["config"], &[(&key.variable(), value)]));
        for (error, source) in [(from_file, path.as_str()), (from_variable, key.variable().as_str())] {
            for part in [name, value, source, "expected"] {
                assert!(error.contains(part), "{name} = {value:?}: {part:?} is not in: {error}");
            }
        }
    }
}

#[test]
fn a_bad_flag_names_the_flag() {
    let error = refused(&sotto_server(&["serve", "--sign-up", "everyone"], &[]));
    assert!(error.contains("sign_up = \"everyone\" (from the flag --sign-up)"), "{error}");
    assert!(error.contains("expected auto, open or invite"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    for text in [
        "listen = 8080",
        "listen = ['127.0.0.1:8080']",
        "cors_origins = 'https://a.example'",
        "log = 3",
        "[log]\nlevel = { a = 1 }",
    ] {
        let (_folder, path) = file(text);
        let error = refused(&sotto_server(&["config", "--config", &path], &[]));
        assert!(error.contains("expected") || error.contains("unknown key"), "{text}: {error}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let (_folder, path) = file("lisen = '127.0.0.1:8080'\n");
    let error = refused(&sotto_server(&["config", "--config", &path], &[]));
    assert!(error.contains("unknown key lisen = \"127.0.0.1:8080\""), "{error}");
    assert!(error.contains("did you mean listen?") && error.contains(&path), "{error}");

    let (_folder, path) = file("[logs]\nformat = 'json'\n");
    let error = refused(&sotto_server(&["config", "--config", &path], &[]));
    assert!(error.contains("unknown key logs"), "{error}");

    let error = refused(&sotto_server(&["config"], &[("SOTTO_SIGNUP", "open")]));
    assert!(error.contains("SOTTO_SIGNUP") && error.contains("did you mean SOTTO_SIGN_UP?"), "{error}");

    let error = refused(&sotto_server(&["config"], &[("SOTTO_FLUX_CAPACITOR", "on")]));
    assert!(error.contains("expected one of SOTTO_LISTEN,"), "{error}");
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    let environment =
        [("SOTTO_PROFILE", "/p"), ("SOTTO_SIM_HISTORIES", "10"), ("SOTTO_PORT", "tcp://10.0.0.1:80")];
    assert!(sotto_server(&["config"], &environment).status.success());
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let error = refused(&sotto_server(&["config", "--config", "/nowhere/sotto.toml"], &[]));
    assert!(error.contains("/nowhere/sotto.toml") && error.contains("--config"), "{error}");
    let (_folder, path) = file("listen = \n");
    let error = refused(&sotto_server(&["config", "--config", &path], &[]));
    assert!(error.contains(&path) && error.contains("line 1"), "{error}");
}

#[test]
fn sign_up_is_open_by_itself_only_while_nobody_else_can_reach_the_server() {
    let policy = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::parse(&Settings::collect(None, environment, Vec::new()).unwrap()).unwrap();
        (config.sign_up, format!("{:?}", config.sign_up_policy()))
    };
    assert_eq!(policy(&[]), (SignUp::Auto, "Open".to_owned()));
    assert_eq!(policy(&[("SOTTO_LISTEN", "[::1]:80")]).1, "Open");
    assert_eq!(policy(&[("SOTTO_LISTEN", "0.0.0.0:80")]).1, "Invite");
    assert_eq!(policy(&[("SOTTO_PUBLIC_URL", "https://chat.example.org")]).1, "Invite");
    assert_eq!(policy(&[("SOTTO_TRUSTED_PROXIES", "127.0.0.1")]).1, "Invite");
    assert_eq!(policy(&[("SOTTO_LISTEN", "0.0.0.0:80"), ("SOTTO_SIGN_UP", "open")]).1, "Open");
}

#[test]
fn help_shows_every_command_and_how_to_start() {
    let help = stdout(&sotto_server(&["--help"], &[]));
    for word in
        ["serve", "invite", "account", "openapi", "config", "--data-dir", "--listen", "Exit status", "SOTTO_"]
    {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
    for command in ["serve", "invite", "account", "openapi", "config"] {
        assert!(sotto_server(&[command, "--help"], &[]).status.success());
    }
}

//! What holds for the repository as a whole: its documents name files that exist, and its cores own no clock.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The paths that a document names: in backquotes or as a link's target, with a folder or a known ending.
fn named_paths(markdown: &str) -> Vec<String> {
    let quoted = markdown.split('`').skip(1).step_by(2);
    let linked = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let endings = [".rs", ".md", ".toml", ".json", ".sql"];
    quoted
        .chain(linked)
        .filter(|name| !name.contains(|c: char| c.is_whitespace() || "<>*{}@:#$~|".contains(c)))
        .filter(|name| !name.starts_with(['/', '-', '.']))
        .filter(|name| {
            endings.iter().any(|ending| name.ends_with(ending)) || root().join(first_folder(name)).is_dir()
        })
        .map(str::to_owned)
        .collect()
}

fn first_folder(name: &str) -> &str {
    match name.split_once('/') {
        Some((folder, _)) => folder,
        None => "\0",
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut missing = Vec::new();
    let mut seen = 0;
    for document in ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for name in named_paths(&text) {
            seen += 1;
            if !root().join(&name).exists() {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(seen > 30, "only {seen} names found: the test reads the documents wrongly");
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

#[test]
fn every_crate_and_folder_of_the_workspace_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(map.contains(&format!("`{member}/")), "{member} is not in ARCHITECTURE.md");
    }
}

/// `protocol` and `peer-core` have clippy.toml for this; the relay's core is a folder of a crate that has drivers too.
#[test]
fn the_cores_own_no_clock_no_socket_and_no_randomness() {
    let forbidden = [
        "Instant::now",
        "SystemTime",
        "tokio::",
        "std::net",
        "std::fs",
        "std::thread",
        "thread_rng",
        "rand::rng",
        "SystemRandom",
        "OsRng",
        "async fn",
    ];
    let mut found = Vec::new();
    for folder in ["protocol/src", "mls/src", "peer-core/src", "relay/src/log"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for word in forbidden.iter().filter(|word| line.contains(*word)) {
                    found.push(format!("{}:{}: {word}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "time, randomness and IO are arguments in a core:\n{}", found.join("\n"));
}

#[test]
fn the_libraries_depend_on_each_other_in_one_direction() {
    let below: [(&str, &[&str]); 4] = [
        (
            "protocol",
            &["sotto-peer-core", "sotto-relay", "sotto-signaling", "sotto-server", "sotto-peer-client"],
        ),
        ("peer-core", &["sotto-relay", "sotto-signaling", "sotto-server", "sotto-peer-client"]),
        ("signaling", &["sotto-relay", "sotto-server", "sotto-peer-client", "sotto-peer-core"]),
        ("relay", &["sotto-signaling", "sotto-server", "sotto-peer-client", "sotto-peer-core"]),
    ];
    for (crate_name, forbidden) in below {
        let manifest = fs::read_to_string(root().join(crate_name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for name in forbidden {
            assert!(!dependencies.contains(&format!("\n{name}")), "{crate_name} must not depend on {name}");
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

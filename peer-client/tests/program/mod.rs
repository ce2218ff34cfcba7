//! Runs the program `sotto` in a profile of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with a profile, in a known environment.
pub fn sotto(profile: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto"));
    command.env_remove("SOTTO_PROFILE").env_remove("SOTTO_LOG").env_remove("SOTTO_DEBUG_FAULTS");
    command.arg("--profile").arg(profile);
    command
}

/// `sotto status` after `mounts`, shell commands in which `$DISK` is the profile and `$BESIDE` another folder.
#[allow(dead_code, reason = "each test binary uses a part")]
pub fn status_mounted(mounts: &str, profile: &Path, beside: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/with-mounts"));
    command.args([mounts, env!("CARGO_BIN_EXE_sotto"), "status", "--profile"]).arg(profile);
    command.env("DISK", profile).env("BESIDE", beside);
    command
}

/// Runs it to its end with this input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside it: who writes all before reading anything can wait for ever.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

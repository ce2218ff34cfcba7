//! A server on a file system of a test's own.

use std::path::Path;
use std::process::Command;

/// `sotto-server serve` after `mounts`, shell commands in which `$DISK` is the data folder and `$BESIDE` another one.
pub fn serve_mounted(mounts: &str, data_dir: &Path, beside: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/with-mounts"));
    command.args([
        mounts,
        env!("CARGO_BIN_EXE_sotto-server"),
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    command.arg(data_dir);
    super::alone(&mut command);
    command.env("DISK", data_dir).env("BESIDE", beside);
    command
}

//! `sotto-server`, which can be killed and comes back at the same address.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::program;

/// A running server, or a killed one.
pub struct Server {
    pub url: String,
    data_dir: PathBuf,
    child: Child,
}

impl Server {
    /// On a free port of loopback.
    pub fn start(data_dir: &Path) -> Self {
        std::fs::create_dir_all(data_dir).unwrap();
        let (child, url) = Self::spawn(data_dir, "127.0.0.1:0");
        Self { url, data_dir: data_dir.to_owned(), child }
    }

    fn spawn(data_dir: &Path, listen: &str) -> (Child, String) {
        let log =
            std::fs::File::options().create(true).append(true).open(data_dir.with_extension("log")).unwrap();
        let mut child = program("sotto-server")
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let Some(url) = first.trim().strip_prefix("listening on ") else {
            panic!("the server said {first:?}, and in its log:\n{}", Self::log_in(data_dir));
        };
        (child, url.to_owned())
    }

    fn log_in(data_dir: &Path) -> String {
        std::fs::read_to_string(data_dir.with_extension("log")).unwrap_or_default()
    }

    /// SIGKILL: no flush, no farewell.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// At the same address, with the same data.
    pub fn restart(&mut self) {
        let listen = self.url.split_once("://").unwrap().1.to_owned();
        self.child = Self::spawn(&self.data_dir, &listen).0;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = Self::log_in(&self.data_dir);
        // A server that panicked fails the test, whatever else was seen.
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("-- the server's log, newest first --\n{}", tail.join("\n"));
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

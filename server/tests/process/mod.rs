//! A real `sotto-server` process, and a client that is small enough to trust.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod mount;
pub mod person;
pub mod sockets;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far more than anything here takes: it only ends what hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, without this process's own settings.
pub fn sotto_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto-server"));
    command.args(arguments);
    alone(&mut command);
    command
}

/// Runs without input and without this process's own settings.
fn alone(command: &mut Command) {
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOTTO_")) {
        command.env_remove(name);
    }
}

/// One that serves a data folder on a free port of loopback.
pub fn serve(data_dir: &Path, more: &[&str]) -> Command {
    let mut command = sotto_server(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(data_dir).args(more);
    command
}

/// Runs a command to its end; returns standard output if it succeeded.
pub fn succeed(arguments: &[&str]) -> String {
    let output = sotto_server(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail; returns what it says, white space as single blanks.
pub fn fail(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
    errors(&output)
}

pub fn errors(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server on a free port of loopback. Killed when dropped.
pub struct Running {
    child: Child,
    pub url: String,
    log: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    pub fn start(data_dir: &Path, more: &[&str]) -> Self {
        Self::spawn(serve(data_dir, more))
    }

    /// Starts it and waits for the line that says where it listens.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let Some(url) = first.trim().strip_prefix("listening on ") else {
            let said: Vec<String> = log.iter().collect();
            panic!("the server did not start: {first:?}\n{}", said.join("\n"));
        };
        Self { url: url.to_owned(), child, log, seen: String::new() }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// Everything it has logged so far.
    pub fn log(&mut self) -> &str {
        while let Ok(line) = self.log.try_recv() {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        &self.seen
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.authority(), "GET", path, headers, "")
    }

    pub fn head(&self, path: &str) -> Answer {
        request(self.authority(), "HEAD", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &impl serde::Serialize) -> Answer {
        let headers = [("Content-Type", "application/json")];
        request(self.authority(), "POST", path, &headers, &serde_json::to_string(body).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn request(authority: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

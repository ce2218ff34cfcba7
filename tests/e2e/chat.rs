//! `sotto chat` as people use it, with real processes: what it says at its end is true.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Server, eventually, program};

/// A process whose words are gathered; killed when dropped.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let readers =
            vec![gather(child.stdout.take().unwrap(), &said), gather(child.stderr.take().unwrap(), &said)];
        Self { stdin: child.stdin.take(), child, said, readers }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it says this.
    fn says(&self, words: &str) {
        eventually(words, || self.said().contains(words), || self.said());
    }

    /// Asks until the answer has this.
    fn answers(&mut self, question: &str, words: &str) {
        while !self.said().contains(words) {
            self.types(question);
            // Whatever it answers, it answers something.
            let before = self.said();
            eventually(question, || self.said() != before, || self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ctrl-D; what it ended with.
    fn ends(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status.code(), self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(stream: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            *said.lock().unwrap() += &format!("{line}\n");
        }
    })
}

fn sotto(profile: &Path, arguments: &[&str]) -> Command {
    let mut command = program("sotto");
    command.arg("--profile").arg(profile).args(arguments);
    command
}

#[test]
fn what_the_other_side_has_is_not_said_to_be_in_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(&folder.join("server"));
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    for (profile, handle) in [(&alice, "alice"), (&bob, "bob")] {
        let output =
            sotto(profile, &["sign-up", "--server", &server.url, "--handle", handle]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let mut bob = Process::spawn(sotto(&bob, &["chat", "@alice"]));
    let mut alice = Process::spawn(sotto(&alice, &["chat", "@bob"]));
    alice.types("hello");
    bob.says("hello");
    bob.types("hi");
    alice.says("hi");
    alice.answers("/status", "direct");
    drop(server);
    alice.says("not connected");
    alice.types("without the server");
    bob.says("without the server");
    let (code, said) = alice.ends();
    assert!(said.contains("delivered directly; the server gets it with the next run"), "{said}");
    assert!(!said.contains("outbox, and"), "{said}");
    assert_eq!(said.matches("· not connected").count(), 1, "two sockets are one server: {said}");
    assert_eq!(code, Some(0), "{said}");
    // Who has sent nothing has nothing to wait for.
    let (code, said) = bob.ends();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_profile_is_set_and_shown_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start(&folder.join("server"));
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let run = |profile: &Path, arguments: &[&str]| {
        let output = sotto(profile, arguments).output().unwrap();
        let words = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        (output.status.code(), words(&output.stdout), words(&output.stderr))
    };
    for (profile, handle) in [(&alice, "alice"), (&bob, "bob")] {
        let (code, _, said) = run(profile, &["sign-up", "--server", &server.url, "--handle", handle]);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, ..) = run(&bob, &["profile", "set", "--name", "@Bob B.", "--status", "here"]);
    assert_eq!(code, Some(0));
    let (code, shown, said) = run(&alice, &["profile", "show", "@bob"]);
    assert_eq!((code, shown.as_str()), (Some(0), "@bob\nname    Bob B.\nstatus  here\n"), "{said}");
    let (_, shown, _) = run(&bob, &["--json", "profile", "set", "--status", ""]);
    assert_eq!(shown, "{\"display_name\":\"Bob B.\",\"handle\":\"bob\"}\n");

    let picture = folder.join("picture");
    std::fs::write(&picture, vec![0; 100_000]).unwrap();
    let (code, _, said) = run(&bob, &["profile", "set", "--avatar", picture.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("avatar: expected PNG, JPEG or WebP of at most 24576 bytes"), "{said}");
    assert_eq!(run(&bob, &["profile", "set"]).0, Some(2));
    assert_eq!(run(&alice, &["profile", "show", "@nobody"]).0, Some(1));
}

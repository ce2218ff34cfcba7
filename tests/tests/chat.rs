//! `sotto chat` as people use it, with real processes: what it says at its end is true.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Far more than anything here takes: it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program of this workspace, built beside this test, without the settings of whoever runs the test.
fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not there: cargo build -p sotto-server -p sotto-peer-client",
        path.display()
    );
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOTTO_")) {
        command.env_remove(name);
    }
    command
}

/// A process whose words are gathered; killed when dropped.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
}

impl Process {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        gather(child.stdout.take().unwrap(), &said);
        gather(child.stderr.take().unwrap(), &said);
        Self { stdin: child.stdin.take(), child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn types(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it says this, and reminds it now and then.
    fn says(&mut self, words: &str, remind: Option<&str>) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            assert!(Instant::now() < deadline, "never {words:?}:\n{}", self.said());
            if let Some(line) = remind {
                self.types(line);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ctrl-D; what it ended with.
    fn ends(mut self) -> (Option<i32>, String) {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        // The last words are gathered a moment later.
        std::thread::sleep(Duration::from_millis(200));
        (status.code(), self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(stream: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            *said.lock().unwrap() += &format!("{line}\n");
        }
    });
}

fn sotto(profile: &Path, arguments: &[&str]) -> Command {
    let mut command = program("sotto");
    command.arg("--profile").arg(profile).args(arguments);
    command
}

#[test]
fn what_the_other_side_has_is_not_said_to_be_in_the_outbox() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chat-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = program("sotto-server");
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("server"));
    let mut server = Process::spawn(command);
    server.says("listening on ", None);
    let said = server.said();
    let url = said.lines().find_map(|line| line.strip_prefix("listening on ")).unwrap();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    for (profile, handle) in [(&alice, "alice"), (&bob, "bob")] {
        let output = sotto(profile, &["sign-up", "--server", url, "--handle", handle]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let mut bob = Process::spawn(sotto(&bob, &["chat", "@alice"]));
    let mut alice = Process::spawn(sotto(&alice, &["chat", "@bob"]));
    alice.types("hello");
    bob.says("hello", None);
    bob.types("hi");
    alice.says("hi", None);
    alice.says("direct", Some("/status"));
    drop(server);
    alice.says("not connected", None);
    alice.types("without the server");
    bob.says("without the server", None);
    let (code, said) = alice.ends();
    assert!(said.contains("delivered directly; the server gets it with the next run"), "{said}");
    assert!(!said.contains("outbox, and"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    // Who has sent nothing has nothing to wait for.
    let (code, said) = bob.ends();
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

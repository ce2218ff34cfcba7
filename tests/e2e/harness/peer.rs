//! `sotto rpc`, a process that can be killed and started again in its profile.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, Server, eventually, program};

/// What a peer's process has written.
#[derive(Default)]
pub struct Seen {
    answers: HashMap<u64, Value>,
    /// `message` notifications, of all lives of the process.
    messages: Vec<Value>,
    /// Notifications of other kinds, of all lives.
    others: Vec<(String, Value)>,
    ended: bool,
}

impl Seen {
    /// The texts of the `message` notifications so far.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().filter_map(|message| message["text"].as_str())
    }

    /// What was last notified of a conversation.
    pub fn conversation(&self) -> &Value {
        self.notified("conversation").last().unwrap_or(&Value::Null)
    }

    /// The notifications of a kind, but for `message`.
    pub fn notified<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Value> {
        self.others.iter().filter(move |(name, _)| name == method).map(|(_, params)| params)
    }

    fn tail(&self) -> String {
        let last = self.others.iter().rev().take(30).rev();
        last.map(|(method, params)| format!("{method} {params}")).collect::<Vec<_>>().join("\n")
    }

    /// The ids of the `message` notifications so far.
    pub fn ids(&self) -> Vec<String> {
        self.messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
    }
}

type Shared = Arc<(Mutex<Seen>, Condvar)>;

/// A peer in a process of its own.
pub struct Peer {
    pub name: String,
    /// What `send`, `history` and the judge are about.
    pub conversation: String,
    profile: PathBuf,
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    seen: Shared,
    last_id: AtomicU64,
    /// What `send` was answered for, in that order.
    pub accepted: Mutex<Vec<String>>,
    /// What `send` was called for and not answered: it may be there or not.
    pub unanswered: Mutex<Vec<String>>,
}

impl Peer {
    pub fn sign_up(profile: &Path, name: &str, server: &Server) -> Self {
        let seen = Shared::default();
        let (child, stdin) = spawn(profile, &seen);
        let peer = Self {
            name: name.to_owned(),
            conversation: String::new(),
            profile: profile.to_owned(),
            child: Mutex::new(child),
            stdin: Mutex::new(Some(stdin)),
            seen,
            last_id: AtomicU64::new(0),
            accepted: Mutex::default(),
            unanswered: Mutex::default(),
        };
        peer.call("sign_up", json!({ "server": server.url, "handle": name }));
        peer
    }

    /// Writes a request; its answer is for `answer`.
    pub fn request(&self, method: &str, params: Value) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let line = format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.stdin.lock().unwrap().as_mut().expect("it runs").write_all(line.as_bytes()).unwrap();
        id
    }

    /// Waits for the answer to a request.
    pub fn answer(&self, id: u64) -> Value {
        let mut answer = None;
        self.heard("an answer", |seen| {
            answer = seen.answers.get(&id).cloned();
            answer.is_some()
        });
        answer.unwrap()
    }

    /// A request and its result, which must not be an error.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(self.request(method, params));
        assert!(answer.get("error").is_none(), "{}: {method}: {answer}", self.name);
        answer["result"].clone()
    }

    /// Waits until what was written is so.
    pub fn heard(&self, what: &str, mut holds: impl FnMut(&Seen) -> bool) {
        let (seen, changed) = &*self.seen;
        let deadline = Instant::now() + PATIENCE;
        let mut seen = seen.lock().unwrap();
        while !holds(&seen) {
            assert!(!seen.ended, "{}'s process ended, no {what}; last:\n{}", self.name, seen.tail());
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} never: {what}; last:\n{}", self.name, seen.tail());
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Sends a text, and waits until it is accepted.
    pub fn send(&self, text: &str) {
        self.call("send", json!({ "conversation": self.conversation, "text": text }));
        self.accepted.lock().unwrap().push(text.to_owned());
    }

    /// Sends many texts without waiting between them; then until all are accepted.
    pub fn burst(&self, texts: impl IntoIterator<Item = String>) {
        let requests: Vec<(u64, String)> = texts
            .into_iter()
            .map(|text| {
                let params = json!({ "conversation": self.conversation, "text": text });
                (self.request("send", params), text)
            })
            .collect();
        for (id, text) in requests {
            let answer = self.answer(id);
            assert!(answer.get("error").is_none(), "{}: {answer}", self.name);
            self.accepted.lock().unwrap().push(text);
        }
    }

    /// Everything displayed, in its order.
    pub fn history(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut params = json!({ "conversation": self.conversation, "limit": 5000 });
            if let Some(first) = all.first() {
                params["before"] = first["id"].clone();
            }
            let result = self.call("history", params);
            let page = result["messages"].as_array().unwrap();
            if page.is_empty() {
                return all;
            }
            all.splice(0..0, page.iter().cloned());
        }
    }

    pub fn status(&self) -> Value {
        self.call("status", json!({}))
    }

    /// How many devices are linked directly, by `status`.
    pub fn direct_links(&self) -> usize {
        let status = self.status();
        let links = status["links"].as_array().unwrap();
        links.iter().filter(|link| link["path"] == "direct" && link["state"] == "valid").count()
    }

    pub fn wait_until_direct(&self, links: usize) {
        let what = format!("{} is linked directly to {links}", self.name);
        eventually(&what, || self.direct_links() == links, || self.status().to_string());
    }

    /// Cuts all links, or heals them.
    pub fn cut(&self, on: bool) {
        self.call("debug.cut", json!({ "on": on }));
    }

    /// SIGKILL, and its last words are read.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.stdin.lock().unwrap().take();
        let (seen, changed) = &*self.seen;
        drop(changed.wait_while(seen.lock().unwrap(), |seen| !seen.ended).unwrap());
    }

    /// Closes its input; it flushes and ends by itself.
    pub fn stop(&self) {
        self.stdin.lock().unwrap().take();
        let status = self.child.lock().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(0), "{} at the end of its input", self.name);
    }

    /// A new process in the same profile.
    pub fn restart(&self) {
        self.seen.0.lock().unwrap().ended = false;
        let (child, stdin) = spawn(&self.profile, &self.seen);
        *self.child.lock().unwrap() = child;
        *self.stdin.lock().unwrap() = Some(stdin);
    }

    /// The numbers of the notifications that are kept are replayed whole: what a killed program missed.
    pub fn replay(&self) {
        self.seen.0.lock().unwrap().messages.clear();
        self.call("events.replay", json!({ "after": 0 }));
    }

    /// The ids of all `message` notifications.
    pub fn notified(&self) -> Vec<String> {
        self.seen.0.lock().unwrap().ids()
    }
}

fn spawn(profile: &Path, seen: &Shared) -> (Child, ChildStdin) {
    std::fs::create_dir_all(profile).unwrap();
    let log = std::fs::File::options().create(true).append(true).open(profile.with_extension("log")).unwrap();
    let mut child = program("sotto")
        .arg("--profile")
        .arg(profile)
        .arg("rpc")
        .env("SOTTO_DEBUG_FAULTS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let shared = Arc::clone(seen);
    std::thread::spawn(move || {
        let (seen, changed) = &*shared;
        for line in stdout.lines().map_while(Result::ok) {
            // The last line of a killed process may be half a line.
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            // A test that failed meanwhile wants nothing more.
            let Ok(mut seen) = seen.lock() else { return };
            match (value["id"].as_u64(), value["method"].as_str()) {
                (Some(id), None) => drop(seen.answers.insert(id, value)),
                (_, Some("message")) => seen.messages.push(value["params"].clone()),
                (_, Some(method)) => seen.others.push((method.to_owned(), value["params"].clone())),
                _ => {}
            }
            changed.notify_all();
        }
        let Ok(mut seen) = seen.lock() else { return };
        seen.ended = true;
        changed.notify_all();
    });
    (child, stdin)
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        let log = std::fs::read_to_string(self.profile.with_extension("log")).unwrap_or_default();
        if std::thread::panicking() {
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("-- {}'s log, newest first --\n{}", self.name, tail.join("\n"));
        } else {
            assert!(!log.contains("panicked at"), "{} panicked:\n{log}", self.name);
        }
    }
}

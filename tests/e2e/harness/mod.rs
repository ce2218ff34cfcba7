//! Real programs: a server, peers that are driven over JSON-RPC, and what must hold of what they show.

mod judge;
mod peer;
mod server;

pub use judge::{judge, texts_shown};
pub use peer::{Peer, Seen};
pub use server::Server;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Far more than anything here takes: it only ends what hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A program of this workspace, built beside this test, without the settings of whoever runs the test.
pub fn program(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows where it is");
    let path: PathBuf = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join(name);
    assert!(
        path.exists(),
        "{} is not there: cargo build -p sotto-server -p sotto-peer-client (make test does it)",
        path.display()
    );
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOTTO_")) {
        command.env_remove(name);
    }
    command
}

/// Waits until a condition holds; what `seen` says is in the error.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool, mut seen: impl FnMut() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}\n{}", seen());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A server and peers, all signed up, and one conversation of all that everybody has accepted.
pub struct Setup {
    pub server: Server,
    pub peers: Vec<Peer>,
    pub conversation: String,
    // Last: the folder goes when the processes have.
    folder: tempfile::TempDir,
}

impl Setup {
    /// Signed up, and no conversation yet.
    pub fn signed_up(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(&folder.path().join("server"));
        let peers = names.iter().map(|name| Peer::sign_up(&folder.path().join(name), name, &server));
        Self { peers: peers.collect(), server, conversation: String::new(), folder }
    }

    /// The conversation that the judge is about.
    pub fn set_conversation(&mut self, conversation: &Value) {
        self.conversation = conversation.as_str().expect("an id").to_owned();
        for peer in &mut self.peers {
            peer.conversation.clone_from(&self.conversation);
        }
    }

    /// One has written "hello" to another, who has not answered.
    pub fn requested(from: &str, to: &str) -> Self {
        let mut setup = Self::signed_up(&[from, to]);
        let begun = setup.peers[0].call("direct", json!({ "handle": to }));
        setup.set_conversation(&begun["conversation"]);
        setup.peers[0].send("hello");
        setup.peers[1].heard("the request", |seen| seen.texts().any(|text| text == "hello"));
        setup
    }

    /// A direct conversation for two names, a group for more; accepted.
    pub fn new(names: &[&str]) -> Self {
        let setup = match names {
            [from, to] => Self::requested(from, to),
            _ => {
                let mut setup = Self::signed_up(names);
                let params = json!({ "name": "all", "members": names });
                let begun = setup.peers[0].call("group.create", params);
                setup.set_conversation(&begun["conversation"]);
                setup.peers[0].send("hello");
                setup
            }
        };
        for peer in &setup.peers[1..] {
            peer.heard("the request", |seen| seen.texts().any(|text| text == "hello"));
            peer.call("accept", json!({ "conversation": setup.conversation }));
        }
        setup
    }

    /// Somebody who is signed up and no member.
    pub fn stranger(&self, name: &str) -> Peer {
        let mut peer = Peer::sign_up(&self.folder.path().join(name), name, &self.server);
        peer.conversation.clone_from(&self.conversation);
        peer
    }

    /// The same, once each is linked to each, directly.
    pub fn linked(names: &[&str]) -> Self {
        let setup = Self::new(names);
        setup.wait_until_linked();
        setup
    }

    /// `status` of each says `direct` for each other.
    pub fn wait_until_linked(&self) {
        for peer in &self.peers {
            peer.wait_until_direct(self.peers.len() - 1);
        }
    }

    /// Everything of everybody is shown, once, in order, and the same everywhere.
    pub fn judge(&self) {
        judge(&self.peers.iter().collect::<Vec<_>>());
    }
}

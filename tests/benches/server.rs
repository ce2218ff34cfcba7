//! The server as a process of its own: this very program, started again, runs `sotto_server` as `sotto-server` does.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use sotto_server::config::{self, Config, Settings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Tells this program that it is the child, and which one.
const CHILD: &str = "BENCH_CHILD";

/// Ends only what hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder for databases, beside the build: `/tmp` may be no disk.
pub fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Which program to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `sotto-server`.
    Sotto,
    /// A bare axum WebSocket with the buffers that ours have.
    Bare,
}

/// A running server. Killed when dropped.
pub struct ServerProcess {
    child: Child,
    pub url: String,
    pub address: SocketAddr,
}

impl ServerProcess {
    /// Starts it on a free port of loopback, and waits until it listens.
    pub fn start(program: Program, data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SOTTO_")) {
            command.env_remove(name);
        }
        let mut child = command
            .env(CHILD, format!("{program:?}"))
            .env("SOTTO_DATA_DIR", data)
            .env("SOTTO_SIGN_UP", "open")
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = |what: &str| {
            let line =
                lines.next().unwrap_or_else(|| panic!("the server ended before it said {what}")).unwrap();
            line.strip_prefix(what).unwrap_or_else(|| panic!("{line:?}: expected {what:?}")).to_owned()
        };
        let address = next("address ").parse().unwrap();
        let url = next("listening on ");
        Self { child, url, address }
    }

    /// Bytes of memory that the process has.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// CPU time that the process has taken.
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string())
    }

    /// A number of `/metrics`.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = request(self.address, "GET", "/metrics", "", "").await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time that this process has taken.
pub fn own_cpu() -> Duration {
    cpu_of("self")
}

/// User and system time of a process, in ticks of 10 ms (proc(5)).
fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Counted after the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// A request, plainly; the answer's body. `headers` are whole lines.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {answer}");
    body.to_owned()
}

/// Runs the server if this process was started as one.
pub fn child_main() -> Option<ExitCode> {
    let program = std::env::var(CHILD).ok()?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("address {}", listener.local_addr().unwrap());
        if program == format!("{:?}", Program::Sotto) {
            let settings = Settings::collect(None, config::environment(), Vec::new()).unwrap();
            let config = Config::parse(&settings).unwrap();
            let server = sotto_server::Server::start(config, listener).await.unwrap();
            sotto_server::announce(&server).unwrap();
            server.serve(parent_gone()).await.unwrap();
        } else {
            println!("listening on bare");
            tokio::select! {
                served = axum::serve(listener, bare()) => served.unwrap(),
                () = parent_gone() => {}
            }
        }
    });
    Some(ExitCode::SUCCESS)
}

async fn parent_gone() {
    let wait = || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// A WebSocket that waits for messages and does nothing with them.
fn bare() -> Router {
    const BUFFER: usize = 4 * 1024;
    let upgrade = |upgrade: WebSocketUpgrade| async move {
        let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    };
    Router::new().route("/v1/signal", get(upgrade))
}

/// Every socket is an open file, and the soft limit is often 1,024 where the hard one is far higher.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

//! A server on a loopback port with a clock of its own, and the plainest of HTTP clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sotto_protocol::UnixMillis;
use sotto_signaling::{Config, Rate, RateLimits, SignUpPolicy, Signaling, sqlite_options};
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const ORIGIN: &str = "https://chat.example";

/// Longer than anything takes on the slowest machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    pub address: SocketAddr,
    pub signaling: Signaling,
    ahead_ms: Arc<AtomicU64>,
    dir: Arc<TempDir>,
}

pub async fn pool(file: &Path) -> SqlitePool {
    SqlitePool::connect_with(sqlite_options(file)).await.unwrap()
}

/// Open to everybody, with limits that no test meets by accident.
pub fn config() -> Config {
    let ample = Rate { burst: 1_000_000, per_second: 1_000_000.0 };
    Config {
        origins: vec![ORIGIN.into()],
        sign_up: SignUpPolicy::Open,
        limits: RateLimits { requests: ample, sign_ups: ample, writes: ample, messages: ample },
        ..Config::default()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::on(Arc::new(TempDir::new().unwrap()), config).await
    }

    /// Another server on the same database.
    pub async fn beside(&self, config: Config) -> Self {
        Self::on(self.dir.clone(), config).await
    }

    async fn on(dir: Arc<TempDir>, config: Config) -> Self {
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let ahead = ahead_ms.clone();
        let clock = move || {
            let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
            UnixMillis(real + ahead.load(Ordering::SeqCst))
        };
        let config = Config { clock: Arc::new(clock), ..config };
        let signaling = Signaling::open(pool(&dir.path().join("signaling.db")).await, config).await.unwrap();
        Self { address: serve(&signaling).await, signaling, ahead_ms, dir }
    }

    /// One whose storage is the caller's business.
    pub async fn serving(signaling: Signaling) -> Self {
        let dir = Arc::new(TempDir::new().unwrap());
        Self { address: serve(&signaling).await, signaling, ahead_ms: Arc::default(), dir }
    }
    pub fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("signaling.db")
    }

    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.request("GET", path, token, None).await
    }

    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> Answer {
        self.request("POST", path, None, Some(serde_json::to_string(body).unwrap())).await
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<String>,
    ) -> Answer {
        let mut headers = String::new();
        if let Some(token) = token {
            headers += &format!("authorization: Bearer {token}\r\n");
        }
        if body.is_some() {
            headers += "content-type: application/json\r\n";
        }
        self.raw(method, path, &headers, body.unwrap_or_default().as_bytes()).await
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&String::from_utf8(answer).unwrap())
    }
}

async fn serve(signaling: &Signaling) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = signaling.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn read<T: serde::de::DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// That this is the problem document of that kind, about that field if one is named.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, kind: &str, field: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:sotto:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["field"].as_str(), field, "{problem}");
    }
}

/// Waits until it is so.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

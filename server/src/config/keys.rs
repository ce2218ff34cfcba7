//! Every key that a configuration may have, with the words that say what is allowed.

/// A key, and what may stand behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name, with its table: `log.format`.
    pub name: &'static str,
    /// What is allowed, as the end of "expected …".
    pub allowed: &'static str,
    /// Whether it is a list.
    pub list: bool,
}

const fn one(name: &'static str, allowed: &'static str) -> Key {
    Key { name, allowed, list: false }
}

const fn list(name: &'static str, allowed: &'static str) -> Key {
    Key { name, allowed, list: true }
}

/// Where to listen.
pub const LISTEN: Key =
    one("listen", "ADDRESS:PORT with a numeric address, such as 127.0.0.1:8080 or [::]:8080");
/// Where the databases are.
pub const DATA_DIR: Key = one("data_dir", "the path of a folder");
/// The server's own origin.
pub const PUBLIC_URL: Key = one("public_url", "http://HOST[:PORT] or https://HOST[:PORT], without a path");
/// Who may sign up.
pub const SIGN_UP: Key = one("sign_up", "auto, open or invite");
/// Origins of other web pages.
pub const CORS_ORIGINS: Key =
    list("cors_origins", "a list of http://HOST[:PORT] or https://HOST[:PORT], without paths");
/// Reverse proxies.
pub const TRUSTED_PROXIES: Key =
    list("trusted_proxies", "a list of addresses or networks, such as 127.0.0.1 or 10.0.0.0/8");
/// STUN and TURN servers.
pub const ICE_SERVERS: Key =
    list("ice_servers", "a list of stun:HOST[:PORT], stuns:…, turn:… or turns:… URLs");
/// Readers of `/metrics`.
pub const METRICS_FROM: Key =
    list("metrics_from", "a list of addresses or networks, such as 127.0.0.0/8 or ::1; empty for nobody");
/// Connections at a time.
pub const MAX_CONNECTIONS: Key = one("max_connections", "a whole number from 1 to 1000000");
/// The certificate chain.
pub const TLS_CERTIFICATE: Key = one("tls.certificate", "the path of a PEM file, together with tls.key");
/// The private key.
pub const TLS_KEY: Key = one("tls.key", "the path of a PEM file, together with tls.certificate");
/// How logs look.
pub const LOG_FORMAT: Key = one("log.format", "text or json");
/// What is logged.
pub const LOG_LEVEL: Key =
    one("log.level", "error, warn, info, debug or trace, or by part such as info,sotto_relay=debug");
/// Age of log entries.
pub const RETENTION_MAX_AGE: Key = one("retention.max_age", "a time of at least 1h, such as 90d, or off");
/// Bytes a conversation.
pub const RETENTION_MAX_BYTES: Key =
    one("retention.max_bytes", "a size of at least 1MiB, such as 1GiB, or off");
/// Patience with connections.
pub const DRAIN_TIMEOUT: Key = one("drain.timeout", "a time from 1ms to 10m, such as 10s");

/// All keys, in the order of `config.default.toml`.
pub const ALL: [Key; 16] = [
    LISTEN,
    DATA_DIR,
    PUBLIC_URL,
    SIGN_UP,
    CORS_ORIGINS,
    TRUSTED_PROXIES,
    ICE_SERVERS,
    METRICS_FROM,
    MAX_CONNECTIONS,
    TLS_CERTIFICATE,
    TLS_KEY,
    LOG_FORMAT,
    LOG_LEVEL,
    RETENTION_MAX_AGE,
    RETENTION_MAX_BYTES,
    DRAIN_TIMEOUT,
];

impl Key {
    /// The key of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|key| key.name == name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("SOTTO_{}", self.name.to_ascii_uppercase().replace('.', "_"))
    }

    /// The key that somebody who wrote `name` may have meant.
    pub fn nearest(name: &str) -> Option<Self> {
        let leaf = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        ALL.into_iter()
            .map(|key| (distance(key.name, name).min(distance(&leaf(key.name), &leaf(name))), key))
            .filter(|(distance, key)| *distance <= key.name.len() / 3)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, key)| key)
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

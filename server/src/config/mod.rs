//! What the server is told: built-in defaults < a file < `SOTTO_*` variables < flags, parsed into values that cannot be
//! wrong. A bad one is refused with its key, the value, where it came from and what is allowed.

pub mod keys;
pub mod layers;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use sotto_protocol::rest::SignUpPolicy;

use self::keys::Key;
pub use self::layers::{ConfigError, DEFAULT_TOML, Flag, Raw, Settings, Source};
use crate::origin::Origin;
use crate::units;

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the databases are.
    pub data_dir: PathBuf,
    /// The origin that people reach the server by.
    pub public_url: Option<Origin>,
    /// Who may sign up.
    pub sign_up: SignUp,
    /// Further origins whose pages may use the server.
    pub cors_origins: Vec<Origin>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// STUN and TURN servers that peers are told of.
    pub ice_servers: Vec<String>,
    /// Who may read `/metrics`.
    pub metrics_from: Vec<IpNet>,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Certificate and key, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How to log.
    pub log: Log,
    /// How long the relay keeps entries.
    pub retention: Retention,
    /// On stopping, connections left by then are cut.
    pub drain_timeout: Duration,
}

/// Who may sign up, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUp {
    /// Open while only this machine can reach the server, else by invitation.
    Auto,
    /// As given.
    Fixed(SignUpPolicy),
}

/// PEM files for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, as `tracing_subscriber::EnvFilter` reads it.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How long the relay keeps entries; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Oldest entry.
    pub max_age: Option<Duration>,
    /// Bytes of one conversation.
    pub max_bytes: Option<u64>,
}

impl Config {
    /// Reads all layers of a process: `file`, its environment, its flags.
    pub fn load(file: Option<&Path>, flags: Vec<Flag>) -> Result<Self, ConfigError> {
        Self::parse(&Settings::collect(file, environment(), flags)?)
    }

    /// Gives every setting its meaning.
    pub fn parse(settings: &Settings) -> Result<Self, ConfigError> {
        let reader = Reader(settings);
        let pem = |key| reader.optional(key, non_empty_path);
        let tls = match (pem(keys::TLS_CERTIFICATE)?, pem(keys::TLS_KEY)?) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(reader.alone(keys::TLS_CERTIFICATE, keys::TLS_KEY)),
            (None, Some(_)) => return Err(reader.alone(keys::TLS_KEY, keys::TLS_CERTIFICATE)),
        };
        Ok(Self {
            listen: reader.one(keys::LISTEN, |text| text.parse().ok())?,
            data_dir: reader.one(keys::DATA_DIR, non_empty_path)?,
            public_url: reader.optional(keys::PUBLIC_URL, Origin::parse)?,
            sign_up: reader.one(keys::SIGN_UP, sign_up)?,
            cors_origins: reader.list(keys::CORS_ORIGINS, Origin::parse)?,
            trusted_proxies: reader.list(keys::TRUSTED_PROXIES, network)?,
            ice_servers: reader.list(keys::ICE_SERVERS, ice_server)?,
            metrics_from: reader.list(keys::METRICS_FROM, network)?,
            max_connections: reader.one(keys::MAX_CONNECTIONS, |text| {
                text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
            })?,
            tls,
            log: Log {
                format: reader.one(keys::LOG_FORMAT, |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?,
                filter: reader.one(keys::LOG_LEVEL, log_filter)?,
            },
            retention: Retention {
                max_age: reader.one(keys::RETENTION_MAX_AGE, |text| {
                    off_or(text, units::duration, |age| *age >= Duration::from_secs(3_600))
                })?,
                max_bytes: reader.one(keys::RETENTION_MAX_BYTES, |text| {
                    off_or(text, units::bytes, |bytes| *bytes >= 1 << 20)
                })?,
            },
            drain_timeout: reader.one(keys::DRAIN_TIMEOUT, short)?,
        })
    }

    /// The origins that sessions may be bound to, the public one first, for a listener that got `address`.
    pub fn origins(&self, address: SocketAddr) -> Vec<Origin> {
        match &self.public_url {
            Some(origin) => vec![origin.clone()],
            None => Origin::of_listener(address, self.tls.is_some()),
        }
    }

    /// Who may sign up. `auto` is open only while nothing says that others than this machine's own users can reach the
    /// server: a public name or a proxy on loopback opens it to the world as much as the address does.
    pub fn sign_up_policy(&self) -> SignUpPolicy {
        match self.sign_up {
            SignUp::Fixed(policy) => policy,
            SignUp::Auto if self.is_private() => SignUpPolicy::Open,
            SignUp::Auto => SignUpPolicy::Invite,
        }
    }

    /// Whether only this machine can reach the server.
    pub fn is_private(&self) -> bool {
        self.listen.ip().is_loopback()
            && self.trusted_proxies.is_empty()
            && self.public_url.as_ref().is_none_or(Origin::is_loopback)
    }
}

/// This process's environment, as text.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}

/// The effective configuration as TOML, each line with where it came from.
pub fn describe(settings: &Settings) -> String {
    let mut text = String::from(
        "# The configuration in force. What may be set, and how: sotto-server config --default\n",
    );
    let mut table = "";
    for key in keys::ALL {
        let (section, leaf) = key.name.split_once('.').unwrap_or(("", key.name));
        if section != table {
            text.push_str(&format!("\n[{section}]\n"));
            table = section;
        }
        match settings.get(key) {
            Some(setting) => text.push_str(&format!("{leaf} = {}  # {}\n", setting.value, setting.source)),
            None => text.push_str(&format!("# {leaf} is not set\n")),
        }
    }
    text
}

struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn one<T>(&self, key: Key, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        // Only a key that config.default.toml forgot can be missing; a test forbids that.
        let missing = || self.bad(key, Raw::Other("nothing".to_owned()), Source::Default);
        self.optional(key, parse)?.ok_or_else(missing)
    }

    fn optional<T>(&self, key: Key, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some(setting) = self.0.get(key) else { return Ok(None) };
        let value = match &setting.value {
            Raw::Text(text) => parse(text.trim()),
            Raw::Number(number) => parse(&number.to_string()),
            Raw::List(_) | Raw::Other(_) => None,
        };
        value.map(Some).ok_or_else(|| self.bad(key, setting.value.clone(), setting.source.clone()))
    }

    fn list<T>(&self, key: Key, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ConfigError> {
        let Some(setting) = self.0.get(key) else { return Ok(Vec::new()) };
        let items = match &setting.value {
            Raw::List(items) => items.iter().map(|item| parse(item)).collect(),
            Raw::Text(_) | Raw::Number(_) | Raw::Other(_) => None,
        };
        items.ok_or_else(|| self.bad(key, setting.value.clone(), setting.source.clone()))
    }

    fn alone(&self, given: Key, missing: Key) -> ConfigError {
        let setting = self.0.get(given).cloned();
        let (value, from) =
            setting.map_or((Raw::Other("nothing".to_owned()), Source::Default), |s| (s.value, s.source));
        let allowed = format!("{} beside it, or neither of the two", missing.name);
        ConfigError::BadValue { key: given.name, value, from, allowed }
    }

    fn bad(&self, key: Key, value: Raw, from: Source) -> ConfigError {
        ConfigError::BadValue { key: key.name, value, from, allowed: key.allowed.to_owned() }
    }
}

fn non_empty_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

fn sign_up(text: &str) -> Option<SignUp> {
    match text {
        "auto" => Some(SignUp::Auto),
        "open" => Some(SignUp::Fixed(SignUpPolicy::Open)),
        "invite" => Some(SignUp::Fixed(SignUpPolicy::Invite)),
        _ => None,
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn ice_server(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let known = ["stun", "stuns", "turn", "turns"].contains(&scheme);
    let plain = !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(|c| c.is_ascii_graphic());
    (known && plain).then(|| text.to_owned())
}

fn log_filter(text: &str) -> Option<String> {
    // EnvFilter takes a bare unknown word for the name of a part; here it is a misspelt level.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let directives_make_sense = text.split(',').all(|directive| match directive.rsplit_once('=') {
        Some((part, level)) => !part.trim().is_empty() && levels.contains(&level.trim()),
        None => levels.contains(&directive.trim()),
    });
    let parses = tracing_subscriber::EnvFilter::try_new(text).is_ok();
    (directives_make_sense && parses).then(|| text.to_owned())
}

fn off_or<T>(text: &str, parse: fn(&str) -> Option<T>, fits: impl Fn(&T) -> bool) -> Option<Option<T>> {
    if text == "off" {
        return Some(None);
    }
    parse(text).filter(fits).map(Some)
}

fn short(text: &str) -> Option<Duration> {
    units::duration(text).filter(|time| (Duration::from_millis(1)..=Duration::from_secs(600)).contains(time))
}

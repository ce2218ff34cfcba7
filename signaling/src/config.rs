//! What a signaling service can be told, and what it does when it is told nothing.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sotto_protocol::UnixMillis;
pub use sotto_protocol::rest::SignUpPolicy;

use crate::rate::Rate;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The client's address, as a request extension. The server's middleware inserts it, because only the server
/// knows which proxies to believe; without it the connection's own address (`ConnectInfo`) counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// Settings of [`crate::Signaling`].
#[derive(Clone)]
pub struct Config {
    /// Origins (`scheme://host[:port]`) under which clients reach this server, the first the public one, which is
    /// also the tokens' audience. Browsers may open sockets from these.
    pub origins: Vec<String>,
    /// Origins of web pages elsewhere that may use the API and open sockets. None by default.
    pub cors_origins: Vec<String>,
    /// Who may sign up.
    pub sign_up: SignUpPolicy,
    /// STUN and TURN URLs handed to peers.
    pub ice_servers: Vec<String>,
    /// How much one client may ask for.
    pub limits: RateLimits,
    /// How long an access token is valid.
    pub token_lifetime: Duration,
    /// Sockets open at a time; beyond it, upgrades answer 503.
    pub max_sockets: usize,
    /// How long a socket may take to authenticate.
    pub authenticate_within: Duration,
    /// How long one write may make no progress before its reader counts as gone.
    pub write_timeout: Duration,
    /// The clock.
    pub clock: Clock,
}

/// Token buckets, each per client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimits {
    /// Requests of one address (IPv6: of one /64), socket upgrades included.
    pub requests: Rate,
    /// Sign-ups of one address: each costs a row for good.
    pub sign_ups: Rate,
    /// Requests that write on behalf of one device.
    pub writes: Rate,
    /// Socket messages of one device. A device that links to many peers at once sends bursts of candidates.
    pub messages: Rate,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            requests: Rate { burst: 600, per_second: 60.0 },
            sign_ups: Rate { burst: 60, per_second: 0.2 },
            writes: Rate { burst: 60, per_second: 2.0 },
            messages: Rate { burst: 400, per_second: 50.0 },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origins: vec!["http://127.0.0.1:8080".into(), "http://localhost:8080".into()],
            cors_origins: Vec::new(),
            sign_up: SignUpPolicy::Invite,
            ice_servers: Vec::new(),
            limits: RateLimits::default(),
            token_lifetime: Duration::from_secs(600),
            max_sockets: 100_000,
            authenticate_within: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
            clock: Arc::new(system_clock),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("origins", &self.origins)
            .field("cors_origins", &self.cors_origins)
            .field("sign_up", &self.sign_up)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The first setting that makes no sense, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.origins.is_empty() {
            return Err("origins: expected at least one".into());
        }
        for (name, list) in [("origins", &self.origins), ("cors_origins", &self.cors_origins)] {
            if let Some(bad) = list.iter().find(|origin| !is_origin(origin)) {
                return Err(format!("{name}: {bad:?}: expected scheme://host[:port] in lower case, no path"));
            }
        }
        if self.token_lifetime.is_zero() {
            return Err("token_lifetime: expected more than 0".into());
        }
        Ok(())
    }

    /// The tokens' audience.
    pub(crate) fn audience(&self) -> &str {
        &self.origins[0]
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}

/// As a browser's `Origin` header spells it: comparing texts is then comparing origins.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let named = |part: &str| !part.is_empty() && !part.bytes().any(|b| b.is_ascii_uppercase() || b <= b' ');
    named(scheme) && named(host) && !host.contains(['/', '?', '#', '@', '\\'])
}

fn system_clock() -> UnixMillis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(elapsed.as_millis().try_into().unwrap_or(u64::MAX))
}

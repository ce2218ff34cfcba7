//! Structured logs on standard error, as text or JSON lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the process. A second call changes nothing: the first logger stays.
pub fn start(log: &Log) {
    // The configuration was parsed, so the filter is good; `info` is for a caller that built `Log` by hand.
    // sqlx logs each statement at debug; whoever wants that names it.
    let text =
        if log.filter.contains("sqlx") { log.filter.clone() } else { format!("{},sqlx=warn", log.filter) };
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

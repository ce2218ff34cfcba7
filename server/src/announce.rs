//! What the program says on starting: where it is, what it keeps where, and what to do next.

use std::fmt::Write as _;
use std::io::{self, Write};

use sotto_protocol::rest::SignUpPolicy;

use crate::config::LogFormat;
use crate::serve::Server;

/// One line on standard output, for scripts that wait for it; for people the rest on standard error.
pub fn announce(server: &Server) -> io::Result<()> {
    let url = server.origins().first().map_or_else(String::new, ToString::to_string);
    output(&format!("listening on {url}\n"))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %server.address(),
        %url,
        data_dir = %server.data_dir().display(),
        sign_up = ?server.sign_up_policy(),
        tls = server.config().tls.is_some(),
        "serving"
    );
    warn(server);
    if server.config().log.format == LogFormat::Text {
        io::stderr().write_all(banner(server, &url).as_bytes())?;
    }
    Ok(())
}

/// Writes to standard output. A reader that went away is an error, not a panic.
pub fn output(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn warn(server: &Server) {
    if !server.has_web_app() {
        tracing::warn!("this build has no web app: / says how to build one. `make build` does it");
    }
    let config = server.config();
    if config.is_private() {
        return;
    }
    if config.public_url.is_none() && config.listen.ip().is_unspecified() {
        tracing::warn!(
            "public_url is not set: only programs on this machine can sign in. Give the address that people use with \
             --public-url"
        );
    }
    if config.tls.is_none() && config.trusted_proxies.is_empty() {
        tracing::warn!(
            "no TLS: whoever is on the network between can read messages and tokens. Give --tls-certificate and \
             --tls-key, or put a proxy before this server and name it in trusted_proxies"
        );
    }
}

fn banner(server: &Server, url: &str) -> String {
    let data = server.data_dir().display();
    let mut text = format!("\n  Sotto {} is running.\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    if server.has_web_app() {
        line("open", format!("{url}  (API: {url}/docs)"));
    } else {
        line("address", format!("{url}  (API: {url}/docs; no web app in this build)"));
    }
    line("data", data.to_string());
    let sign_up = match server.sign_up_policy() {
        SignUpPolicy::Open => "open: whoever reaches this address",
        SignUpPolicy::Invite => "by invitation",
    };
    line("sign-up", sign_up.to_owned());
    match server.sign_up_policy() {
        SignUpPolicy::Open => {
            line("next", format!("sotto --profile alice sign-up --server {url} --handle alice"))
        }
        SignUpPolicy::Invite => {
            line("next", format!("sotto-server invite create --data-dir {data}"));
            line("", format!("sotto --profile alice sign-up --server {url} --handle alice --invite CODE"));
        }
    }
    line("stop", "Ctrl-C".to_owned());
    text.push('\n');
    text
}

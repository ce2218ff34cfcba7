//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Flag, keys};

const EXAMPLES: &str = "\
Examples:
  sotto-server                                try it here: http://127.0.0.1:8080, open to sign-up
  sotto-server --data-dir /var/lib/sotto --listen '[::]:443' \\
               --public-url https://chat.example.org \\
               --tls-certificate fullchain.pem --tls-key privkey.pem
  sotto-server invite create --uses 5 --expires 7d --data-dir /var/lib/sotto
  sotto-server config --default > sotto.toml  a commented file to start from
  sotto-server --config sotto.toml

Configuration: built-in defaults < --config FILE < SOTTO_* environment variables < flags.
Exit status: 0 after a clean stop (SIGTERM, Ctrl-C), 1 if something failed, 2 if it was told something impossible.";

/// Sotto's server: accounts, presence and rendezvous, and the relay's log of ciphertext, in one process on one port.
///
/// Without a command it serves. Everything it keeps is in --data-dir.
#[derive(Debug, Parser)]
#[command(name = "sotto-server", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// Where the configuration comes from, for every command.
    #[command(flatten)]
    pub shared: Shared,
    /// How to serve, when no command is given.
    #[command(flatten)]
    pub serve: ServeFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Shared {
    /// A TOML file with settings [env: SOTTO_CONFIG]
    #[arg(long, value_name = "FILE", global = true, env = "SOTTO_CONFIG", hide_env = true)]
    pub config: Option<PathBuf>,
    /// Where the databases are kept [default: sotto-data] [env: SOTTO_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// How logs on standard error look: text or json [env: SOTTO_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or by part (info,sotto_relay=debug) [env: SOTTO_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeFlags {
    /// Address and port to listen on [default: 127.0.0.1:8080] [env: SOTTO_LISTEN]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Who may sign up: open, invite, or auto (open while only this machine can reach the server) [default: auto] [env: SOTTO_SIGN_UP]
    #[arg(long, value_name = "POLICY")]
    pub sign_up: Option<String>,
    /// The address that people reach this server by, such as https://chat.example.org [env: SOTTO_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// PEM file with the certificate chain; read again when it changes [env: SOTTO_TLS_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// PEM file with the certificate's private key [env: SOTTO_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default)
    Serve(ServeFlags),
    /// Make invitation codes for sign-up
    #[command(subcommand)]
    Invite(Invite),
    /// List, disable, enable or delete accounts; works while the server runs
    #[command(subcommand)]
    Account(AccountCommand),
    /// Print the REST API as OpenAPI 3.1 (also served at /v1/openapi.json; for people at /docs)
    Openapi,
    /// Print the configuration in force and where each value came from
    Config {
        /// Print the commented defaults instead, as a file to start from
        #[arg(long)]
        default: bool,
        /// Flags of `serve` to take into account
        #[command(flatten)]
        serve: ServeFlags,
    },
}

/// Invitations.
#[derive(Debug, Clone, Subcommand)]
pub enum Invite {
    /// Make a code and print it; people give it as `sotto sign-up --invite CODE`
    Create {
        /// How many accounts may be made with it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        uses: u32,
        /// How long it is valid, such as 12h or 7d
        #[arg(long, value_name = "TIME", default_value = "7d")]
        expires: String,
    },
}

/// Accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum AccountCommand {
    /// List all accounts: handle, state, since, last seen, id
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Refuse an account everywhere and close its sockets within a second; nothing is deleted
    Disable {
        /// Its handle (@alice) or id
        account: String,
    },
    /// Let a disabled account in again
    Enable {
        /// Its handle (@alice) or id
        account: String,
    },
    /// Delete an account for good; its handle stays taken, so that nobody can pass for it
    Delete {
        /// Its handle (@alice) or id
        account: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Shared {
    /// As the top layer of the configuration.
    pub fn flags(&self) -> Vec<Flag> {
        [
            (keys::DATA_DIR, "data-dir", &self.data_dir),
            (keys::LOG_FORMAT, "log-format", &self.log_format),
            (keys::LOG_LEVEL, "log-level", &self.log_level),
        ]
        .into_iter()
        .filter_map(flag)
        .collect()
    }
}

impl ServeFlags {
    /// As the top layer of the configuration.
    pub fn flags(&self) -> Vec<Flag> {
        [
            (keys::LISTEN, "listen", &self.listen),
            (keys::SIGN_UP, "sign-up", &self.sign_up),
            (keys::PUBLIC_URL, "public-url", &self.public_url),
            (keys::TLS_CERTIFICATE, "tls-certificate", &self.tls_certificate),
            (keys::TLS_KEY, "tls-key", &self.tls_key),
        ]
        .into_iter()
        .filter_map(flag)
        .collect()
    }
}

fn flag((key, name, value): (keys::Key, &'static str, &Option<String>)) -> Option<Flag> {
    value.clone().map(|value| Flag { key, name, value })
}

//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use sotto_protocol::{ConversationId, Handle, MessageId, limits};

const EXAMPLES: &str = "\
A first chat, in two terminals (the server runs: sotto-server):
  sotto --profile alice sign-up --server http://127.0.0.1:8080 --handle alice
  sotto --profile bob sign-up --server http://127.0.0.1:8080 --handle bob
  sotto --profile bob chat @alice
  sotto --profile alice chat @bob

More:
  sotto send @bob 'On my way'          one message, from a script
  sotto history @bob --limit 50
  sotto group create 'Book club' @bob @carol
  sotto send 'Book club' 'Thursday?'
  sotto profile set --name 'Bob B.'    what others see beside your handle
  sotto status                         how the server and each device are reached, and why
  sotto rpc                            JSON-RPC for programs: see docs/rpc.md

A TO is @handle, a group's name, or a conversation id. One process at a time has a profile.

Exit status: 0 done; 1 failed; 2 told something impossible; 3 accepted, but not at the relay or a
peer yet: it is in the outbox, and goes out with the next run.

Sotto is not end-to-end encrypted yet: whoever runs the relay can read messages.";

/// Chat straight from device to device.
#[derive(Debug, Parser)]
#[command(name = "sotto", version, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub shared: Shared,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// Folder with keys, contacts and history [default: ~/.local/share/sotto] [env: SOTTO_PROFILE]
    #[arg(long, value_name = "DIR", global = true, env = "SOTTO_PROFILE", hide_env = true)]
    pub profile: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// What is logged to standard error: error, warn, info, debug, or by part (warn,sotto_peer_core=debug)
    /// [default: warn] [env: SOTTO_LOG]
    #[arg(long, value_name = "FILTER", global = true, env = "SOTTO_LOG", hide_env = true)]
    pub log: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Make an account on a server, with this profile as its first device
    SignUp(SignUp),
    /// Send one message; done when it is durable at the relay or at a peer
    Send(Send),
    /// Chat: type lines, see what comes (/help lists what else can be typed)
    Chat {
        /// @handle, a group's name, or a conversation id
        to: To,
    },
    /// Print messages of all conversations as they come, those not read yet first
    Listen,
    /// Print the last messages of a conversation
    History {
        /// @handle, a group's name, or a conversation id
        to: To,
        /// How many, 1 to 5000
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=5_000))]
        limit: u16,
        /// Only those before this message id
        #[arg(long, value_name = "ID")]
        before: Option<MessageId>,
    },
    /// How the server, the relay and each device are reached, and why not better
    Status {
        /// Seconds that connections get to come up
        #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
        wait: Duration,
    },
    /// List who wants to talk with you and was not accepted yet
    Requests,
    /// Accept a request
    Accept {
        /// @handle, a group's name, or a conversation id
        to: To,
    },
    /// Block somebody: nothing of them is shown, and they learn nothing
    Block {
        /// Whom
        handle: Handle,
    },
    /// End a block; what was sent meanwhile arrives
    Unblock {
        /// Whom
        handle: Handle,
    },
    /// What people say of themselves: show, set
    #[command(subcommand)]
    Profile(Profile),
    /// Groups: create, add, leave, rename
    #[command(subcommand)]
    Group(Group),
    /// Serve JSON-RPC 2.0 on standard input and output, one object a line (docs/rpc.md)
    Rpc,
}

/// Flags of `sign-up`.
#[derive(Debug, Clone, Args)]
pub struct SignUp {
    /// The server's address.
    #[arg(long, value_name = "URL", help = "The server's address, such as https://chat.example.org")]
    pub server: String,
    /// What others call you: 2 to 32 of a-z 0-9 . _ -
    #[arg(long, value_name = "NAME")]
    pub handle: Handle,
    /// Invitation code, where the server asks for one
    #[arg(long, value_name = "CODE")]
    pub invite: Option<String>,
    /// PEM file with the certificate authority of a server of your own; kept in the profile
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Flags of `send`.
#[derive(Debug, Clone, Args)]
pub struct Send {
    /// @handle, a group's name, or a conversation id
    pub to: To,
    /// The message; - reads it from standard input
    pub text: String,
    /// How long to wait until it is durable at the relay or at a peer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// What to do with profiles.
#[derive(Debug, Clone, Subcommand)]
pub enum Profile {
    /// Show a profile; your own if you name nobody
    Show {
        /// Whose
        #[arg(value_name = "@HANDLE")]
        handle: Option<Handle>,
    },
    /// Change your own; everybody on the server may see it
    Set(ProfileSet),
}

/// Flags of `profile set`.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct ProfileSet {
    /// A name to show beside your handle; '' takes it away
    #[arg(long)]
    pub name: Option<String>,
    /// A line about you; '' takes it away
    #[arg(long, value_name = "TEXT")]
    pub status: Option<String>,
    /// A PNG, JPEG or WebP of at most 24 KiB and 512 pixels a side; '' takes it away
    #[arg(long, value_name = "FILE")]
    pub avatar: Option<PathBuf>,
}

/// What to do with a group.
#[derive(Debug, Clone, Subcommand)]
pub enum Group {
    /// Create a group
    Create {
        /// Its name
        #[arg(value_parser = group_name)]
        name: String,
        /// The others
        #[arg(required = true, value_name = "@HANDLE")]
        members: Vec<Handle>,
    },
    /// Add a member
    Add {
        /// The group's name or id
        group: To,
        /// The new member
        #[arg(value_name = "@HANDLE")]
        member: Handle,
    },
    /// Leave a group
    Leave {
        /// The group's name or id
        group: To,
    },
    /// Rename a group
    Rename {
        /// The group's name or id
        group: To,
        /// Its new name
        #[arg(value_parser = group_name)]
        name: String,
    },
}

/// Whom a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// An account.
    Handle(Handle),
    /// A conversation.
    Conversation(ConversationId),
    /// A group, by its name.
    Group(String),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('@') {
            return Handle::parse(text).map(Self::Handle).map_err(|error| error.to_string());
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Conversation(id));
        }
        if text.trim().is_empty() {
            return Err("expected @handle, a group's name, or a conversation id".into());
        }
        Ok(Self::Group(text.to_owned()))
    }
}

fn group_name(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= limits::MAX_NAME_CHARS;
    if !fits || text.trim().is_empty() || text.chars().any(char::is_control) || text.starts_with('@') {
        return Err(format!("expected 1 to {} characters, not starting with @", limits::MAX_NAME_CHARS));
    }
    Ok(text.to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    let duration =
        Duration::try_from_secs_f64(seconds).map_err(|_| "expected a number of seconds".to_owned())?;
    if duration > Duration::from_secs(86_400) {
        return Err("expected at most a day (86400)".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_recipient_is_a_handle_an_id_or_a_group() {
        assert_eq!("@Bob".parse(), Ok(To::Handle(Handle::parse("bob").unwrap())));
        assert_eq!("02".repeat(16).parse(), Ok(To::Conversation(ConversationId([2; 16]))));
        assert_eq!("Book club".parse(), Ok(To::Group("Book club".into())));
        assert!("@b".parse::<To>().is_err() && " ".parse::<To>().is_err());
    }
}

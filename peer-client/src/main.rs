//! `sotto`: the peer on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use sotto_peer_client::Client;
use sotto_peer_core::{
    Command as Ask, Config, Event, LinkPath, MessageBody, MessageView, ReceiptState, Reply,
};
use sotto_protocol::{ConversationId, ConversationKind, Handle};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Chat from the terminal, directly from device to device.
///
/// NOT END-TO-END ENCRYPTED YET: whoever runs the server can read messages that pass through it.
#[derive(Parser)]
#[command(
    version,
    after_help = "A first chat:\n  sotto --profile alice sign-up --server http://localhost:8080 --handle alice\n  sotto --profile alice chat @bob"
)]
struct Cli {
    /// Folder of the profile: keys, contacts, history
    #[arg(long, env = "SOTTO_PROFILE", global = true, default_value = "sotto-profile")]
    profile: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an account on a server
    SignUp {
        /// The server's address, such as http://localhost:8080
        #[arg(long)]
        server: String,
        /// What others call you: 2 to 32 of a-z 0-9 . _ -
        #[arg(long)]
        handle: String,
        /// Invitation code, where the server asks for one
        #[arg(long)]
        invite: Option<String>,
    },
    /// Chat: what you type is sent, what comes is printed; end with Ctrl-D
    Chat {
        /// With whom, such as @bob, or a group's id
        to: String,
    },
    /// Send one message; ends once it is durable at the relay or at a peer
    Send {
        /// To whom
        to: String,
        /// The text
        text: String,
    },
    /// Print what comes, until Ctrl-C
    Listen,
    /// Print messages in order
    History {
        /// With whom
        with: String,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Print how things stand: server, relay, and the path to each device
    Status,
    /// List conversations that wait to be accepted
    Requests,
    /// Accept a request
    Accept {
        /// Whose
        from: String,
    },
    /// Block somebody
    Block {
        /// Whom
        handle: String,
    },
    /// End a block
    Unblock {
        /// Whom
        handle: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("SOTTO_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Command::SignUp { server, handle, invite } = cli.command {
        let handle = Handle::parse(&handle)?;
        Client::sign_up(&cli.profile, &server, handle.clone(), invite).await?;
        println!(
            "Welcome, @{handle}. Say something: sotto --profile {} chat @somebody",
            cli.profile.display()
        );
        return Ok(());
    }
    let mut client = Client::open(&cli.profile, Config::default()).await?;
    run(&mut client, cli.command).await?;
    client.close().await?;
    Ok(())
}

async fn run(client: &mut Client, command: Command) -> anyhow::Result<()> {
    match command {
        Command::SignUp { .. } => {}
        Command::Chat { to } => chat(client, &to).await?,
        Command::Send { to, text } => send(client, &to, text).await?,
        Command::Listen => {
            while let Some(notification) = client.next().await {
                if let Event::Message(message) = notification.event {
                    print(&message);
                }
            }
        }
        Command::History { with, limit } => {
            let conversation = find(client, &with).await?;
            let ask = Ask::History { conversation, before: None, after: None, limit };
            if let Reply::History(messages) = client.run(ask).await? {
                messages.iter().for_each(print);
            }
        }
        Command::Status => status(client).await?,
        Command::Requests => {
            let Reply::Conversations(all) = client.run(Ask::Conversations).await? else { return Ok(()) };
            let mut none = true;
            for conversation in all.into_iter().filter(|conversation| conversation.request) {
                none = false;
                let members: Vec<String> = conversation.members.iter().map(|h| format!("@{h}")).collect();
                println!("{}  {}", conversation.id, members.join(" "));
            }
            if none {
                println!("No requests.");
            }
        }
        Command::Accept { from } => {
            let conversation = find(client, &from).await?;
            client.run(Ask::Accept { conversation }).await?;
        }
        Command::Block { handle } => drop(client.run(Ask::Block { handle: Handle::parse(&handle)? }).await?),
        Command::Unblock { handle } => {
            drop(client.run(Ask::Unblock { handle: Handle::parse(&handle)? }).await?)
        }
    }
    Ok(())
}

/// The conversation that a person means by `@handle`, a group's name, or an id.
async fn find(client: &Client, name: &str) -> anyhow::Result<ConversationId> {
    if name.starts_with('@') {
        let handle = Handle::parse(name)?;
        let Reply::Conversation(id) = client.run(Ask::Direct { handle }).await? else {
            bail!("unexpected reply")
        };
        return Ok(id);
    }
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let Reply::Conversations(all) = client.run(Ask::Conversations).await? else { bail!("unexpected reply") };
    let mut named = all
        .into_iter()
        .filter(|c| c.kind == ConversationKind::Group && c.name.as_deref() == Some(name))
        .map(|conversation| conversation.id);
    let first = named.next().with_context(|| format!("no group is called {name:?}; people are @handles"))?;
    match named.next() {
        Some(second) => bail!("several groups are called {name:?}: use an id, such as {first} or {second}"),
        None => Ok(first),
    }
}

async fn send(client: &mut Client, to: &str, text: String) -> anyhow::Result<()> {
    let conversation = find(client, to).await?;
    let Reply::Sent(id) = client.run(Ask::Send { conversation, text }).await? else {
        bail!("unexpected reply")
    };
    let patience = tokio::time::sleep(Duration::from_secs(30));
    tokio::pin!(patience);
    loop {
        let notification = tokio::select! {
            notification = client.next() => notification.context("the peer has stopped")?,
            () = &mut patience => bail!("it is in the outbox, and goes out with the next run: the server was not reached"),
        };
        if let Event::Receipt { id: upto, state: ReceiptState::Logged | ReceiptState::Delivered, .. } =
            notification.event
            && upto.conversation == conversation
            && upto.seq >= id.seq
        {
            return Ok(());
        }
    }
}

async fn chat(client: &mut Client, to: &str) -> anyhow::Result<()> {
    let conversation = find(client, to).await?;
    client.run(Ask::Accept { conversation }).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    eprintln!("Chatting with {to}. Type a line to send it, Ctrl-D to end.");
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok(()),
                Some(line) if line == "/status" => status(client).await?,
                Some(line) if line.trim().is_empty() => {}
                Some(text) => {
                    if let Err(error) = client.run(Ask::Send { conversation, text }).await {
                        eprintln!("not sent: {error}");
                    }
                }
            },
            notification = client.next() => match notification.context("the peer has stopped")?.event {
                Event::Message(message) if message.id.conversation == conversation && !message.own => print(&message),
                Event::Path { handle, path: LinkPath::Direct, .. } => eprintln!("· @{handle} is reached directly now"),
                _ => {}
            },
        }
    }
}

async fn status(client: &Client) -> anyhow::Result<()> {
    // Right after the start nothing is connected yet: it gets a moment.
    let mut waited = 0;
    let status = loop {
        let Reply::Status(status) = client.run(Ask::Status).await? else { bail!("unexpected reply") };
        if (status.server.up && status.relay.up) || waited == 30 {
            break status;
        }
        waited += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let state = |up: bool, why: &Option<String>| match why {
        _ if up => "connected".to_owned(),
        Some(why) => format!("not connected: {}", clean(why)),
        None => "connecting".to_owned(),
    };
    println!("@{}  device {}", status.handle, status.device);
    println!("server  {}", state(status.server.up, &status.server.why));
    println!("relay   {}", state(status.relay.up, &status.relay.why));
    for link in &status.links {
        let path = match link.path {
            LinkPath::Direct => "direct",
            LinkPath::Turn => "turn",
            LinkPath::Relay => "relay",
            LinkPath::None => "none",
        };
        let rtt = link.rtt.map(|rtt| format!("  {:.1} ms", rtt.as_secs_f64() * 1e3)).unwrap_or_default();
        let why = link.why.as_ref().map(|why| format!("  ({})", clean(why))).unwrap_or_default();
        println!("@{}  {path}{rtt}{why}", link.handle);
    }
    Ok(())
}

fn print(message: &MessageView) {
    match &message.body {
        MessageBody::Text(text) => println!("@{}: {}", message.from, clean(text)),
        MessageBody::Renamed(name) => println!("@{} calls this {:?}", message.from, clean(name)),
        MessageBody::Unreadable => println!("@{}: (a message that this version cannot read)", message.from),
    }
}

/// Others' text must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

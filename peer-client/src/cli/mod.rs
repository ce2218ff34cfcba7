//! The program `sotto`: the library on the command line.
//!
//! - [`args`]: what can be typed; [`session`]: an open profile, and waiting for it; [`talk`]: send, chat, listen;
//! - [`show`]: values as text for people; [`plain`]: others' words made harmless.

pub mod args;
mod out;
pub mod plain;
mod session;
mod show;
mod talk;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::json;
use sotto_peer_core::rpc::view;
use sotto_protocol::keys::base64url;
use sotto_protocol::limits;
use tracing_subscriber::EnvFilter;

use crate::link::{LOG_DIRECTIVES, LinkFaults};
use crate::rpc;
use crate::{Client, Options, Profile, ProfileChange};
use args::{Cli, Command, Group, Profile as Profiles, ProfileSet, Shared, SignUp, To};
use out::Out;
use session::{Session, Stop};

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Accepted and durable here, but nowhere else yet.
    Queued,
}

/// For what goes out after a command that changes something.
const OUTBOX_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out::new(cli.shared.json);
    if let Err(error) = log(cli.shared.log.as_deref()) {
        out.error(&error);
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out.error(&anyhow::Error::new(error).context("cannot start"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli, out.clone()));
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Queued) => ExitCode::from(3),
        // Who read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn log(filter: Option<&str>) -> anyhow::Result<()> {
    // The libraries under the links write peers' addresses: never, whatever is asked for.
    let directives = format!("{},{LOG_DIRECTIVES}", filter.filter(|f| !f.is_empty()).unwrap_or("warn"));
    let filter = EnvFilter::try_new(directives)
        .context("--log: expected a filter such as debug or warn,sotto_peer_core=debug")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    Ok(())
}

async fn run(cli: Cli, out: Out) -> anyhow::Result<Outcome> {
    let folder = profile_folder(&cli.shared)?;
    let command = match cli.command {
        Command::SignUp(flags) => {
            sign_up(&folder, flags, &out).await?;
            return Ok(Outcome::Done);
        }
        Command::Rpc => {
            serve_rpc(&folder).await?;
            return Ok(Outcome::Done);
        }
        command => command,
    };
    let mut session = Session::open(&folder, out).await?;
    let outcome = carry_out(&mut session, command).await;
    // Whatever happened: what was accepted is written, and sockets are told.
    let closed = session.close().await;
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

async fn carry_out(session: &mut Session, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::SignUp(_) | Command::Rpc => Ok(Outcome::Done),
        Command::Send(flags) => talk::send(session, flags).await,
        Command::Chat { to } => talk::chat(session, &to).await,
        Command::Listen => talk::listen(session).await,
        Command::History { to, limit, before } => {
            let conversation = session.find(&to).await?;
            session.settle().await?;
            let messages = session.client.history(conversation, before, None, usize::from(limit)).await?;
            if session.out.json {
                let messages: Vec<_> = messages.iter().map(view::message).collect();
                session.out.json(&json!({ "conversation": conversation, "messages": messages }))?;
            } else {
                for message in &messages {
                    session.out.line(&show::message(&session.out, message, None))?;
                }
            }
            Ok(Outcome::Done)
        }
        Command::Status { wait } => {
            let status = session.connected_status(wait).await?;
            if session.out.json {
                session.out.json(&view::status(&status))?;
            } else {
                session.out.line(&show::status(&session.out, &status))?;
            }
            Ok(Outcome::Done)
        }
        Command::Requests => {
            session.settle().await?;
            let mut requests = session.client.conversations().await?;
            requests.retain(|conversation| conversation.request);
            if session.out.json {
                let requests: Vec<_> = requests.iter().map(view::conversation).collect();
                session.out.json(&json!({ "requests": requests }))?;
            } else if requests.is_empty() {
                session.out.line("No requests.")?;
            } else {
                for request in &requests {
                    session.out.line(&show::request(request, session.client.handle()))?;
                }
            }
            Ok(Outcome::Done)
        }
        Command::Accept { to } => {
            let conversation = session.find_request(&to).await?;
            session.client.accept(conversation).await?;
            let outcome = session.outbox_empty(OUTBOX_PATIENCE).await?;
            session.done("Accepted.", json!({ "conversation": conversation }), outcome)
        }
        Command::Block { handle } => {
            session.online(async |client: &Client| client.block(handle.clone()).await).await?;
            let outcome = session.outbox_empty(OUTBOX_PATIENCE).await?;
            session.done(&format!("@{handle} is blocked."), json!({ "handle": handle }), outcome)
        }
        Command::Unblock { handle } => {
            session.online(async |client: &Client| client.unblock(handle.clone()).await).await?;
            let outcome = session.outbox_empty(OUTBOX_PATIENCE).await?;
            session.done(&format!("@{handle} is not blocked any more."), json!({ "handle": handle }), outcome)
        }
        Command::Profile(command) => profile(session, command).await,
        Command::Group(command) => group(session, command).await,
    }
}

async fn profile(session: &mut Session, command: Profiles) -> anyhow::Result<Outcome> {
    let view = match command {
        Profiles::Show { handle } => {
            session.online(async |client: &Client| client.profile(handle.clone()).await).await?
        }
        Profiles::Set(flags) => {
            let change = profile_change(flags)?;
            session.online(async |client: &Client| client.set_profile(change.clone()).await).await?
        }
    };
    let text = show::profile(&session.out, &view);
    session.done(&text, view::profile(&view), Outcome::Done)
}

fn profile_change(flags: ProfileSet) -> anyhow::Result<ProfileChange> {
    let change = |text: Option<String>| text.map(|text| Some(text).filter(|text| !text.is_empty()));
    let avatar = match flags.avatar {
        Some(path) if path.as_os_str().is_empty() => Some(None),
        Some(path) => {
            // One byte more than allowed is enough to be told so.
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&path).with_context(|| format!("--avatar {}", path.display()))?;
            io::Read::read_to_end(&mut io::Read::take(file, limits::MAX_AVATAR_BYTES as u64 + 1), &mut bytes)
                .with_context(|| format!("--avatar {}", path.display()))?;
            Some(Some(base64url::encode(&bytes)))
        }
        None => None,
    };
    Ok(ProfileChange { display_name: change(flags.name), status_text: change(flags.status), avatar })
}

async fn group(session: &mut Session, command: Group) -> anyhow::Result<Outcome> {
    let (conversation, said) = match command {
        Group::Create { name, members } => {
            let create = async |client: &Client| client.group_create(&name, members.clone()).await;
            let conversation = session.online(create).await?;
            (conversation, format!("Created; its id is {conversation}."))
        }
        Group::Add { group, member } => {
            let conversation = session.find_group(&group).await?;
            session
                .online(async |client: &Client| client.group_add(conversation, member.clone()).await)
                .await?;
            (conversation, format!("@{member} is a member now."))
        }
        Group::Leave { group } => {
            let conversation = session.find_group(&group).await?;
            session.online(async |client: &Client| client.group_leave(conversation).await).await?;
            (conversation, "Left.".to_owned())
        }
        Group::Rename { group, name } => {
            let conversation = session.find_group(&group).await?;
            session.client.group_rename(conversation, &name).await?;
            (conversation, "Renamed.".to_owned())
        }
    };
    let outcome = session.outbox_empty(OUTBOX_PATIENCE).await?;
    session.done(&said, json!({ "conversation": conversation }), outcome)
}

async fn sign_up(folder: &Path, flags: SignUp, out: &Out) -> anyhow::Result<()> {
    let origin = crate::Origin::parse(&flags.server)?;
    if !origin.is_tls() && !origin.is_loopback() {
        out.note("warning: http:// to another machine is not encrypted; use https:// if the server has it");
    }
    let mut builder = Client::builder(folder);
    if let Some(ca) = flags.ca {
        builder = builder.trust(ca);
    }
    let identity = builder.sign_up(origin.as_str(), flags.handle, flags.invite).await?;
    if out.json {
        return out.json(&json!({
            "handle": identity.handle,
            "account": identity.account,
            "device": identity.device,
            "server": identity.server,
            "profile": folder,
        }));
    }
    out.line(&format!(
        "You are @{} on {}. Your keys are in {}: nobody can give you another copy.",
        identity.handle,
        identity.server,
        folder.display()
    ))
}

async fn serve_rpc(folder: &Path) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut options = Options { keep_events: true, ..Options::default() };
    // For end-to-end tests, which cannot unplug a cable.
    let faults = std::env::var_os("SOTTO_DEBUG_FAULTS").filter(|on| on == "1").map(|_| LinkFaults::default());
    if let Some(faults) = &faults {
        options.links.faults = faults.clone();
    }
    let profile = Profile::open(folder).await?;
    let setup = rpc::Setup { options, faults };
    rpc::serve(profile, setup, tokio::io::stdin(), tokio::io::stdout(), stop.requested()).await?;
    Ok(())
}

/// The folder asked for, or the one that the XDG Base Directory Specification gives.
fn profile_folder(shared: &Shared) -> anyhow::Result<PathBuf> {
    if let Some(profile) = shared.profile.as_ref().filter(|profile| !profile.as_os_str().is_empty()) {
        return Ok(profile.clone());
    }
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return Ok(data.join("sotto"));
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(".local/share/sotto")),
        None => bail!("no profile: HOME is not set, so say --profile DIR"),
    }
}

/// Whom a command is about, in words.
fn in_words(to: &To) -> String {
    match to {
        To::Handle(handle) => format!("@{handle}"),
        To::Conversation(id) => id.to_string(),
        To::Group(name) => format!("the group {:?}", plain::one_line(name)),
    }
}

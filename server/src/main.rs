//! `sotto-server`: reads the command line and does what it says.

use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use sotto_server::cli::{Cli, Command, ServeFlags, Shared};
use sotto_server::config::{self, Config, ConfigError, DEFAULT_TOML, Settings};
use sotto_server::{Server, admin, announce, bind, output, telemetry};
use tokio::signal::unix::{SignalKind, signal};

const FAILED: u8 = 1;
const TOLD_WRONG: u8 = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sotto-server: {error:#}");
            let told_wrong = error.is::<ConfigError>() || error.is::<admin::UsageError>();
            ExitCode::from(if told_wrong { TOLD_WRONG } else { FAILED })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { shared, serve, command } = cli;
    match command {
        None => start(&shared, &[&serve]),
        Some(Command::Serve(more)) => start(&shared, &[&serve, &more]),
        Some(Command::Invite(invite)) => block_on(admin::invite(&quiet(&shared, &[&serve])?, invite)),
        Some(Command::Account(account)) => block_on(admin::account(&quiet(&shared, &[&serve])?, account)),
        Some(Command::Openapi) => Ok(output(&sotto_signaling::Signaling::openapi())?),
        Some(Command::Config { default: true, .. }) => Ok(output(DEFAULT_TOML)?),
        Some(Command::Config { default: false, serve: more }) => {
            let settings = settings(&shared, &[&serve, &more])?;
            Config::parse(&settings)?;
            Ok(output(&config::describe(&settings))?)
        }
    }
}

fn settings(shared: &Shared, serve: &[&ServeFlags]) -> Result<Settings, ConfigError> {
    let mut flags = shared.flags();
    flags.extend(serve.iter().flat_map(|flags| flags.flags()));
    Settings::collect(shared.config.as_deref(), config::environment(), flags)
}

/// The configuration for a command that ends at once: its own output matters, so only warnings are logged.
fn quiet(shared: &Shared, serve: &[&ServeFlags]) -> anyhow::Result<Config> {
    let mut config = Config::parse(&settings(shared, serve)?)?;
    if shared.log_level.is_none() {
        "warn".clone_into(&mut config.log.filter);
    }
    telemetry::start(&config.log);
    Ok(config)
}

fn start(shared: &Shared, serve: &[&ServeFlags]) -> anyhow::Result<()> {
    let config = Config::parse(&settings(shared, serve)?)?;
    telemetry::start(&config.log);
    raise_open_files();
    block_on(async move {
        let listener = bind(config.listen).await?;
        let server = Server::start(config, listener).await?;
        // Before anybody is told that it runs, or a signal that follows at once would kill it.
        let stop = stop_signal()?;
        announce(&server)?;
        server.serve(stop).await?;
        Ok(())
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Every connection is an open file, and the soft limit is often 1,024 where the hard one is far higher.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopped without draining");
            std::process::exit(i32::from(FAILED));
        });
    })
}

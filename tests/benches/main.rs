//! `make bench`: what Sotto costs beside the bare thing under it, measured in the same run on the same machine.
//!
//! Every measurement is made in rounds that alternate (ours, peer, ours, peer, …), and its figure is the median of the
//! rounds, so that a slow minute of the machine slows both. Targets are ratios to the peer of the same run.
//!
//! - [`stack`], [`appends`], [`round_trip`], [`sockets`], [`first_message`]: a measurement each;
//! - [`server`], [`device`], [`people`], [`relay`]: ours: the server as a process, sockets by hand, peers, a relay;
//! - [`bare_link`], [`bare_sqlite`], [`log_copy`]: what ours is compared with;
//! - [`report`]: medians, and the table at the end.
//!
//! What needs Chromium is in `browser`, which `scripts/bench` starts after this.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made ends the run")]

mod appends;
mod bare_link;
mod bare_sqlite;
mod device;
mod first_message;
mod log_copy;
mod people;
mod relay;
mod report;
mod round_trip;
mod server;
mod sockets;
mod stack;

use std::process::ExitCode;

use report::Line;

const USAGE: &str = "\
Measures Sotto beside the bare thing under it: medians of alternating rounds, in one run.

Usage: scripts/bench [OPTIONS] [NAME…]      (make bench: all of them, about eight minutes)

  stack          messages/s through two peers and a server, beside their SQLite writes alone
  appends        appends/s through the relay, beside the same rows in bare SQLite
  round-trip     a message and its answer over a direct link, beside a bare data channel's echo
  sockets        memory of an idle signaling socket, beside a bare WebSocket
  first-message  a first message with no link yet, beside the relay's own round trip

  and in Chromium, with the app that the server embeds (Node.js 20 and Chromium are needed):

  scroll              rows in the document and the longest frame, through 10,000 messages
  echo                from Enter to the painted row, in that conversation
  page-first-message  a first message from page to page with no link yet, beside PeerJS

Options:
  --rounds N     rounds of each measurement, at least 5 (default 7)
  --no-fail      exit with 0 even if a target is missed
  --help         print this
";

/// What was asked for.
struct Asked {
    names: Vec<String>,
    rounds: usize,
    fails: bool,
}

const NAMES: [&str; 5] = ["appends", "stack", "round-trip", "first-message", "sockets"];

fn main() -> ExitCode {
    if let Some(end) = server::child_main() {
        return end;
    }
    let asked = match parse(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("bench: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    server::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut lines = Vec::new();
    for name in NAMES {
        if !asked.names.is_empty() && !asked.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("== {name}");
        lines.extend(runtime.block_on(measure(name, asked.rounds)));
    }
    report::print(&lines, asked.rounds);
    let missed = lines.iter().any(|line| line.met == Some(false));
    ExitCode::from(u8::from(missed && asked.fails))
}

async fn measure(name: &str, rounds: usize) -> Vec<Line> {
    match name {
        "appends" => appends::measure(rounds).await,
        "stack" => stack::measure(rounds).await,
        "round-trip" => round_trip::measure(rounds).await,
        "first-message" => first_message::measure(rounds).await,
        "sockets" => sockets::measure(rounds).await,
        other => unreachable!("{other}"),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut asked = Asked { names: Vec::new(), rounds: 7, fails: true };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so.
            "--bench" => {}
            "--help" | "-h" => return Ok(None),
            "--no-fail" => asked.fails = false,
            "--rounds" => {
                let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
                asked.rounds = rounds.filter(|rounds| *rounds >= 5).ok_or("--rounds: expected 5 or more")?;
            }
            name if NAMES.contains(&name) => asked.names.push(name.to_owned()),
            other => return Err(format!("{other}: expected one of {}", NAMES.join(", "))),
        }
    }
    Ok(Some(asked))
}

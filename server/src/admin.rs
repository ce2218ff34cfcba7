//! What an administrator does from the command line, on the same database as a running server, which notices within a
//! second.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use sotto_protocol::{AccountId, Handle, UnixMillis};
use sotto_signaling::{AccountRow, AccountState, Signaling};

use crate::announce::output;
use crate::cli::{AccountCommand, Invite};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::serve::open_signaling;
use crate::units;

/// An argument that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Neither a handle nor an id.
    #[error("{0:?} is neither a handle such as @alice nor an account id (see: sotto-server account list)")]
    NoAccount(String),
    /// Not a time.
    #[error("--expires {0:?}: expected a time of more than nothing, such as 12h or 7d")]
    NoTime(String),
    /// Nobody could be asked.
    #[error("deleting cannot be undone, and there is no terminal to ask on: add --yes if you mean it")]
    NotConfirmed,
}

/// Runs `invite …`.
pub async fn invite(config: &Config, command: Invite) -> anyhow::Result<()> {
    let Invite::Create { uses, expires } = command;
    let valid_for = units::duration(&expires)
        .filter(|time| *time > Duration::ZERO)
        .ok_or_else(|| UsageError::NoTime(expires.clone()))?;
    let code = open(config).await?.create_invite(uses, valid_for).await?;
    // The code alone on standard output, so that a script can take it.
    output(&format!("{code}\n"))?;
    let times = if uses == 1 { "once".to_owned() } else { format!("{uses} times") };
    eprintln!(
        "Can be used {times} within {expires}: sotto --profile DIR sign-up --server URL --handle NAME --invite {code}"
    );
    eprintln!("Keep it now: it is not stored and cannot be shown again.");
    Ok(())
}

/// Runs `account …`.
pub async fn account(config: &Config, command: AccountCommand) -> anyhow::Result<()> {
    let signaling = open(config).await?;
    match command {
        AccountCommand::List { json } => list(&signaling, json).await,
        AccountCommand::Disable { account } => {
            let found = find(&signaling, &account).await?;
            signaling.disable_account(found.account).await.with_context(|| named(&found))?;
            Ok(output(&format!(
                "@{} is disabled; its sockets close within a second\n",
                found.handle.as_str()
            ))?)
        }
        AccountCommand::Enable { account } => {
            let found = find(&signaling, &account).await?;
            signaling.enable_account(found.account).await.with_context(|| named(&found))?;
            Ok(output(&format!("@{} is enabled\n", found.handle.as_str()))?)
        }
        AccountCommand::Delete { account, yes } => {
            let found = find(&signaling, &account).await?;
            if !yes && !confirmed(&found)? {
                return Ok(output("nothing was deleted\n")?);
            }
            signaling.delete_account(found.account).await.with_context(|| named(&found))?;
            Ok(output(&format!("@{} is deleted; its handle stays taken\n", found.handle.as_str()))?)
        }
    }
}

async fn open(config: &Config) -> anyhow::Result<Signaling> {
    let data = DataDir::existing(&config.data_dir)?;
    let origins = config.origins(config.listen);
    let (signaling, _) = open_signaling(config, &origins, &data.signaling()).await?;
    Ok(signaling)
}

async fn list(signaling: &Signaling, json: bool) -> anyhow::Result<()> {
    let accounts = signaling.list_accounts().await?;
    if json {
        let lines: String = accounts.iter().map(|account| format!("{}\n", as_json(account))).collect();
        return Ok(output(&lines)?);
    }
    if accounts.is_empty() {
        return Ok(output("no accounts yet\n")?);
    }
    let width = accounts.iter().map(|account| account.handle.as_str().len() + 1).max().unwrap_or(0).max(7);
    let mut text = format!("{:<width$}  STATE     SINCE       LAST SEEN   ID\n", "HANDLE");
    for account in &accounts {
        let handle = format!("@{}", account.handle.as_str());
        let seen = account.last_seen.map_or_else(|| "-".to_owned(), date);
        let (state, since) = (word(account.state), date(account.created_at));
        text.push_str(&format!(
            "{handle:<width$}  {state:<8}  {since:<10}  {seen:<10}  {}\n",
            account.account
        ));
    }
    Ok(output(&text)?)
}

fn as_json(account: &AccountRow) -> serde_json::Value {
    json!({
        "handle": account.handle.as_str(),
        "account": account.account.to_string(),
        "state": word(account.state),
        "created_at": account.created_at.0,
        "last_seen": account.last_seen.map(|time| time.0),
    })
}

fn word(state: AccountState) -> &'static str {
    match state {
        AccountState::Active => "active",
        AccountState::Disabled => "disabled",
        AccountState::Deleted => "deleted",
    }
}

async fn find(signaling: &Signaling, text: &str) -> anyhow::Result<AccountRow> {
    let by_id = text.parse::<AccountId>().ok();
    let by_handle = Handle::parse(text).ok();
    let found = match (by_id, by_handle) {
        (Some(id), _) => signaling.list_accounts().await?.into_iter().find(|account| account.account == id),
        (None, Some(handle)) => signaling.find_account(&handle).await?,
        (None, None) => return Err(UsageError::NoAccount(text.to_owned()).into()),
    };
    found.with_context(|| format!("there is no account {text} (see: sotto-server account list)"))
}

fn named(account: &AccountRow) -> String {
    format!("@{} (now {})", account.handle.as_str(), word(account.state))
}

fn confirmed(account: &AccountRow) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(UsageError::NotConfirmed.into());
    }
    eprint!(
        "Delete @{} for good? This cannot be undone. Type its handle to go on: ",
        account.handle.as_str()
    );
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().trim_start_matches('@') == account.handle.as_str())
}

/// The day in UTC, as `2026-11-24`: days since 1970 into a civil date, by eras of 400 years that start in March.
fn date(time: UnixMillis) -> String {
    let days = i64::try_from(time.0 / 86_400_000).unwrap_or(0) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_its_day() {
        let days = [(0, "1970-01-01"), (951_782_400_000, "2000-02-29"), (1_795_478_400_000, "2026-11-24")];
        for (millis, day) in days {
            assert_eq!(date(UnixMillis(millis)), day);
        }
    }
}

//! Asking the server over HTTP: who a handle is, which devices an account has; and what waits for the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sotto_protocol::device_list::SignedEntry;
use sotto_protocol::rest::{Account, DeviceChain, DeviceRecord};
use sotto_protocol::{AccountId, ConversationId, DeviceId, Handle};

use super::Peer;
use super::session::parse;
use crate::io::{Command, CommandError, CommandId, Event, HttpId, HttpRequest, HttpResponse, ProfileChange};
use crate::timers::Timer;

/// How long a command waits for the server.
const COMMAND_PATIENCE: Duration = Duration::from_secs(15);

/// Between two tries to look an account up.
const RETRY: Duration = Duration::from_secs(2);

/// What an HTTP request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    ServerInfo,
    Challenge,
    Session,
    Handle(Handle),
    Profile(AccountId),
    Devices(AccountId, Handle),
    Device(DeviceId),
    ProfileOf(AccountId),
    ProfileNow(CommandId, ProfileChange),
    ProfileSet(CommandId),
}

#[derive(Debug, Default)]
pub(super) struct Lookups {
    asked: BTreeMap<HttpId, Ask>,
    /// Accounts being looked up.
    open: BTreeSet<AccountId>,
    /// Devices being looked up.
    open_devices: BTreeSet<DeviceId>,
    /// By account: devices that must be in its list, or nobody vouches for them.
    expected: BTreeMap<AccountId, BTreeSet<DeviceId>>,
    /// Accounts to look up again.
    again: BTreeSet<AccountId>,
    /// Commands that wait for handles to be known.
    waiting: Vec<(CommandId, Command, Duration)>,
}

impl Peer {
    pub(super) fn ask(&mut self, ask: Ask, mut request: HttpRequest) {
        if !matches!(ask, Ask::ServerInfo | Ask::Challenge | Ask::Session) {
            request.token = self.session.token.clone();
        }
        let id = self.fx.http(request);
        self.lookups.asked.insert(id, ask);
    }

    pub(super) fn on_http(&mut self, id: HttpId, result: Result<HttpResponse, String>) {
        match self.lookups.asked.remove(&id) {
            Some(Ask::ServerInfo) => self.on_server_info(result),
            Some(Ask::Challenge) => self.on_challenge(result),
            Some(Ask::Session) => self.on_token(result),
            Some(Ask::Handle(handle)) => self.on_handle(handle, result),
            Some(Ask::Profile(account) | Ask::Devices(account, _)) if is_absent(&result) => {
                self.account_is_gone(account);
            }
            Some(Ask::Profile(account)) => match parse::<Account>(result) {
                Ok(found) => self.ask_devices(account, found.handle),
                Err(why) => self.lookup_failed(account, &why),
            },
            Some(Ask::Devices(account, handle)) => match parse::<DeviceChain>(result) {
                Ok(chain) => self.learn(account, handle, chain.entries),
                Err(why) => self.lookup_failed(account, &why),
            },
            Some(Ask::Device(device)) => self.on_device(device, result),
            Some(Ask::ProfileOf(account)) => self.on_profile_of(account, result),
            Some(Ask::ProfileNow(id, change)) => self.on_profile_now(id, change, result),
            Some(Ask::ProfileSet(id)) => self.on_profile_set(id, result),
            None => {}
        }
    }

    fn on_handle(&mut self, handle: Handle, result: Result<HttpResponse, String>) {
        let error = match result {
            Ok(response) if response.status == 404 => CommandError::NotFound(format!("@{handle}")),
            Ok(response) => match parse::<Account>(Ok(response)) {
                Ok(found) if found.handle == handle => return self.want_account(found.account, Some(handle)),
                Ok(_) => CommandError::Refused("the server answered for another handle".into()),
                Err(why) => CommandError::Refused(why),
            },
            Err(why) => CommandError::Offline(why),
        };
        let waiting = std::mem::take(&mut self.lookups.waiting);
        for (id, command, until) in waiting {
            if unknown_handles(&command).contains(&&handle) {
                self.fx.reply(id, Err(error.clone()));
            } else {
                self.lookups.waiting.push((id, command, until));
            }
        }
    }

    /// Looks an account up, unless that is under way.
    pub(super) fn want_account(&mut self, account: AccountId, handle: Option<Handle>) {
        if account == self.me.account || self.people.is_gone(&account) || !self.lookups.open.insert(account) {
            return;
        }
        self.people.set_checked(account, self.fx.now.monotonic);
        let known = || self.people.get(&account).map(|contact| contact.handle.clone());
        match handle.or_else(known) {
            Some(handle) => self.ask_devices(account, handle),
            None => self.ask(Ask::Profile(account), HttpRequest::get(format!("/v1/accounts/{account}"))),
        }
    }

    /// Fetches an account's list again if that was not done for `age`: a device may have been revoked.
    pub(super) fn refresh_account(&mut self, account: AccountId, age: Duration) {
        let now = self.fx.now.monotonic;
        if self.people.checked(&account).is_none_or(|checked| now >= checked + age) {
            self.want_account(account, None);
        }
    }

    /// Looks up whose a device is, unless that is under way.
    pub(super) fn want_device(&mut self, device: DeviceId) {
        if self.lookups.open_devices.insert(device) {
            self.ask(Ask::Device(device), HttpRequest::get(format!("/v1/devices/{device}")));
        }
    }

    fn on_device(&mut self, device: DeviceId, result: Result<HttpResponse, String>) {
        self.lookups.open_devices.remove(&device);
        if is_absent(&result) {
            return self.device_is_gone(device);
        }
        match parse::<DeviceRecord>(result) {
            Ok(record) if record.device == device && !self.people.is_gone(&record.account) => {
                self.lookups.expected.entry(record.account).or_default().insert(device);
                self.want_account(record.account, None);
            }
            Ok(_) => self.device_is_gone(device),
            // Whoever waits for it asks again.
            Err(why) => tracing::debug!(%device, why, "a device could not be looked up"),
        }
    }

    fn device_is_gone(&mut self, device: DeviceId) {
        tracing::info!(%device, "nobody can say whose this device is");
        self.people.set_device_gone(device);
        self.pump_all();
    }

    fn account_is_gone(&mut self, account: AccountId) {
        tracing::info!(%account, "the account was deleted");
        self.lookups.open.remove(&account);
        self.people.set_gone(account);
        for device in self.lookups.expected.remove(&account).unwrap_or_default() {
            self.people.set_device_gone(device);
        }
        self.pump_all();
    }

    fn pump_all(&mut self) {
        for conversation in self.conversations.values_mut() {
            conversation.pump = true;
        }
    }

    fn ask_devices(&mut self, account: AccountId, handle: Handle) {
        self.ask(Ask::Devices(account, handle), HttpRequest::get(format!("/v1/accounts/{account}/devices")));
    }

    /// Looks up every member of a conversation that is not known.
    pub(super) fn want_people_of(&mut self, id: ConversationId) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        let others = conversation.others(self.me.account);
        let unknown: Vec<_> = others.filter(|account| self.people.get(account).is_none()).collect();
        for account in unknown {
            self.want_account(account, None);
        }
    }

    fn learn(&mut self, account: AccountId, handle: Handle, chain: Vec<SignedEntry>) {
        self.lookups.open.remove(&account);
        let learnt = self.people.learn(&mut self.fx, account, handle.clone(), chain);
        if let Err(why) = &learnt {
            tracing::warn!(%account, %why, "a device list was refused");
            self.fx.notify(Event::Alarm {
                about: format!("@{handle}"),
                advice: format!("The server shows devices that cannot be right ({why}). Do not write until that is cleared up with @{handle} in person."),
            });
            return;
        }
        for device in self.lookups.expected.remove(&account).unwrap_or_default() {
            if self.people.owner(&device, &self.me) != Some(account) {
                self.people.set_device_gone(device);
            }
        }
        self.pump_all();
        if learnt == Ok(true) {
            for conversation in self.conversations.values_mut() {
                conversation.members_news |= conversation.membership.members.contains_key(&account);
            }
            self.fx.dirty = true;
        }
        self.links_due = true;
        let waiting = std::mem::take(&mut self.lookups.waiting);
        for (id, command, until) in waiting {
            self.lookups.waiting.push((id, command.clone(), until));
            if self.knows_handles(&command) {
                self.lookups.waiting.pop();
                self.on_command(id, command);
            }
        }
    }

    fn lookup_failed(&mut self, account: AccountId, why: &str) {
        tracing::debug!(%account, why, "an account could not be looked up");
        self.lookups.open.remove(&account);
        self.lookups.again.insert(account);
        self.timers.set_earlier(Timer::People, self.fx.now.monotonic + RETRY);
    }

    pub(super) fn retry_lookups(&mut self) {
        // Lists that have grown old are fetched again with the links that need them.
        self.links_due = true;
        for account in std::mem::take(&mut self.lookups.again) {
            self.want_account(account, None);
        }
    }

    /// Whether all handles that a command names are known; if not, it waits while they are looked up.
    pub(super) fn handles_known(&mut self, id: CommandId, command: &Command) -> bool {
        if self.knows_handles(command) {
            return true;
        }
        let until = self.fx.now.monotonic + COMMAND_PATIENCE;
        self.lookups.waiting.push((id, command.clone(), until));
        self.timers.set_earlier(Timer::Commands, until);
        self.ask_handles(command);
        false
    }

    fn ask_handles(&mut self, command: &Command) {
        // Only who is signed in may look people up; then this comes again.
        if self.session.token.is_none() {
            return;
        }
        let handles: Vec<Handle> = unknown_handles(command).into_iter().cloned().collect();
        for handle in handles {
            if self.account_of(&handle).is_none() {
                self.ask(Ask::Handle(handle.clone()), HttpRequest::get(format!("/v1/handles/{handle}")));
            }
        }
    }

    /// The first token is there: what waited for it is looked up.
    pub(super) fn ask_all_handles(&mut self) {
        for (_, command, _) in self.lookups.waiting.clone() {
            self.ask_handles(&command);
        }
        self.retry_lookups();
    }

    fn knows_handles(&self, command: &Command) -> bool {
        unknown_handles(command).into_iter().all(|handle| self.account_of(handle).is_some())
    }

    pub(super) fn account_of(&self, handle: &Handle) -> Option<AccountId> {
        if *handle == self.me.handle { Some(self.me.account) } else { self.people.by_handle(handle) }
    }

    pub(super) fn expire_commands(&mut self) {
        let now = self.fx.now.monotonic;
        let waiting = std::mem::take(&mut self.lookups.waiting);
        for (id, command, until) in waiting {
            if until <= now {
                self.fx.reply(id, Err(CommandError::Offline("no answer in time".into())));
            } else {
                self.timers.set_earlier(Timer::Commands, until);
                self.lookups.waiting.push((id, command, until));
            }
        }
        self.expire_commits();
    }
}

/// Whether the server says that there is no such thing.
fn is_absent(result: &Result<HttpResponse, String>) -> bool {
    result.as_ref().is_ok_and(|response| response.status == 404)
}

/// The handles that a command names.
fn unknown_handles(command: &Command) -> Vec<&Handle> {
    match command {
        Command::Direct { handle }
        | Command::Block { handle }
        | Command::Unblock { handle }
        | Command::ProfileGet { handle: Some(handle) }
        | Command::GroupAdd { handle, .. } => vec![handle],
        Command::GroupCreate { members, .. } => members.iter().collect(),
        _ => Vec::new(),
    }
}

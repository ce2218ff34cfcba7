//! What accounts say of themselves: kept here for when the server is away, and asked for again once somebody looks at it
//! after a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use minicbor::{Decode, Encode};
use sotto_protocol::cbor::{self, Blob, Text};
use sotto_protocol::keys::base64url;
use sotto_protocol::plain::{display_name, plain};
use sotto_protocol::rest::{Account, Profile};
use sotto_protocol::{AccountId, Handle, UnixMillis, limits};

use super::Peer;
use super::commands::Outcome;
use super::lookups::Ask;
use super::session::parse;
use crate::io::{
    CommandError, CommandId, Event, HttpRequest, HttpResponse, ProfileChange, ProfileView, Reply, Table,
};
use crate::store::PROFILE;

/// How old a profile may be when somebody looks at it.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// Asked for at once: a list of a thousand chats must not look like an attack to the server.
const ASKED: usize = 8;

/// Bytes of avatars kept, of everybody together: they are read at each start. Names are kept beyond.
const AVATARS: usize = 4 * 1024 * 1024;

/// A profile as kept: plain words, and a picture whose size is known to be sane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ProfileRecord {
    #[n(0)]
    display_name: Option<Text<{ limits::MAX_NAME_BYTES }>>,
    #[n(1)]
    status_text: Option<Text<{ limits::MAX_STATUS_BYTES }>>,
    #[n(2)]
    avatar: Option<Blob<{ limits::MAX_AVATAR_BYTES }>>,
    /// When the server said so.
    #[n(3)]
    at: UnixMillis,
}

impl ProfileRecord {
    /// Takes in what a server says; what is out of bounds counts as not said.
    fn new(said: Profile, at: UnixMillis) -> Self {
        let avatar = said
            .avatar
            .filter(|avatar| Profile { avatar: Some(avatar.clone()), ..Profile::default() }.check().is_ok());
        Self {
            display_name: said.display_name.as_deref().and_then(display_name).map(|name| {
                let short: String = name.chars().take(limits::MAX_NAME_CHARS).collect();
                Text::truncated(short.trim_end())
            }),
            status_text: said.status_text.as_deref().and_then(plain).map(|text| Text::truncated(&text)),
            avatar: avatar.and_then(|avatar| Blob::new(base64url::decode(&avatar)?)),
            at,
        }
    }

    fn said(&self) -> Profile {
        Profile {
            display_name: self.display_name.as_deref().map(ToOwned::to_owned),
            status_text: self.status_text.as_deref().map(ToOwned::to_owned),
            avatar: self.avatar.as_ref().map(|avatar| base64url::encode(avatar.bytes())),
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { at: self.at, ..other.clone() }
    }

    pub fn avatar_bytes(&self) -> usize {
        self.avatar.as_ref().map_or(0, |avatar| avatar.bytes().len())
    }
}

/// Profiles being asked for.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    /// The own one.
    own: Option<ProfileRecord>,
    asked: BTreeSet<AccountId>,
    wanted: VecDeque<AccountId>,
    /// Commands that wait for the first answer.
    waiting: BTreeMap<AccountId, Vec<CommandId>>,
}

impl Profiles {
    pub fn restore(own: Option<ProfileRecord>) -> Self {
        Self { own, ..Self::default() }
    }
}

impl Peer {
    pub(super) fn profile_get(&mut self, id: CommandId, handle: Option<&Handle>) -> Outcome {
        let account = handle.map_or(Ok(self.me.account), |handle| self.known(handle))?;
        let kept = self.profile_record(&account);
        let now = self.fx.now.wall;
        // A clock that was set back makes nothing fresh for ever.
        let age = kept.map(|record| now.0.abs_diff(record.at.0));
        let view = kept.and_then(|record| self.profile_view(account, record));
        if age.is_none_or(|age| u128::from(age) >= FRESH.as_millis()) {
            self.want_profile(account);
        }
        match view {
            Some(view) => Ok(Some(Reply::Profile(view))),
            None if self.session.token.is_none() => {
                Err(CommandError::Offline("this profile is not known yet".into()))
            }
            None => {
                self.profiles.waiting.entry(account).or_default().push(id);
                Ok(None)
            }
        }
    }

    /// Changes the own profile: the server takes whole ones, and another device may have changed it since.
    pub(super) fn profile_set(&mut self, id: CommandId, change: ProfileChange) -> Outcome {
        change
            .applied_to(Profile::default())
            .check()
            .map_err(|error| match error.split_once(": ") {
                Some(("display_name", reason)) => ("display_name", reason.to_owned()),
                Some(("status_text", reason)) => ("status_text", reason.to_owned()),
                Some(("avatar", reason)) => ("avatar", reason.to_owned()),
                _ => ("profile", error.clone()),
            })
            .map_err(|(field, reason)| CommandError::Invalid { field, reason })?;
        if self.session.token.is_none() {
            return Err(CommandError::Offline("profiles change only while the server is reached".into()));
        }
        let path = format!("/v1/accounts/{}", self.me.account);
        self.ask(Ask::ProfileNow(id, change), HttpRequest::get(path));
        Ok(None)
    }

    pub(super) fn on_profile_now(
        &mut self,
        id: CommandId,
        change: ProfileChange,
        result: Result<HttpResponse, String>,
    ) {
        let Some(now) = self.answered::<Account>(id, result) else { return };
        let profile = ProfileRecord::new(change.applied_to(now.profile), self.fx.now.wall).said();
        let body = serde_json::to_vec(&profile).ok();
        let request = HttpRequest { method: "PUT", path: "/v1/profile".into(), body, token: None };
        self.ask(Ask::ProfileSet(id), request);
    }

    pub(super) fn on_profile_set(&mut self, id: CommandId, result: Result<HttpResponse, String>) {
        let Some(set) = self.answered::<Profile>(id, result) else { return };
        // What was asked before is older than this.
        let me = self.me.account;
        self.profiles.asked.remove(&me);
        self.take_in_profile(me, set);
        let view = self.profile_record(&me).and_then(|record| self.profile_view(me, record));
        if let Some(view) = view {
            self.fx.reply(id, Ok(Reply::Profile(view)));
        }
    }

    /// A good answer; otherwise the command has its error.
    fn answered<T: for<'de> serde::Deserialize<'de>>(
        &mut self,
        id: CommandId,
        result: Result<HttpResponse, String>,
    ) -> Option<T> {
        let error = match result {
            Err(why) => CommandError::Offline(why),
            answer => match parse::<T>(answer) {
                Ok(body) => return Some(body),
                Err(why) => CommandError::Refused(why),
            },
        };
        self.fx.reply(id, Err(error));
        None
    }

    fn want_profile(&mut self, account: AccountId) {
        if self.session.token.is_none()
            || self.profiles.asked.contains(&account)
            || self.profiles.wanted.contains(&account)
        {
            return;
        }
        self.profiles.wanted.push_back(account);
        self.ask_profiles();
    }

    fn ask_profiles(&mut self) {
        while self.profiles.asked.len() < ASKED
            && let Some(account) = self.profiles.wanted.pop_front()
        {
            self.profiles.asked.insert(account);
            self.ask(Ask::ProfileOf(account), HttpRequest::get(format!("/v1/accounts/{account}")));
        }
    }

    pub(super) fn on_profile_of(&mut self, account: AccountId, result: Result<HttpResponse, String>) {
        if !self.profiles.asked.remove(&account) {
            return;
        }
        self.ask_profiles();
        let expected = self.people.handle(&account, &self.me);
        let error = match result {
            Err(why) => CommandError::Offline(why),
            Ok(response) if response.status == 404 => CommandError::NotFound("this account".into()),
            answer => match parse::<Account>(answer) {
                Ok(found) if found.account == account && Some(&found.handle) == expected.as_ref() => {
                    return self.take_in_profile(account, found.profile);
                }
                Ok(_) => CommandError::Refused("the server answered for another account".into()),
                Err(why) => CommandError::Refused(why),
            },
        };
        tracing::debug!(%account, %error, "a profile could not be fetched");
        for id in self.profiles.waiting.remove(&account).unwrap_or_default() {
            self.fx.reply(id, Err(error.clone()));
        }
    }

    fn take_in_profile(&mut self, account: AccountId, said: Profile) {
        let mut record = ProfileRecord::new(said, self.fx.now.wall);
        if account == self.me.account {
            self.fx.put(Table::Meta, PROFILE.to_vec(), cbor::encode(&record));
        } else if record.avatar_bytes() + self.people.avatar_bytes(&account) > AVATARS {
            record.avatar = None;
        }
        let changed = self.profile_record(&account).is_none_or(|kept| !kept.says_the_same(&record));
        let view = self.profile_view(account, &record);
        if account == self.me.account {
            self.profiles.own = Some(record);
        } else {
            self.people.set_profile(&mut self.fx, account, record);
        }
        let Some(view) = view else { return };
        if changed {
            self.fx.mention(Event::Profile(view.clone()));
        }
        for id in self.profiles.waiting.remove(&account).unwrap_or_default() {
            self.fx.reply(id, Ok(Reply::Profile(view.clone())));
        }
    }

    fn profile_record(&self, account: &AccountId) -> Option<&ProfileRecord> {
        if *account == self.me.account {
            return self.profiles.own.as_ref();
        }
        self.people.get(account)?.profile.as_ref()
    }

    fn profile_view(&self, account: AccountId, record: &ProfileRecord) -> Option<ProfileView> {
        Some(ProfileView { handle: self.people.handle(&account, &self.me)?, profile: record.said() })
    }
}

impl ProfileChange {
    fn applied_to(&self, mut profile: Profile) -> Profile {
        for (change, field) in [
            (&self.display_name, &mut profile.display_name),
            (&self.status_text, &mut profile.status_text),
            (&self.avatar, &mut profile.avatar),
        ] {
            if let Some(value) = change {
                field.clone_from(value);
            }
        }
        profile
    }
}

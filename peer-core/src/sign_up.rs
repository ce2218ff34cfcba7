//! How a profile gets an account, sans-IO: what to store, what to ask, and what an answer means.
//!
//! The keys are in the profile before the server hears of them, marked as pending: a crash, or an answer that is
//! lost, leaves an account that can be had by signing up again, not one that nobody holds the keys of. The server
//! answers the very same sign-up with success, however often it comes.

use serde::{Deserialize, Serialize};
use sotto_protocol::keys::base64url;
use sotto_protocol::rest::{Account, PROBLEM_PREFIX, Problem, ServerInfo};
use sotto_protocol::{Handle, UnixMillis};

use crate::Identity;
use crate::io::{HttpRequest, HttpResponse, Row, Snapshot, Table, WriteSet};
use crate::rpc::RpcError;

/// The key of the pending sign-up's row in [`Table::Meta`].
const PENDING: &[u8] = b"pending sign-up";

/// A sign-up under way.
#[derive(Debug, Clone)]
pub struct SignUp {
    identity: Identity,
    pending: Pending,
}

/// Everything that makes the request the same again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    /// The identity's row, as it will stand once the server has taken it.
    #[serde(with = "base64url")]
    key: Vec<u8>,
    #[serde(with = "base64url")]
    value: Vec<u8>,
    device_name: String,
    at: UnixMillis,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub enum Conclusion {
    /// The account is there: these writes make the profile its own.
    Taken(WriteSet),
    /// Decided against: these writes forget it, and another handle or invitation may be tried.
    Refused {
        /// What forgets it.
        writes: WriteSet,
        /// The server's words; `None` if it speaks like no Sotto server.
        problem: Option<Box<Problem>>,
    },
    /// The account may be there or not; why, for people. Ask again, with the same.
    Unanswered(String),
}

/// Why no account can be had at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongServer {
    /// It is something else than a Sotto server.
    #[error("there is no Sotto server at {asked}")]
    NotSotto {
        /// What was asked for.
        asked: String,
    },
    /// The server goes by another name.
    #[error("the server at {asked} goes by {known}: use that address (it is the server's public_url)")]
    OtherName {
        /// What was asked for.
        asked: String,
        /// What it says it is.
        known: String,
    },
}

/// Asks an origin what server it is; [`check_server`] reads the answer. To be done before anything is kept.
pub fn ask_server() -> HttpRequest {
    HttpRequest::get("/v1/server")
}

/// A session is bound to the server's name, so one signed up under another name could never sign in.
pub fn check_server(asked: &str, answer: &HttpResponse) -> Result<(), WrongServer> {
    let info = serde_json::from_slice::<ServerInfo>(&answer.body).ok().filter(|_| answer.status == 200);
    let origins = info.map(|info| info.origins).unwrap_or_default();
    if origins.iter().any(|origin| origin == asked) {
        return Ok(());
    }
    let asked = asked.to_owned();
    Err(match origins.into_iter().next() {
        Some(known) => WrongServer::OtherName { asked, known },
        None => WrongServer::NotSotto { asked },
    })
}

impl SignUp {
    /// Makes the keys of a new account from 64 random bytes. [`SignUp::writes`] come first, then
    /// [`SignUp::request`].
    pub fn begin(
        handle: Handle,
        server: String,
        device_name: String,
        at: UnixMillis,
        random: [u8; 64],
    ) -> Self {
        let identity = Identity::generate(handle, server, random);
        let Row { key, value } = identity.row();
        Self { identity, pending: Pending { key, value, device_name, at } }
    }

    /// The one that is pending in a store.
    pub fn resume(snapshot: &Snapshot) -> Option<Self> {
        let rows = snapshot.tables.get(&Table::Meta)?;
        let row = rows.iter().find(|row| row.key == PENDING)?;
        let pending: Pending = serde_json::from_slice(&row.value).ok()?;
        let row = Row { key: pending.key.clone(), value: pending.value.clone() };
        let identity = Identity::find(&Snapshot { tables: [(Table::Meta, vec![row])].into() }).ok()??;
        Some(Self { identity, pending })
    }

    /// Who it will be.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What must be durable before the server hears of it.
    pub fn writes(&self) -> WriteSet {
        let mut writes = WriteSet::default();
        writes.rows.insert((Table::Meta, PENDING.to_vec()), serde_json::to_vec(&self.pending).ok());
        writes
    }

    /// What to ask the server, as often as it takes.
    pub fn request(&self, invite: Option<String>) -> HttpRequest {
        let body = self.identity.sign_up(&self.pending.device_name, invite, self.pending.at);
        HttpRequest::post("/v1/accounts", &body)
    }

    /// Reads the answer.
    pub fn conclude(&self, answer: &HttpResponse) -> Conclusion {
        let mut writes = WriteSet::default();
        writes.rows.insert((Table::Meta, PENDING.to_vec()), None);
        match answer.status {
            ..300 => {
                let account = serde_json::from_slice::<Account>(&answer.body);
                if !account.is_ok_and(|account| account.account == self.identity.account) {
                    return Conclusion::Unanswered("it makes no sense".into());
                }
                writes.rows.extend(self.identity.write_set().rows);
                Conclusion::Taken(writes)
            }
            300..500 => Conclusion::Refused { writes, problem: serde_json::from_slice(&answer.body).ok() },
            status @ 500.. => Conclusion::Unanswered(format!("it failed with status {status}")),
        }
    }
}

/// Why a server asks for something else, in words that say what to do.
pub fn refusal(problem: &Problem) -> String {
    match problem.kind.strip_prefix(PROBLEM_PREFIX).unwrap_or_default() {
        "invite-required" => "this server asks for an invitation: ask its administrator for one".into(),
        "invite-invalid" => "this is no invitation code of this server: check it, or ask for another".into(),
        "invite-expired" => "this invitation has expired: ask for another".into(),
        "invite-used-up" => "this invitation is used up: ask for another".into(),
        "handle-taken" => "this handle is taken: choose another".into(),
        _ => format!("the server refused: {}", problem.detail.as_deref().unwrap_or(&problem.title)),
    }
}

impl From<WrongServer> for RpcError {
    fn from(error: WrongServer) -> Self {
        Self::about("server", error.to_string())
    }
}

impl From<Problem> for RpcError {
    fn from(problem: Problem) -> Self {
        Self::problem(&problem, refusal(&problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn begin() -> SignUp {
        let handle = Handle::parse("alice").unwrap();
        SignUp::begin(handle, "http://localhost:8080".into(), "laptop".into(), UnixMillis(5), [7; 64])
    }

    fn snapshot(writes: WriteSet) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for ((table, key), value) in writes.rows {
            let rows = snapshot.tables.entry(table).or_default();
            rows.extend(value.map(|value| Row { key, value }));
        }
        snapshot
    }

    fn answer(status: u16, body: &serde_json::Value) -> HttpResponse {
        HttpResponse { status, body: body.to_string().into_bytes() }
    }

    #[test]
    fn a_resumed_sign_up_asks_the_very_same_again() {
        let begun = begin();
        let resumed = SignUp::resume(&snapshot(begun.writes())).unwrap();
        assert_eq!(begun.request(None), resumed.request(None));
        assert!(SignUp::resume(&Snapshot::default()).is_none());
    }

    #[test]
    fn an_account_that_was_taken_is_the_profiles_own_and_nothing_is_pending() {
        let begun = begin();
        let account = json!({ "account": begun.identity().account, "handle": "alice", "profile": {} });
        let Conclusion::Taken(writes) = begun.conclude(&answer(201, &account)) else { panic!("not taken") };
        let stored = snapshot(writes);
        assert_eq!(Identity::find(&stored).unwrap().unwrap().device, begun.identity().device);
        assert!(SignUp::resume(&stored).is_none());
    }

    #[test]
    fn a_refusal_is_forgotten_and_an_answer_that_says_nothing_is_not() {
        let begun = begin();
        let problem = json!({ "type": format!("{PROBLEM_PREFIX}handle-taken"), "title": "x", "status": 409, "field": "handle" });
        match begun.conclude(&answer(409, &problem)) {
            Conclusion::Refused { problem: Some(problem), writes } => {
                assert!(snapshot(writes).tables.values().all(Vec::is_empty));
                let error = RpcError::from(*problem).to_json();
                let data = json!({ "kind": "refused", "field": "handle", "problem": "handle-taken" });
                assert_eq!((&error["code"], &error["data"]), (&json!(-32007), &data));
            }
            other => panic!("{other:?}"),
        }
        let page = HttpResponse { status: 404, body: b"<html>".into() };
        assert!(matches!(begun.conclude(&page), Conclusion::Refused { problem: None, .. }));
        for unanswered in [answer(502, &json!({})), answer(200, &json!({ "account": "another" }))] {
            assert!(matches!(begun.conclude(&unanswered), Conclusion::Unanswered(_)));
        }
    }

    #[test]
    fn a_server_is_asked_for_its_name_first() {
        let info = |origins: &[&str]| {
            answer(
                200,
                &json!({ "version": "0", "origins": origins, "sign_up": "open", "now": 0, "ice_servers": [] }),
            )
        };
        let asked = "http://localhost:8080";
        assert_eq!(check_server(asked, &info(&["http://other", asked])), Ok(()));
        assert!(matches!(
            check_server(asked, &info(&["http://other"])),
            Err(WrongServer::OtherName { known, .. }) if known == "http://other"
        ));
        let page = HttpResponse { status: 200, body: b"<html>".into() };
        assert!(matches!(check_server(asked, &page), Err(WrongServer::NotSotto { .. })));
    }
}

//! The session with the server: a token by challenge, and the two sockets that are kept open with it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use sotto_protocol::cbor::Text;
use sotto_protocol::relay::{RELAY_VERSION, Request};
use sotto_protocol::rest::{Challenge, ChallengeRequest, ServerInfo, Session as Token};
use sotto_protocol::signal::ClientMessage;

use super::lookups::Ask;
use super::{Peer, SOCKETS};
use crate::io::{
    ConnectionStatus, Event, HttpRequest, HttpResponse, Output, Socket, SocketCommand, SocketEvent,
};
use crate::link::send_signal;
use crate::timers::Timer;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// From opening a socket to the server's `ready`.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Keeps the presence lease of 45 s.
const PING: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    Opening,
    Authenticating,
    Ready,
}

#[derive(Debug, Default)]
struct Connection {
    state: State,
    failures: u32,
    why: Option<String>,
}

/// Token and sockets.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub token: Option<String>,
    asking: bool,
    failures: u32,
    signal: Connection,
    relay: Connection,
}

impl Session {
    fn of(&mut self, socket: Socket) -> &mut Connection {
        match socket {
            Socket::Signal => &mut self.signal,
            Socket::Relay => &mut self.relay,
        }
    }

    pub fn is_ready(&self, socket: Socket) -> bool {
        let connection = match socket {
            Socket::Signal => &self.signal,
            Socket::Relay => &self.relay,
        };
        connection.state == State::Ready
    }

    pub fn status(&self, socket: Socket) -> ConnectionStatus {
        let connection = match socket {
            Socket::Signal => &self.signal,
            Socket::Relay => &self.relay,
        };
        let up = connection.state == State::Ready;
        ConnectionStatus { up, why: if up { None } else { connection.why.clone() } }
    }
}

impl Peer {
    pub(super) fn start(&mut self) {
        self.ask(Ask::ServerInfo, HttpRequest::get("/v1/server"));
        self.ask_for_token();
        let missing: Vec<_> = self.conversations.keys().copied().collect();
        for id in missing {
            self.with(id, |conversation, ctx| {
                conversation.arm_missing(ctx);
                // Others' messages that were held when this device went down are still to be appended for them.
                conversation.arm_append_for_others(ctx);
            });
            self.want_people_of(id);
        }
    }

    fn ask_for_token(&mut self) {
        if std::mem::replace(&mut self.session.asking, true) {
            return;
        }
        let body = ChallengeRequest { device: self.me.device };
        self.ask(Ask::Challenge, HttpRequest::post("/v1/challenges", &body));
    }

    pub(super) fn on_challenge(&mut self, result: Result<HttpResponse, String>) {
        match parse::<Challenge>(result) {
            Ok(challenge) => {
                let body = self.me.answer_challenge(challenge.nonce);
                self.ask(Ask::Session, HttpRequest::post("/v1/sessions", &body));
            }
            Err(why) => self.no_token(why),
        }
    }

    pub(super) fn on_token(&mut self, result: Result<HttpResponse, String>) {
        match parse::<Token>(result) {
            Ok(token) => {
                self.session.asking = false;
                self.session.failures = 0;
                // Renewed in time: a token that has run out closes its sockets.
                let life = Duration::from_millis(token.expires_in_ms).mul_f64(0.8);
                let first = self.session.token.replace(token.token).is_none();
                if first {
                    self.ask_all_handles();
                }
                self.timers.set(Timer::Session, self.fx.now.monotonic + life);
                for socket in SOCKETS {
                    match self.session.of(socket).state {
                        State::Closed => self.open_socket(socket),
                        State::Ready => self.authenticate(socket),
                        State::Opening | State::Authenticating => {}
                    }
                }
            }
            Err(why) => self.no_token(why),
        }
    }

    fn no_token(&mut self, why: String) {
        self.session.asking = false;
        for socket in SOCKETS {
            if !self.session.is_ready(socket) {
                self.session.of(socket).why = Some(why.clone());
            }
        }
        self.session.failures += 1;
        let at = self.backoff(self.session.failures);
        self.timers.set(Timer::Session, at);
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        let most = FIRST_RETRY.saturating_mul(1 << failures.min(6)).min(LAST_RETRY);
        self.fx.now.monotonic + FIRST_RETRY / 5 + self.fx.jitter(most)
    }

    fn open_socket(&mut self, socket: Socket) {
        if self.session.token.is_none() {
            self.ask_for_token();
            return;
        }
        self.session.of(socket).state = State::Opening;
        self.fx.now(Output::Socket { socket, command: SocketCommand::Open });
        self.timers.set(Timer::Socket(socket), self.fx.now.monotonic + READY_WITHIN);
    }

    fn authenticate(&mut self, socket: Socket) {
        let Some(token) = self.session.token.clone() else { return };
        match socket {
            Socket::Signal => send_signal(&mut self.fx, &ClientMessage::Authenticate { token }),
            Socket::Relay => {
                let Some(token) = Text::new(token) else { return };
                let request = Request::Authenticate { version: RELAY_VERSION, token };
                let message = Bytes::from(sotto_protocol::cbor::encode(&request));
                self.fx.now(Output::Socket { socket, command: SocketCommand::Send(message) });
            }
        }
    }

    pub(super) fn on_socket(&mut self, socket: Socket, event: SocketEvent) {
        match event {
            SocketEvent::Opened if self.session.of(socket).state == State::Opening => {
                self.session.of(socket).state = State::Authenticating;
                self.authenticate(socket);
            }
            SocketEvent::Opened => {}
            SocketEvent::Message(message) => match socket {
                Socket::Signal => self.on_signal_message(&message),
                Socket::Relay => self.on_relay_message(&message),
            },
            SocketEvent::Closed(why) => self.socket_down(socket, why, None),
        }
    }

    /// The server has taken the token.
    pub(super) fn socket_ready(&mut self, socket: Socket) {
        if self.session.of(socket).state != State::Authenticating {
            return;
        }
        let connection = self.session.of(socket);
        connection.state = State::Ready;
        connection.failures = 0;
        connection.why = None;
        self.timers.cancel(Timer::Socket(socket));
        self.fx.mention(Event::Connection { socket, up: true, why: None });
        match socket {
            Socket::Signal => {
                self.timers.set(Timer::Ping, self.fx.now.monotonic + PING);
                self.presence_due = true;
                self.presence_said.clear();
                self.links_due = true;
            }
            Socket::Relay => {
                self.relay.set_ready(true);
                self.relay_opened();
            }
        }
    }

    /// The socket is gone; it is opened again after `wait`, or a while that grows with failures.
    pub(super) fn socket_down(&mut self, socket: Socket, why: String, wait: Option<Duration>) {
        let connection = self.session.of(socket);
        if connection.state == State::Closed {
            return;
        }
        let was_up = connection.state == State::Ready;
        connection.state = State::Closed;
        connection.failures += 1;
        connection.why = Some(why.clone());
        let failures = connection.failures;
        let at = match wait {
            Some(wait) => self.fx.now.monotonic + wait,
            None => self.backoff(failures),
        };
        self.timers.set(Timer::Socket(socket), at);
        if socket == Socket::Relay {
            self.relay.set_ready(false);
            for conversation in self.conversations.values_mut() {
                conversation.relay_closed();
            }
        }
        if was_up {
            self.fx.mention(Event::Connection { socket, up: false, why: Some(why) });
        }
    }

    /// The server does not take the token: get another.
    pub(super) fn token_refused(&mut self, socket: Socket) {
        self.session.token = None;
        self.close_socket(socket, "the session has ended".into());
    }

    pub(super) fn close_socket(&mut self, socket: Socket, why: String) {
        self.fx.now(Output::Socket { socket, command: SocketCommand::Close });
        self.socket_down(socket, why, None);
    }

    pub(super) fn on_session_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Socket(socket) => match self.session.of(socket).state {
                State::Closed => self.open_socket(socket),
                State::Opening | State::Authenticating => {
                    self.close_socket(socket, "the server did not answer in time".into());
                }
                State::Ready => {}
            },
            Timer::Ping if self.session.is_ready(Socket::Signal) => {
                send_signal(&mut self.fx, &ClientMessage::Ping {});
                self.timers.set(Timer::Ping, self.fx.now.monotonic + PING);
            }
            Timer::Ping => {}
            _ => self.ask_for_token(),
        }
    }

    /// The network changed: whatever waits is tried at once.
    pub(super) fn reconnect_now(&mut self) {
        let now = self.fx.now.monotonic;
        for socket in SOCKETS {
            if self.session.of(socket).state == State::Closed {
                self.timers.set(Timer::Socket(socket), now);
            }
        }
        if self.session.token.is_none() {
            self.timers.set(Timer::Session, now);
        }
        self.links_due = true;
    }

    pub(super) fn on_server_info(&mut self, result: Result<HttpResponse, String>) {
        if let Ok(info) = parse::<ServerInfo>(result) {
            self.ice_servers = info.ice_servers;
        }
    }
}

/// The body of a good answer, or why there is none, for people.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(result: Result<HttpResponse, String>) -> Result<T, String> {
    let response = result?;
    if (200..300).contains(&response.status) {
        return serde_json::from_slice(&response.body)
            .map_err(|e| format!("the server's answer is malformed: {e}"));
    }
    Err(problem(&response))
}

/// What the server says went wrong.
fn problem(response: &HttpResponse) -> String {
    match serde_json::from_slice::<sotto_protocol::rest::Problem>(&response.body) {
        Ok(problem) => problem.detail.unwrap_or(problem.title),
        Err(_) => format!("HTTP status {}", response.status),
    }
}

//! Random histories: any order of answers, failing writes, crashes, slow readers. Whatever happens, a subscription
//! has no hole and no repeat, what was acknowledged stands where it was said to, and in the end everybody has all.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sotto_protocol::relay::{EntryBody, Event, Request};
use sotto_protocol::{DeviceId, LogEpoch, MessageId, Position, Seq};
use sotto_relay::log::{Input, LogConfig, SessionId};
use sotto_relay::store::{Answer, Query};

use crate::world::{GROUP, Person, World, person};

#[derive(Debug, Clone)]
enum Step {
    /// The device appends its next message, or one again.
    Append {
        who: usize,
        back: u64,
    },
    /// Another member's message.
    AppendFor {
        who: usize,
        author: usize,
    },
    Subscribe {
        who: usize,
    },
    Unsubscribe {
        who: usize,
    },
    Reconnect {
        who: usize,
    },
    Cursor {
        who: usize,
    },
    /// The driver answers one of what it was asked, any.
    Perform {
        which: usize,
    },
    FailWrite,
    Crash,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0usize..3;
    prop_oneof![
        8 => (who.clone(), 0u64..3).prop_map(|(who, back)| Step::Append { who, back }),
        3 => (who.clone(), 0usize..3).prop_map(|(who, author)| Step::AppendFor { who, author }),
        2 => who.clone().prop_map(|who| Step::Subscribe { who }),
        1 => who.clone().prop_map(|who| Step::Unsubscribe { who }),
        1 => who.clone().prop_map(|who| Step::Reconnect { who }),
        2 => who.prop_map(|who| Step::Cursor { who }),
        20 => (0usize..8).prop_map(|which| Step::Perform { which }),
        1 => Just(Step::FailWrite),
        1 => Just(Step::Crash),
        1 => Just(Step::Tick),
    ]
}

struct Client {
    person: Person,
    session: SessionId,
    subscribed: bool,
    held: Position,
    /// Seqs below this were tried.
    next: u64,
}

struct History {
    world: World,
    clients: Vec<Client>,
    acknowledged: BTreeMap<MessageId, Position>,
}

impl History {
    fn new() -> Self {
        // A tiny cache and slow readers make the rare ways common.
        let config = LogConfig { idle_conversations: 1, ..LogConfig::default() };
        let mut world = World::with(config);
        let people = [person(1, 1), person(2, 1), person(2, 2)];
        world.group(&people);
        let clients = people.map(|person| Client {
            person,
            session: world.join(person),
            subscribed: false,
            held: Position(0),
            next: 1,
        });
        Self { world, clients: clients.into(), acknowledged: BTreeMap::new() }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append { who, back } => {
                let client = &mut self.clients[*who];
                let seq = client.next.saturating_sub(*back).max(1);
                client.next = client.next.max(seq + 1);
                let request = Request::Append { frame: message(client.person, seq) };
                self.world.request(client.session, request);
            }
            Step::AppendFor { who, author } => {
                let author = &self.clients[*author];
                let request = Request::Append { frame: message(author.person, author.next.max(2) - 1) };
                self.world.request(self.clients[*who].session, request);
            }
            Step::Subscribe { who } => self.subscribe(*who),
            Step::Unsubscribe { who } => {
                let client = &mut self.clients[*who];
                self.world.request(client.session, Request::Unsubscribe { conversation: GROUP });
                client.subscribed = false;
            }
            Step::Reconnect { who } => {
                self.world.input(Input::Disconnected { session: self.clients[*who].session });
                self.reconnect(*who);
            }
            Step::Cursor { who } => {
                let client = &self.clients[*who];
                let request = Request::Cursor { conversation: GROUP, position: client.held, receipt: None };
                self.world.request(client.session, request);
            }
            Step::Perform { which } => {
                let count = self.world.tasks.len().max(1);
                self.world.perform(which % count);
            }
            Step::FailWrite => {
                self.world.fail_write();
            }
            Step::Crash => {
                self.world.crash();
                (0..self.clients.len()).for_each(|who| self.reconnect(who));
            }
            Step::Tick => self.world.input(Input::Tick),
        }
        self.check();
    }

    fn subscribe(&mut self, who: usize) {
        let client = &mut self.clients[who];
        // Only once the socket's earlier events are read: what it holds is where it starts.
        client.subscribed = true;
        let request = Request::Subscribe {
            conversation: GROUP,
            log_epoch: LogEpoch(1),
            after: client.held,
            held: None,
        };
        self.world.request(client.session, request);
    }

    fn reconnect(&mut self, who: usize) {
        let person = self.clients[who].person;
        self.clients[who].session = self.world.connect(person);
        self.clients[who].subscribed = false;
    }

    fn check(&mut self) {
        for client in &mut self.clients {
            for event in self.world.events(client.session) {
                match event {
                    Event::Subscribed { .. } => {}
                    Event::Entry { position, body, .. } => {
                        // A subscription that was replaced may have sent on until the relay saw it.
                        if position <= client.held {
                            continue;
                        }
                        assert_eq!(position, client.held.next(), "a hole");
                        client.held = position;
                        let (device, seq) = name(&body);
                        if let (Some(device), Some(seq)) = (device, seq) {
                            let stored =
                                self.world.store.answer(&Query::Entry { conversation: GROUP, device, seq });
                            assert!(matches!(stored, Answer::Entry(Some((at, _))) if at == position));
                        }
                    }
                    Event::Appended { conversation, device, seq, position, .. } => {
                        let stored = self.world.store.answer(&Query::Entry { conversation, device, seq });
                        assert!(matches!(stored, Answer::Entry(Some((at, _))) if at == position));
                        let id = MessageId { conversation, device, seq };
                        let before = self.acknowledged.insert(id, position);
                        assert!(before.is_none_or(|before| before == position));
                    }
                    Event::Conflict { .. }
                    | Event::RolledBack { .. }
                    | Event::Trimmed { .. }
                    | Event::AppendRefused { .. } => panic!("{event:?}"),
                    _ => {}
                }
            }
        }
    }

    fn finish(&mut self) {
        self.world.settle();
        self.check();
        let everything = Query::Page {
            conversation: GROUP,
            after: Position(0),
            through: Position(u64::MAX),
            limit: usize::MAX,
            bytes: usize::MAX,
        };
        for who in 0..self.clients.len() {
            if !self.clients[who].subscribed {
                self.subscribe(who);
            }
        }
        // A tick, for pages that a failing store held up.
        self.world.input(Input::Tick);
        self.world.settle();
        self.check();
        let Answer::Page { entries, .. } = self.world.store.answer(&everything) else { unreachable!() };
        let head = entries.last().map(|entry| entry.position).unwrap();
        assert_eq!(head.0, entries.len() as u64, "positions are dense");
        for client in &self.clients {
            assert_eq!(client.held, head, "{:?} is behind", client.session);
        }
        let mut last: BTreeMap<DeviceId, Seq> = BTreeMap::new();
        for entry in &entries {
            if let (Some(device), Some(seq)) = name(&entry.body) {
                let before = last.insert(device, seq).unwrap_or_default();
                assert_eq!(seq, before.next(), "a device's seqs are dense and in order");
            }
        }
    }
}

fn message(person: Person, seq: u64) -> sotto_protocol::Frame {
    // Long enough that a few dozen fill a socket's room.
    let text = format!("{seq} ").repeat(300);
    person.frame(GROUP, seq, &text)
}

fn name(body: &EntryBody) -> (Option<DeviceId>, Option<Seq>) {
    match body {
        EntryBody::Message(frame) => (Some(frame.body().device), Some(frame.body().seq)),
        EntryBody::Known(device, seq, _) => (Some(*device), Some(*seq)),
        EntryBody::Membership(_) => (None, None),
    }
}

proptest! {
    // More by PROPTEST_CASES. A failure prints its steps, which is all that is needed to see it again.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_hole_no_repeat_and_nothing_acknowledged_is_lost(steps in prop::collection::vec(step(), 1..160)) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
        }
        history.finish();
    }
}

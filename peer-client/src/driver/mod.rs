//! One task owns the core: it gathers what happened, hands it over, and carries out what comes back. Writes and reads
//! go to [`disk`], HTTP and the two WebSockets to [`crate::net`], links to [`crate::link`]; [`clock`] has the time.

mod clock;
mod disk;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sotto_peer_core::{Command, CommandError, CommandId, Input, Notification, Output, Peer, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub(crate) use clock::Clock;

use crate::client::Ended;
use crate::link::{LinkReport, Links};
use crate::net::{Server, SocketReport, Sockets};
use crate::profile::{EndSender, Folder, Options, Store, StoreError};
use disk::Job;

/// Events of sockets and links waiting for the core. When they are full, the network is read more slowly.
const EVENT_QUEUE: usize = 1_024;

/// Inputs of one kind handed over before outputs are carried out: enough for large writes, short enough that a
/// probe's answer does not wait for a thousand signatures.
const BURST: usize = 64;

/// How often the machine is asked whether it slept or moved to another network.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// For writing out and saying good-bye when the client is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a command's answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Reply, CommandError>>;

/// What a client wants of the driver.
pub(crate) enum Order {
    Run(Command, Answer),
    Subscribe(mpsc::UnboundedSender<Notification>),
    Close,
}

/// The core with everything that it commands.
pub(crate) struct Driver {
    peer: Peer,
    clock: Clock,
    server: Arc<Server>,
    sockets: Sockets,
    socket_reports: mpsc::Receiver<SocketReport>,
    links: Links,
    link_reports: mpsc::Receiver<LinkReport>,
    jobs: mpsc::UnboundedSender<Job>,
    disk: JoinHandle<Result<(), StoreError>>,
    disk_ended: bool,
    /// From the disk and from HTTP.
    done: (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>),
    requests: JoinSet<()>,
    answers: HashMap<CommandId, Option<Answer>>,
    last_command: u64,
    subscribers: Vec<mpsc::UnboundedSender<Notification>>,
    addresses: BTreeSet<IpAddr>,
    looked_around: Instant,
    /// The command after whose answer the driver ends.
    last_flush: Option<CommandId>,
    _folder: Folder,
}

impl Driver {
    pub fn new(
        peer: Peer,
        clock: Clock,
        folder: Folder,
        store: Store,
        server: Arc<Server>,
        options: Options,
    ) -> Self {
        let (report_socket, socket_reports) = mpsc::channel(EVENT_QUEUE);
        let (report_link, link_reports) = mpsc::channel(EVENT_QUEUE);
        let (jobs, to_do) = mpsc::unbounded_channel();
        let done = mpsc::unbounded_channel();
        Self {
            peer,
            clock,
            sockets: Sockets::new(Arc::clone(&server), report_socket),
            socket_reports,
            server,
            links: Links::new(report_link, options.links),
            link_reports,
            jobs,
            disk: tokio::spawn(disk::serve(store, to_do, done.0.clone(), options.watcher)),
            disk_ended: false,
            done,
            requests: JoinSet::new(),
            answers: HashMap::new(),
            last_command: 0,
            subscribers: Vec::new(),
            addresses: addresses(),
            looked_around: Instant::now(),
            last_flush: None,
            _folder: folder,
        }
    }

    /// Runs until it is closed, all clients are gone, or the store fails.
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        first_subscriber: mpsc::UnboundedSender<Notification>,
        ended: EndSender,
    ) {
        self.subscribers.push(first_subscriber);
        let end = self.serve(&mut orders).await;
        if let Ended::Store(error) = &end {
            tracing::error!(%error, "the profile cannot be written: the peer has ended");
        }
        // What waits for an answer learns why there is none.
        ended.send_replace(Some(end.clone()));
        self.answers.clear();
        self.subscribers.clear();
        drop(orders);
        self.shut_down().await;
        // Dropping `ended` says that the profile is free.
    }

    async fn serve(&mut self, orders: &mut mpsc::Receiver<Order>) -> Ended {
        loop {
            self.carry_out();
            if self.last_flush.is_some_and(|id| !self.answers.contains_key(&id)) {
                return Ended::Closed;
            }
            let wait = self.wait();
            tokio::select! {
                Some(input) = self.done.1.recv() => self.handle(input),
                ended = &mut self.disk => {
                    self.disk_ended = true;
                    return why_disk_ended(ended);
                }
                Some((device, session, event)) = self.link_reports.recv() => {
                    self.handle(Input::Link { device, session, event });
                }
                Some(report) = self.socket_reports.recv() => self.on_socket(report),
                order = orders.recv(), if self.last_flush.is_none() => {
                    self.on_order(order.unwrap_or(Order::Close));
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.gather(orders);
            if self.looked_around.elapsed() >= LOOK_AROUND {
                self.look_around();
            }
            let due = self.peer.next_timeout().is_some_and(|at| at <= self.clock.now().monotonic);
            if due {
                self.handle(Input::Timeout);
            }
        }
    }

    /// Hands over what is there already, so that it shares one write.
    fn gather(&mut self, orders: &mut mpsc::Receiver<Order>) {
        for _ in 0..BURST {
            let Ok(input) = self.done.1.try_recv() else { break };
            self.handle(input);
        }
        for _ in 0..BURST {
            let Ok((device, session, event)) = self.link_reports.try_recv() else { break };
            self.handle(Input::Link { device, session, event });
        }
        for _ in 0..BURST {
            let Ok(report) = self.socket_reports.try_recv() else { break };
            self.on_socket(report);
        }
        for _ in 0..BURST {
            if self.last_flush.is_some() {
                break;
            }
            let Ok(order) = orders.try_recv() else { break };
            self.on_order(order);
        }
    }

    fn handle(&mut self, input: Input) {
        self.peer.handle(self.clock.now(), input);
    }

    fn on_socket(&mut self, report: SocketReport) {
        if self.sockets.is_current(&report) {
            self.handle(Input::Socket { socket: report.socket, event: report.event });
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Run(command, answer) => drop(self.command(command, Some(answer))),
            Order::Subscribe(subscriber) => self.subscribers.push(subscriber),
            Order::Close => self.last_flush = Some(self.command(Command::Flush, None)),
        }
    }

    fn command(&mut self, command: Command, answer: Option<Answer>) -> CommandId {
        self.last_command += 1;
        let id = CommandId(self.last_command);
        self.answers.insert(id, answer);
        self.handle(Input::Command { id, command });
        id
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.peer.poll() {
            match output {
                // These fail if the disk task has ended, which ends the driver.
                Output::Persist { token, writes } => drop(self.jobs.send(Job::Write(token, writes))),
                Output::Load { id, query } => drop(self.jobs.send(Job::Read(id, query))),
                Output::Http { id, request } => {
                    while self.requests.try_join_next().is_some() {}
                    let (server, done) = (Arc::clone(&self.server), self.done.0.clone());
                    self.requests.spawn(async move {
                        let result = server.fetch(request).await;
                        drop(done.send(Input::Http { id, result }));
                    });
                }
                Output::Socket { socket, command } => self.sockets.command(socket, command),
                Output::Link { device, session, command } => self.links.command(device, session, command),
                Output::Reply { id, result } => {
                    if let Some(Some(answer)) = self.answers.remove(&id) {
                        // Who asked may have lost interest.
                        drop(answer.send(result));
                    }
                }
                Output::Event(notification) => self.notify(notification),
            }
        }
    }

    fn notify(&mut self, notification: Notification) {
        // Mostly there is one, and nothing is copied.
        let Some(last) = self.subscribers.pop() else { return };
        self.subscribers.retain(|subscriber| subscriber.send(notification.clone()).is_ok());
        if last.send(notification).is_ok() {
            self.subscribers.push(last);
        }
    }

    fn wait(&self) -> Duration {
        let due = self.peer.next_timeout().map(|at| at.saturating_sub(self.clock.now().monotonic));
        due.map_or(LOOK_AROUND, |due| due.min(LOOK_AROUND))
    }

    /// After a sleep or on another network the peer reconnects at once instead of waiting for timers.
    fn look_around(&mut self) {
        self.looked_around = Instant::now();
        let slept = self.clock.slept();
        let addresses = addresses();
        if slept || addresses != self.addresses {
            tracing::debug!(slept, "the network may have changed");
            self.addresses = addresses;
            self.handle(Input::NetworkChanged);
        }
    }

    /// Writes out, says good-bye, and frees the profile.
    async fn shut_down(mut self) {
        self.requests.abort_all();
        let farewell = async {
            tokio::join!(self.sockets.close(), self.links.close_all());
        };
        if timeout(CLOSE_PATIENCE, farewell).await.is_err() {
            tracing::debug!("gave up waiting for connections to close");
        }
        drop(self.jobs);
        // However long it takes: another process must not have the profile while this one writes.
        if !self.disk_ended
            && let Ok(Err(error)) = self.disk.await
        {
            tracing::error!(%error, "the profile could not be closed cleanly");
        }
    }
}

fn why_disk_ended(ended: Result<Result<(), StoreError>, tokio::task::JoinError>) -> Ended {
    match ended {
        Ok(Err(error)) => Ended::Store(Arc::new(error)),
        // It works until the driver lets go of it, so this is a panic.
        Ok(Ok(())) | Err(_) => Ended::Broken,
    }
}

/// The machine's addresses; no reason to fail if they cannot be had.
fn addresses() -> BTreeSet<IpAddr> {
    let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
    interfaces.into_iter().filter_map(|interface| Some(interface.addr?.ip())).collect()
}

//! A proxy that knows the protocol and breaks what a test tells it to break.
//!
//! It understands requests, replies and pushed messages of RESP2 and RESP3, so a [`Rule`] can lose the reply to one
//! command and let all else pass. Besides the rules there are switches for the whole network: a black hole, a delay,
//! cut and refused connections.
//!
//! A proxy runs on a thread and a clock of its own: it works while a test blocks its thread or pauses tokio's clock.
//! Not understood are MONITOR, CLIENT REPLY and TLS.

mod connection;
mod rule;
mod talk;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot, watch};

pub use rule::{Action, MessageAction, MessageRule, Rule, RuleHandle};

use rule::Active;

use crate::server::user;

/// A proxy on a loopback port before one server. It ends, and closes its connections, when it goes out of scope.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the connections and the handle share.
#[derive(Debug)]
struct Shared {
    upstream: AtomicU16,
    refuse: AtomicBool,
    black_hole: watch::Sender<bool>,
    delay: Mutex<Duration>,
    rules: Mutex<Rules>,
    open: Mutex<HashMap<u64, Arc<Control>>>,
    accepted: AtomicU64,
    messages: AtomicU64,
    swallowed: AtomicU64,
    seen: Mutex<HashMap<String, u64>>,
}

#[derive(Default)]
struct Rules {
    last_id: u64,
    requests: Vec<Active<Rule>>,
    messages: Vec<Active<MessageRule>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let requests = self.requests.iter().map(|active| &active.rule);
        let messages = self.messages.iter().map(|active| &active.rule);
        f.debug_struct("Rules")
            .field("requests", &requests.collect::<Vec<_>>())
            .field("messages", &messages.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// One open connection, as seen from outside.
#[derive(Debug, Default)]
struct Control {
    cut: Notify,
    subscribed: AtomicBool,
    /// The port on this side of the connection to the server; 0 while there is none.
    local_port: AtomicU16,
}

/// Locks without minding that a test has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Waits until the network is no black hole.
    async fn healed(&self) {
        let mut black_hole = self.black_hole.subscribe();
        let _ = black_hole.wait_for(|on| !on).await;
    }
}

impl Proxy {
    /// Starts a proxy on a free port before the server on this loopback port.
    ///
    /// # Panics
    ///
    /// When no port or no thread is to be had.
    pub async fn start(upstream_port: u16) -> Proxy {
        Proxy::start_blocking(upstream_port)
    }

    /// [`Proxy::start`] for tests without a runtime.
    ///
    /// # Panics
    ///
    /// When no port or no thread is to be had.
    pub fn start_blocking(upstream_port: u16) -> Proxy {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .expect("the proxy needs a free loopback port; check the network limits");
        let port = listener
            .local_addr()
            .expect("a bound listener has an address")
            .port();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .expect("the proxy needs a runtime; check the limit of open files");
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(upstream_port),
            refuse: AtomicBool::new(false),
            black_hole: watch::Sender::new(false),
            delay: Mutex::default(),
            rules: Mutex::default(),
            open: Mutex::default(),
            accepted: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let handle = runtime.handle().clone();
        let connections = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("proxy-{port}"))
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(connections, listener) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("the proxy needs a thread; check the limit of processes");
        Proxy {
            port,
            shared,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The port on 127.0.0.1 to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as `redis://127.0.0.1:PORT`, with a user and password where `REDLATCH_TEST_USER` asks for one.
    pub fn url(&self) -> String {
        user::url(user::wanted(), self.port)
    }

    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        lock(&self.shared.open).len()
    }

    /// How many connections came in so far, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many of the open connections are subscribed to something.
    pub fn subscribers(&self) -> usize {
        lock(&self.shared.open)
            .values()
            .filter(|control| control.subscribed.load(Ordering::Relaxed))
            .count()
    }

    /// The open connections as the server calls them: the `addr` of its `CLIENT LIST` and `CLIENT KILL`.
    pub fn client_addresses(&self) -> Vec<String> {
        let open = lock(&self.shared.open);
        let ports = open
            .values()
            .map(|control| control.local_port.load(Ordering::Relaxed));
        ports
            .filter(|port| *port != 0)
            .map(|port| format!("127.0.0.1:{port}"))
            .collect()
    }

    /// How often a request of this command was forwarded; one sent twice counts twice.
    ///
    /// A subcommand such as `SCRIPT LOAD` counts under its full name and under `SCRIPT`.
    pub fn seen(&self, command: &str) -> u64 {
        let command = command.to_ascii_uppercase();
        lock(&self.shared.seen).get(&command).copied().unwrap_or(0)
    }

    /// How many pub/sub messages were passed on to subscribers.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// How many requests a black hole has swallowed.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }

    /// Adds a rule for requests and replies; it holds for all connections from now on.
    pub fn rule(&self, rule: Rule) -> RuleHandle {
        let mut rules = lock(&self.shared.rules);
        let active = Active::new(rules.next_id(), rule);
        let handle = active.handle(self.runtime.clone());
        rules.requests.push(active);
        handle
    }

    /// Adds a rule for pub/sub messages; it holds for all connections from now on.
    pub fn message_rule(&self, rule: MessageRule) -> RuleHandle {
        let mut rules = lock(&self.shared.rules);
        let active = Active::new(rules.next_id(), rule);
        let handle = active.handle(self.runtime.clone());
        rules.messages.push(active);
        handle
    }

    /// Loses the next `n` pub/sub messages, of one channel or of all.
    pub fn drop_messages(&self, channel: Option<&str>, n: u64) -> RuleHandle {
        let rule = MessageRule::new(MessageAction::Drop).times(n);
        self.message_rule(match channel {
            Some(channel) => rule.channel(channel),
            None => rule,
        })
    }

    /// Ends a rule; what it holds is let go. An unknown id is no error.
    pub fn remove_rule(&self, id: u64) {
        lock(&self.shared.rules).remove(|other| other == id);
    }

    /// Ends all rules; what they hold is let go.
    pub fn clear_rules(&self) {
        lock(&self.shared.rules).remove(|_| true);
    }

    /// How often the rule has acted; 0 for a rule that was removed.
    pub fn rule_hits(&self, id: u64) -> u64 {
        let rules = lock(&self.shared.rules);
        let requests = rules.requests.iter().map(|rule| (rule.id, &rule.progress));
        let messages = rules.messages.iter().map(|rule| (rule.id, &rule.progress));
        requests
            .chain(messages)
            .find(|(other, _)| *other == id)
            .map_or(0, |(_, progress)| progress.hits())
    }

    /// Swallows everything in both directions, as a network does whose cable was pulled: connections stay open, new
    /// ones are accepted, and neither side hears that the other one closed.
    ///
    /// When it heals, existing connections pass on what arrives from then on; what was swallowed stays lost.
    pub fn black_hole(&self, on: bool) {
        self.shared.black_hole.send_replace(on);
    }

    /// Makes every frame take so much longer, each way. Frames on their way already keep their time.
    pub fn delay(&self, each_way: Duration) {
        *lock(&self.shared.delay) = each_way;
    }

    /// Closes all connections at once, also in a black hole. New ones are welcome.
    pub fn cut_all(&self) {
        for control in lock(&self.shared.open).values() {
            control.cut.notify_one();
        }
    }

    /// Closes the connections that are subscribed to something.
    pub fn cut_subscribers(&self) {
        for control in lock(&self.shared.open).values() {
            if control.subscribed.load(Ordering::Relaxed) {
                control.cut.notify_one();
            }
        }
    }

    /// Whether new connections are closed as soon as they are accepted.
    pub fn refuse(&self, on: bool) {
        self.shared.refuse.store(on, Ordering::Relaxed);
    }

    /// Sends new connections to the server on another loopback port.
    pub fn set_upstream(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Rules {
    fn next_id(&mut self) -> u64 {
        // A rule that was ended through its handle is still listed.
        self.requests.retain(|rule| !rule.progress.is_removed());
        self.messages.retain(|rule| !rule.progress.is_removed());
        self.last_id += 1;
        self.last_id
    }

    fn remove(&mut self, goes: impl Fn(u64) -> bool) {
        for rule in self.requests.iter().filter(|rule| goes(rule.id)) {
            rule.progress.remove();
        }
        for rule in self.messages.iter().filter(|rule| goes(rule.id)) {
            rule.progress.remove();
        }
        self.requests.retain(|rule| !goes(rule.id));
        self.messages.retain(|rule| !goes(rule.id));
    }
}

async fn accept(shared: Arc<Shared>, listener: StdListener) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file handles, most likely: leave the others time to end.
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        let id = shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.refuse.load(Ordering::Relaxed) {
            continue;
        }
        let control = Arc::new(Control::default());
        lock(&shared.open).insert(id, Arc::clone(&control));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                () = connection::serve(&shared, &control, client) => {}
                () = control.cut.notified() => {}
            }
            lock(&shared.open).remove(&id);
        });
    }
}

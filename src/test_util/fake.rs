//! The server in memory, and what can go wrong with it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    client::{Client, ClientBuilder},
    config::lease_ms,
    coordination::{count_down_latch::latch_channel, semaphore_channel},
    engine::{
        Engine,
        memory::{Failure, Hub, Link, RequestKind},
    },
    error::{Error, Result},
    naming,
    runtime::Home,
};

/// How long it takes to connect again.
const RECONNECT: Duration = Duration::from_millis(10);

/// A server in memory for tests, with any number of clients. Cheap to clone; all clones are one server, which lives as long
/// as it is used.
///
/// An answer takes a millisecond by the runtime's clock. Where that clock is paused (`#[tokio::test(start_paused = true)]`,
/// or `tokio::time::pause` and `tokio::time::advance`), time passes only while everybody waits, and then at once: a lease
/// of an hour is over in no time, and a test sees the same order of events each time it runs.
///
/// Names are those on the server, with the prefix that a client may put before them.
///
/// See the [module](super) for what it knows, and for an example.
#[derive(Clone)]
pub struct FakeServer {
    hub: Arc<Hub>,
    /// As an address.
    place: Arc<str>,
    /// Clients by their ids.
    clients: Arc<Mutex<Vec<Known>>>,
}

/// A client's id, and its connections.
type Known = (String, Weak<Link>);

impl FakeServer {
    /// An empty server.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            hub: Hub::new(),
            place: format!("fake-{number}/0").into(),
            clients: Arc::default(),
        }
    }

    /// A client with default settings.
    ///
    /// # Errors
    ///
    /// As [`client_with`](Self::client_with).
    pub fn client(&self) -> Result<Client> {
        self.client_with(Client::builder())
    }

    /// A client with settings, checked as [`connect`](ClientBuilder::connect) checks them. What says where a server is, how
    /// it is reached and which rights it must give is passed over.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] with the name of the setting that is not acceptable, among them
    /// [`replicas`](ClientBuilder::replicas), since there are none, and
    /// [`dedicated_runtime`](ClientBuilder::dedicated_runtime), since another runtime has another clock. `runtime`, where it is
    /// called outside of one.
    pub fn client_with(&self, mut settings: ClientBuilder) -> Result<Client> {
        settings.settle()?;
        if settings.settings.replica_policy.is_some() {
            return Err(Error::invalid("replicas", "the fake server has none"));
        }
        if settings.dedicated_runtime {
            let reason = "the fake server's clock is that of the runtime it is used on";
            return Err(Error::invalid("dedicated_runtime", reason));
        }
        let (home, settings) = (Home::current()?, settings.settings);
        let link = Link::new(&self.hub, home.handle.clone(), settings.command_timeout);
        let known = Arc::downgrade(&link);
        let engine = Engine::start(settings, self.place.to_string(), link, home);
        let mut clients = self.clients();
        clients.retain(|(_, link)| link.strong_count() > 0);
        clients.push((engine.client_id.clone(), known));
        Ok(Client::of(&engine))
    }

    fn clients(&self) -> MutexGuard<'_, Vec<Known>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock away from whoever holds it, without a word to anybody; whether it was held.
    ///
    /// Stands for: the key was deleted by hand, evicted for want of memory, or not known to the replica that took over.
    ///
    /// The holder is told as in production: at its next renewal, within a third of the
    /// [watchdog timeout](ClientBuilder::watchdog_timeout), with [`LossCause::Vanished`](crate::LossCause::Vanished). Under a
    /// paused clock that is at once for who waits for it. Who waits for the lock finds it free by the
    /// [safety poll](ClientBuilder::safety_poll), since nobody announces it.
    pub fn lose_lock_now(&self, name: &str) -> bool {
        let mut server = self.hub.server();
        let name = key(name);
        !server.fields(&name).is_empty() && server.take_away(&name)
    }

    /// Takes the lock away from whoever holds it and gives it to somebody else, who keeps it for `lease` and never renews or
    /// releases it.
    ///
    /// Stands for: a failover to a replica that had not heard of the lock yet, where another client was faster.
    ///
    /// The holder is told at its next renewal, with [`LossCause::TakenOver`](crate::LossCause::TakenOver).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a lease of zero or of more than 2^53 ms.
    pub fn take_over(&self, name: &str, lease: Duration) -> Result<()> {
        let ms = lease_ms("lease", lease)?;
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let stranger = Bytes::from_static(b"00000000-0000-0000-0000-000000000000:1");
        let given = self.hub.server().give_to(&key(name), &stranger, ms);
        given.map_err(|fault| Error::invalid("name", fault.to_string()))
    }

    /// Forgets all locks, counters, permits and counts.
    ///
    /// Stands for: a restart without persistence, `FLUSHALL`, a failover to an empty replica.
    ///
    /// Holders of locks are told as with [`lose_lock_now`](Self::lose_lock_now). A fenced lock whose tokens this process has
    /// seen fails with [`Error::FencingReset`] from then on.
    pub fn lose_all_data(&self) {
        self.hub.server().empty();
    }

    /// The next message that a lock, semaphore or latch of this name sends reaches nobody.
    ///
    /// Stands for: a message that got lost, which Redis never notices: it drops those of a receiver that is too slow, and a
    /// dying connection takes along what is in it.
    ///
    /// Who waits comes in with the next [safety poll](ClientBuilder::safety_poll). A lock that goes from hand to hand in one
    /// client sends no message; see [`local_hand_over`](ClientBuilder::local_hand_over).
    pub fn drop_next_wake_up(&self, name: &str) {
        let channels = [naming::lock_channel, semaphore_channel, latch_channel];
        self.hub
            .lose_next(channels.map(|channel| channel(name).into()).into());
    }

    /// Cuts the connections of all clients. What was on its way back to them is lost, what was asked for is done; they connect
    /// again at once.
    ///
    /// Stands for: a proxy, firewall or load balancer that closed idle connections, a server that was restarted and kept its
    /// data.
    ///
    /// No lock is lost by this alone. Requests are found out about and repeated, subscriptions restored.
    pub fn cut_connections(&self) {
        for link in self.hub.links() {
            link.cut("cut by the test", RECONNECT);
        }
    }

    /// Cuts the connections of one client and lets none come about for `duration`. Others go on.
    ///
    /// Stands for: a machine that is cut off from the network.
    ///
    /// What this client holds lasts until its [`valid_until`](crate::LockGuard::valid_until); then it is told
    /// ([`LossCause::Unreachable`](crate::LossCause::Unreachable), or
    /// [`LeaseExpired`](crate::LossCause::LeaseExpired) with a lease of its own), a moment before somebody else can get it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a client of another server.
    pub fn partition(&self, client: &Client, duration: Duration) -> Result<()> {
        let link = {
            let clients = self.clients();
            let known = clients.iter().find(|(id, _)| id == client.id());
            known.and_then(|(_, link)| link.upgrade())
        };
        let link =
            link.ok_or_else(|| Error::invalid("client", "it is not a client of this server"))?;
        link.cut("cut off by the test", duration);
        Ok(())
    }

    /// The server answers nothing for `duration`, and does nothing. What has waited long enough by then is done.
    ///
    /// Stands for: a server that is stopped, swaps, forks or hangs in a long command, and a network that drops everything.
    ///
    /// For less than the [command timeout](ClientBuilder::command_timeout) everything is just late. After that, requests count
    /// as lost and connections as gone; locks last until their [`valid_until`](crate::LockGuard::valid_until).
    pub fn silence(&self, duration: Duration) {
        self.hub.silence(duration);
    }

    /// The next request of this kind, of any client, meets this failure. Several are met in the order in which they were asked
    /// for.
    pub fn fail_next(&self, kind: RequestKind, failure: Failure) {
        self.hub.fail_next(kind, failure);
    }
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

impl Default for FakeServer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeServer").field(&self.place).finish()
    }
}

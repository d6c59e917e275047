//! One run: clients come and go, faults strike, and in the end nothing is left.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime::Builder,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    book::{Book, COMMAND_TIMEOUT, OUTAGE_PATIENCE, SAFETY_POLL, WATCHDOG},
    dice::{Dice, Loaded},
    faults::{Blow, Weather, plan},
    link::Link,
    taker::{NAME, PERMITS, Taker},
    worker::{Kept, Shop, Worker},
    world::{COMMANDS, MESSAGES, Peer, World},
};
use crate::{
    client::Client,
    config::{HandOver, Settings},
    coordination::SemaphorePermit,
    engine::Engine,
    lock::{Fenced, Kind, Reentrant},
    owner::Owner,
    runtime::Home,
};

mod end;

/// For how long there are faults and new operations, in milliseconds.
const CHAOS: u64 = 60_000;
/// How often it is looked whether all is well.
const LOOK: Duration = Duration::from_millis(200);

/// How much of a run happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) faults: u64,
    pub(super) operations: u64,
}

impl Limits {
    pub(super) const NONE: Self = Self {
        faults: u64::MAX,
        operations: u64::MAX,
    };
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: u64,
    pub(super) operations: u64,
    pub(super) grants: u64,
    pub(super) hand_overs: u64,
    pub(super) violation: Option<String>,
    pub(super) trace: Vec<String>,
}

/// Runs one seed.
pub(super) fn run(seed: u64, limits: Limits, tracing: bool) -> Report {
    let _loaded = Loaded::new(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    if seed % 4 == 3 {
        runtime.block_on(Run::<Fenced>::simulate(seed, limits, tracing))
    } else {
        runtime.block_on(Run::<Reentrant>::simulate(seed, limits, tracing))
    }
}

struct Seat<K: Kind> {
    client: usize,
    engine: Arc<Engine>,
    workers: Vec<JoinHandle<Vec<Kept<K>>>>,
    takers: Vec<JoinHandle<Vec<(u64, SemaphorePermit)>>>,
}

impl<K: Kind> Seat<K> {
    fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
            && self.takers.iter().all(JoinHandle::is_finished)
    }
}

struct Run<K: Kind> {
    seed: u64,
    shop: Arc<Shop>,
    dice: Dice,
    seats: Vec<Seat<K>>,
    grants: u64,
    hand_overs: u64,
    /// Whether there is a semaphore as well.
    permits: bool,
    /// Whether closing in the middle of trouble could not give all permits back.
    permits_left: bool,
}

fn settings(seed: u64) -> Settings {
    let passes = [0, 1, 3, 64][(seed / 4 % 4) as usize];
    let time = Duration::from_millis([10, 500][(seed / 16 % 2) as usize]);
    Settings {
        hand_over: HandOver { passes, time },
        watchdog_timeout: WATCHDOG,
        safety_poll: SAFETY_POLL,
        command_timeout: COMMAND_TIMEOUT,
        outage_patience: OUTAGE_PATIENCE,
        ..Settings::default()
    }
}

impl<K: Kind> Run<K> {
    async fn simulate(seed: u64, limits: Limits, tracing: bool) -> Report {
        let world = World::new(Weather::new(seed, limits.faults), tracing);
        let network = tokio::spawn(world.clone().run());
        let names = ["a", "b"];
        let names = &names[..if seed.is_multiple_of(3) { 2 } else { 1 }];
        world.state().server.ledger.audience = Some((seed % 5) as i64);
        let mut run = Self {
            seed,
            shop: Arc::new(Shop {
                book: Book::new(&world),
                world: world.clone(),
                names: names.to_vec(),
                until: CHAOS,
                operations: 0.into(),
                most_operations: limits.operations,
            }),
            dice: Dice::new(seed, 4),
            seats: Vec::new(),
            grants: 0,
            hand_overs: 0,
            permits: seed % 4 == 1,
            permits_left: false,
        };
        if run.permits {
            let name = Bytes::from_static(NAME.as_bytes());
            world.state().server.put(&name, PERMITS);
        }
        for _ in 0..run.dice.between(2, 3) {
            let seat = run.seat();
            run.seats.push(seat);
        }
        // A counter that is gone is an error of its own, and a crash keeps plain permits for ever.
        let keeps_data = K::protocol().fenced() || run.permits;
        for (at, whom, blow) in plan(seed, CHAOS, keeps_data, run.permits) {
            run.until(at).await;
            if run.failed() {
                break;
            }
            run.strike(whom, blow).await;
        }
        run.until(CHAOS).await;
        if !run.failed() {
            run.end().await;
        }
        network.abort();
        let mut state = world.state();
        Report {
            faults: state.weather.faults,
            operations: run
                .shop
                .operations
                .load(std::sync::atomic::Ordering::Relaxed),
            grants: run.grants,
            hand_overs: run.hand_overs,
            violation: state.violation.take(),
            trace: std::mem::take(&mut state.trace),
        }
    }

    fn failed(&self) -> bool {
        self.shop.world.state().violation.is_some()
    }

    fn violated(&self, what: String) {
        self.shop.world.state().violated(what);
    }

    fn now(&self) -> u64 {
        self.shop.world.state().now
    }

    /// Looks on until then.
    async fn until(&self, at: u64) {
        while self.now() < at && !self.failed() {
            let left = Duration::from_millis(at - self.now());
            sleep(left.min(LOOK)).await;
            self.shop.book.look();
        }
    }

    /// A client with some workers.
    fn seat(&mut self) -> Seat<K> {
        let world = &self.shop.world;
        let client = world.change(|state| {
            state.peers.push(Peer::default());
            state.peers.len() - 1
        });
        let link = Arc::new(Link::new(world, client));
        let home = Home::current().expect("a runtime");
        let engine = Engine::start(settings(self.seed), "simulated".to_owned(), link, home);
        let workers = (0..self.dice.between(1, 3))
            .map(|number| {
                let owner = Owner::explicit(client as u64 * 10 + number).expect("small");
                let worker = Worker::<K> {
                    shop: self.shop.clone(),
                    client,
                    engine: engine.clone(),
                    owner,
                    dice: Dice::new(self.dice.next(), 5),
                    kind: PhantomData,
                };
                tokio::spawn(worker.work())
            })
            .collect();
        let mut takers = Vec::new();
        if self.permits {
            let taker = Taker {
                shop: self.shop.clone(),
                client,
                semaphore: Client::of(&engine).semaphore(NAME),
                dice: Dice::new(self.dice.next(), 6),
            };
            takers.push(tokio::spawn(taker.work()));
        }
        Seat {
            client,
            engine,
            workers,
            takers,
        }
    }

    async fn strike(&mut self, whom: u64, blow: Blow) {
        let at = (whom % self.seats.len() as u64) as usize;
        let client = self.seats[at].client;
        let everybody: Vec<_> = self.seats.iter().map(|seat| seat.client).collect();
        let struck = self.shop.world.change(|state| {
            if !state.weather.strikes() {
                return false;
            }
            state.trace(|text| text.push_str(&format!("FAULT {blow:?} for {client}")));
            match blow {
                Blow::CutCommands { pause } => state.cut(client, COMMANDS, Some(pause)),
                Blow::CutMessages { pause } => state.cut(client, MESSAGES, Some(pause)),
                Blow::CutBoth { pause } => {
                    state.cut(client, COMMANDS, Some(pause));
                    state.cut(client, MESSAGES, Some(pause));
                }
                Blow::PauseServer { ms } => state.pause_server(ms),
                Blow::Loading { ms } => state.load(ms),
                Blow::RestartEmpty { pause } => {
                    for client in everybody {
                        state.cut(client, COMMANDS, Some(pause));
                        state.cut(client, MESSAGES, Some(pause));
                        state.nothing_is_left_of(client);
                    }
                    state.server.empty();
                    state.server.forget_scripts();
                }
                Blow::Flush => state.server.empty(),
                Blow::ForgetScripts => state.server.forget_scripts(),
                Blow::Freeze { ms } => state.freeze(client, ms),
                Blow::Crash => state.leave(client),
                Blow::Close => {}
            }
            true
        });
        if struck && matches!(blow, Blow::Crash | Blow::Close) {
            let next = self.seat();
            let old = std::mem::replace(&mut self.seats[at], next);
            if blow == Blow::Crash {
                self.crash(old).await;
            } else {
                self.close(old).await;
            }
        }
    }

    async fn crash(&self, seat: Seat<K>) {
        self.shop.book.forget(seat.client);
        for worker in seat.workers {
            worker.abort();
            let _ = worker.await;
        }
    }

    async fn close(&mut self, seat: Seat<K>) {
        self.shop.book.forget_permits(seat.client);
        let report = seat.engine.close(Duration::from_secs(3)).await;
        let troubled = {
            let state = self.shop.world.state();
            state.trouble_of(seat.client) + 3_000 >= state.now
        };
        if !report.unreleased.is_empty() && !troubled {
            self.violated(format!("closing left {:?}", report.unreleased));
        }
        let left = !report.unreleased_permits.is_empty();
        self.permits_left |= left;
        if left && !troubled {
            self.violated(format!("closing left {:?}", report.unreleased_permits));
        }
        for taker in seat.takers {
            if timeout(Duration::from_secs(20), taker).await.is_err() {
                self.violated("a taker goes on after closing".to_owned());
            }
        }
        let mut kept = Vec::new();
        for worker in seat.workers {
            match timeout(Duration::from_secs(20), worker).await {
                Ok(Ok(guards)) => kept.extend(guards),
                Ok(Err(error)) => self.violated(format!("a worker failed: {error}")),
                Err(_) => self.violated("a worker goes on after closing".to_owned()),
            }
        }
        self.shop.book.forget(seat.client);
        drop(kept);
        self.check_residue(seat.client, &seat.engine).await;
    }
}

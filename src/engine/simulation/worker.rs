//! A task of a client that takes locks, holds them, leaves in the middle, and gives them back.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    book::{Book, OUTAGE_PATIENCE},
    dice::Dice,
    world::World,
};
use crate::{
    engine::Engine,
    error::{Error, Result},
    lock::{Kind, Lock, LockGuard},
    owner::Owner,
};

/// What all workers of a run share.
pub(super) struct Shop {
    pub(super) world: Arc<World>,
    pub(super) book: Book,
    pub(super) names: Vec<&'static str>,
    /// When nothing new is begun, in milliseconds.
    pub(super) until: u64,
    pub(super) operations: AtomicU64,
    pub(super) most_operations: u64,
}

impl Shop {
    pub(super) fn over(&self) -> bool {
        self.world.state().now >= self.until
    }

    /// Whether one more operation is begun.
    pub(super) fn begin(&self) -> bool {
        let before = self.operations.load(Ordering::Relaxed);
        let goes_on = before < self.most_operations && !self.over();
        if goes_on {
            self.operations.store(before + 1, Ordering::Relaxed);
        }
        goes_on
    }

    /// Lets time pass, and more of it where the client is frozen.
    pub(super) async fn pause(&self, client: usize, time: Duration) {
        sleep(time).await;
        loop {
            let left = {
                let state = self.world.state();
                state.frozen_until(client).saturating_sub(state.now)
            };
            if left == 0 {
                return;
            }
            sleep(Duration::from_millis(left)).await;
        }
    }

    /// Whether an error may be.
    pub(super) fn judge(&self, client: usize, error: Error) -> Result<(), Closed> {
        let mut state = self.world.state();
        let patience = OUTAGE_PATIENCE.as_millis() as u64 + 1_000;
        let troubled = state.trouble_of(client) + patience >= state.now;
        match error {
            Error::TimedOut { .. } => Ok(()),
            Error::Closed => Err(Closed),
            Error::Unreachable { .. } if troubled => Ok(()),
            Error::Refused { refusal, .. } if refusal.is_transient() && troubled => Ok(()),
            error => {
                state.violated(format!("{client} got {error}"));
                Ok(())
            }
        }
    }
}

/// A guard, by its number in the book.
pub(super) type Kept<K> = (u64, LockGuard<K>);

pub(super) struct Worker<K: Kind> {
    pub(super) shop: Arc<Shop>,
    pub(super) client: usize,
    pub(super) engine: Arc<Engine>,
    pub(super) owner: Owner,
    pub(super) dice: Dice,
    pub(super) kind: PhantomData<K>,
}

/// No more to be done here.
pub(super) struct Closed;

impl<K: Kind> Worker<K> {
    /// Works until the time is over; what is held then is handed on.
    pub(super) async fn work(mut self) -> Vec<Kept<K>> {
        while self.shop.begin() {
            self.pause(0, 2_500).await;
            let name = *self.dice.one_of(&self.shop.names);
            let lock = Lock::<K>::new(&self.engine, name.into()).with_owner(self.owner);
            match self.acquire(&lock).await {
                Ok(Some(guard)) => match self.hold(&lock, guard).await {
                    Ok(kept) if kept.is_empty() => {}
                    Ok(kept) => return kept,
                    Err(Closed) => break,
                },
                Ok(None) => {}
                Err(Closed) => break,
            }
        }
        Vec::new()
    }

    async fn pause(&mut self, least: u64, most: u64) {
        let time = self.dice.ms(least, most);
        self.shop.pause(self.client, time).await;
    }

    fn judge(&self, error: Error) -> Result<(), Closed> {
        self.shop.judge(self.client, error)
    }

    async fn acquire(&mut self, lock: &Lock<K>) -> Result<Option<LockGuard<K>>, Closed> {
        let way = self.dice.below(24);
        let (wait, lease) = (self.dice.ms(1, 4_000), self.dice.ms(20, 2_500));
        let (soon, later) = (self.dice.ms(0, 12), self.dice.ms(0, 6_000));
        let shop = self.shop.clone();
        let client = self.client;
        let waits = || shop.book.waits(client, lock.name());
        let outcome = match way {
            0..=8 => {
                let _waits = waits();
                lock.lock().wait(wait).await.map(Some)
            }
            9..=12 => {
                let _waits = waits();
                let acquiring = lock.lock().into_future();
                timeout(later, acquiring)
                    .await
                    .map_or(Ok(None), |done| done.map(Some))
            }
            13..=15 => {
                let acquiring = lock.lock().wait(wait).into_future();
                timeout(soon, acquiring)
                    .await
                    .map_or(Ok(None), |done| done.map(Some))
            }
            16..=18 => lock.lock().wait(wait).lease(lease).await.map(Some),
            19 => {
                let forced = lock.raw().force_unlock().await;
                forced.map(|_| None)
            }
            _ => lock.try_lock().await,
        };
        outcome.or_else(|error| self.judge(error).map(|()| None))
    }

    /// Holds, enters again, and leaves, until nothing is held or the time is over.
    async fn hold(&mut self, lock: &Lock<K>, first: LockGuard<K>) -> Result<Vec<Kept<K>>, Closed> {
        let mut held = vec![(self.shop.book.granted(self.client, &first), first)];
        let outcome = self.go_on_holding(lock, &mut held).await;
        if outcome.is_err() {
            for (id, _) in &held {
                self.shop.book.over(*id);
            }
        }
        outcome.map(|()| held)
    }

    async fn go_on_holding(
        &mut self,
        lock: &Lock<K>,
        held: &mut Vec<Kept<K>>,
    ) -> Result<(), Closed> {
        loop {
            let longest = *self.dice.one_of(&[10, 300, 2_500]);
            self.pause(0, longest).await;
            if self.shop.over() {
                return Ok(());
            }
            if held.len() < 3 && self.dice.chance(300) {
                let acquiring = lock.lock().wait(Duration::from_secs(2)).into_future();
                match timeout(self.dice.ms(0, 1_500), acquiring).await {
                    Ok(Ok(guard)) => {
                        held.push((self.shop.book.granted(self.client, &guard), guard));
                    }
                    Ok(Err(error)) => self.judge(error)?,
                    Err(_) => {}
                }
                continue;
            }
            let at = self.dice.below(held.len() as u64) as usize;
            let (id, guard) = held.swap_remove(at);
            self.give_back(id, guard).await?;
            if held.is_empty() {
                return Ok(());
            }
        }
    }

    async fn give_back(&mut self, id: u64, guard: LockGuard<K>) -> Result<(), Closed> {
        let entry = self.shop.book.over(id);
        let began = Instant::now();
        let outcome = match self.dice.below(4) {
            0 => {
                drop(guard);
                return Ok(());
            }
            1 => match timeout(self.dice.ms(0, 12), guard.unlock()).await {
                Ok(outcome) => outcome,
                Err(_) => return Ok(()),
            },
            _ => guard.unlock().await,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Lost { .. }) => {
                if let Some(entry) = entry {
                    self.shop.book.found_gone(&entry, began);
                }
                Ok(())
            }
            Err(error) => self.judge(error),
        }
    }
}

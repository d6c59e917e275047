//! A task of a client that takes permits of a semaphore and gives them back.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    dice::Dice,
    worker::{Closed, Shop},
};
use crate::coordination::{Semaphore, SemaphorePermit};

/// The semaphore, and how many permits it has.
pub(super) const NAME: &str = "permits";
pub(super) const PERMITS: i64 = 3;

pub(super) struct Taker {
    pub(super) shop: Arc<Shop>,
    pub(super) client: usize,
    pub(super) semaphore: Semaphore,
    pub(super) dice: Dice,
}

impl Taker {
    /// Works until the time is over; what is held then is handed on.
    pub(super) async fn work(mut self) -> Vec<(u64, SemaphorePermit)> {
        while self.shop.begin() {
            self.shop.pause(self.client, self.dice.ms(0, 2_500)).await;
            let permit = match self.acquire().await {
                Ok(Some(permit)) => permit,
                Ok(None) => continue,
                Err(Closed) => break,
            };
            let id = self.shop.book.took(self.client, permit.count());
            let longest = *self.dice.one_of(&[10, 300, 2_500]);
            self.shop.pause(self.client, self.dice.ms(0, longest)).await;
            if self.shop.over() {
                return vec![(id, permit)];
            }
            self.shop.book.gave(id);
            let outcome = match self.dice.below(3) {
                0 => continue,
                1 => {
                    let releasing = permit.release();
                    match timeout(self.dice.ms(0, 12), releasing).await {
                        Ok(outcome) => outcome,
                        Err(_) => continue,
                    }
                }
                _ => permit.release().await,
            };
            if let Err(error) = outcome
                && let Err(Closed) = self.shop.judge(self.client, error)
            {
                break;
            }
        }
        Vec::new()
    }

    async fn acquire(&mut self) -> Result<Option<SemaphorePermit>, Closed> {
        let (way, wait) = (self.dice.below(4), self.dice.ms(1, 4_000));
        let soon = Duration::from_millis(*self.dice.one_of(&[1, 5, 12, 2_000]));
        let permits = self.dice.between(1, 2) as u32;
        let acquiring = self.semaphore.acquire_many(permits);
        let outcome = match way {
            0 | 1 => acquiring.wait(wait).await.map(Some),
            2 => {
                let acquiring = acquiring.wait(wait).into_future();
                timeout(soon, acquiring)
                    .await
                    .map_or(Ok(None), |done| done.map(Some))
            }
            _ => self.semaphore.try_acquire_many(permits).await,
        };
        outcome.or_else(|error| self.shop.judge(self.client, error).map(|()| None))
    }
}

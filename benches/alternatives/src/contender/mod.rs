//! One client of a system, as a program would have it: a connection of its own, and one hold at a time. A new system is a
//! file that implements `Contender`, and entries in `system.rs` and `connect`.

mod etcd;
mod memcached;
mod postgres;
mod redis;
mod zookeeper;

use std::{future, time::Duration};

use async_trait::async_trait;

use crate::{
    kit::Result,
    system::{Ask, System},
};

/// What all sell from.
const SALE: &str = "sale";

/// One call of `sell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sale {
    /// Not if nothing was left.
    pub(crate) sold: bool,
    /// How often it had to begin anew, since somebody else was quicker.
    pub(crate) again: u64,
}

#[async_trait]
pub(crate) trait Contender: Send {
    /// Waits until it has it.
    async fn lock(&mut self, name: &str) -> Result<()>;

    async fn unlock(&mut self) -> Result<()>;

    /// Comes when the client itself finds out that the hold is gone; never where nothing tells it.
    async fn lost(&mut self) {
        future::pending().await
    }

    /// Reads the stock, and no more.
    async fn stock(&mut self) -> Result<u64>;

    /// Writes the stock, whatever it was.
    async fn set_stock(&mut self, left: u64) -> Result<()>;

    /// Sells one.
    async fn sell(&mut self) -> Result<Sale> {
        sell_under_lock(self).await
    }

    /// Whether it has to be connected anew.
    fn is_over(&self) -> bool {
        false
    }
}

/// Reads, thinks and writes; only the lock keeps two from selling the same one.
async fn sell_under_lock<C: Contender + ?Sized>(contender: &mut C) -> Result<Sale> {
    contender.lock(SALE).await?;
    let left = contender.stock().await?;
    if left > 0 {
        contender.set_stock(left - 1).await?;
    }
    contender.unlock().await?;
    Ok(Sale {
        sold: left > 0,
        again: 0,
    })
}

/// What the ways of PostgreSQL need.
pub(crate) async fn make_tables(address: &str) -> Result<()> {
    postgres::make_tables(address).await
}

/// A client of a system whose server is at `address`; what it holds ends `lease` after its end at the latest, where the
/// system has leases.
pub(crate) async fn connect(
    system: &System,
    address: &str,
    lease: Duration,
) -> Result<Box<dyn Contender>> {
    Ok(match system.ask {
        Ask::Redlatch => Box::new(redis::Redlatch::connect(address, lease).await?),
        Ask::Redlock => Box::new(redis::Redlock::connect(address, lease).await?),
        Ask::ZooKeeper => Box::new(zookeeper::ZooKeeper::connect(address, lease).await?),
        Ask::Etcd => Box::new(etcd::Etcd::connect(address, lease).await?),
        Ask::Memcached => Box::new(memcached::Memcached::connect(address, lease).await?),
        Ask::Postgres(way) => Box::new(postgres::Postgres::connect(address, way).await?),
    })
}

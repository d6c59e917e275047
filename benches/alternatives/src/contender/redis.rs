//! redlatch on one server, and its majority on several that know nothing of each other.

use std::time::Duration;

use async_trait::async_trait;
use redlatch::{
    Client, Lock, LockGuard, MultiGuard, MultiLock, Owner,
    fred::prelude::{Client as Fred, KeysInterface},
};

use super::Contender;
use crate::kit::{Result, raw_client};

const STOCK: &str = "stock";
const NOT_HELD: &str = "it holds nothing";

pub(super) struct Redlatch {
    client: Client,
    owner: Owner,
    stock: Fred,
    guard: Option<LockGuard>,
}

async fn client(address: &str, lease: Duration) -> Result<Client> {
    let builder = Client::builder().url(format!("redis://{address}"))?;
    Ok(builder.watchdog_timeout(lease).connect().await?)
}

async fn read(fred: &Fred) -> Result<u64> {
    Ok(fred.get::<Option<u64>, _>(STOCK).await?.unwrap_or(0))
}

async fn write(fred: &Fred, left: u64) -> Result<()> {
    Ok(fred.set::<(), _, _>(STOCK, left, None, None, false).await?)
}

impl Redlatch {
    pub(super) async fn connect(address: &str, lease: Duration) -> Result<Self> {
        Ok(Self {
            client: client(address, lease).await?,
            owner: Owner::fresh(),
            stock: raw_client(&format!("redis://{address}"), &[]).await?,
            guard: None,
        })
    }
}

#[async_trait]
impl Contender for Redlatch {
    async fn lock(&mut self, name: &str) -> Result<()> {
        let lock: Lock = self.client.lock(name).with_owner(self.owner);
        self.guard = Some(lock.lock().await?);
        Ok(())
    }

    async fn unlock(&mut self) -> Result<()> {
        Ok(self.guard.take().ok_or(NOT_HELD)?.unlock().await?)
    }

    async fn lost(&mut self) {
        if let Some(guard) = &self.guard {
            guard.lost().await;
        }
    }

    async fn stock(&mut self) -> Result<u64> {
        read(&self.stock).await
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        write(&self.stock, left).await
    }
}

/// The stock is on the first of the servers.
pub(super) struct Redlock {
    clients: Vec<Client>,
    owner: Owner,
    stock: Fred,
    guard: Option<MultiGuard>,
}

impl Redlock {
    /// `addresses` are separated by commas.
    pub(super) async fn connect(addresses: &str, lease: Duration) -> Result<Self> {
        let mut clients = Vec::new();
        for address in addresses.split(',') {
            clients.push(client(address, lease).await?);
        }
        let first = addresses.split(',').next().unwrap_or_default();
        Ok(Self {
            clients,
            owner: Owner::fresh(),
            stock: raw_client(&format!("redis://{first}"), &[]).await?,
            guard: None,
        })
    }
}

#[async_trait]
impl Contender for Redlock {
    async fn lock(&mut self, name: &str) -> Result<()> {
        let members = self.clients.iter().map(|client| client.lock(name));
        let lock = MultiLock::majority(members)?.with_owner(self.owner);
        self.guard = Some(lock.lock().await?);
        Ok(())
    }

    async fn unlock(&mut self) -> Result<()> {
        Ok(self.guard.take().ok_or(NOT_HELD)?.unlock().await?)
    }

    async fn lost(&mut self) {
        if let Some(guard) = &self.guard {
            guard.lost().await;
        }
    }

    async fn stock(&mut self) -> Result<u64> {
        read(&self.stock).await
    }

    async fn set_stock(&mut self, left: u64) -> Result<()> {
        write(&self.stock, left).await
    }
}

//! The shop: a stock on a Redis server, and a sale that is a read, a thought and a write.

use std::time::Duration;

use redlatch::fred::prelude::{Builder, Client, ClientLike, Config, KeysInterface, Server};
use tokio::time::sleep;

use crate::{Result, locks::LockKind, ms};

/// Every piece with a number divisible by this asks a slow payment provider.
const SLOW_EVERY: i64 = 20;
/// How much longer that takes.
const SLOW_FACTOR: u32 = 12;

/// A connection to the server for plain commands, and the names of this sale's keys.
#[derive(Clone)]
pub(crate) struct Shop {
    redis: Client,
    prefix: String,
}

/// The figures of one round on the server.
pub(crate) struct Figures {
    /// What the shelf says.
    pub(crate) left: i64,
    /// Pieces sold, counted one by one.
    pub(crate) sold: i64,
}

/// A piece sold.
pub(crate) struct Sold {
    /// Who sold the piece before; nobody, at the first.
    pub(crate) previous_seller: Option<String>,
}

impl Shop {
    pub(crate) async fn connect(url: &str, prefix: &str) -> Result<Self> {
        let config = Config::from_url_centralized(url)?;
        let hosts: Vec<String> = config
            .server
            .hosts()
            .iter()
            .map(Server::to_string)
            .collect();
        let mut builder = Builder::from_config(config);
        // No command is ever sent twice behind our back: a second INCR would count a sale that never was.
        builder.with_connection_config(|connection| {
            connection.max_command_attempts = 1;
            connection.connection_timeout = Duration::from_secs(2);
        });
        builder.with_performance_config(|performance| {
            performance.default_command_timeout = Duration::from_secs(2);
        });
        let redis = builder.build()?;
        let connected = redis.init().await;
        connected.map_err(|error| format!("no connection to {}: {error}", hosts.join(", ")))?;
        Ok(Self {
            redis,
            prefix: prefix.to_owned(),
        })
    }

    /// What all keys of this sale begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// One round's key on the server.
    pub(crate) fn key(&self, kind: LockKind, what: &str) -> String {
        format!("{}:{}:{what}", self.prefix, kind.name())
    }

    /// Fills the shelf.
    pub(crate) async fn open(&self, kind: LockKind, stock: u32) -> Result<()> {
        let key = self.key(kind, "stock");
        self.redis
            .set::<(), _, _>(key, stock, None, None, false)
            .await?;
        Ok(())
    }

    /// Sells one piece; `None` when the shelf is empty.
    ///
    /// Nothing in here is wrong in a program that is alone with its data.
    pub(crate) async fn sell(
        &self,
        kind: LockKind,
        think_ms: u32,
        seller: &str,
    ) -> Result<Option<Sold>> {
        let stock = self.key(kind, "stock");
        let left: i64 = self.redis.get(&stock).await?; // read
        if left <= 0 {
            return Ok(None);
        }
        sleep(think_time(left, think_ms)).await; // think

        let pipeline = self.redis.pipeline(); // write, and count the sale where nobody can overwrite it
        pipeline
            .set::<(), _, _>(&stock, left - 1, None, None, false)
            .await?;
        pipeline.incr::<(), _>(self.key(kind, "sold")).await?;
        pipeline
            .getset::<(), _, _>(self.key(kind, "seller"), seller)
            .await?;
        let ((), _, previous_seller): ((), i64, Option<String>) = pipeline.all().await?;
        Ok(Some(Sold { previous_seller }))
    }

    pub(crate) async fn figures(&self, kind: LockKind) -> Result<Figures> {
        let keys = vec![self.key(kind, "stock"), self.key(kind, "sold")];
        let (left, sold): (Option<i64>, Option<i64>) = self.redis.mget(keys).await?;
        Ok(Figures {
            left: left.unwrap_or(0),
            sold: sold.unwrap_or(0),
        })
    }

    /// `SET key value NX` or `SETNX`: true for whoever came first.
    pub(crate) async fn set_if_absent(&self, key: &str, value: &str) -> Result<bool> {
        Ok(self.redis.setnx(key, value).await?)
    }

    pub(crate) async fn expire(&self, key: &str, after: Duration) -> Result<()> {
        let after = i64::try_from(after.as_millis())?;
        Ok(self.redis.pexpire(key, after, None).await?)
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.redis.del(key).await?)
    }

    /// Leaves a server that is not ours as it was.
    pub(crate) async fn remove_keys(&self, kinds: &[LockKind]) -> Result<()> {
        for kind in kinds {
            for what in ["stock", "sold", "seller", "lock", "cell"] {
                self.delete(&self.key(*kind, what)).await?;
            }
            let counter = format!("redisson_lock_token:{{{}}}", self.key(*kind, "lock"));
            self.delete(&counter).await?;
        }
        Ok(())
    }
}

fn think_time(piece: i64, think_ms: u32) -> Duration {
    let think = ms(think_ms);
    if piece % SLOW_EVERY == 0 {
        think * SLOW_FACTOR
    } else {
        think
    }
}

//! The sale: sellers who ask for the lock in every way there is, and write down what came of it.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use redlatch::{
    Client, LockGuard,
    fred::prelude::{Builder, Client as Redis, ClientLike, Config, KeysInterface},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How long a seller has the stock in its head.
const THINKING: Duration = Duration::from_millis(1);
/// How long an impatient seller waits.
const SHORT: Duration = Duration::from_millis(4);

/// What is sold, and by how many.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    /// The lock's name, and what the key of the stock begins with.
    pub(crate) name: String,
    pub(crate) stock: u32,
    pub(crate) sellers: u32,
}

/// What the sellers saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) sold: u64,
    /// Of all acquires, those that ended with the lock.
    pub(crate) granted: u64,
    /// Those that would not wait.
    pub(crate) busy: u64,
    /// Those that waited for as long as they would.
    pub(crate) timed_out: u64,
    /// Those that were given up in the middle.
    pub(crate) cancelled: u64,
}

impl Table {
    fn merge(self, other: Self) -> Self {
        Self {
            sold: self.sold + other.sold,
            granted: self.granted + other.granted,
            busy: self.busy + other.busy,
            timed_out: self.timed_out + other.timed_out,
            cancelled: self.cancelled + other.cancelled,
        }
    }

    /// Where a page of metrics says something else. A recorder that has seen this sale only says the same.
    pub(crate) fn differences(&self, scraped: &str) -> Vec<String> {
        let mut differences = Vec::new();
        let mut check = |series: &str, expected: u64| {
            let line = scraped.lines().find_map(|line| line.strip_prefix(series));
            let seen: f64 = line
                .map_or(Ok(0.0), |value| value.trim().parse())
                .unwrap_or(-1.0);
            if seen != expected as f64 {
                differences.push(format!("{series} is {seen}, and {expected} in the table"));
            }
        };
        for (outcome, expected) in [
            ("granted", self.granted),
            ("busy", self.busy),
            ("timed_out", self.timed_out),
            ("cancelled", self.cancelled),
            ("failed", 0),
        ] {
            let labels = format!("kind=\"reentrant\",outcome=\"{outcome}\"");
            check(
                &format!("redlatch_acquire_duration_seconds_count{{{labels}}}"),
                expected,
            );
        }
        check("redlatch_hold_active{kind=\"reentrant\"}", 0);
        check("redlatch_waiter_active{kind=\"reentrant\"}", 0);
        differences
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sold,
            granted,
            busy,
            timed_out,
            cancelled,
        } = self;
        write!(
            f,
            "pieces sold {sold}\nacquires: granted {granted}, busy {busy}, timed out {timed_out}, given up {cancelled}"
        )
    }
}

impl Sale {
    /// Sells out. Fails where anything but every piece once was sold.
    pub(crate) async fn run(&self, url: &str, clients: &[Client]) -> Result<Table> {
        let redis = Builder::from_config(Config::from_url(url)?).build()?;
        redis.init().await?;
        let key: Arc<str> = format!("{}:stock", self.name).into();
        redis
            .set::<(), _, _>(&*key, self.stock, None, None, false)
            .await?;
        let mut sellers = JoinSet::new();
        for (number, client) in (0..self.sellers).zip(clients.iter().cycle()) {
            let seller = Seller {
                client: client.clone(),
                redis: redis.clone(),
                name: self.name.clone(),
                key: key.clone(),
                table: Table::default(),
            };
            sellers.spawn(seller.sell_out(number));
        }
        let mut table = Table::default();
        while let Some(ended) = sellers.join_next().await {
            table = table.merge(ended??);
        }
        redis.del::<(), _>(&*key).await?;
        redis.quit().await?;
        if table.sold != u64::from(self.stock) {
            return Err(format!("{} sold, of {}", table.sold, self.stock).into());
        }
        Ok(table)
    }
}

struct Seller {
    client: Client,
    redis: Redis,
    name: String,
    key: Arc<str>,
    table: Table,
}

impl Seller {
    async fn sell_out(mut self, number: u32) -> Result<Table> {
        for turn in number.. {
            let Some(guard) = self.ask(turn).await? else {
                continue;
            };
            self.table.granted += 1;
            let left: i64 = self.redis.get(&*self.key).await?;
            if left > 0 {
                sleep(THINKING).await;
                self.redis
                    .set::<(), _, _>(&*self.key, left - 1, None, None, false)
                    .await?;
                self.table.sold += 1;
            }
            guard.unlock().await?;
            if left <= 0 {
                break;
            }
        }
        Ok(self.table)
    }

    /// Asks for the lock, each time in another way.
    async fn ask(&mut self, turn: u32) -> Result<Option<LockGuard>> {
        let lock = self.client.lock(self.name.as_str());
        match turn % 4 {
            0 => Ok(Some(lock.lock().await?)),
            1 => match lock.lock().wait(SHORT).await {
                Err(error) if error.is_timeout() => {
                    self.table.timed_out += 1;
                    Ok(None)
                }
                outcome => Ok(Some(outcome?)),
            },
            2 => {
                let guard = lock.try_lock().await?;
                self.table.busy += u64::from(guard.is_none());
                Ok(guard)
            }
            _ => match timeout(SHORT, lock.lock().into_future()).await {
                Err(_) => {
                    self.table.cancelled += 1;
                    Ok(None)
                }
                Ok(outcome) => Ok(Some(outcome?)),
            },
        }
    }
}

//! The plain lock's own scripts, sent raw through fred: what a lock costs without a library around it.

use redlatch::fred::{
    prelude::{Client as Fred, ClientLike, LuaInterface},
    types::{Key, Value},
    util::sha1_hash,
};

use super::{Result, raw_client};

pub(crate) const ACQUIRE: &str = include_str!("../../src/scripts/reentrant/acquire.lua");
pub(crate) const RELEASE: &str = concat!(
    include_str!("../../src/scripts/publish/announce.lua"),
    include_str!("../../src/scripts/reentrant/release.lua")
);
const PASS: &str = include_str!("../../src/scripts/reentrant/pass.lua");
/// The watchdog's time to live, as redlatch sends it.
pub(crate) const TTL_MS: &str = "30000";
/// Owners as long as redlatch's own.
pub(crate) const OWNERS: [&str; 2] = [
    "0b1f6d2c-7f0e-4d7e-9a55-3a5d6c1e8f42:17",
    "0b1f6d2c-7f0e-4d7e-9a55-3a5d6c1e8f42:18",
];
pub(crate) const CHANNEL: &str = "redisson_lock__channel";
/// Locks many names at once: `prefix`, first, last, owner.
const HOLD_MANY: &str = "for i = ARGV[2], ARGV[3] do \
    local key = ARGV[1] .. string.format('%012d', i) \
    redis.call('hset', key, ARGV[4], 1) redis.call('pexpire', key, 60000) end";

/// A client with the scripts loaded, and their digests.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) client: Fred,
    acquire: String,
    release: String,
    pass: String,
}

impl Raw {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        Ok(Self {
            client: raw_client(url, &[ACQUIRE, RELEASE, PASS]).await?,
            acquire: sha1_hash(ACQUIRE),
            release: sha1_hash(RELEASE),
            pass: sha1_hash(PASS),
        })
    }

    pub(crate) async fn close(&self) -> Result<()> {
        Ok(self.client.quit().await?)
    }

    /// Takes it, so that `owner` has `holds`.
    pub(crate) async fn acquire(&self, name: &str, owner: &str, holds: i64) -> Result<()> {
        let arguments = vec![TTL_MS.to_owned(), owner.to_owned(), holds.to_string()];
        let granted = self.ask(&self.acquire, vec![name], arguments).await?;
        expect(granted, Value::Array(vec![1.into(), holds.into()]))
    }

    /// Gives it back, so that `left` holds remain; `announcement` is of [`announcement`].
    pub(crate) async fn release(
        &self,
        name: &str,
        owner: &str,
        left: i64,
        announcement: &str,
    ) -> Result<()> {
        let left_text = left.to_string();
        let arguments = [owner, &left_text, TTL_MS, announcement].map(str::to_owned);
        let freed = self
            .ask(&self.release, vec![name], arguments.into())
            .await?;
        expect(freed, i64::from(left == 0).into())
    }

    /// Hands it from one owner to another.
    pub(crate) async fn pass(&self, name: &str, from: &str, to: &str) -> Result<()> {
        let arguments = [from, to, TTL_MS].map(str::to_owned);
        let passed = self.ask(&self.pass, vec![name], arguments.into()).await?;
        expect(passed, Value::Array(vec![1.into(), 1.into()]))
    }

    /// Locks the names `prefix000000000000` and so on.
    pub(crate) async fn hold_many(&self, prefix: &str, names: u64) -> Result<()> {
        const BATCH: u64 = 5_000;
        for first in (0..names).step_by(BATCH as usize) {
            let last = (first + BATCH).min(names) - 1;
            let (first, last) = (first.to_string(), last.to_string());
            let arguments = vec![prefix, &first, &last, OWNERS[0]];
            self.client
                .eval::<(), _, _, _>(HOLD_MANY, Vec::<Key>::new(), arguments)
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn ask(
        &self,
        digest: &str,
        keys: Vec<&str>,
        arguments: Vec<String>,
    ) -> Result<Value> {
        let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
        Ok(self.client.evalsha(digest, keys, arguments).await?)
    }
}

/// How a release tells the waiters of a name.
pub(crate) fn announcement(name: &str) -> String {
    format!("PUBLISH {CHANNEL}:{{{name}}}")
}

/// An answer that is another one ends the benchmark: it would measure something else.
pub(crate) fn expect(answer: Value, expected: Value) -> Result<()> {
    if answer == expected {
        Ok(())
    } else {
        Err(format!("unexpected: {answer:?}").into())
    }
}

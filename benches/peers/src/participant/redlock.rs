//! `rslock`: Redlock on one server, with its default settings. A plain string with a time to live, which nobody renews; who
//! waits asks again after a random time of up to 200 ms.

use std::time::Duration;

use rslock::{Lock as Held, LockManager};

use super::Participant;
use crate::{kit::Result, order::Kind};

const TTL: Duration = Duration::from_secs(60);

pub(crate) struct RsLock(LockManager);

impl Participant for RsLock {
    type Lock = String;
    type Guard = Held;

    async fn connect(address: &str, _: Duration) -> Result<Self> {
        Ok(Self(LockManager::new(vec![format!("redis://{address}")])))
    }

    fn handle(&self, kind: Kind, name: &str) -> Result<String> {
        match kind {
            Kind::Plain => Ok(name.to_owned()),
            Kind::Fair | Kind::ReadWrite => Err("rslock has no such lock".into()),
        }
    }

    async fn lock(&self, name: &String, _: bool) -> Result<Held> {
        Ok(self.0.acquire_no_guard(name.as_str(), TTL).await?)
    }

    async fn unlock(&self, _: &String, held: Held) -> Result<bool> {
        self.0.unlock(&held).await;
        Ok(true)
    }
}

//! redlatch, with its default settings.

use std::time::Duration;

use redlatch::{
    Client, Error, Fair, Lock as OneLock, LockGuard, Owner, Read, ReadWriteLock, Reentrant, Write,
};

use super::Participant;
use crate::{kit::Result, order::Kind};

pub(crate) struct Ours(Client);

pub(crate) enum Lock {
    Plain(OneLock<Reentrant>),
    Fair(OneLock<Fair>),
    ReadWrite(ReadWriteLock),
}

pub(crate) enum Guard {
    Plain(LockGuard<Reentrant>),
    Fair(LockGuard<Fair>),
    Read(LockGuard<Read>),
    Write(LockGuard<Write>),
}

impl Participant for Ours {
    type Lock = Lock;
    type Guard = Guard;

    async fn connect(address: &str, watchdog: Duration) -> Result<Self> {
        let builder = Client::builder().url(format!("redis://{address}"))?;
        Ok(Self(builder.watchdog_timeout(watchdog).connect().await?))
    }

    fn handle(&self, kind: Kind, name: &str) -> Result<Lock> {
        let owner = Owner::fresh();
        Ok(match kind {
            Kind::Plain => Lock::Plain(self.0.lock(name).with_owner(owner)),
            Kind::Fair => Lock::Fair(self.0.fair_lock(name).with_owner(owner)),
            Kind::ReadWrite => Lock::ReadWrite(self.0.read_write_lock(name).with_owner(owner)),
        })
    }

    async fn lock(&self, lock: &Lock, writes: bool) -> Result<Guard> {
        Ok(match lock {
            Lock::Plain(lock) => Guard::Plain(lock.lock().await?),
            Lock::Fair(lock) => Guard::Fair(lock.lock().await?),
            Lock::ReadWrite(lock) if writes => Guard::Write(lock.write().await?),
            Lock::ReadWrite(lock) => Guard::Read(lock.read().await?),
        })
    }

    async fn unlock(&self, _: &Lock, guard: Guard) -> Result<bool> {
        let ended = match guard {
            Guard::Plain(guard) => guard.unlock().await,
            Guard::Fair(guard) => guard.unlock().await,
            Guard::Read(guard) => guard.unlock().await,
            Guard::Write(guard) => guard.unlock().await,
        };
        match ended {
            Ok(()) => Ok(true),
            Err(Error::Lost { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

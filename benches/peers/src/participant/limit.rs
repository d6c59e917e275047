//! The limit: the scripts of redlatch, sent raw through fred by callers who know that nobody is in their way.
//!
//! Where many want one name, it is one script after the other that hands the lock on: no round trip can be saved. Where
//! many read, each has a name to itself. Renewals and waiters are what the same number of scripts takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Participant,
    drive::{self, Ran, hold_for},
};
use crate::{
    kit::{
        Result,
        raw::{OWNERS, Raw, announcement},
    },
    order::{Kind, Run, Section, now},
};

pub(crate) struct Limit {
    raw: Raw,
    owners: AtomicU64,
}

pub(crate) struct Lock {
    name: String,
    announcement: String,
    owner: String,
    holds: AtomicI64,
}

impl Participant for Limit {
    type Lock = Lock;
    type Guard = ();

    async fn connect(address: &str, _: Duration) -> Result<Self> {
        Ok(Self {
            raw: Raw::connect(&format!("redis://{address}")).await?,
            owners: AtomicU64::new(100),
        })
    }

    fn handle(&self, _: Kind, name: &str) -> Result<Lock> {
        let (id, _) = OWNERS[0].split_once(':').ok_or("no owner")?;
        let number = self.owners.fetch_add(1, Ordering::Relaxed);
        Ok(Lock {
            name: name.to_owned(),
            announcement: announcement(name),
            owner: format!("{id}:{number}"),
            holds: AtomicI64::new(0),
        })
    }

    async fn lock(&self, lock: &Lock, _: bool) -> Result<()> {
        let holds = lock.holds.fetch_add(1, Ordering::Relaxed) + 1;
        self.raw.acquire(&lock.name, &lock.owner, holds).await
    }

    async fn unlock(&self, lock: &Lock, (): ()) -> Result<bool> {
        let left = lock.holds.fetch_sub(1, Ordering::Relaxed) - 1;
        let freed = self
            .raw
            .release(&lock.name, &lock.owner, left, &lock.announcement);
        freed.await.map(|()| true)
    }

    async fn run(self: &Arc<Self>, run: &Run) -> Result<Ran> {
        match (run.shared, run.kind) {
            (false, _) => drive::run(self, run).await,
            (true, Kind::ReadWrite) => {
                drive::run_on(self, run, |task| format!("{}:{task}", run.name)).await
            }
            (true, _) => self.hand_around(run).await,
        }
    }
}

impl Limit {
    /// From each task to the next, with nobody to wake.
    async fn hand_around(&self, run: &Run) -> Result<Ran> {
        let owners: Vec<String> = (0..run.tasks)
            .map(|_| Ok(self.handle(run.kind, &run.name)?.owner))
            .collect::<Result<_>>()?;
        let mut ran = Ran {
            start: now(),
            counts: vec![0; owners.len()],
            ..Ran::default()
        };
        let (started, mut at, mut asked) = (Instant::now(), 0, now());
        self.raw.acquire(&run.name, &owners[0], 1).await?;
        while started.elapsed() < run.time {
            let granted = now();
            if !run.held.is_zero() {
                hold_for(run.held).await?;
            }
            let released = now();
            ran.sections.push(Section {
                task: at as u64,
                writes: true,
                asked,
                granted,
                released,
            });
            ran.counts[at] += 1;
            let next = (at + 1) % owners.len();
            asked = released;
            self.raw.pass(&run.name, &owners[at], &owners[next]).await?;
            at = next;
        }
        ran.elapsed = started.elapsed();
        Ok(ran)
    }
}

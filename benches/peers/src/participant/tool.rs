//! `redis-benchmark`, which sends the scripts of redlatch: acquires of names that are free, then releases of names that are
//! held. It measures a number of requests, not a time.

use std::{sync::Arc, time::Duration};

use tokio::task;

use super::{Participant, drive::Ran};
use crate::{
    kit::{
        Result,
        raw::Raw,
        tool::{HELD_PER_RELEASE, Tool, find_tool},
    },
    order::{Kind, Run, now},
};

/// Requests a second that it is asked for: those of many tasks; that many names are held before.
const PACE: f64 = 20_000.0;
const MOST_REQUESTS: u64 = 40_000;

pub(crate) struct RedisBenchmark {
    tool: Arc<Tool>,
    raw: Raw,
    url: String,
}

impl Participant for RedisBenchmark {
    type Lock = ();
    type Guard = ();

    async fn connect(address: &str, _: Duration) -> Result<Self> {
        let url = format!("redis://{address}");
        Ok(Self {
            tool: Arc::new(find_tool(None)?),
            raw: Raw::connect(&url).await?,
            url,
        })
    }

    fn handle(&self, _: Kind, _: &str) -> Result<()> {
        Err("redis-benchmark only sends requests".into())
    }

    async fn lock(&self, (): &(), _: bool) -> Result<()> {
        self.handle(Kind::Plain, "")
    }

    async fn unlock(&self, (): &(), (): ()) -> Result<bool> {
        Ok(false)
    }

    async fn run(self: &Arc<Self>, run: &Run) -> Result<Ran> {
        let requests = ((PACE * run.time.as_secs_f64()) as u64).clamp(run.tasks, MOST_REQUESTS);
        let (held, tasks) = (format!("{}:{{held}}:", run.name), run.tasks as usize);
        self.raw
            .hold_many(&held, requests * HELD_PER_RELEASE)
            .await?;
        let (tool, url, name) = (self.tool.clone(), self.url.clone(), run.name.clone());
        let start = now();
        let measured =
            task::spawn_blocking(move || tool.measure(&url, &name, &held, tasks, requests));
        let pairs_per_second = measured.await??.pairs_per_second;
        Ok(Ran {
            start,
            elapsed: Duration::from_secs_f64(requests as f64 / pairs_per_second),
            counts: vec![requests],
            ..Ran::default()
        })
    }
}

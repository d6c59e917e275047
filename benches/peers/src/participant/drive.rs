//! How tasks use a participant: the same for all of them.

use std::{
    fmt::Write,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::{self, JoinSet},
    time::timeout,
};

use super::Participant;
use crate::{
    kit::Result,
    order::{HOLDING_TASKS, Kind, Run, Section, WRITE_EVERY, now},
};

/// What became of a [`Run`].
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// Microseconds since 1970.
    pub(crate) start: u64,
    pub(crate) elapsed: Duration,
    pub(crate) counts: Vec<u64>,
    pub(crate) sections: Vec<Section>,
}

impl Ran {
    /// The answer, with the sections in a file.
    pub(crate) fn told(&self, file: &str) -> Result<String> {
        if !self.sections.is_empty() {
            let mut text = String::new();
            for section in &self.sections {
                writeln!(text, "{section}")?;
            }
            fs::write(file, text)?;
        }
        let mut answer = format!("ran {} {}", self.start, self.elapsed.as_micros());
        for count in &self.counts {
            write!(answer, " {count}")?;
        }
        Ok(answer)
    }
}

pub(crate) async fn run<P: Participant>(participant: &Arc<P>, run: &Run) -> Result<Ran> {
    run_on(participant, run, |task| run.name_of(task)).await
}

/// The same on other names.
pub(crate) async fn run_on<P: Participant>(
    participant: &Arc<P>,
    run: &Run,
    name_of: impl Fn(u64) -> String + Send,
) -> Result<Ran> {
    let mut all = JoinSet::new();
    let (start, started) = (now(), Instant::now());
    for task in run.first..run.first + run.tasks {
        let (participant, run) = (participant.clone(), run.clone());
        let lock = participant.handle(run.kind, &name_of(task))?;
        all.spawn(async move { one_task(&*participant, &run, task, &lock, started).await });
    }
    let mut ran = Ran {
        start,
        ..Ran::default()
    };
    while let Some(ended) = all.join_next().await {
        let (count, sections) = ended??;
        ran.counts.push(count);
        ran.sections.extend(sections);
    }
    ran.elapsed = started.elapsed();
    Ok(ran)
}

async fn one_task<P: Participant>(
    participant: &P,
    run: &Run,
    task: u64,
    lock: &P::Lock,
    started: Instant,
) -> Result<(u64, Vec<Section>)> {
    let (mut count, mut sections) = (0, Vec::new());
    let mut guards = Vec::new();
    while started.elapsed() < run.time {
        let writes = run.kind != Kind::ReadWrite || (task + count).is_multiple_of(WRITE_EVERY);
        let asked = if run.shared { now() } else { 0 };
        for _ in 0..run.depth {
            guards.push(participant.lock(lock, writes).await?);
        }
        let granted = if run.shared { now() } else { 0 };
        if !run.held.is_zero() {
            hold_for(run.held).await?;
        }
        if run.shared {
            sections.push(Section {
                task,
                writes,
                asked,
                granted,
                released: now(),
            });
        }
        while let Some(guard) = guards.pop() {
            participant.unlock(lock, guard).await?;
        }
        count += 1;
    }
    Ok((count, sections))
}

/// As exact as a thread sleeps; tokio's own timer knows whole milliseconds only, and would hold for longer than others do.
pub(crate) async fn hold_for(time: Duration) -> Result<()> {
    Ok(task::spawn_blocking(move || std::thread::sleep(time)).await?)
}

/// Many names that are held or waited for.
pub(crate) struct Crowd<P: Participant> {
    held: Vec<(P::Lock, P::Guard)>,
    waiting: JoinSet<Result<(P::Lock, P::Guard)>>,
    last: Arc<AtomicU64>,
}

impl<P: Participant> Default for Crowd<P> {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            waiting: JoinSet::new(),
            last: Arc::default(),
        }
    }
}

impl<P: Participant> Crowd<P> {
    pub(crate) async fn hold(
        &mut self,
        participant: &Arc<P>,
        names: u64,
        prefix: &str,
    ) -> Result<String> {
        let started = Instant::now();
        let mut all: JoinSet<Result<Vec<_>>> = JoinSet::new();
        for task in 0..HOLDING_TASKS {
            let (participant, prefix) = (participant.clone(), prefix.to_owned());
            all.spawn(async move {
                let mut held = Vec::new();
                for name in (task..names).step_by(HOLDING_TASKS as usize) {
                    let lock = participant.handle(Kind::Plain, &format!("{prefix}{name}"))?;
                    let guard = participant.lock(&lock, true).await?;
                    held.push((lock, guard));
                }
                Ok(held)
            });
        }
        while let Some(ended) = all.join_next().await {
            self.held.extend(ended??);
        }
        let elapsed = started.elapsed().as_micros();
        Ok(format!("held {} {elapsed}", self.held.len()))
    }

    pub(crate) async fn release(&mut self, participant: &Arc<P>) -> Result<String> {
        let (start, mut released) = (now(), 0);
        let mut shares: Vec<Vec<_>> = (0..HOLDING_TASKS).map(|_| Vec::new()).collect();
        for (at, held) in self.held.drain(..).enumerate() {
            shares[at % HOLDING_TASKS as usize].push(held);
        }
        let mut all: JoinSet<u64> = JoinSet::new();
        for share in shares {
            let participant = participant.clone();
            all.spawn(async move {
                let mut released = 0;
                for (lock, guard) in share {
                    released += u64::from(participant.unlock(&lock, guard).await.unwrap_or(false));
                }
                released
            });
        }
        while let Some(ended) = all.join_next().await {
            released += ended?;
        }
        Ok(format!("released {released} {start}"))
    }

    pub(crate) fn wait(
        &mut self,
        participant: &Arc<P>,
        names: u64,
        prefix: &str,
    ) -> Result<String> {
        for name in 0..names {
            let (participant, last) = (participant.clone(), self.last.clone());
            let lock = participant.handle(Kind::Plain, &format!("{prefix}{name}"))?;
            self.waiting.spawn(async move {
                let guard = participant.lock(&lock, true).await?;
                last.fetch_max(now(), Ordering::Relaxed);
                Ok((lock, guard))
            });
        }
        Ok("waiting".to_owned())
    }

    pub(crate) async fn granted(&mut self, within: Duration) -> Result<String> {
        let (mut granted, until) = (0, Instant::now() + within);
        while let Ok(Some(ended)) = timeout(
            until.saturating_duration_since(Instant::now()),
            self.waiting.join_next(),
        )
        .await
        {
            if let Ok(held) = ended? {
                granted += 1;
                self.held.push(held);
            }
        }
        self.waiting.shutdown().await;
        Ok(format!(
            "granted {granted} {}",
            self.last.load(Ordering::Relaxed)
        ))
    }
}

//! Every future of the public surface, dropped after each number of polls it takes. Nothing may be left of it: no key, no
//! subscription, no task, no entry in a table.

// What is made is not awaited, but dropped.
#![allow(clippy::async_yields_async)]

use std::{
    collections::BTreeSet,
    future::Future,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use redlatch::Client;
use redlatch_support::{Direct, Server, alive_tasks, polled, settled_tasks};

use crate::kit::{NOTHING, close, connect, ms, secs};

mod clients;
mod locks;
mod patterns;
mod permits;

/// Where a future is given up that takes more polls than anybody cares for.
const MOST_POLLS: usize = 40;
/// Where one is given up that waits for something that does not come.
const LONGEST: Duration = ms(150);
/// Marks that a client leaves on semaphores and latches for as long as it is open.
const MARKS: &str = "redlatch_once:";

/// What came of a future: `None` where it was dropped.
type Got<F> = Option<<F as Future>::Output>;

/// Drops futures and looks at what is left.
struct Drops {
    server: Server,
    direct: Rc<Direct>,
    /// Whose futures are dropped.
    client: Client,
    /// Who else is there.
    other: Client,
    tasks: usize,
    dropped: usize,
    /// What has been dropped, in the words of [`public_futures`].
    seen: BTreeSet<String>,
}

/// What there is on a server.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    keys: BTreeSet<String>,
    channels: Vec<String>,
    connections: usize,
}

impl Contents {
    fn of(direct: &Direct) -> Self {
        let keys = direct.cmd(&["KEYS", "*"]).accepted().strings();
        let keys = keys.into_iter().filter(|key| !key.starts_with(MARKS));
        Self {
            keys: keys.collect(),
            channels: direct.cmd(&["PUBSUB", "CHANNELS"]).accepted().strings(),
            connections: direct.client_list().len(),
        }
    }
}

impl Drops {
    async fn start() -> Self {
        let server = Server::start();
        let settings = |builder: redlatch::ClientBuilder| builder.safety_poll(ms(10));
        Self {
            client: connect(&server.url(), settings).await,
            other: connect(&server.url(), settings).await,
            tasks: settled_tasks(secs(20)).await,
            dropped: 0,
            seen: BTreeSet::new(),
            direct: Rc::new(server.direct()),
            server,
        }
    }

    /// Drops what `make` makes after no poll, after one, and so on until it comes to its end by itself. `tidy` hears of
    /// the number of polls and of what came, and puts right what is as it should be; then all must be as before.
    ///
    /// What follows a comma in the name of a future says how it stands.
    async fn each<F: Future>(
        &mut self,
        what: &str,
        make: impl AsyncFn() -> F,
        tidy: impl AsyncFn(usize, Got<F>),
    ) {
        let name = what.split(',').next().expect("there is a first");
        self.seen.insert(name.to_owned());
        let direct = self.direct.clone();
        let before = Contents::of(&direct);
        let mut ends = 0;
        for polls in 0..MOST_POLLS {
            let future = make().await;
            // One that nothing wakes is dropped where it stands.
            let got = tokio::time::timeout(LONGEST, polled(polls, future)).await;
            let ended = !matches!(got, Ok(None));
            self.dropped += usize::from(!matches!(got, Ok(Some(_))));
            tidy(polls, got.ok().flatten()).await;
            self.all_is_as(&before, &direct, &format!("{what}, {polls} polls"))
                .await;
            // How many polls it takes varies.
            ends += usize::from(ended);
            if ends == 2 {
                break;
            }
        }
    }

    /// Waits until nothing is there that was not there before.
    async fn all_is_as(&self, before: &Contents, direct: &Direct, when: &str) {
        let begun = Instant::now();
        loop {
            let (now, residue) = (Contents::of(direct), self.client.residue());
            let tasks = alive_tasks();
            if now == *before && residue == NOTHING && tasks <= self.tasks {
                return;
            }
            assert!(
                begun.elapsed() < secs(5),
                "orphans after {when}: {now:?}, {residue}, {tasks} tasks; before: {before:?}, {} tasks",
                self.tasks
            );
            tokio::time::sleep(ms(1)).await;
        }
    }
}

/// All public functions that are futures or make some, as `file name`.
fn public_futures(folder: &Path, found: &mut BTreeSet<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let file = path.strip_prefix(&root).expect("inside");
        if path.is_dir() {
            // Nothing public; the command; what starts servers, which tests/test_util drops.
            let others = ["engine", "bin", "test_util"];
            if !others.iter().any(|other| file == Path::new(other)) {
                public_futures(&path, found);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source");
        for line in text.lines().map(str::trim) {
            let function = line.strip_prefix("pub async fn ").or_else(|| {
                line.strip_prefix("pub fn ")
                    .filter(|_| line.contains("impl Future"))
            });
            let made = line.split_once(" IntoFuture for ").map(|(_, kind)| kind);
            let Some(rest) = function.or(made) else {
                continue;
            };
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            found.insert(format!("{} {name}", file.display()));
        }
    }
}

#[tokio::test]
async fn every_public_future_dropped_at_every_poll_leaves_nothing() {
    let mut drops = Drops::start().await;
    locks::all(&mut drops).await;
    permits::all(&mut drops).await;
    patterns::all(&mut drops).await;
    clients::all(&mut drops).await;
    let mut public = BTreeSet::new();
    public_futures(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut public,
    );
    println!(
        "{} futures, {} drops, 0 orphans",
        public.len(),
        drops.dropped
    );
    assert_eq!(drops.seen, public, "dropped, and public");
    close(drops.client).await;
    close(drops.other).await;
    let mut left = drops.direct.cmd(&["KEYS", "*"]).strings();
    left.sort();
    // What fences has to outlive its holders.
    let counters = ["election", "fenced"].map(|name| format!("redisson_lock_token:{{{name}}}"));
    assert_eq!(left, counters);
}

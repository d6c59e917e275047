//! What is done to the server meanwhile, in a thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use redlatch_support::{Dice, Server};

const STEP: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Counts {
    killed: AtomicU64,
    frozen: AtomicU64,
    restarted: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Chaos {
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Chaos {
    pub(crate) fn start(server: Arc<Server>, seed: u64) -> Self {
        let (counts, over) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let (counting, ends) = (counts.clone(), over.clone());
        let thread = thread::spawn(move || {
            let mut dice = Dice::new(seed, u64::MAX);
            while !ends.load(Ordering::Acquire) {
                thread::sleep(STEP);
                strike(&server, &mut dice, &counting);
            }
        });
        Self {
            counts,
            over,
            thread,
        }
    }

    pub(crate) fn counts(&self) -> String {
        self.counts.show()
    }

    pub(crate) fn stop(self) -> String {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("the server could be reached");
        self.counts.show()
    }
}

impl Counts {
    fn show(&self) -> String {
        let [killed, frozen, restarted] = [&self.killed, &self.frozen, &self.restarted]
            .map(|count| count.load(Ordering::Relaxed));
        format!("{killed} kills, {frozen} freezes, {restarted} restarts")
    }
}

fn strike(server: &Server, dice: &mut Dice, counts: &Counts) {
    let count = match dice.below(40) {
        0 => {
            server.restart();
            &counts.restarted
        }
        1..=2 => {
            server.freeze();
            thread::sleep(Duration::from_millis(100 + dice.below(400)));
            server.thaw();
            &counts.frozen
        }
        3..=11 => kill(server, "normal", counts),
        12..=20 => kill(server, "pubsub", counts),
        _ => return,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

fn kill<'a>(server: &Server, which: &str, counts: &'a Counts) -> &'a AtomicU64 {
    let words = ["CLIENT", "KILL", "TYPE", which, "SKIPME", "yes"];
    server.direct().cmd(&words).accepted();
    &counts.killed
}

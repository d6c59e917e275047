//! Processes of ours and JVMs use the same locks while links break and processes stop and die; every operation is
//! recorded, and the whole of it must be a history that locks allow.
//!
//! The faults are on the links of our processes only, each of which has a proxy of its own. What a JVM makes of a lost reply
//! is known (a hold that nobody has), and would only hide what we make of it. So whatever is found is ours.

mod faults;
mod recorder;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redlatch::Client;
use redlatch_support::{
    Dice, Direct, NOTHING_LEFT, Process, Proxy, Server,
    history::{Action, History, LockKind, Op, Outcome, judge, shortest_broken},
    jvm::{Jvm, JvmOptions, Pending, jvm_or_skip},
};

use self::faults::Faults;
use crate::{
    common::{QUICK, loud, ms, secs},
    kinds::derived,
    worker::now_micros,
};

/// The environment variable with a recorder's order.
const RECORDER: &str = "REDLATCH_INTEROP_RECORDER";
const WATCHDOG: Duration = secs(2);

const JVMS: usize = 2;
const RUSTS: u64 = 3;
const THREADS: u64 = 3;
/// How many lines are shown of a history that is broken.
const SHOWN: usize = 60;

/// What a recorder is to do until it is told to end.
struct Order {
    process: String,
    port: u16,
    seed: u64,
    tasks: u64,
    /// Kind and name of each lock.
    locks: Vec<(String, String)>,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            port,
            seed,
            tasks,
            locks,
        } = self;
        write!(f, "{process} {port} {seed} {tasks}")?;
        locks
            .iter()
            .try_for_each(|(kind, name)| write!(f, " {kind}:{name}"))
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let [process, port, seed, tasks, locks @ ..] = &words[..] else {
            return Err(format!("too short: {text:?}"));
        };
        let number = |word: &str| word.parse().map_err(|_| format!("no number: {word:?}"));
        let lock = |word: &&str| {
            let (kind, name) = word.split_once(':')?;
            Some((kind.to_owned(), name.to_owned()))
        };
        Ok(Self {
            process: (*process).to_owned(),
            port: port.parse().map_err(|_| format!("no port: {port:?}"))?,
            seed: number(seed)?,
            tasks: number(tasks)?,
            locks: locks.iter().filter_map(lock).collect(),
        })
    }
}

/// A process of ours and its own way to the server.
struct Member {
    process: Process,
    order: Order,
    proxy: Proxy,
    /// Those of its name that were killed.
    dead: Vec<(String, Process)>,
}

impl Member {
    fn start(number: u64, seed: u64, locks: &[(String, String)], server: &Server) -> Self {
        let proxy = Proxy::start_blocking(server.port());
        let order = Order {
            process: format!("rust-{number}"),
            port: proxy.port(),
            seed: seed.wrapping_add(number),
            tasks: THREADS,
            locks: locks.to_vec(),
        };
        Self {
            process: Self::launch(&order),
            order,
            proxy,
            dead: Vec::new(),
        }
    }

    fn launch(order: &Order) -> Process {
        let process = Process::start("recorded::recorder::process", RECORDER, &order.to_string());
        process.said("client ");
        process
    }

    /// Kills the process, and has another take its place.
    fn replace(&mut self) {
        self.process.kill();
        let name = self.order.process.clone();
        self.order.process = format!("{name}+");
        self.order.seed = self.order.seed.wrapping_add(RUSTS);
        let next = Self::launch(&self.order);
        let dead = std::mem::replace(&mut self.process, next);
        self.dead.push((name, dead));
    }

    /// Lets its tasks come to their end.
    fn end(&mut self) {
        self.process.tell("end");
        let closed = self.process.said("closed ");
        assert_eq!(closed, NOTHING_LEFT, "left of {}", self.order.process);
    }

    /// The operations of a process, those that never returned last. The last line of one that was killed may be cut.
    fn ops(process: &Process) -> Vec<Op> {
        let (mut ops, mut pending) = (Vec::new(), HashMap::new());
        for line in process.lines().iter() {
            match line.split_once(' ') {
                Some(("call", op)) => {
                    if let Ok(op) = op.parse::<Op>() {
                        pending.insert(op.thread.clone(), op);
                    }
                }
                Some(("op", op)) => {
                    if let Ok(op) = op.parse::<Op>() {
                        pending.remove(&op.thread);
                        ops.push(op);
                    }
                }
                _ => {}
            }
        }
        ops.extend(pending.into_values());
        ops
    }

    fn all_ops(&self) -> Vec<Op> {
        let dead = self.dead.iter().flat_map(|(_, dead)| Self::ops(dead));
        dead.chain(Self::ops(&self.process)).collect()
    }

    /// Which process a client id belongs to.
    fn clients(&self) -> Vec<(String, String)> {
        let dead = self.dead.iter().map(|(name, dead)| (name, dead));
        dead.chain([(&self.order.process, &self.process)])
            .map(|(name, process)| (process.said("client "), name.clone()))
            .collect()
    }
}

/// Who was seen to enter a queue.
struct Sighting {
    owner: String,
    /// When the last look without it was called for.
    without: u64,
    /// When the first look with it was called for, and when that returned.
    looked: (u64, u64),
}

/// Looks at a fair queue all the time; gives who was seen to enter it.
fn onlook(direct: &Direct, name: &str, over: &AtomicBool) -> Vec<Sighting> {
    let queue = derived("redisson_lock_queue", name);
    let mut seen = Vec::new();
    let (mut before, mut without) = (Vec::new(), now_micros());
    while !over.load(Ordering::Relaxed) {
        let called = now_micros();
        let now = direct.cmd(&["LRANGE", &queue, "0", "-1"]).strings();
        let looked = (called, now_micros());
        let new = now.iter().filter(|owner| !before.contains(*owner));
        seen.extend(new.map(|owner| Sighting {
            owner: owner.clone(),
            without,
            looked,
        }));
        (before, without) = (now, called);
        // A pace, not a wait: every look costs the server a little.
        thread::sleep(ms(3));
    }
    seen
}

/// What was seen in the queue, as operations of those who stand in it.
fn sightings(seen: Vec<Sighting>, name: &str, clients: &HashMap<String, String>) -> Vec<Op> {
    let sightings = seen.into_iter().filter_map(|sighting| {
        let (client, thread) = sighting.owner.split_once(':')?;
        let (called, returned) = sighting.looked;
        Some(Op {
            process: clients.get(client)?.clone(),
            thread: thread.to_owned(),
            kind: LockKind::Fair,
            name: name.to_owned(),
            action: Action::Queue,
            called: sighting.without,
            returned: Some(returned),
            ttl: 0,
            outcome: Outcome::Queued,
            until: Some(called),
        })
    });
    sightings.collect()
}

/// The keys of the locks and of their queues, and the channels that somebody listens on.
fn left(direct: &Direct) -> Vec<String> {
    let keys = direct.cmd(&["KEYS", "*"]).strings();
    let channels = direct.cmd(&["PUBSUB", "CHANNELS", "*"]).strings();
    let kept = |key: &String| !key.starts_with("redisson_lock_token:");
    keys.into_iter().filter(kept).chain(channels).collect()
}

/// Takes each lock once and gives it back: they are free, and the places of the dead are passed over.
async fn all_are_free(server: &Server, locks: &[(String, String)]) {
    let client = Client::connect(server.url()).await.expect("connects");
    for (kind, name) in locks {
        let within = secs(15);
        match kind.as_str() {
            "plain" => drop(
                client
                    .lock(name.as_str())
                    .lock()
                    .wait(within)
                    .await
                    .expect("free"),
            ),
            "fenced" => {
                let lock = client.fenced_lock(name.as_str());
                drop(lock.lock().wait(within).await.expect("free"));
            }
            "fair" => {
                let lock = client.fair_lock(name.as_str());
                drop(lock.lock().wait(within).await.expect("free"));
            }
            _ => {
                let lock = client.read_write_lock(name.as_str());
                drop(lock.write().wait(within).await.expect("free"));
            }
        }
    }
    let report = client.close(secs(5)).await;
    assert!(report.unreleased.is_empty(), "{report:?}");
}

/// Three of the four, by the seed.
fn locks(seed: u64) -> Vec<(String, String)> {
    let mut kinds = vec!["plain", "fenced", "fair", "readwrite"];
    let out = Dice::new(seed, 0).below(kinds.len() as u64);
    kinds.remove(out as usize);
    let named = kinds
        .into_iter()
        .map(|kind| (kind.to_owned(), format!("recorded-{kind}")));
    named.collect()
}

fn duration() -> Duration {
    match std::env::var("REDLATCH_HISTORY_SECONDS") {
        Ok(text) => secs(text.parse().expect("a number of seconds")),
        Err(_) => secs(20),
    }
}

#[test]
fn what_processes_see_of_locks_under_faults_is_what_locks_promise() {
    let driver = jvm_or_skip("what_processes_see_of_locks_under_faults_is_what_locks_promise");
    let _loud = loud();
    let (seed, duration) = (Dice::seed("REDLATCH_HISTORY_SEED"), duration());
    println!("REDLATCH_HISTORY_SEED={seed}, {duration:?}");
    let locks = locks(seed);
    let server = Server::start();
    let options = JvmOptions::single(server.url()).watchdog(QUICK);
    let jvms: Vec<Jvm> = match driver {
        Some(driver) => (0..JVMS).map(|_| Jvm::start(driver, &options)).collect(),
        None => {
            println!("without JVMs: processes of ours only");
            Vec::new()
        }
    };
    let mut members: Vec<_> = (0..RUSTS)
        .map(|number| Member::start(number, seed, &locks, &server))
        .collect();
    let begun = Instant::now();
    let mut recording = record(&jvms, seed, duration, &locks);

    let (over, faults) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let fair = locks.iter().find(|(kind, _)| kind == "fair");
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let onlooker = fair.map(|(_, name)| {
            let (direct, over) = (server.direct(), &over);
            scope.spawn(move || onlook(&direct, name, over))
        });
        thread::scope(|breaking| {
            for (number, member) in members.iter_mut().enumerate() {
                let faults = Faults {
                    dice: Dice::new(seed, 100 + number as u64),
                    direct: server.direct(),
                    until: begun + duration,
                    done: &faults,
                };
                breaking.spawn(move || faults.run(member));
            }
        });
        members.iter_mut().for_each(Member::end);
        for (at, run) in recording.iter_mut().enumerate() {
            assert!(run.wait(secs(60)).is_some(), "jvm-{at} did not end");
        }
        over.store(true, Ordering::Relaxed);
        seen = onlooker.map_or_else(Vec::new, |onlooker| onlooker.join().expect("looks on"));
    });

    let mut history = History {
        seed,
        faults: faults.into_inner().expect("no thread panicked"),
        ..History::default()
    };
    let mut clients: HashMap<String, String> = HashMap::new();
    for member in &members {
        history.ops.extend(member.all_ops());
        clients.extend(member.clients());
    }
    for (at, (jvm, mut run)) in jvms.iter().zip(recording).enumerate() {
        let reply = run.wait(Duration::ZERO).expect("has ended");
        let reply = reply.unwrap_or_else(|error| panic!("jvm-{at} failed: {error}"));
        let ops = reply.ops.iter().map(|op| op.parse::<Op>());
        history
            .ops
            .extend(ops.map(|op| op.expect("an operation of the JVM")));
        clients.insert(jvm.uuid().to_owned(), format!("jvm-{at}"));
    }
    if let Some((_, name)) = fair {
        history.ops.extend(sightings(seen, name, &clients));
    }
    history.end = Some(now_micros());
    drop(members);

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(all_are_free(&server, &locks));
    let direct = server.direct();
    let begun = Instant::now();
    while !left(&direct).is_empty() && begun.elapsed() < secs(10) {
        thread::sleep(ms(20));
    }
    history.left = left(&direct);
    judged(&history, !jvms.is_empty());
}

/// Has the JVMs begin.
fn record(jvms: &[Jvm], seed: u64, duration: Duration, locks: &[(String, String)]) -> Vec<Pending> {
    let words = locks.iter().map(|(kind, name)| format!("{kind}:{name}"));
    let words: Vec<String> = words.collect();
    let start = |(at, jvm): (usize, &Jvm)| {
        let numbers = [
            seed.wrapping_add(1000 * at as u64) >> 1,
            duration.as_millis() as u64,
            THREADS,
            QUICK.as_millis() as u64,
        ];
        let mut order = vec![format!("jvm-{at}")];
        order.extend(numbers.iter().map(u64::to_string));
        order.extend(words.iter().cloned());
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        jvm.start_call("recorder", "record", &order)
    };
    jvms.iter().enumerate().map(start).collect()
}

/// Says what was seen, or what was broken in it.
#[track_caller]
fn judged(history: &History, with_jvms: bool) {
    let seed = history.seed;
    let file = match std::env::var("REDLATCH_HISTORY_FILE") {
        Ok(file) => PathBuf::from(file),
        Err(_) => Path::new(env!("CARGO_TARGET_TMPDIR")).join("history.txt"),
    };
    std::fs::write(&file, history.to_string()).expect("room on the disk");
    let verdict = match judge(history) {
        Ok(verdict) => verdict,
        Err(_) => {
            let (broken, violation) = shortest_broken(history).expect("just seen");
            let mut lines = broken.lines_in_time();
            let length = lines.len();
            lines.reverse();
            lines.truncate(SHOWN);
            panic!(
                "{violation}\nREDLATCH_HISTORY_SEED={seed}, all of it in {}, its shortest broken beginning has {length} lines, from the last back:\n{}",
                file.display(),
                lines.join("\n")
            );
        }
    };
    println!("seed {seed}: {verdict}");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in &history.faults {
        *kinds.entry(&fault.kind).or_default() += 1;
    }
    println!("faults: {kinds:?}");
    let lost = history
        .faults
        .iter()
        .filter(|fault| fault.kind == faults::LOST_MESSAGE);
    let waits: Vec<Duration> = lost.filter_map(|fault| history.next_grant(fault)).collect();
    println!(
        "{} lost messages with somebody waiting, longest wait after one {:?}",
        waits.len(),
        waits.iter().max()
    );
    for side in ["rust", "jvm"] {
        let granted = verdict.grants.get(side).copied().unwrap_or_default();
        assert!(
            granted > 0 || (side == "jvm" && !with_jvms),
            "no grant to {side}"
        );
    }
    assert!(
        verdict.counts > 0 && kinds.len() > 1,
        "nothing was tested: {kinds:?}"
    );
}

//! Random sequences of verbs by both sides on one lock. After each step the reply and the hash are what a small model
//! says, so both sides do the same, and the same as each other.

mod actors;
mod model;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redlatch_support::{Direct, jvm::jvm_or_skip, unique_name};

use self::{
    actors::Actors,
    model::{ACTORS, Model, Reply, Rules, Side, Verb},
};
use crate::{
    common::{client, close, direct, quiet, secs, shared_jvm},
    kinds::derived,
};

/// Repeats the sequences of an earlier run.
const SEED: &str = "REDLATCH_ORACLE_SEED";
const SEQUENCES: u64 = 32;
const STEPS: usize = 30;
/// What all sequences may take.
const BUDGET: Duration = secs(60);

const ONE_SIDE: Rules = Rules {
    kind: "lock",
    reentrant: true,
    fair: false,
    fenced: false,
    sides: &[Side::Only],
};

const KINDS: [Rules; 7] = [
    ONE_SIDE,
    Rules {
        kind: "spin",
        ..ONE_SIDE
    },
    Rules {
        kind: "fair",
        fair: true,
        ..ONE_SIDE
    },
    Rules {
        kind: "fenced",
        fenced: true,
        ..ONE_SIDE
    },
    Rules {
        kind: "nonreentrant",
        reentrant: false,
        ..ONE_SIDE
    },
    Rules {
        kind: "nonreentrantfair",
        reentrant: false,
        fair: true,
        ..ONE_SIDE
    },
    Rules {
        kind: "readwrite",
        sides: &[Side::Read, Side::Write],
        ..ONE_SIDE
    },
];

/// Numbers that look random and are the same for the same seed: xorshift, 64 bits.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Neighbours must not begin alike, and zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn verb(&mut self) -> Verb {
        match self.below(100) {
            0..35 => Verb::TryLock,
            35..42 => Verb::LockFor,
            42..74 => Verb::Unlock,
            74..78 => Verb::ForceUnlock,
            78..84 => Verb::IsLocked,
            84..89 => Verb::IsHeld,
            89..95 => Verb::HoldCount,
            _ => Verb::Ttl,
        }
    }
}

/// In milliseconds, by both sides.
const RENEWED_TO: i64 = 30_000;

/// One sequence on a lock of its own.
struct Run<'a> {
    actors: &'a Actors<'a>,
    direct: &'a Direct,
    rules: Rules,
    name: String,
    model: Model,
    done: Vec<String>,
}

impl Run<'_> {
    async fn step(&mut self, actor: usize, side: Side, verb: Verb) {
        let pttl = || self.direct.pttl(&self.name);
        let (begun, before) = (Instant::now(), pttl());
        let due = self.model.apply(actor, side, verb);
        let actors = self.actors;
        let seen = actors.act(self.rules, &self.name, actor, side, verb).await;
        self.done
            .push(format!("{actor} {side:?} {verb:?} -> {seen:?}"));
        let fine = match (verb, &seen) {
            // Where it was renewed in between, before this look or after it, it is as long as a renewal makes it.
            (Verb::Ttl, Reply::Number(left)) if before > 0 => {
                let passed = i64::try_from(begun.elapsed().as_millis()).expect("short");
                let least = pttl().min(before - passed - 1);
                (least..=before.max(RENEWED_TO)).contains(left)
            }
            (Verb::Ttl, Reply::Number(left)) => *left == before,
            _ => seen == due,
        };
        assert!(fine, "{due:?} was due{}", self.story());

        let hash = self.direct.hgetall(&self.name);
        let due = self.model.hash(&self.actors.ids);
        assert_eq!(hash, due, "the hash{}", self.story());
        if !due.is_empty() {
            let left = pttl();
            assert!(left > 0, "{left} ms to live{}", self.story());
        }
        if self.rules.fenced {
            let counter = derived("redisson_lock_token", &self.name);
            let counter = self.direct.cmd(&["GET", &counter]).accepted();
            let counter = if counter.is_nil() { 0 } else { counter.int() };
            assert_eq!(counter, self.model.counter, "the counter{}", self.story());
        }
        if self.rules.sides.contains(&Side::Read) {
            self.assert_markers();
        }
    }

    /// A marker for each read hold, and no other unless a forced unlock left it.
    fn assert_markers(&self) {
        for (actor, id) in self.actors.ids.iter().enumerate() {
            let count = self.model.count(actor, Side::Read);
            let marker = |hold| format!("{{{}}}:{id}:rwlock_timeout:{hold}", self.name);
            for hold in 1..=count + 1 {
                let there = self.direct.exists(&marker(hold));
                let due = hold <= count || (self.model.forced && there);
                assert_eq!(there, due, "{}{}", marker(hold), self.story());
            }
        }
    }

    fn story(&self) -> String {
        format!(
            ", {:?} {:?}, the actors are {:?}:\n{}",
            self.rules.kind,
            self.name,
            self.actors.ids,
            self.done.join("\n")
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_do_what_the_model_says() {
    let Some(driver) = jvm_or_skip("both_sides_do_what_the_model_says") else {
        return;
    };
    let _quiet = quiet().await;
    let seed: u64 = match std::env::var(SEED) {
        Ok(seed) => seed.parse().expect("a seed is a number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.expect("a clock after 1970").as_secs()
        }
    };
    println!("{SEED}={seed}");
    let (client, direct) = (client().await, direct());
    let actors = Actors::new(&client, shared_jvm(driver));
    let begun = Instant::now();
    let (mut sequences, mut steps) = (0, 0);
    for (at, rules) in KINDS.into_iter().enumerate() {
        for sequence in 0..SEQUENCES {
            let mut dice = Dice::new(seed + sequence * 100 + at as u64);
            let mut run = Run {
                actors: &actors,
                direct: &direct,
                rules,
                name: unique_name("oracle"),
                model: Model::new(rules),
                done: Vec::new(),
            };
            for _ in 0..STEPS {
                let (actor, side) = (dice.below(ACTORS), dice.of(rules.sides));
                let verb = match dice.verb() {
                    Verb::LockFor if !run.model.admits(actor, side) => Verb::TryLock,
                    verb => verb,
                };
                run.step(actor, side, verb).await;
            }
            // Everybody leaves, and once more, which fails.
            for actor in 0..ACTORS {
                for side in rules.sides {
                    for _ in 0..=run.model.count(actor, *side) {
                        run.step(actor, *side, Verb::Unlock).await;
                    }
                }
            }
            assert!(!direct.exists(&run.name), "still held{}", run.story());
            sequences += 1;
            steps += run.done.len();
        }
    }
    println!(
        "{sequences} sequences, {steps} steps in {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() < BUDGET, "took {:?}", begun.elapsed());
    close(client).await;
}

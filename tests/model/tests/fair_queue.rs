//! The arithmetic of the fair queue's deadlines, ours beside the JVM's, over every order of events up to a bound.
//!
//! The JVM adds a waiter's wait to the deadline before it, takes it away from all behind when the waiter gets in, and puts
//! out whoever is head past its deadline, by its own clock. Ours is `src/scripts/fair/queue.lua`. Both are written down here
//! once more, as plain functions over a queue, and every sequence of arrivals, grants, releases, departures, deaths and
//! passing time is played. In none may a live waiter be put out, or anybody be served before one who came earlier, with
//! the clocks of the JVMs off by three seconds either way; and no dead one may block for long where one of ours is there.

use std::collections::HashSet;

/// Milliseconds, as in `queue.lua`.
const PLACE: i64 = 8_000;
const GRACE: i64 = 4_000;
const TURN: i64 = 5_000;
const WAIT: i64 = 300_000;
/// What is left of a lock that is renewed.
const LEFT: i64 = 25_000;
/// No world lasts longer: a JVM's waiter gives up its own place after five minutes.
const HORIZON: i64 = 220_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Jvm,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Waiter {
    id: u8,
    side: Side,
    deadline: i64,
    alive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: i64,
    /// What a JVM's clock shows less the server's.
    skew: i64,
    /// Whether ours sleep beside a holder of their process, which passes the lock on, and listen to nobody.
    beside: bool,
    holder: Option<Side>,
    queue: Vec<Waiter>,
    arrived: u8,
    died: u8,
    /// How often ours was passed on since the deadlines behind were seen to.
    passed: i64,
    /// When the lock became free with a live waiter of ours in the queue.
    free_since: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(Side),
    Release,
    /// Ours gives the lock to the head, which is ours; the deadlines behind are seen to, or not.
    PassOn(bool),
    /// The head asks, having been called or by itself.
    HeadAsks,
    Leave(usize),
    Die(usize),
    /// Time goes by; waiters of ours say every second that they are there, and JVMs' ask when a free lock does.
    Pass(i64),
}

impl World {
    fn new(skew: i64, beside: bool, holder: Side) -> Self {
        Self {
            now: 0,
            skew,
            beside,
            holder: Some(holder),
            queue: Vec::new(),
            arrived: 0,
            died: 0,
            passed: 0,
            free_since: None,
        }
    }

    /// Nobody hears what is said to it.
    fn is_silent(&self, waiter: &Waiter) -> bool {
        !waiter.alive || (self.beside && waiter.side == Side::Ours)
    }

    fn jvm_now(&self) -> i64 {
        self.now + self.skew
    }

    /// Somebody is taken out of the queue for being past its time.
    fn put_out(&mut self, at: usize) {
        let waiter = self.queue.remove(at);
        assert!(
            !waiter.alive,
            "a live waiter is put out: {waiter:?} {self:?}"
        );
    }

    // The JVM's side, as the protocol has it.

    fn jvm_purge(&mut self) {
        while self
            .queue
            .first()
            .is_some_and(|head| head.deadline <= self.jvm_now())
        {
            self.put_out(0);
        }
    }

    fn jvm_arrive(&mut self, id: u8) {
        self.jvm_purge();
        if self.holder.is_none() && self.queue.is_empty() {
            self.holder = Some(Side::Jvm);
            return;
        }
        let left = match (self.queue.last(), self.holder) {
            (Some(last), _) => last.deadline - self.jvm_now(),
            (None, Some(_)) => LEFT,
            (None, None) => -2,
        };
        self.queue.push(Waiter {
            id,
            side: Side::Jvm,
            deadline: left + WAIT + self.jvm_now(),
            alive: true,
        });
    }

    fn jvm_take(&mut self) {
        self.jvm_purge();
        self.queue.remove(0);
        for waiter in &mut self.queue {
            waiter.deadline -= WAIT;
        }
        self.holder = Some(Side::Jvm);
    }

    // Ours, as in queue.lua.

    fn keep_place(&mut self, at: usize) {
        let mut deadline = self.now + at as i64 * WAIT + PLACE;
        if at > 0 {
            deadline = deadline.max(self.queue[at - 1].deadline + PLACE);
        }
        let last = self.queue[at].deadline;
        self.queue[at].deadline = deadline;
        if last > deadline + PLACE {
            for behind in at + 1..self.queue.len() {
                let least = self.now + behind as i64 * WAIT + PLACE;
                let theirs = &mut self.queue[behind].deadline;
                if *theirs > least {
                    *theirs = (*theirs - last + deadline).max(least);
                }
            }
        }
    }

    fn close_up(&mut self, from: usize, least: i64, places: i64) {
        let to = if places > 0 {
            self.queue.len()
        } else {
            from + 1
        };
        for at in from..to.min(self.queue.len()) {
            let needed = self.now + at as i64 * WAIT + PLACE;
            let waiter = self.queue[at];
            let spare = (waiter.deadline - least.max(needed)).div_euclid(PLACE);
            if spare.min(places) > 0 {
                self.queue[at].deadline -= spare.min(places) * PLACE;
            } else if waiter.deadline < least && !self.is_silent(&waiter) {
                self.queue[at].deadline = least;
            }
        }
    }

    fn pass_on(&mut self, see_to: bool) {
        self.passed += 1;
        let mut places = 0;
        if see_to {
            self.keep_place(0);
            places = std::mem::take(&mut self.passed);
        }
        self.queue.remove(0);
        self.close_up(0, self.now + LEFT.min(30_000), places);
    }

    /// Puts out those who are gone; what is left at the front is called.
    fn turn(&mut self, me: Option<u8>) {
        let mut promoted = false;
        while let Some(head) = self.queue.first().copied() {
            if Some(head.id) == me {
                return;
            }
            let silent = self.is_silent(&head);
            let over = silent && head.deadline <= self.now;
            if !over && (promoted || head.deadline + GRACE > self.now) {
                let least = if promoted {
                    self.now + TURN
                } else {
                    head.deadline
                };
                let most = if silent {
                    self.now + TURN
                } else {
                    head.deadline.max(least)
                };
                self.queue[0].deadline = head.deadline.max(least).min(most);
                return;
            }
            promoted = true;
            self.put_out(0);
            // All that are dead on one side may be of one client; that is told by nobody listening for them.
            for other in &mut self.queue {
                if !other.alive && other.side == head.side {
                    other.deadline = other.deadline.min(self.now + TURN);
                }
            }
        }
    }

    fn ours_arrive(&mut self, id: u8) {
        if self.holder.is_none() && self.queue.is_empty() {
            self.holder = Some(Side::Ours);
            return;
        }
        self.queue.push(Waiter {
            id,
            side: Side::Ours,
            deadline: 0,
            alive: true,
        });
        self.keep_place(self.queue.len() - 1);
        if self.holder.is_none() {
            self.turn(Some(id));
            self.take_if_first(id);
        }
    }

    fn take_if_first(&mut self, id: u8) {
        if self.queue.first().is_some_and(|head| head.id == id) {
            self.queue.remove(0);
            self.close_up(0, self.now + LEFT.min(30_000), 1);
            self.holder = Some(Side::Ours);
        }
    }

    /// One look for each live waiter of ours.
    fn look(&mut self) {
        let ids: Vec<u8> = self
            .queue
            .iter()
            .filter(|waiter| waiter.alive && waiter.side == Side::Ours)
            .map(|waiter| waiter.id)
            .collect();
        for id in ids {
            let Some(at) = self.queue.iter().position(|waiter| waiter.id == id) else {
                continue;
            };
            self.keep_place(at);
            if self.holder.is_none() {
                self.turn(Some(id));
                self.take_if_first(id);
            }
        }
    }

    // What may happen.

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.arrived < 4 {
            steps.extend([Step::Arrive(Side::Jvm), Step::Arrive(Side::Ours)]);
        }
        if self.holder.is_some() {
            steps.push(Step::Release);
            let next = self.queue.first();
            let ours = next.is_some_and(|head| head.alive && head.side == Side::Ours);
            if self.beside && self.holder == Some(Side::Ours) && ours {
                steps.extend([Step::PassOn(false), Step::PassOn(true)]);
            }
        } else if self.queue.first().is_some_and(|head| head.alive) {
            steps.push(Step::HeadAsks);
        }
        for at in 0..self.queue.len() {
            if self.queue[at].alive {
                if self.died < 2 {
                    steps.push(Step::Die(at));
                }
                steps.push(Step::Leave(at));
            }
        }
        if self.now < HORIZON {
            steps.extend([Step::Pass(1), Step::Pass(60)]);
        }
        steps
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Arrive(side) => {
                let id = self.arrived;
                self.arrived += 1;
                match side {
                    Side::Jvm => self.jvm_arrive(id),
                    Side::Ours => self.ours_arrive(id),
                }
            }
            Step::Release => {
                let by = self.holder.take();
                match by {
                    Some(Side::Jvm) | None => self.jvm_purge(),
                    Some(Side::Ours) => self.turn(None),
                }
            }
            Step::PassOn(see_to) => self.pass_on(see_to),
            Step::HeadAsks => self.head_asks(),
            Step::Leave(at) => {
                let waiter = self.queue.remove(at);
                match waiter.side {
                    Side::Jvm => {
                        for behind in &mut self.queue[at..] {
                            behind.deadline -= WAIT;
                        }
                    }
                    Side::Ours => {
                        let left = if self.holder.is_some() { LEFT } else { 0 };
                        self.close_up(at, self.now + left, 1);
                        if self.holder.is_none() {
                            self.turn(None);
                        }
                    }
                }
            }
            Step::Die(at) => {
                self.died += 1;
                self.queue[at].alive = false;
            }
            Step::Pass(seconds) => {
                for _ in 0..seconds {
                    self.now += 1_000;
                    // A live head that was called has asked long since.
                    if self.holder.is_none() && self.queue.first().is_some_and(|head| head.alive) {
                        self.head_asks();
                    }
                    self.look();
                    self.watch();
                }
            }
        }
        self.check_order();
    }

    fn head_asks(&mut self) {
        match self.queue[0].side {
            Side::Jvm => self.jvm_take(),
            Side::Ours => {
                let id = self.queue[0].id;
                self.keep_place(0);
                self.turn(Some(id));
                self.take_if_first(id);
            }
        }
    }

    /// Whoever came first stands before whoever came later.
    fn check_order(&self) {
        let ids: Vec<u8> = self.queue.iter().map(|waiter| waiter.id).collect();
        assert!(ids.is_sorted(), "out of order: {self:?}");
    }

    /// A free lock with one of ours before it stays so for twenty seconds at the most, behind two dead.
    fn watch(&mut self) {
        let ours = self
            .queue
            .iter()
            .any(|waiter| waiter.alive && waiter.side == Side::Ours);
        if self.holder.is_some() || !ours {
            self.free_since = None;
            return;
        }
        let since = *self.free_since.get_or_insert(self.now);
        assert!(self.now - since <= 20_000, "blocked: {self:?}");
    }

    /// Worlds that differ only in when they are have the same future.
    fn shape(&self) -> Self {
        let mut shape = self.clone();
        for waiter in &mut shape.queue {
            waiter.deadline -= self.now;
        }
        shape.free_since = self.free_since.map(|since| since - self.now);
        shape.now = i64::from(self.now >= HORIZON);
        shape
    }
}

fn explore(world: &World, depth: u32, seen: &mut HashSet<(u32, World)>) {
    if depth == 0 || !seen.insert((depth, world.shape())) {
        return;
    }
    for step in world.steps() {
        let mut next = world.clone();
        next.play(step);
        explore(&next, depth - 1, seen);
    }
}

#[test]
fn flaw_9_no_order_of_events_puts_out_the_living_or_keeps_the_dead() {
    const DEPTH: u32 = 9;
    let mut worlds = 0;
    for skew in [-3_000, 0, 3_000] {
        for (beside, holder) in [(false, Side::Jvm), (false, Side::Ours), (true, Side::Ours)] {
            let mut seen = HashSet::new();
            explore(&World::new(skew, beside, holder), DEPTH, &mut seen);
            worlds += seen.len();
        }
    }
    println!("{worlds} worlds");
    assert!(worlds > 100_000, "only {worlds}");
}

/// The same with a place that is no longer than what it takes to say so, and no room for a JVM's wait: it must fail.
#[test]
fn the_model_finds_what_it_looks_for() {
    let mut world = World::new(0, false, Side::Jvm);
    world.play(Step::Arrive(Side::Jvm));
    world.play(Step::Arrive(Side::Ours));
    // What a naive place would have: eight seconds after the one before, and no more.
    world.queue[1].deadline = world.queue[0].deadline + PLACE;
    world.play(Step::Pass(60));
    world.queue[1].deadline = world.queue[0].deadline + PLACE;
    let ended = std::panic::catch_unwind(move || {
        world.play(Step::Release);
        world.play(Step::HeadAsks);
        world.play(Step::Release);
    });
    assert!(
        ended.is_err(),
        "the JVM's next release puts a live waiter out"
    );
}

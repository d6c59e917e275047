//! What is broken on the way between one process of ours and the server, by dice.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use redlatch_support::{
    Action, Dice, Direct, MessageAction, MessageRule, Rule, RuleHandle, eventually, history::Fault,
};

use super::{Member, WATCHDOG};
use crate::{
    common::{channel, ms, secs},
    kinds::derived,
    worker::now_micros,
};

/// The fault that excuses no wait at all.
pub(super) const LOST_MESSAGE: &str = "lost-message";

/// How long a rule waits for something to hit.
const HIT_LIMIT: Duration = ms(800);
/// A closed connection is replaced within this time, and what was on its way is found out.
const REPLACED: Duration = secs(1);
/// A connection that is silent is given up and replaced within this time: a command timeout after the next request,
/// which is a heartbeat where there is no other.
const GIVEN_UP: Duration = ms(2_500);
/// The places of the dead in a fair queue are gone by then: each has five seconds once it is called, one after the other
/// where a JVM puts out the first.
const PLACES: Duration = secs(20);

/// Breaks one thing after the other until the run is over.
pub(super) struct Faults<'a> {
    pub(super) dice: Dice,
    pub(super) direct: Direct,
    pub(super) until: Instant,
    pub(super) done: &'a Mutex<Vec<Fault>>,
}

impl Faults<'_> {
    pub(super) fn run(mut self, member: &mut Member) {
        // In every other run one process dies, early enough for others to find its place in a queue.
        let mut dies = member.order.process == "rust-0" && self.dice.below(2) == 0;
        let half = Instant::now() + self.left() / 3;
        loop {
            let pause = ms(100 + self.dice.below(700));
            self.pause(pause);
            if self.left().is_zero() {
                break;
            }
            if dies && Instant::now() > half {
                dies = false;
                self.kill(member);
            } else {
                self.one(member);
            }
        }
        member.proxy.clear_rules();
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time.min(self.left()));
    }

    fn one(&mut self, member: &mut Member) {
        let from = now_micros();
        match self.dice.below(16) {
            0 => self.hit(member, "cut-reply", Action::CutAfterForward, REPLACED),
            1 => self.hit(member, "cut-request", Action::CutBeforeForward, REPLACED),
            2 => self.hit(member, "lost-reply", Action::StallReplies, GIVEN_UP),
            3 => self.hit(member, "lost-request", Action::StallRequests, GIVEN_UP),
            4 => {
                let late = ms(20 + self.dice.below(700));
                self.hit(
                    member,
                    "late-reply",
                    Action::DelayReply(late),
                    late + REPLACED,
                );
            }
            5 => {
                let each_way = ms(10 + self.dice.below(150));
                member.proxy.delay(each_way);
                self.pause(ms(500));
                member.proxy.delay(Duration::ZERO);
                self.note("slow", member, from, 4 * each_way);
            }
            6 => {
                member.proxy.cut_all();
                self.note("cut", member, from, REPLACED);
            }
            7 => {
                member.proxy.cut_subscribers();
                self.note("cut-subscriber", member, from, REPLACED);
            }
            8 => {
                member.proxy.black_hole(true);
                let dark = ms(200 + self.dice.below(2_300));
                self.pause(dark);
                // What lost bytes in the dark must not go on in the light: no network does that to a connection.
                member.proxy.refuse(true);
                member.proxy.cut_all();
                eventually("the connections have gone", secs(5), || {
                    member.proxy.connections() == 0
                });
                member.proxy.black_hole(false);
                member.proxy.refuse(false);
                self.note("half-open", member, from, GIVEN_UP);
            }
            9 => {
                let mut addresses = member.proxy.client_addresses();
                if self.dice.below(2) == 0 {
                    addresses.truncate(1);
                }
                for address in addresses {
                    // It may just have closed by itself.
                    let _ = self.direct.cmd(&["CLIENT", "KILL", "ADDR", &address]);
                }
                self.note("client-kill", member, from, REPLACED);
            }
            10 => {
                let beyond = WATCHDOG + ms(300 + self.dice.below(700));
                member.process.signal("-STOP");
                self.pause(beyond);
                member.process.signal("-CONT");
                self.note("stop", member, from, REPLACED);
            }
            11 => {
                self.direct.cmd(&["SCRIPT", "FLUSH"]).accepted();
                self.note("script-flush", member, from, ms(200));
            }
            _ => self.lose_messages(member),
        }
    }

    /// Loses the next messages about one lock; of a fair one each waiter has a channel, so there it is those about any.
    fn lose_messages(&mut self, member: &Member) {
        let (kind, name) = self.dice.one_of(&member.order.locks);
        let rule = MessageRule::new(MessageAction::Drop).times(1 + self.dice.clone().below(3));
        let (rule, name) = match kind.as_str() {
            "fair" => (rule, None),
            "readwrite" => (rule.channel(derived("redisson_rwlock", name)), Some(name)),
            _ => (rule.channel(channel(name)), Some(name)),
        };
        let rule = member.proxy.message_rule(rule);
        if self.has_hit(&rule) {
            let at = now_micros();
            let process = &member.order.process;
            self.noted(LOST_MESSAGE, process, name.cloned(), (at, at));
        }
        rule.remove();
    }

    /// Something that happens to one script.
    fn hit(&self, member: &Member, kind: &str, action: Action, recovery: Duration) {
        let from = now_micros();
        let rule = member.proxy.rule(Rule::new("EVALSHA").action(action));
        let hit = self.has_hit(&rule);
        rule.remove();
        if hit {
            self.note(kind, member, from, recovery);
        }
    }

    fn has_hit(&self, rule: &RuleHandle) -> bool {
        let begun = Instant::now();
        while rule.hits() == 0 && begun.elapsed() < HIT_LIMIT {
            thread::sleep(ms(1));
        }
        rule.hits() > 0
    }

    fn kill(&self, member: &mut Member) {
        let dead = member.order.process.clone();
        let from = now_micros();
        member.replace();
        self.noted(
            "kill",
            &dead,
            None,
            (from, from + micros(WATCHDOG + REPLACED)),
        );
        for (kind, name) in &member.order.locks {
            if kind == "fair" {
                let to = from + micros(PLACES);
                self.noted("dead-place", &dead, Some(name.clone()), (from, to));
            }
        }
    }

    /// Something that began then, is over now, and is got over after a while.
    fn note(&self, kind: &str, member: &Member, from: u64, recovery: Duration) {
        let to = now_micros() + micros(recovery);
        self.noted(kind, &member.order.process, None, (from, to));
    }

    fn noted(&self, kind: &str, process: &str, name: Option<String>, (from, to): (u64, u64)) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(Fault {
            kind: kind.to_owned(),
            process: process.to_owned(),
            name,
            from,
            to,
        });
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a short time")
}

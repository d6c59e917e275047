//! For how long a lock goes from hand to hand, and for how long the line lets others go first after that.

use std::time::Duration;

use super::*;
use crate::{
    engine::{hold::Lease, protocol::Call},
    lock::{Reentrant, kind::sealed::Sealed},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A line with one who sleeps in front of it.
fn line() -> Line {
    let mut line = Line::default();
    let call = Arc::new(Call::example(Reentrant::protocol(), 1));
    let field = call.field.clone();
    let wish = Wish {
        call,
        lease: Lease::Watched,
        patience: Patience::Unlimited,
        loose: false,
    };
    let join = line.queue.join(&field, false, || wish.clone());
    let mut place = join.expect("the first");
    line.queue.rest(&mut place, true, &field, || wish.clone());
    line
}

/// Whether a lock that another gives back is passed on; the one in front sleeps on, as if the server had not done it.
fn passes(line: &mut Line, limit: HandOver) -> bool {
    match line.next("reentrant", &Bytes::from_static(b"other"), limit) {
        Next::Pass(contender) => {
            line.queue.not_served(&contender);
            true
        }
        Next::FreeForOthers => false,
        Next::Free => panic!("somebody is there"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_passed_on_so_many_times_and_then_freed() {
    let mut line = line();
    let limit = HandOver {
        passes: 3,
        time: HOUR,
    };
    for _ in 0..2 {
        assert!((0..3).all(|_| passes(&mut line, limit)));
        assert!(!passes(&mut line, limit));
        assert!(!passes(&mut line, limit), "until the server has given it");
        line.note_grant();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_passed_on_for_so_long_and_then_freed() {
    let mut line = line();
    let limit = HandOver {
        passes: 1_000,
        time: Duration::from_millis(5),
    };
    for _ in 0..2 {
        assert!(passes(&mut line, limit));
        tokio::time::advance(Duration::from_millis(4)).await;
        assert!(passes(&mut line, limit));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!passes(&mut line, limit));
        line.note_grant();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_passed_on_to_another_owner_of_the_same_kind() {
    let mut line = line();
    let limit = HandOver {
        passes: 3,
        time: HOUR,
    };
    let mine = Call::example(Reentrant::protocol(), 1).field;
    let other = Bytes::from_static(b"other");
    assert!(matches!(line.next("reentrant", &mine, limit), Next::Free));
    assert!(matches!(line.next("fenced", &other, limit), Next::Free));
    assert!(passes(&mut line, limit));
}

#[tokio::test(start_paused = true)]
async fn the_line_steps_aside_for_as_long_as_others_may_want_the_lock() {
    let mut line = Line::default();
    let (now, later) = (Instant::now(), Instant::now() + HOUR);
    let aside = Aside {
        until: now,
        count: 3,
    };
    assert!(!line.stepped_aside(false, later), "it had not");
    line.step_aside(aside);
    assert!(!line.stepped_aside(true, later));
    let until = line.aside.map(|aside| (aside.until, aside.count));
    assert_eq!(until, Some((later, 3)), "from when it was freed");
    assert!(line.stepped_aside(false, later), "nobody else is there");
    assert!(line.aside.is_none());
    assert!(!line.stepped_aside(true, later));
    assert!(line.aside.is_none(), "nobody steps aside who did not");
    line.step_aside(aside);
    line.note_grant();
    assert!(line.aside.is_none(), "it came from the server");
}

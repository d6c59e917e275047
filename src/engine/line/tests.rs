//! For how long a lock goes from hand to hand, and how many others the line lets go first after that.

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

#[test]
fn a_line_lets_as_many_go_first_as_have_heard() {
    let mut line = Line::default();
    assert!(!line.stepped_aside(0), "it did not step aside");
    line.step_aside(Aside::after(7));
    let over = |line: &Line, count| line.aside.expect("others may come").is_over(count);
    assert!(!over(&line, 8), "that is our own message");
    assert!(over(&line, 9), "one has had it");
    assert!(!line.stepped_aside(3));
    assert!(!over(&line, 10) && over(&line, 11), "all three have");
    assert!(line.stepped_aside(0), "nobody else wants it");
    assert!(line.aside.is_none());
    line.step_aside(Aside::after(7));
    line.note_grant();
    assert!(line.aside.is_none(), "it has had it itself");
}

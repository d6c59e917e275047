//! For how long a lock goes from hand to hand, and how many others the line lets go first after that.

use std::time::Duration;

use super::*;
use crate::{
    engine::{hold::Lease, protocol::Call},
    lock::{Reentrant, kind::sealed::Sealed},
};

const HOUR: Duration = Duration::from_secs(3_600);

fn wish() -> Wish {
    Wish {
        call: Arc::new(Call::example(Reentrant::protocol(), 1)),
        lease: Lease::Watched,
        patience: Patience::Unlimited,
        loose: false,
    }
}

/// A line with one who sleeps in front of it.
fn line() -> Line {
    let (mut line, wish) = (Line::default(), wish());
    let field = wish.call.field.clone();
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

#[tokio::test]
async fn who_rests_beside_a_line_keeps_it_there_and_is_next_if_it_is_another_owner_of_the_kind() {
    let (mut line, limit) = (
        Line::default(),
        HandOver {
            passes: 1,
            time: HOUR,
        },
    );
    assert!(line.is_empty());
    let (wish, other) = (wish(), Bytes::from_static(b"other"));
    let mine = wish.call.field.clone();
    let (spot, _) = line.resting.lie_down(1, &mine, wish, false);
    assert!(!line.is_empty());
    for (kind, field) in [("reentrant", &mine), ("fenced", &other)] {
        let next = line.next_in_order(kind, field, limit);
        assert!(matches!(next, Next::Free), "{kind}");
    }
    let next = line.next_in_order("reentrant", &other, limit);
    assert!(matches!(next, Next::Pass(_)));
    line.resting.leave(spot);
    assert!(line.is_empty());
    assert!(!self::line().is_empty());
}

/// What all of it costs the server stays in proportion to the turns, however many wait.
#[test]
fn those_behind_are_seen_to_once_half_of_them_have_gone_by() {
    let mut line = Line::default();
    for number in 0..6 {
        let wish = wish();
        let field = wish.call.field.clone();
        line.resting.lie_down(number, &field, wish, false);
    }
    let said: Vec<u32> = (0..7).map(|_| line.places()).collect();
    assert_eq!(said, [0, 0, 3, 0, 0, 3, 0]);
    line.resting = Resting::default();
    assert_eq!([line.places(), line.places()], [2, 1]);
}

//! The state table, row by row, with no server.

use super::*;
use crate::lock::kind::sealed::Sealed;

const WATCHDOG: Duration = Duration::from_secs(30);

fn slot() -> Slot {
    let protocol = crate::lock::reentrant::Reentrant::protocol();
    Slot::new(Call::example(protocol, 1), 1)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Grants a hold as a server would that counts with us.
fn grant(slot: &Slot, lease: Lease, number: u64) -> Arc<Hold> {
    let begun = slot.begin(lease, number, WATCHDOG);
    let (hold, lost) = slot.granted(
        &begun,
        number,
        Instant::now(),
        begun.holds,
        number + 1_000,
        false,
    );
    assert!(lost.is_empty());
    hold
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_by_the_local_clock_before_the_servers() {
    let slot = slot();
    let hold = grant(&slot, Lease::Fixed(secs(10)), 2);
    assert_eq!(hold.loss(Instant::now()), None);
    let start = Instant::now();
    assert_eq!(hold.until_lost().await, LossCause::LeaseExpired);
    assert!(start.elapsed() < secs(10), "before the lease is over");
    assert!(start.elapsed() > secs(9));
    assert_eq!(slot.expire(Instant::now()).len(), 1);
    assert!(!slot.is_uncertain(), "the server ends it by itself");
    assert!(
        start.elapsed() > secs(9) + Duration::from_millis(950),
        "and hardly before"
    );

    let slot = super::tests::slot();
    let hold = grant(&slot, Lease::Watched, 2);
    assert_eq!(hold.until_lost().await, LossCause::Unreachable);
    slot.expire(Instant::now());
    assert!(
        slot.is_uncertain(),
        "an unanswered renewal may have been executed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_to_be_over_is_not_renewed_by_a_late_answer() {
    let slot = slot();
    let hold = grant(&slot, Lease::Watched, 2);
    tokio::time::advance(secs(29)).await;
    let sent = Instant::now();
    tokio::time::advance(secs(2)).await;
    assert_eq!(hold.loss(Instant::now()), Some(LossCause::Unreachable));
    slot.confirm(slot.generation(), sent, true, WATCHDOG);
    assert_eq!(hold.loss(Instant::now()), Some(LossCause::Unreachable));
    assert_eq!(slot.expire(Instant::now()).len(), 1);
    assert!(slot.is_uncertain(), "the server has renewed it");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_acts_only_on_the_generation_it_was_sent_for() {
    let slot = slot();
    let first = grant(&slot, Lease::Watched, 2);
    let (old, _) = slot.to_renew(Instant::now(), WATCHDOG).expect("held");
    slot.take(&first, Instant::now()).expect("held");
    slot.settled(0);
    let second = grant(&slot, Lease::Watched, 3);

    assert!(slot.lose(old, LossCause::Vanished).is_empty());
    assert_eq!(
        second.loss(Instant::now()),
        None,
        "a late no is not about the new hold"
    );

    let before = second.valid_until();
    tokio::time::advance(secs(5)).await;
    assert_eq!(slot.confirm(old, Instant::now(), true, WATCHDOG), None);
    assert_eq!(
        second.valid_until(),
        before,
        "a late yes is not about the new hold"
    );
    assert!(!slot.suspect(old));

    let (new, _) = slot.to_renew(Instant::now(), WATCHDOG).expect("held");
    assert_eq!(
        slot.confirm(new, Instant::now(), true, WATCHDOG),
        Some(secs(5))
    );
    assert!(second.valid_until() > before);
    assert_eq!(slot.lose(new, LossCause::Vanished).len(), 1);
    assert_eq!(second.loss(Instant::now()), Some(LossCause::Vanished));
}

#[tokio::test(start_paused = true)]
async fn nested_leases_never_shorten_each_other() {
    let slot = slot();
    let outer = grant(&slot, Lease::Watched, 2);
    let inner = grant(&slot, Lease::Fixed(secs(2)), 3);
    let now = Instant::now();
    let (_, rest) = slot.to_renew(now, WATCHDOG).expect("held");
    assert_eq!((rest.holds, rest.ttl_ms), (2, 30_000));
    tokio::time::advance(secs(3)).await;
    assert_eq!(inner.loss(Instant::now()), Some(LossCause::LeaseExpired));
    assert_eq!(outer.loss(Instant::now()), None);
    assert_eq!(slot.expire(Instant::now()).len(), 1);
    assert_eq!(
        slot.to_renew(Instant::now(), WATCHDOG)
            .expect("held")
            .1
            .holds,
        1
    );

    // The other way round: a long lease below a watched hold keeps its own length.
    let slot = super::tests::slot();
    let outer = grant(&slot, Lease::Fixed(secs(100)), 2);
    let inner = grant(&slot, Lease::Watched, 3);
    let (_, rest) = slot.to_renew(Instant::now(), WATCHDOG).expect("held");
    assert_eq!(rest.ttl_ms, 100_000);
    slot.take(&inner, Instant::now()).expect("held");
    let rest = slot.to_settle(Instant::now(), WATCHDOG).expect("one fewer");
    assert_eq!((rest.holds, rest.ttl_ms), (1, 100_000));
    slot.settled(1);
    let (_, rest) = slot.to_renew(Instant::now(), WATCHDOG).expect("held");
    assert_eq!(rest.ttl_ms, 0, "a lease is looked at, not renewed");
    assert!(outer.valid_until() > Instant::now() + secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_counts_one_says_that_the_rest_had_vanished() {
    let slot = slot();
    let outer = grant(&slot, Lease::Watched, 2);
    let begun = slot.begin(Lease::Watched, 3, WATCHDOG);
    assert_eq!(begun.holds, 2);
    let (inner, lost) = slot.granted(&begun, 3, Instant::now(), 1, 4, false);
    assert_eq!(lost.len(), 1);
    assert_eq!(outer.loss(Instant::now()), Some(LossCause::Vanished));
    assert_eq!(inner.loss(Instant::now()), None);
    assert!(slot.generation() > begun.generation);
    assert!(slot.take(&outer, Instant::now()).is_err());
    assert!(slot.take(&inner, Instant::now()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_settled_and_a_known_one_is_not() {
    let slot = slot();
    assert_eq!(slot.to_settle(Instant::now(), WATCHDOG), None);
    slot.begin(Lease::Watched, 2, WATCHDOG);
    slot.unknown(WATCHDOG);
    let rest = slot.to_settle(Instant::now(), WATCHDOG).expect("in doubt");
    assert_eq!(rest.holds, 0);
    assert!(slot.gone_by() >= Instant::now() + WATCHDOG);
    slot.settled(0);
    assert_eq!(slot.to_settle(Instant::now(), WATCHDOG), None);
}

#[tokio::test(start_paused = true)]
async fn two_releases_that_meet_become_one() {
    let slot = slot();
    let outer = grant(&slot, Lease::Watched, 2);
    let inner = grant(&slot, Lease::Watched, 3);
    slot.take(&inner, Instant::now()).expect("held");
    slot.take(&outer, Instant::now()).expect("held");
    let rest = slot.to_settle(Instant::now(), WATCHDOG).expect("two fewer");
    assert_eq!(rest.holds, 0);
    slot.settled(0);
    assert_eq!(slot.to_settle(Instant::now(), WATCHDOG), None);
    assert!(slot.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_loose_hold_is_taken_last_in_first_out_and_never_a_guards() {
    let slot = slot();
    let guarded = grant(&slot, Lease::Watched, 2);
    assert!(slot.take_loose(Instant::now()).is_none());
    let loose = grant(&slot, Lease::Watched, 3);
    slot.loosen(&loose);
    let (taken, _) = slot.take_loose(Instant::now()).expect("one is loose");
    assert_eq!(taken.id, loose.id);
    assert!(slot.take_loose(Instant::now()).is_none());
    assert!(slot.take(&guarded, Instant::now()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_moves_watched_holds_to_a_margin_before_the_servers_end_and_no_other() {
    let slot = slot();
    let watched = grant(&slot, Lease::Watched, 2);
    let fixed = grant(&slot, Lease::Fixed(secs(90)), 3);
    let fixed_until = fixed.valid_until();
    tokio::time::advance(secs(5)).await;
    let sent = Instant::now();
    tokio::time::advance(secs(1)).await;
    slot.confirm(slot.generation(), sent, true, WATCHDOG);
    assert_eq!(
        watched.valid_until(),
        sent + WATCHDOG - crate::engine::hold::margin(WATCHDOG)
    );
    assert_eq!(fixed.valid_until(), fixed_until, "a lease is not renewed");
    let until = watched.valid_until();
    tokio::time::advance(secs(1)).await;
    slot.confirm(slot.generation(), Instant::now(), false, WATCHDOG);
    assert_eq!(watched.valid_until(), until, "a look renews nothing");
}

#[tokio::test(start_paused = true)]
async fn entering_again_moves_the_end_of_watched_holds_if_it_is_watched_itself() {
    let slot = slot();
    let watched = grant(&slot, Lease::Watched, 2);
    let fixed = grant(&slot, Lease::Fixed(secs(20)), 3);
    let (watched_until, fixed_until) = (watched.valid_until(), fixed.valid_until());
    tokio::time::advance(secs(5)).await;
    let long = grant(&slot, Lease::Fixed(secs(100)), 4);
    assert_eq!(
        watched.valid_until(),
        watched_until,
        "nobody renews it to that"
    );
    assert_eq!(fixed.valid_until(), fixed_until);
    slot.take(&long, Instant::now()).expect("held");
    let inner = grant(&slot, Lease::Watched, 5);
    assert_eq!(watched.valid_until(), inner.valid_until());
    assert!(watched.valid_until() > watched_until);
    assert_eq!(fixed.valid_until(), fixed_until, "a lease is not renewed");
}

#[tokio::test(start_paused = true)]
async fn a_new_lease_is_for_the_hold_it_was_asked_for() {
    let slot = slot();
    let first = grant(&slot, Lease::Watched, 2);
    let second = grant(&slot, Lease::Watched, 3);
    let now = Instant::now();
    let next = slot.relet(&second, 9, secs(2), now).expect("held");
    assert!(
        slot.to_settle(now, WATCHDOG).is_some(),
        "the server is to be told"
    );
    assert!(slot.gone_by() >= now + WATCHDOG);
    tokio::time::advance(secs(3)).await;
    assert_eq!(next.loss(Instant::now()), Some(LossCause::LeaseExpired));
    assert_eq!(slot.expire(Instant::now()).len(), 1);
    assert_eq!(first.loss(Instant::now()), None, "the other is as it was");
    slot.take(&first, Instant::now()).expect("held");
    let late = slot.relet(&next, 10, secs(2), Instant::now());
    assert_eq!(late.expect_err("over"), LossCause::LeaseExpired);
}

#[tokio::test(start_paused = true)]
async fn what_a_renewal_in_doubt_may_have_prolonged_is_reckoned_with() {
    let slot = slot();
    let hold = grant(&slot, Lease::Fixed(secs(10)), 2);
    tokio::time::advance(secs(5)).await;
    let now = Instant::now();
    assert!(slot.gone_by() < now + secs(6));
    slot.may_last(WATCHDOG);
    assert_eq!(slot.gone_by(), now + WATCHDOG);
    slot.may_last(secs(1));
    assert_eq!(slot.gone_by(), now + WATCHDOG, "no answer takes that back");
    slot.take(&hold, now).expect("held");
}

#[tokio::test(start_paused = true)]
async fn a_hold_in_doubt_is_suspect_once_and_nothing_to_sleep_on() {
    let slot = slot();
    let now = Instant::now();
    assert_eq!(slot.held_until(now), None);
    let first = grant(&slot, Lease::Watched, 2);
    let second = grant(&slot, Lease::Fixed(secs(10)), 3);
    assert_eq!(slot.held_until(now), Some(first.valid_until()));
    assert_eq!(slot.first_deadline(), Some(second.valid_until()));
    assert!(!first.is_suspect() && !second.is_suspect());
    let generation = slot.generation();
    assert!(slot.suspect(generation), "it was beyond doubt");
    assert!(first.is_suspect() && second.is_suspect());
    assert!(!slot.suspect(generation), "that is no news");
    assert_eq!(slot.held_until(now), None);
    slot.confirm(generation, now, true, WATCHDOG);
    assert!(!first.is_suspect() && !second.is_suspect());
    assert_eq!(slot.held_until(now), Some(first.valid_until()));
    tokio::time::advance(secs(40)).await;
    assert_eq!(slot.held_until(Instant::now()), None, "both are over");
}

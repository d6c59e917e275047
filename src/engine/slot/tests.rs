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
async fn a_renewal_reaches_watched_holds_alone_and_ends_before_the_servers() {
    let slot = slot();
    let fixed = grant(&slot, Lease::Fixed(secs(20)), 2);
    let watched = grant(&slot, Lease::Watched, 3);
    let ends = fixed.valid_until();
    tokio::time::advance(secs(10)).await;
    let sent = Instant::now();
    slot.confirm(slot.generation(), sent, false, WATCHDOG);
    assert!(
        watched.valid_until() < sent + secs(21),
        "a mere look extends nothing"
    );
    slot.confirm(slot.generation(), sent, true, WATCHDOG);
    assert!(watched.valid_until() > sent + secs(29));
    assert!(watched.valid_until() < sent + WATCHDOG);
    assert_eq!(fixed.valid_until(), ends, "its lease is what it is");
}

#[tokio::test(start_paused = true)]
async fn an_entry_extends_watched_holds_if_it_is_watched_itself() {
    let slot = slot();
    let start = Instant::now();
    let first = grant(&slot, Lease::Watched, 2);
    let fixed = grant(&slot, Lease::Fixed(secs(20)), 3);
    let ends = (first.valid_until(), fixed.valid_until());
    tokio::time::advance(secs(5)).await;
    let second = grant(&slot, Lease::Fixed(secs(60)), 4);
    assert_eq!(
        (first.valid_until(), fixed.valid_until()),
        ends,
        "the watchdog keeps no more than its own time"
    );
    tokio::time::advance(secs(5)).await;
    let third = grant(&slot, Lease::Watched, 5);
    assert_eq!(first.valid_until(), third.valid_until());
    assert_eq!(fixed.valid_until(), ends.1);
    assert!(second.valid_until() < start + secs(65));

    // The last word on the time to live of watched holds was that of the third.
    tokio::time::advance(secs(4)).await;
    let since = slot.confirm(slot.generation(), Instant::now(), true, WATCHDOG);
    assert_eq!(since, Some(secs(4)));
    grant(&slot, Lease::Fixed(secs(60)), 6);
    tokio::time::advance(secs(4)).await;
    let since = slot.confirm(slot.generation(), Instant::now(), true, WATCHDOG);
    assert_eq!(since, Some(secs(4)));
    grant(&slot, Lease::Fixed(secs(60)), 7);
    tokio::time::advance(secs(3)).await;
    grant(&slot, Lease::Fixed(secs(60)), 8);
    let since = slot.confirm(slot.generation(), Instant::now(), true, WATCHDOG);
    assert_eq!(since, Some(secs(3)), "a fixed lease confirms nothing");
}

#[tokio::test(start_paused = true)]
async fn a_new_lease_takes_the_place_of_its_own_hold_and_of_no_other() {
    let slot = slot();
    let outer = grant(&slot, Lease::Watched, 2);
    let inner = grant(&slot, Lease::Watched, 3);
    let now = Instant::now();
    let next = slot.relet(&inner, 4, secs(5), now).expect("held");
    assert_eq!(slot.live(now), 2);
    assert!(slot.take(&outer, now).is_ok(), "as it was");
    assert!(slot.take(&inner, now).is_err(), "another is in its place");
    assert!(slot.take(&next, now).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_centuries_is_not_over_at_once() {
    let slot = slot();
    let hold = grant(&slot, Lease::Fixed(secs(400 * 365 * 86_400)), 2);
    assert_eq!(hold.loss(Instant::now()), None);
    assert!(hold.valid_until() > Instant::now() + secs(200 * 365 * 86_400));
}

#[tokio::test(start_paused = true)]
async fn doubt_is_told_once_and_nobody_sleeps_on_a_hold_in_doubt() {
    let slot = slot();
    let first = grant(&slot, Lease::Watched, 2);
    tokio::time::advance(secs(1)).await;
    let later = grant(&slot, Lease::Watched, 3);
    let now = Instant::now();
    assert_eq!(slot.held_until(now), Some(later.valid_until()));
    assert!(!first.is_suspect());
    assert!(slot.suspect(slot.generation()), "news");
    assert!(first.is_suspect());
    assert!(!slot.suspect(slot.generation()), "told before");
    assert_eq!(slot.held_until(now), None);
    slot.confirm(slot.generation(), now, true, WATCHDOG);
    assert!(!first.is_suspect());
    assert_eq!(slot.held_until(now), Some(later.valid_until()));
    tokio::time::advance(secs(31)).await;
    assert_eq!(slot.held_until(Instant::now()), None, "it is over");
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_hold_is_the_one_that_ends_first() {
    let slot = slot();
    assert_eq!(slot.first_deadline(), None);
    grant(&slot, Lease::Watched, 2);
    let short = grant(&slot, Lease::Fixed(secs(5)), 3);
    assert_eq!(slot.first_deadline(), Some(short.valid_until()));
}

#[tokio::test(start_paused = true)]
async fn what_a_renewal_may_have_prolonged_is_gone_no_sooner() {
    let slot = slot();
    grant(&slot, Lease::Fixed(secs(5)), 2);
    assert!(slot.gone_by() < Instant::now() + secs(6));
    slot.may_last(secs(30));
    let by = slot.gone_by();
    assert_eq!(by, Instant::now() + secs(30));
    slot.may_last(secs(1));
    assert_eq!(slot.gone_by(), by, "the longest counts");
}

#[tokio::test(start_paused = true)]
async fn a_count_that_could_not_be_written_is_in_no_doubt_and_still_to_be_written() {
    let slot = slot();
    grant(&slot, Lease::Watched, 2);
    let inner = grant(&slot, Lease::Watched, 3);
    slot.take(&inner, Instant::now()).expect("held");
    slot.unknown(Duration::ZERO);
    slot.certain();
    assert!(!slot.is_uncertain());
    let rest = slot.to_settle(Instant::now(), WATCHDOG).expect("one fewer");
    assert_eq!(rest.holds, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_lease_of_a_set_is_to_be_taken_back() {
    let group = crate::lock::Group::protocol();
    let slot = Slot::new(Call::example(group, 1), 1);
    grant(&slot, Lease::Fixed(secs(1)), 2);
    tokio::time::advance(secs(2)).await;
    assert_eq!(slot.expire(Instant::now()).len(), 1);
    assert!(
        slot.is_uncertain(),
        "the key is there as long as others use it"
    );
}

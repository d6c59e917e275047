//! Who is in front, who is told what, and what is left when all have gone.

use super::*;

fn field(n: u8) -> Bytes {
    Bytes::copy_from_slice(&[n])
}

type Place = super::Place<u8, u8>;
type Queue = super::Queue<u8, u8>;

fn verdict(place: &Place) -> u8 {
    match place {
        Place::Head => HEAD,
        Place::Waiting { contender, .. } => contender.verdict.load(Ordering::Acquire),
    }
}

#[test]
fn first_come_first_head() {
    let mut queue = Queue::default();
    let places: Vec<_> = (0..3)
        .map(|n| queue.join(&field(n), false, || n).expect("patient"))
        .collect();
    assert_eq!(
        places.iter().map(verdict).collect::<Vec<_>>(),
        [HEAD, WAITING, WAITING]
    );
    queue.leave(&places[0]);
    assert_eq!(verdict(&places[1]), HEAD);
    assert_eq!(verdict(&places[2]), WAITING);
    queue.leave(&places[1]);
    queue.leave(&places[2]);
    assert!(queue.is_empty());
    assert_eq!(queue.len(), 0);
}

#[test]
fn leaving_the_middle_keeps_the_order() {
    let mut queue = Queue::default();
    let places: Vec<_> = (0..3)
        .map(|n| queue.join(&field(n), false, || n).expect("patient"))
        .collect();
    queue.leave(&places[1]);
    queue.leave(&places[0]);
    assert_eq!(verdict(&places[2]), HEAD);
}

#[test]
fn an_owner_that_was_granted_enters_past_the_line() {
    let mut queue = Queue::default();
    let head = queue.join(&field(1), false, || 1).expect("head");
    let other = queue.join(&field(2), false, || 2).expect("patient");
    let same = queue.join(&field(1), false, || 1).expect("patient");
    queue.granted(&field(1));
    assert_eq!(verdict(&same), ENTER);
    queue.leave(&head);
    assert_eq!(verdict(&other), HEAD);
    queue.leave(&same);
    queue.leave(&other);
    assert!(queue.is_empty());
}

#[test]
fn a_shared_lock_lets_the_whole_line_in() {
    let mut queue = Queue::default();
    let places: Vec<_> = (0..4)
        .map(|n| {
            queue
                .join(&field(n), n == 3, || n)
                .expect("the head is awake")
        })
        .collect();
    queue.admit_all();
    assert_eq!(
        places.iter().map(verdict).collect::<Vec<_>>(),
        [HEAD, ENTER, ENTER, ENTER]
    );
    for place in &places {
        queue.leave(place);
    }
    assert!(queue.is_empty());
}

#[test]
fn nobody_waits_who_would_not() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    let early = queue
        .join(&field(2), true, || 2)
        .expect("the head has not been refused yet");
    queue.rest(&mut head, true, &field(1), || 1);
    assert_eq!(verdict(&early), REFUSED);
    assert!(queue.join(&field(3), true, || 3).is_none());
    assert!(queue.ask(&head));
    let again = queue
        .join(&field(4), true, || 4)
        .expect("the head tries again");
    queue.granted(&field(1));
    assert_eq!(verdict(&again), REFUSED);
    queue.leave(&head);
    assert!(queue.is_empty());
}

#[test]
fn a_verdict_of_head_that_nobody_heard_is_passed_on() {
    let mut queue = Queue::default();
    let first = queue.join(&field(1), false, || 1).expect("head");
    let second = queue.join(&field(2), false, || 2).expect("patient");
    let third = queue.join(&field(3), false, || 3).expect("patient");
    queue.leave(&first);
    // The second was told to be head, and is dropped before it noticed.
    queue.leave(&second);
    assert_eq!(verdict(&third), HEAD);
}

#[test]
fn who_sleeps_in_front_is_served_and_the_next_is_head() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    assert!(queue.serve(|_| true).is_none(), "it asks");
    let next = queue.join(&field(2), false, || 2).expect("patient");
    queue.rest(&mut head, true, &field(1), || 1);
    assert!(queue.serve(|wants| *wants == 2).is_none(), "another");
    let heir = queue.serve(|wants| *wants == 1).expect("it sleeps");
    assert!(queue.serve(|_| true).is_none(), "one at a time");
    assert!(!queue.ask(&head), "it is being served");
    assert_eq!(verdict(&next), WAITING);
    assert!(queue.served(&heir, 7));
    assert_eq!(heir.take(), Some(7));
    assert_eq!(heir.take(), None, "once");
    assert_eq!((verdict(&head), verdict(&next)), (SERVED, HEAD));
    queue.leave(&head);
    assert_eq!(queue.len(), 1);
    let heir = queue.serve(|_| true).expect("it has not begun to ask");
    assert!(queue.served(&heir, 8));
    queue.leave(&next);
    assert!(queue.is_empty());
}

#[test]
fn who_is_not_served_is_the_head_it_was() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    queue.rest(&mut head, true, &field(1), || 1);
    let heir = queue.serve(|_| true).expect("it sleeps");
    queue.not_served(&heir);
    assert!(queue.ask(&head));
    queue.leave(&head);
    assert!(queue.is_empty());
}

#[test]
fn who_leaves_while_it_is_served_gets_nothing() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    let next = queue.join(&field(2), false, || 2).expect("patient");
    queue.rest(&mut head, true, &field(1), || 1);
    let heir = queue.serve(|_| true).expect("it sleeps");
    queue.leave(&head);
    assert_eq!(verdict(&next), HEAD);
    assert!(!queue.served(&heir, 7), "it is gone");
    assert_eq!(heir.take(), Some(7), "to be given back");
    queue.not_served(&heir);
    queue.leave(&next);
    assert!(queue.is_empty());
}

#[test]
fn others_of_an_owner_that_is_served_enter_and_lead_nothing() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    let same = queue.join(&field(1), false, || 1).expect("patient");
    let other = queue.join(&field(2), false, || 2).expect("patient");
    queue.rest(&mut head, true, &field(1), || 1);
    let heir = queue.serve(|_| true).expect("it sleeps");
    assert!(queue.served(&heir, 7));
    assert_eq!((verdict(&same), verdict(&other)), (ENTER, HEAD));
    queue.leave(&head);
    queue.leave(&same);
    queue.leave(&other);
    assert!(queue.is_empty());
}

#[test]
fn who_leaves_is_forgotten_and_others_of_its_owner_are_not() {
    let mut queue = Queue::default();
    let head = queue.join(&field(1), false, || 1).expect("head");
    let gone = queue.join(&field(2), false, || 2).expect("patient");
    let stays = queue.join(&field(2), false, || 2).expect("patient");
    queue.leave(&gone);
    queue.granted(&field(2));
    assert_eq!((verdict(&gone), verdict(&stays)), (WAITING, ENTER));
    queue.leave(&stays);
    queue.leave(&head);
    assert!(queue.is_empty());
}

#[test]
fn who_would_not_wait_is_told_that_nobody_answers() {
    let mut queue = Queue::default();
    let head = queue.join(&field(1), false, || 1).expect("head");
    let patient = queue.join(&field(2), false, || 2).expect("patient");
    let hasty = queue.join(&field(3), true, || 3).expect("it asks");
    queue.fail_impatient();
    assert_eq!((verdict(&patient), verdict(&hasty)), (WAITING, SILENT));
    queue.leave(&hasty);
    queue.leave(&head);
    assert_eq!(verdict(&patient), HEAD);
}

#[test]
fn nobody_is_refused_behind_a_head_that_is_awake() {
    let mut queue = Queue::default();
    let mut head = queue.join(&field(1), false, || 1).expect("head");
    queue.rest(&mut head, true, &field(1), || 1);
    assert!(queue.join(&field(2), true, || 2).is_none(), "it sleeps");
    let next = queue.join(&field(3), false, || 3).expect("patient");
    queue.wake(&next);
    assert!(
        queue.join(&field(2), true, || 2).is_none(),
        "the head alone knows"
    );
    queue.wake(&head);
    let hasty = queue.join(&field(2), true, || 2).expect("it may be free");
    queue.leave(&hasty);
    queue.rest(&mut head, true, &field(1), || 1);
    assert!(queue.join(&field(2), true, || 2).is_none(), "asleep again");
}

mod resting {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use bytes::Bytes;

    use super::super::resting::Resting;

    fn field(n: u8) -> Bytes {
        Bytes::copy_from_slice(&[n])
    }

    /// Who asked first is served first, whenever it lay down.
    #[tokio::test]
    async fn the_one_who_asked_first_is_served_first() {
        let mut resting = Resting::<u8, &str>::default();
        let (later, _) = resting.lie_down(9, &field(1), 1, false);
        let (_, first) = resting.lie_down(4, &field(2), 2, false);
        assert!(!resting.is_empty());
        // Of two who asked at once, the one who lay down first.
        resting.lie_down(4, &field(3), 3, false);
        assert_eq!(resting.len(), 3);
        assert!(
            resting.serve(|wants| *wants == 1).is_none(),
            "the other is first"
        );
        let next = resting.serve(|wants| *wants == 2).expect("it is first");
        assert!(resting.served(&next, "gift"));
        assert!(first.served().await);
        assert_eq!(first.take(), Some("gift"));
        assert!(resting.get_up(later));
        assert_eq!(resting.len(), 2);
        assert!(resting.serve(|wants| *wants == 3).is_some());
    }

    /// Nobody gets up while it is being served; what became of that is told.
    #[tokio::test]
    async fn who_is_being_served_waits_for_the_outcome() {
        let mut resting = Resting::<u8, &str>::default();
        let (spot, contender) = resting.lie_down(1, &field(1), 1, false);
        let next = resting.serve(|_| true).expect("there");
        assert!(resting.serve(|_| true).is_none(), "once at a time");
        assert!(!resting.get_up(spot));
        resting.not_yet(&next);
        assert!(!contender.outcome().await);
        let next = resting.serve(|_| true).expect("there");
        assert!(resting.served(&next, "gift"));
        assert!(contender.outcome().await);
        assert!(!resting.get_up(spot), "it has been served");
    }

    #[tokio::test]
    async fn who_could_not_be_served_is_to_ask() {
        let mut resting = Resting::<u8, &str>::default();
        let (spot, contender) = resting.lie_down(1, &field(1), 1, false);
        let next = resting.serve(|_| true).expect("still there");
        resting.not_served(&next);
        assert!(!contender.served().await, "it is to ask");
        assert!(resting.get_up(spot));
        assert!(resting.is_empty());
    }

    /// A gift for one who has left stays with the giver.
    #[test]
    fn who_has_left_is_served_nothing() {
        let mut resting = Resting::<u8, &str>::default();
        let (spot, contender) = resting.lie_down(1, &field(1), 1, true);
        let next = resting.serve(|_| true).expect("there");
        resting.leave(spot);
        assert!(!resting.served(&next, "gift"));
        assert_eq!(contender.take(), Some("gift"));
        resting.not_yet(&next);
        resting.not_served(&next);
        assert!(resting.is_empty());
    }

    /// Only who hears nothing is roused, and nobody who is being served.
    #[tokio::test]
    async fn the_deaf_are_roused() {
        let mut resting = Resting::<u8, &str>::default();
        let (_, served) = resting.lie_down(1, &field(1), 1, true);
        let (deaf, roused) = resting.lie_down(2, &field(2), 2, true);
        let (_, hears) = resting.lie_down(3, &field(3), 3, false);
        let next = resting.serve(|_| true).expect("there");
        resting.rouse_deaf();
        assert!(!roused.served().await);
        assert!(resting.get_up(deaf));
        for asleep in [&served, &hears] {
            let mut served = pin!(asleep.served());
            let mut context = Context::from_waker(Waker::noop());
            assert!(served.as_mut().poll(&mut context).is_pending());
        }
        assert!(resting.served(&next, "gift"));
    }
}

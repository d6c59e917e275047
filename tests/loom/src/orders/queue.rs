//! The line of a process before a name: whoever waits gets its turn, or is told why not, whatever the others do.

use bytes::Bytes;
use loom::{
    future::block_on,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use super::every_order;
use crate::queue::{self, Verdict};

type Place = queue::Place<(), u8>;
type Queue = queue::Queue<(), u8>;

#[derive(Clone)]
struct Line(Arc<Mutex<Queue>>);

impl Line {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Queue::default())))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("nobody panics inside")
    }

    fn join(&self, owner: u8) -> Place {
        self.queue()
            .join(&Bytes::copy_from_slice(&[owner]), false, || ())
            .expect("patient")
    }

    fn sleeps(&self, mut place: Place) -> Place {
        let field = Bytes::from_static(&[1]);
        self.queue().rest(&mut place, true, &field, || ());
        place
    }

    /// Whether the head asks: else it has been served.
    fn asks(&self, place: &Place) -> bool {
        while !self.queue().ask(place) {
            if verdict(place) == Verdict::Served {
                return false;
            }
        }
        true
    }

    fn leave(&self, place: &Place) {
        self.queue().leave(place);
    }

    fn assert_empty(&self) {
        let queue = self.queue();
        assert!(queue.is_empty());
        assert_eq!(queue.len(), 0);
    }
}

fn verdict(place: &Place) -> Verdict {
    match place {
        Place::Head => Verdict::Head,
        Place::Waiting { contender, .. } => block_on(contender.verdict()),
    }
}

/// Three join at once, wait for their turn, take it and leave: one head at a time, and all get there.
pub fn everybody_gets_a_turn() {
    every_order(|| {
        let line = Line::new();
        let inside = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let turn = |owner: u8| {
            let (line, inside) = (line.clone(), inside.clone());
            move || {
                let place = line.join(owner);
                assert_eq!(verdict(&place), Verdict::Head);
                let others = inside.fetch_add(1, loom::sync::atomic::Ordering::AcqRel);
                assert_eq!(others, 0, "two heads");
                inside.fetch_sub(1, loom::sync::atomic::Ordering::AcqRel);
                line.leave(&place);
            }
        };
        let threads = [thread::spawn(turn(1)), thread::spawn(turn(2))];
        turn(3)();
        for thread in threads {
            thread.join().expect("had its turn");
        }
        line.assert_empty();
    });
}

/// The one in the middle gives up while the head leaves: the last is head, whoever was faster.
pub fn who_gives_up_passes_the_turn_on() {
    every_order(|| {
        let line = Line::new();
        let [head, middle, last] = [1, 2, 3].map(|owner| line.join(owner));
        let leaves = |place: Place| {
            let line = line.clone();
            thread::spawn(move || line.leave(&place))
        };
        let threads = [leaves(head), leaves(middle)];
        assert_eq!(verdict(&last), Verdict::Head);
        for thread in threads {
            thread.join().expect("leaves");
        }
        line.leave(&last);
        line.assert_empty();
    });
}

/// The head was granted the lock for an owner that stands in line as well, and leaves, while another gives up.
pub fn the_same_owner_enters_or_leads() {
    every_order(|| {
        let line = Line::new();
        let [head, other, same] = [1, 2, 1].map(|owner| line.join(owner));
        let granted = {
            let line = line.clone();
            thread::spawn(move || {
                line.queue().granted(&Bytes::from_static(&[1]));
                line.leave(&head);
            })
        };
        let leaver = {
            let line = line.clone();
            thread::spawn(move || line.leave(&other))
        };
        assert_eq!(verdict(&same), Verdict::Enter);
        line.leave(&same);
        granted.join().expect("ends");
        leaver.join().expect("ends");
        line.assert_empty();
    });
}

/// A shared lock opens for all in line while the head leaves: everybody hears of one of the two.
pub fn an_open_lock_admits_or_promotes() {
    every_order(|| {
        let line = Line::new();
        let [head, one, two] = [1, 2, 3].map(|owner| line.join(owner));
        let opener = {
            let line = line.clone();
            thread::spawn(move || line.queue().admit_all())
        };
        let waiter = {
            let line = line.clone();
            thread::spawn(move || {
                assert!(matches!(verdict(&one), Verdict::Enter | Verdict::Head));
                line.leave(&one);
            })
        };
        line.leave(&head);
        assert!(matches!(verdict(&two), Verdict::Enter | Verdict::Head));
        line.leave(&two);
        opener.join().expect("ends");
        waiter.join().expect("ends");
        line.assert_empty();
    });
}

/// One who would not wait joins while the head parks: it is refused at the door or in line, and never forgotten.
pub fn who_would_not_wait_never_does() {
    every_order(|| {
        let line = Line::new();
        let head = line.join(1);
        let parks = {
            let line = line.clone();
            thread::spawn(move || line.sleeps(head))
        };
        let place = line.queue().join(&Bytes::from_static(&[2]), true, || ());
        if let Some(place) = place {
            assert_eq!(verdict(&place), Verdict::Refused);
            line.leave(&place);
        }
        let head = parks.join().expect("ends");
        line.leave(&head);
        line.assert_empty();
    });
}

/// A holder passes the lock to the head, which gives up at the same time, with one behind it: whoever is left has the lock,
/// or is head, and what nobody took is given back.
pub fn a_lock_passed_on_is_never_lost() {
    every_order(|| {
        let line = Line::new();
        let head = line.join(1);
        let head = line.sleeps(head);
        let next = line.join(2);
        let holder = {
            let line = line.clone();
            thread::spawn(move || {
                let heir = line.queue().serve(|()| true);
                // Nothing to pass it to: it is released.
                let Some(heir) = heir else {
                    return false;
                };
                let there = line.queue().served(&heir, 7);
                there || heir.take().is_none()
            })
        };
        let leaver = {
            let line = line.clone();
            thread::spawn(move || {
                line.leave(&head);
                match &head {
                    Place::Waiting { contender, .. } => contender.take().is_some(),
                    Place::Head => false,
                }
            })
        };
        assert!(matches!(verdict(&next), Verdict::Head | Verdict::Served));
        let served = !line.asks(&next);
        let passed = holder.join().expect("ends");
        let taken = leaver.join().expect("leaves");
        assert_eq!(passed, taken || served, "nobody has what was passed on");
        assert!(!(taken && served), "two have it");
        line.leave(&next);
        line.assert_empty();
    });
}

/// The head wakes up and wants to ask while it is being served: it asks, or has the lock, and never both.
pub fn who_wakes_while_it_is_served_does_not_ask() {
    every_order(|| {
        let line = Line::new();
        let head = line.join(1);
        let head = line.sleeps(head);
        let holder = {
            let line = line.clone();
            thread::spawn(move || {
                let heir = line.queue().serve(|()| true);
                heir.is_some_and(|heir| line.queue().served(&heir, 7))
            })
        };
        let served = !line.asks(&head);
        assert_eq!(holder.join().expect("ends"), served);
        line.leave(&head);
        line.assert_empty();
    });
}

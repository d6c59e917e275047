//! Sleepers beside the line: what is given to one is never lost, whatever wakes it meanwhile.

use bytes::Bytes;
use loom::{
    future::block_on,
    sync::{Arc, Mutex},
    thread,
};

use super::every_order;
use crate::queue::{
    Contender,
    resting::{Resting, Spot},
};

type Beds = Arc<Mutex<Resting<(), u8>>>;

fn lie_down(beds: &Beds) -> (Spot, std::sync::Arc<Contender<(), u8>>) {
    let mut beds = beds.lock().expect("no panic");
    beds.lie_down(1, &Bytes::from_static(b"o"), (), true)
}

/// A holder serves the sleeper, or finds that it is not its turn yet, while something else wakes it.
pub fn who_gets_up_while_it_is_served_takes_what_it_is_given() {
    every_order(|| {
        for turn in [true, false] {
            let beds = Beds::new(Mutex::new(Resting::default()));
            let (spot, sleeper) = lie_down(&beds);
            let holder = {
                let beds = beds.clone();
                thread::spawn(move || {
                    let next = beds.lock().expect("no panic").serve(|()| true);
                    let Some(next) = next else {
                        return false;
                    };
                    let mut beds = beds.lock().expect("no panic");
                    if turn {
                        assert!(beds.served(&next, 7), "it does not leave");
                    } else {
                        beds.not_yet(&next);
                    }
                    turn
                })
            };
            let mut given = None;
            while !beds.lock().expect("no panic").get_up(spot) {
                if block_on(sleeper.outcome()) {
                    given = sleeper.take();
                    beds.lock().expect("no panic").leave(spot);
                    break;
                }
            }
            let served = holder.join().expect("ends");
            assert_eq!(given, served.then_some(7));
            assert!(beds.lock().expect("no panic").is_empty());
        }
    });
}

/// The sleeper leaves for good while it is served: the gift is with one of the two.
pub fn who_leaves_while_it_is_served_keeps_nothing_from_others() {
    every_order(|| {
        let beds = Beds::new(Mutex::new(Resting::default()));
        let (spot, sleeper) = lie_down(&beds);
        let holder = {
            let beds = beds.clone();
            thread::spawn(move || {
                let next = beds.lock().expect("no panic").serve(|()| true)?;
                let there = beds.lock().expect("no panic").served(&next, 7);
                Some(if there { None } else { next.take() })
            })
        };
        beds.lock().expect("no panic").leave(spot);
        let mine = sleeper.take();
        match holder.join().expect("ends") {
            None => assert_eq!(mine, None, "nobody gave anything"),
            Some(theirs) => assert_eq!(mine.or(theirs), Some(7)),
        }
    });
}

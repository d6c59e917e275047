//! What was published before a channel is heard: whoever looked before that looks again.

use loom::{
    future::block_on,
    sync::{Arc, Mutex},
    thread,
};

use super::every_order;
use crate::{
    bell::{Bell, Source},
    hearing::Hearing,
};

/// The connection for messages.
const EPOCH: u64 = 1;

/// What the server knows; it does one thing at a time.
#[derive(Default)]
struct Server {
    free: bool,
    subscribed: bool,
}

/// A waiter looks and sleeps while its subscription is still on its way, and the lock is released meanwhile.
pub fn who_looks_before_it_hears_is_told_to_look_again() {
    every_order(|| {
        let (bell, hearing) = (Arc::new(Bell::new()), Arc::new(Hearing::new()));
        let server = Arc::new(Mutex::new(Server::default()));
        let ear = {
            let (bell, hearing, server) = (bell.clone(), hearing.clone(), server.clone());
            thread::spawn(move || {
                server.lock().expect("no panic").subscribed = true;
                if hearing.confirm(EPOCH) {
                    bell.ring(Source::Moved);
                }
            })
        };
        let holder = {
            let (bell, server) = (bell.clone(), server.clone());
            thread::spawn(move || {
                let mut server = server.lock().expect("no panic");
                server.free = true;
                let heard = server.subscribed;
                drop(server);
                if heard {
                    bell.ring(Source::Message);
                }
            })
        };
        loop {
            let seen = bell.count();
            hearing.before_look(EPOCH);
            if server.lock().expect("no panic").free {
                break;
            }
            // Not to be told is a deadlock, which loom reports.
            block_on(bell.rung(seen));
        }
        ear.join().expect("ends");
        holder.join().expect("ends");
    });
}

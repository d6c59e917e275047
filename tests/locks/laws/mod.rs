//! The laws every kind of lock obeys, written once and run on each.

use redlatch::{
    Client, Fair, Fenced, Group, Kind, Lock, NonReentrant, NonReentrantFair, Read, Reentrant, Spin,
    Write,
};
use redlatch_support::Direct;

mod faults;
mod holding;
mod leaving;
mod waiting;

/// A kind under test.
pub(crate) trait Subject: Kind {
    /// The kind of lock that this one excludes and that excludes it.
    type Rival: Kind;
    /// Whether an owner may enter again.
    const REENTRANT: bool = true;
    /// Whether waiters are woken by messages.
    const WOKEN: bool = true;

    fn of(client: &Client, name: &str) -> Lock<Self>;
    fn rival(client: &Client, name: &str) -> Lock<Self::Rival>;

    /// How often the owner has entered, as the server says.
    fn count(direct: &Direct, name: &str, owner: &str) -> u32 {
        let count = direct.hgetall(name).get(owner).map(|count| count.parse());
        count.map_or(0, |count| count.expect("a number"))
    }

    /// Keys that outlive the lock by design.
    fn remains(name: &str) -> Vec<String> {
        let _ = name;
        Vec::new()
    }
}

macro_rules! subject {
    ($kind:ty, $of:expr) => {
        subject!($kind, $kind, $of, $of, {});
    };
    ($kind:ty, $of:expr, { $($item:tt)* }) => {
        subject!($kind, $kind, $of, $of, { $($item)* });
    };
    ($kind:ty, $rival:ty, $of:expr, $rival_of:expr, { $($item:tt)* }) => {
        impl Subject for $kind {
            type Rival = $rival;

            fn of(client: &Client, name: &str) -> Lock<Self> {
                $of(client, name)
            }

            fn rival(client: &Client, name: &str) -> Lock<$rival> {
                $rival_of(client, name)
            }

            $($item)*
        }
    };
}

fn group(client: &Client, name: &str) -> Lock<Group> {
    client.group_lock(name, ["one", "two"])
}

fn reading(client: &Client, name: &str) -> Lock<Read> {
    client.read_write_lock(name).read_lock().clone()
}

fn writing(client: &Client, name: &str) -> Lock<Write> {
    client.read_write_lock(name).write_lock().clone()
}

subject!(Reentrant, Client::lock);
subject!(Fair, Client::fair_lock);
subject!(Read, Write, reading, writing, {});
subject!(Write, Read, writing, reading, {});
subject!(Fenced, Client::fenced_lock, {
    fn remains(name: &str) -> Vec<String> {
        vec![format!("redisson_lock_token:{{{name}}}")]
    }
});
subject!(Spin, Client::spin_lock, {
    const WOKEN: bool = false;
});
subject!(NonReentrant, Client::non_reentrant_lock, {
    const REENTRANT: bool = false;
});
subject!(NonReentrantFair, Client::non_reentrant_fair_lock, {
    const REENTRANT: bool = false;
});

subject!(Group, group, {
    fn count(direct: &Direct, name: &str, owner: &str) -> u32 {
        // "two" by Redisson's default codec.
        let field = format!("OveuHIeYbLrR8UZ4xKFXcw:{owner}:lock_count");
        let count = direct.hgetall(name).get(&field).map(|count| count.parse());
        count.map_or(0, |count| count.expect("a number"))
    }
});

macro_rules! conformance {
    ($module:ident, $kind:ty) => {
        mod $module {
            use redlatch::*;

            conformance!(@ $kind:
                holding::rivals_are_kept_out,
                holding::an_owner_enters_again_or_is_refused,
                holding::an_owner_never_gives_back_what_others_hold,
                holding::a_lease_ends_and_says_so,
                holding::nested_leases_never_shorten_each_other,
                holding::the_watchdog_keeps_it,
                holding::a_lock_taken_away_is_told,
                holding::a_forced_unlock_is_told,
                holding::bad_input_is_refused,
                waiting::a_waiter_is_woken,
                waiting::a_wait_that_is_over_leaves_nothing,
                waiting::nobody_ever_meets_a_rival,
                waiting::a_lost_message_costs_two_seconds,
                leaving::dropped_at_every_poll_nothing_is_left,
                leaving::dropped_as_a_waiter_nothing_is_left,
                leaving::closing_gives_back_and_ends_every_wait,
                faults::a_restarted_server_is_noticed,
                faults::a_lost_reply_is_found_out,
                faults::a_release_without_a_reply_is_done_once,
            );
        }
    };
    (@ $kind:ty: $($law:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$law::$name::<$kind>().await;
            }
        )*
    };
}

conformance!(reentrant, Reentrant);
conformance!(fair, Fair);
conformance!(read, Read);
conformance!(write, Write);
conformance!(fenced, Fenced);
conformance!(spin, Spin);
conformance!(non_reentrant, NonReentrant);
conformance!(non_reentrant_fair, NonReentrantFair);
conformance!(group, Group);

//! The laws every kind of lock obeys, written once and run on each.

use redlatch::{
    Client, Fair, Fenced, Group, Kind, Lock, NonReentrant, NonReentrantFair, Read, Reentrant, Spin,
    Write,
};
use redlatch_support::Direct;

mod faults;
mod holding;
mod leaving;
mod refusals;
mod rig;
mod waiting;

/// A kind under test.
pub(crate) trait Subject: Kind {
    /// The kind of lock that this one excludes and that excludes it.
    type Rival: Kind;
    /// Whether an owner may enter again.
    const REENTRANT: bool = true;
    /// Whether waiters are woken by messages.
    const WOKEN: bool = true;
    /// Whether a server that is out of memory lets it be renewed.
    const RENEWED_WHEN_FULL: bool = true;

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
        let tagged = match name.contains('{') {
            true => name.to_owned(),
            false => format!("{{{name}}}"),
        };
        vec![format!("redisson_lock_token:{tagged}")]
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
    // The times of its values are in the hash, and writing there takes memory.
    const RENEWED_WHEN_FULL: bool = false;

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
                holding::unlocking_twice_is_refused,
                holding::any_name_is_a_lock,
                holding::a_blocked_runtime_is_told_or_costs_nothing,
                waiting::a_waiter_is_woken,
                waiting::a_wait_that_is_over_leaves_nothing,
                waiting::nobody_ever_meets_a_rival,
                waiting::a_lost_message_costs_two_seconds,
                leaving::dropped_at_every_poll_nothing_is_left,
                leaving::dropped_as_a_waiter_nothing_is_left,
                leaving::closing_gives_back_and_ends_every_wait,
                leaving::a_task_that_dies_gives_it_back,
                leaving::a_dead_client_blocks_for_its_time_to_live,
                leaving::a_closed_client_answers_closed,
                faults::a_restarted_server_is_noticed,
                faults::a_lost_reply_is_found_out,
                faults::a_release_without_a_reply_is_done_once,
                faults::a_restart_with_data_confirms_what_is_held,
                faults::a_silent_link_is_told_before_a_rival_gets_in,
                faults::a_stalled_server_grants_once,
                faults::killed_connections_cost_seconds_at_most,
                faults::messages_late_or_twice_let_nobody_in,
                faults::a_link_with_jitter_keeps_counts_exact,
                faults::a_lock_without_a_time_to_live_is_waited_for_with_a_bound,
                refusals::forgotten_scripts_are_not_noticed,
                refusals::a_key_of_another_type_is_left_alone,
                refusals::a_full_server_takes_it_back,
                refusals::a_replica_is_waited_for,
                refusals::what_passes_is_waited_for,
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

//! Each of these looks at every order in which the threads of a scenario can take their steps.

use redlatch_loom::orders::{bell, hearing, hold, queue, resting};

macro_rules! every_order {
    ($($module:ident :: $scenario:ident;)+) => {
        $(#[test]
        fn $scenario() {
            $module::$scenario();
        })+
    };
}

every_order! {
    bell::who_notes_the_count_before_looking_is_woken;
    bell::all_who_wait_are_woken;
    hearing::who_looks_before_it_hears_is_told_to_look_again;
    hold::what_was_seen_to_be_over_stays_over;
    hold::one_alone_is_the_first_to_tell;
    queue::everybody_gets_a_turn;
    queue::who_gives_up_passes_the_turn_on;
    queue::the_same_owner_enters_or_leads;
    queue::an_open_lock_admits_or_promotes;
    queue::who_would_not_wait_never_does;
    queue::a_lock_passed_on_is_never_lost;
    resting::who_gets_up_while_it_is_served_takes_what_it_is_given;
    resting::who_leaves_while_it_is_served_keeps_nothing_from_others;
    queue::who_wakes_while_it_is_served_does_not_ask;
}

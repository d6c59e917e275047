//! Every suite also runs with hand-over inside a process off.

/// Whether `REDLATCH_TEST_HAND_OVER` says `off`: every release of a lock is to free it then.
#[must_use]
pub fn hand_over_is_off() -> bool {
    std::env::var("REDLATCH_TEST_HAND_OVER").is_ok_and(|value| value == "off")
}

/// A builder as the environment wants it; what a test sets itself comes later and wins.
#[macro_export]
macro_rules! as_wanted {
    ($builder:expr) => {{
        let builder = $builder;
        if $crate::hand_over_is_off() {
            builder.local_hand_over(0, std::time::Duration::ZERO)
        } else {
            builder
        }
    }};
}

//! Key and channel names, as Redisson builds them.
//!
//! Both builders ask only whether the name contains a `{` anywhere, not whether it holds a valid hash tag.

/// `prefix:{name}`, or `prefix:name` when the name contains a `{`.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    if name.contains('{') {
        format!("{prefix}:{name}")
    } else {
        format!("{prefix}:{{{name}}}")
    }
}

/// `{name}:suffix`, or `name:suffix` when the name contains a `{`.
pub(crate) fn suffixed(name: &str, suffix: &str) -> String {
    if name.contains('{') {
        format!("{name}:{suffix}")
    } else {
        format!("{{{name}}}:{suffix}")
    }
}

/// The channel on which plain, fenced and non-reentrant locks announce a release.
pub(crate) fn lock_channel(name: &str) -> String {
    prefixed("redisson_lock__channel", name)
}

/// The channel on which both sides of a read/write lock announce a release.
pub(crate) fn rw_channel(name: &str) -> String {
    prefixed("redisson_rwlock", name)
}

/// The list of owners that wait for a fair lock.
pub(crate) fn fair_queue(name: &str) -> String {
    prefixed("redisson_lock_queue", name)
}

/// The sorted set of the deadlines of those owners.
pub(crate) fn fair_deadlines(name: &str) -> String {
    prefixed("redisson_lock_timeout", name)
}

/// The counter of fencing tokens.
pub(crate) fn fencing_counter(name: &str) -> String {
    prefixed("redisson_lock_token", name)
}

/// A channel that nobody listens to: what is said on it has to be on the replicas behind everything before.
pub(crate) fn replicas_channel(name: &str) -> String {
    prefixed("redlatch_replicas", name)
}

/// What the names of the read markers of a lock begin with.
pub(crate) fn marker_stem(name: &str) -> String {
    if name.contains('{') {
        name.to_owned()
    } else {
        format!("{{{name}}}")
    }
}

/// What the names of the marks begin with that clients leave on a semaphore or latch.
pub(crate) fn mark_stem(name: &str) -> String {
    prefixed("redlatch_once", name)
}

/// The record of who leads, and the channel on which a change of it is announced.
pub(crate) fn election(name: &str) -> String {
    prefixed("redlatch_election", name)
}

/// The record of when a job has run.
pub(crate) fn schedule(name: &str) -> String {
    prefixed("redlatch_schedule", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_anywhere_suppress_the_added_tag() {
        let cases = [
            ("a:b", "redisson_lock__channel:{a:b}", "{a:b}:x"),
            (
                "pre{tag}post",
                "redisson_lock__channel:pre{tag}post",
                "pre{tag}post:x",
            ),
            ("{x", "redisson_lock__channel:{x", "{x:x"),
            ("x}y", "redisson_lock__channel:{x}y}", "{x}y}:x"),
            ("a b", "redisson_lock__channel:{a b}", "{a b}:x"),
            ("锁", "redisson_lock__channel:{锁}", "{锁}:x"),
        ];
        for name in ["a", "{a}:", "x{t}::", "a:"] {
            let stem = marker_stem(name);
            assert_eq!(suffixed(name, "x"), format!("{stem}:x"), "{name}");
        }
        for (name, channel, suffix) in cases {
            assert_eq!(lock_channel(name), channel);
            assert_eq!(suffixed(name, "x"), suffix);
        }
    }
}

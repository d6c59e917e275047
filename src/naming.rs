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
        for (name, channel, suffix) in cases {
            assert_eq!(lock_channel(name), channel);
            assert_eq!(suffixed(name, "x"), suffix);
        }
    }
}

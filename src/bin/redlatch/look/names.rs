//! From keys and fields back to names and owners.

/// The name to which a key belongs that begins with `prefix`; `None` for one that does not.
pub(crate) fn behind<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?.strip_prefix(':')?;
    let inner = rest
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    match inner.filter(|inner| !inner.contains('{')) {
        Some(inner) => Some(inner).filter(|inner| !inner.is_empty()),
        None => rest.contains('{').then_some(rest),
    }
}

/// The name to which a key belongs that ends with `suffix`.
pub(crate) fn before<'a>(key: &'a str, suffix: &str) -> Option<&'a str> {
    let rest = key.strip_suffix(suffix)?.strip_suffix(':')?;
    unstemmed(rest)
}

/// The name whose stem this is: in braces, unless it has one itself.
fn unstemmed(stem: &str) -> Option<&str> {
    let inner = stem
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    match inner.filter(|inner| !inner.contains('{')) {
        Some(inner) => Some(inner).filter(|inner| !inner.is_empty()),
        None => stem.contains('{').then_some(stem),
    }
}

/// A channel without the owner behind it, to whom alone it may belong.
pub(crate) fn without_owner(channel: &str) -> &str {
    let owner = channel.rmatch_indices(':').nth(1);
    match owner.map(|(at, _)| channel.split_at(at)) {
        Some((front, owner)) if is_owner(&owner[1..]) => front,
        _ => channel,
    }
}

/// A reader's marker, taken apart: the lock, the reader, and the number of its hold.
pub(crate) fn marker(key: &str) -> Option<(&str, &str, u64)> {
    let (front, number) = key.rsplit_once(':')?;
    let front = front.strip_suffix(":rwlock_timeout")?;
    let stem = without_owner(front);
    let owner = front[stem.len()..].strip_prefix(':')?;
    Some((unstemmed(stem)?, owner, number.parse().ok()?))
}

/// Whether a text is an owner: the id of a client, a number, and perhaps something behind it.
pub(crate) fn is_owner(text: &str) -> bool {
    let Some((client, rest)) = text.split_once(':') else {
        return false;
    };
    let thread = rest.split(':').next().unwrap_or_default();
    is_client(client) && thread.parse::<i64>().is_ok()
}

/// Whether a text is a UUID, as clients have one.
fn is_client(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a field is one of a lock's.
pub(crate) fn is_field(text: &str) -> bool {
    text == "mode" || is_owner(text) || is_value(text.split(':').next().unwrap_or_default())
}

/// Whether a text is what a value of a group is called in fields.
pub(crate) fn is_value(text: &str) -> bool {
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len() == 22 && text.bytes().all(base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redlatch::console::Names;

    const OWNER: &str = "2a9b0e6c-5e2a-4c39-9d1b-0f6f8b2f1c11:57";

    #[test]
    fn a_key_leads_back_to_its_name() {
        for name in ["a", "a:b", "x{t}y", "{x", "a b", "x}y", "{t}:x"] {
            let names = Names::of(name);
            assert_eq!(behind("redisson_lock_queue", &names.fair_queue), Some(name));
            assert_eq!(
                behind("redisson_lock_token", &names.fencing_counter),
                Some(name)
            );
            assert_eq!(before(&names.permit_leases, "timeout"), Some(name));
            let key = format!("{}:{OWNER}:rwlock_timeout:2", names.marker_stem);
            assert_eq!(marker(&key), Some((name, OWNER, 2)), "{key}");
            let channel = format!("{}:{OWNER}", names.lock_channel);
            let channel = without_owner(&channel);
            assert_eq!(behind("redisson_lock__channel", channel), Some(name));
        }
        assert_eq!(behind("redisson_lock_queue", "redisson_lock_queue:a"), None);
        assert_eq!(before("session:timeout", "timeout"), None);
        assert_eq!(marker("{a}:somebody:1:rwlock_timeout:1"), None);
        assert_eq!(marker("rwlock_timeout:1"), None);
    }

    #[test]
    fn fields_of_locks_are_told_from_others() {
        for field in [
            OWNER,
            "mode",
            "1gKBFfuWlWbVFCZ0MXudYA",
            "1gKBFfuWlWbVFCZ0MXudYA:u:7:lock_count",
        ] {
            assert!(is_field(field), "{field}");
        }
        assert!(is_owner(&format!("{OWNER}:write")));
        for field in [
            "token",
            "name",
            "user:1",
            "2a9b0e6c-5e2a-4c39-9d1b-0f6f8b2f1c11",
            "",
        ] {
            assert!(!is_field(field), "{field}");
        }
    }
}

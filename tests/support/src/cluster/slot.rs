//! Which slot of a cluster a key belongs to.

/// How many slots a cluster has.
pub const SLOTS: u16 = 16_384;

/// The slot of a key: of its hash tag if it has one, else of all of it.
///
/// The tag is what stands between the first `{` and the first `}` after it, unless that is nothing.
pub fn slot_of(key: impl AsRef<[u8]>) -> u16 {
    crc16(0, tag(key.as_ref())) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|&byte| byte == b'}') {
        None | Some(0) => key,
        Some(length) => &rest[..length],
    }
}

/// CRC16 in the variant called XMODEM (polynomial 1021, nothing reflected), going on from `crc`.
pub(super) fn crc16(crc: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// A name that begins with `prefix` and whose slot is wanted.
///
/// # Panics
///
/// When the prefix holds a brace, since then what follows it does not count.
#[track_caller]
pub(super) fn name_where(prefix: &str, wanted: impl Fn(u16) -> bool) -> String {
    assert!(
        !prefix.contains(['{', '}']),
        "{prefix:?} holds a brace, so its slot cannot be chosen; leave the braces out"
    );
    let begun = crc16(0, prefix.as_bytes());
    // Sixteen bits of checksum: the numbers up to a million meet every slot many times.
    (0..1_000_000_u32)
        .map(|number| format!("-{number}"))
        .find(|end| wanted(crc16(begun, end.as_bytes()) % SLOTS))
        .map(|end| format!("{prefix}{end}"))
        .unwrap_or_else(|| panic!("no name has a slot that is wanted; give the node some slots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(0, b"123456789"), 0x31c3);
        assert_eq!(slot_of(""), 0);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("a"), 15_495);
    }

    #[test]
    fn the_first_tag_that_is_not_empty_counts() {
        assert_eq!(slot_of("x{a}y"), slot_of("a"));
        assert_eq!(slot_of("{a}{b}"), slot_of("a"));
        assert_eq!(tag(b"{}{a}"), b"{}{a}");
        assert_eq!(tag(b"x{{a}}"), b"{a");
        assert_eq!(tag(b"x{a"), b"x{a");
        assert_eq!(tag(b"}{a}"), b"a");
    }

    #[test]
    fn a_name_is_found_for_any_slot() {
        for slot in [0, 1, 8_191, SLOTS - 1] {
            let name = name_where("orders", |found| found == slot);
            assert_eq!(slot_of(&name), slot, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "holds a brace")]
    fn a_prefix_with_a_tag_is_refused() {
        name_where("{orders}", |_| true);
    }
}

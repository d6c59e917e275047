//! Replies of a server that may say anything.

use bytes::Bytes;
use redlatch_support::Dice;

use crate::engine::transport::Reply;

/// One a line, word by word: `*2` and its elements, `:7`, `$text`, `_` for nil, `?` for what nobody expects.
const CORPUS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/corpus/replies.txt"
));

const NUMBERS: [i64; 14] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    4_096,
    4_097,
    30_000,
    u32::MAX as i64,
    u32::MAX as i64 + 1,
    1 << 53,
    i64::MAX,
    i64::MIN,
];
const TEXTS: [&str; 12] = [
    "",
    "0",
    "1",
    "10",
    "-1",
    "+1",
    " 1",
    "9223372036854775808",
    "7:3",
    ":",
    "u:1",
    "v:u:1:lock_count",
];

/// The kept ones, to begin with and to be changed.
pub(in crate::engine) struct Replies(Vec<Reply>);

impl Replies {
    pub(in crate::engine) fn kept() -> Self {
        let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let mut words = line.split(' ');
            let reply = read(&mut words).unwrap_or_else(|| panic!("no reply: {line:?}"));
            assert_eq!(words.next(), None, "{line:?}");
            reply
        };
        Self(lines.map(read).collect())
    }

    pub(in crate::engine) fn all(&self) -> &[Reply] {
        &self.0
    }

    /// One as it should be, one that is changed, or another one altogether.
    pub(in crate::engine) fn roll(&self, dice: &mut Dice) -> Reply {
        match dice.below(4) {
            0 => any(dice, 0),
            1 => dice.one_of(&self.0).clone(),
            _ => {
                let mut reply = dice.one_of(&self.0).clone();
                for _ in 0..=dice.below(3) {
                    change(&mut reply, dice);
                }
                reply
            }
        }
    }
}

fn read<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Reply> {
    let word = words.next()?;
    Some(match word.split_at_checked(1)? {
        ("_", "") => Reply::Nil,
        ("?", "") => Reply::Odd("odd"),
        (":", number) => Reply::Int(number.parse().ok()?),
        ("$", text) => Reply::Text(Bytes::copy_from_slice(text.as_bytes())),
        ("*", length) => {
            let length: usize = length.parse().ok()?;
            Reply::Array((0..length).map(|_| read(words)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn any(dice: &mut Dice, depth: u64) -> Reply {
    match dice.below(if depth < 3 { 9 } else { 6 }) {
        0 => Reply::Nil,
        1 => Reply::Odd("odd"),
        2 => Reply::Int(dice.roll() as i64),
        3 => Reply::Int(*dice.one_of(&NUMBERS)),
        4 => Reply::Text(Bytes::from_static(dice.one_of(&TEXTS).as_bytes())),
        5 => {
            let length = dice.below(24);
            Reply::Text((0..length).map(|_| dice.roll() as u8).collect())
        }
        _ => {
            let length = dice.below(6);
            Reply::Array((0..length).map(|_| any(dice, depth + 1)).collect())
        }
    }
}

fn change(reply: &mut Reply, dice: &mut Dice) {
    match reply {
        Reply::Array(items) if !items.is_empty() && dice.below(4) > 0 => {
            let at = dice.below(items.len() as u64) as usize;
            match dice.below(5) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.insert(at, any(dice, 2)),
                _ => change(&mut items[at], dice),
            }
        }
        Reply::Int(number) if dice.below(2) == 0 => *number = number.wrapping_add(1),
        reply => *reply = any(dice, 1),
    }
}

//! Names as strangers choose them: none leaves its tenant, and its slot is the server's.

use redlatch_support::{Dice, Server};

use super::fuzz;
use crate::{
    access::{self, Feature},
    config::{MAX_NAME_BYTES, Settings},
    coordination::{count_down_latch::latch_channel, semaphore_channel},
    engine::{
        protocol::{Ask, Call, Question, Rest, Wake},
        transport::slot_of,
    },
    lock, naming,
};

/// Kept names, one a line.
const CORPUS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/corpus/names.txt"
));
const PARTS: [&str; 22] = [
    "{",
    "}",
    "{}",
    "}{",
    "{{",
    "*",
    "?",
    "[",
    "]",
    "[a-z]",
    "\\",
    ":",
    " ",
    "\n",
    "\0",
    "\x1b[31m",
    "a",
    "orders",
    "锁",
    "é",
    "redisson_lock_queue:",
    "other:",
];

fn name(dice: &mut Dice, number: u64) -> String {
    if let Some(kept) = CORPUS.lines().nth(number as usize) {
        return kept.to_owned();
    }
    let length = match dice.below(20) {
        0 => 2_000,
        _ => 1 + dice.below(8),
    };
    (0..length)
        .map(|_| match dice.below(6) {
            0 => char::from_u32((dice.roll() >> 43) as u32)
                .unwrap_or('\u{fffd}')
                .to_string(),
            _ => dice.one_of(&PARTS).to_string(),
        })
        .collect()
}

/// Whether the server would say that a pattern of an access rule allows `text`.
fn allows(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| allows(rest, &text[at..])),
        Some((b'?', rest)) => text
            .split_first()
            .is_some_and(|(_, text)| allows(rest, text)),
        Some((b'[', _)) => panic!("no rule of ours has a set"),
        Some((b'\\', rest)) if !rest.is_empty() => {
            text.first() == rest.first() && allows(&rest[1..], &text[1..])
        }
        Some((byte, rest)) => text.first() == Some(byte) && allows(rest, &text[1..]),
    }
}

/// Every key and every channel that anything of ours has for a name.
fn belongings(name: &str) -> (Vec<String>, Vec<String>) {
    let protocols = lock::protocols();
    let ask = Ask {
        holds: 2,
        ttl_ms: 1,
        stays: true,
        placed: false,
        token: 0,
        floor: 0,
        places: 0,
    };
    let rest = Rest {
        holds: 0,
        most: 2,
        ttl_ms: 0,
        lasts_ms: 0,
        longest_ms: 0,
    };
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("a text");
    let mut keys = vec![naming::mark_stem(name), naming::suffixed(name, "timeout")];
    let mut channels = vec![
        semaphore_channel(name),
        latch_channel(name),
        naming::replicas_channel(name),
    ];
    for protocol in protocols {
        let call = Call {
            name: name.to_owned().into(),
            shown: name.into(),
            ..Call::example(protocol, 1)
        };
        let commands = [
            Some(protocol.acquire(&call, &ask)),
            Some(protocol.release(&call, &rest)),
            Some(protocol.force_release(&call)),
            protocol.abandon(&call),
            protocol.question(&call, Question::Held),
        ];
        for command in commands.into_iter().flatten() {
            keys.extend(command.keys.iter().map(text));
        }
        if let Wake::Channel(channel) = protocol.wake(&call) {
            channels.push(text(&channel));
        }
    }
    (keys, channels)
}

#[test]
fn no_name_leaves_its_tenant() {
    let prefixes = ["tenant:", "a*[b]?\\:", "{tenant}:", "t{x", "t}x:", "t t:"];
    fuzz("names of tenants", 1_000, |dice, number| {
        let prefix = *dice.one_of(&prefixes);
        let rules = access::rules(Feature::ALL.iter().copied(), prefix);
        let allowed = |rules: &[String], text: &str| {
            let pattern = |rule: &String| rule.as_bytes()[1..].to_vec();
            (rules.iter()).any(|rule| allows(&pattern(rule), text.as_bytes()))
        };
        let (key_rules, channel_rules): (Vec<_>, Vec<_>) =
            (rules.keys().collect(), rules.channels().collect());
        let settings = Settings {
            name_mapper: Some(std::sync::Arc::new(move |name| format!("{prefix}{name}"))),
            ..Settings::default()
        };
        let theirs = name(dice, number);
        let Ok(mapped) = settings.map_name(&theirs) else {
            assert!(theirs.is_empty() || theirs.len() + prefix.len() > MAX_NAME_BYTES);
            return;
        };
        assert!(mapped.starts_with(prefix) && mapped.len() <= MAX_NAME_BYTES);
        let (keys, channels) = belongings(&mapped);
        for key in keys {
            assert!(
                allowed(&key_rules, &key),
                "{prefix:?}, {theirs:?}: key {key:?}"
            );
        }
        for channel in channels {
            let fine = allowed(&channel_rules, &channel);
            assert!(fine, "{prefix:?}, {theirs:?}: channel {channel:?}");
        }
    });
}

#[test]
fn slots_are_those_of_the_server() {
    const NAMES: u64 = 3_000;
    let server = Server::builder().args(["--cluster-enabled", "yes"]).start();
    let direct = server.direct();
    let seed = Dice::seed("REDLATCH_FUZZ_SEED");
    println!("seed {seed}");
    let mut tagged = 0;
    for number in 0..NAMES {
        let name = name(&mut Dice::new(seed, number), number);
        tagged += u64::from(name.contains('{'));
        let theirs = direct.cmd(&["CLUSTER", "KEYSLOT", &name]).int();
        assert_eq!(i64::from(slot_of(name.as_bytes())), theirs, "{name:?}");
    }
    assert!(tagged > NAMES / 4, "{tagged} of {NAMES} have a brace");
}

//! The table is complete and has nothing to spare, and the document says what it says.

use std::{fs, path::Path};

use super::{
    table::{Trial, trial},
    *,
};

/// The scripts of each feature, by file below `src/scripts`, fragments included.
fn scripts(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::ReentrantLock | Feature::NonReentrantLock => &[
            "reentrant/acquire",
            "reentrant/release",
            "reentrant/pass",
            "reentrant/force_release",
            "renew/hash",
            "probe/ttl",
        ],
        Feature::FairLock | Feature::NonReentrantFairLock => &[
            "fair/queue",
            "fair/acquire",
            "fair/pass",
            "fair/release",
            "fair/force_release",
            "fair/abandon",
            "fair/look",
            "renew/hash",
        ],
        Feature::ReadWriteLock => &[
            "read/acquire",
            "read/release",
            "read/force_release",
            "read/is_locked",
            "write/acquire",
            "write/release",
            "write/pass",
            "write/force_release",
            "write/is_locked",
            "renew/read",
            "renew/hash",
            "probe/read",
            "probe/ttl",
        ],
        Feature::FencedLock => &[
            "fenced/acquire",
            "fenced/pass",
            "fenced/raise_counter",
            "reentrant/release",
            "reentrant/force_release",
            "renew/hash",
            "probe/ttl",
        ],
        Feature::SpinLock => &[
            "reentrant/acquire",
            "spin/release",
            "reentrant/pass",
            "spin/force_release",
            "renew/hash",
        ],
        Feature::GroupLock => &[
            "group/clock",
            "group/acquire",
            "group/release",
            "group/force_release",
            "group/ask",
            "group/renew",
            "group/look",
        ],
        Feature::Semaphore => &[
            "semaphore/acquire",
            "semaphore/release",
            "semaphore/try_set",
            "semaphore/add",
            "semaphore/drain",
            "semaphore/delete",
            "probe/semaphore",
        ],
        Feature::ExpirableSemaphore => &[
            "permits/acquire",
            "permits/release",
            "permits/release_all",
            "permits/counts",
            "permits/set",
            "permits/add",
            "permits/update_lease",
            "permits/lease_time",
            "semaphore/try_set",
            "semaphore/delete",
            "probe/permits",
        ],
        Feature::CountDownLatch => &[
            "latch/try_set",
            "latch/count_down",
            "latch/delete",
            "latch/count",
            "probe/latch",
        ],
        Feature::FencedCell => &["fencing/claim", "fencing/set"],
        Feature::Election => &[
            "fenced/acquire",
            "fenced/pass",
            "reentrant/release",
            "renew/hash",
            "probe/ttl",
            "election/proclaim",
            "election/withdraw",
            "election/look",
        ],
        Feature::Schedule => &[
            "reentrant/acquire",
            "reentrant/release",
            "reentrant/pass",
            "renew/hash",
            "schedule/look",
            "schedule/finish",
        ],
        Feature::Inspect => &["inspect/hash"],
        Feature::TaggedNames
        | Feature::Database
        | Feature::Cluster
        | Feature::ShardedMessages
        | Feature::Replicas
        | Feature::ReplicasOnDisk => &[],
    }
}

/// What each feature sends outside of scripts, besides what its scripts and subscriptions take.
fn plain(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::ReentrantLock
        | Feature::NonReentrantLock
        | Feature::FairLock
        | Feature::NonReentrantFairLock
        | Feature::ReadWriteLock
        | Feature::SpinLock => &["exists", "hexists", "hget", "pttl"],
        Feature::FencedLock => &["exists", "hexists", "hget", "pttl", "get"],
        Feature::Semaphore | Feature::ExpirableSemaphore => {
            &["get", "del", "pexpire", "persist", "pttl"]
        }
        Feature::CountDownLatch => &["get", "del"],
        Feature::FencedCell => &["hmget"],
        Feature::Inspect => &["lrange", "pubsub|numsub"],
        Feature::Database => &["select"],
        Feature::Cluster => &["asking", "cluster|nodes"],
        Feature::ShardedMessages => &[
            "pubsub|shardnumsub",
            "spublish",
            "ssubscribe",
            "sunsubscribe",
        ],
        Feature::Replicas => &[
            "evalsha",
            "publish",
            "script|load",
            "subscribe",
            "unsubscribe",
            "wait",
        ],
        Feature::ReplicasOnDisk => &[
            "evalsha",
            "publish",
            "script|load",
            "subscribe",
            "unsubscribe",
            "waitaof",
        ],
        Feature::GroupLock | Feature::Election | Feature::Schedule | Feature::TaggedNames => &[],
    }
}

/// Tries what others do, announces in any way there is, and does something for many: none names a command for one feature.
const FOR_ALL: [&str; 3] = ["access/check", "gather/each", "publish/announce"];

/// The commands in the text of a script: the words in the first argument of every call, and what is announced by.
fn called(name: &str, text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut commands = BTreeSet::new();
    if code.contains("announce(") {
        commands.insert("publish".to_owned());
    }
    for call in ["redis.call", "redis.pcall", "server.call", "server.pcall"] {
        for (at, _) in code.match_indices(call) {
            let rest = code[at + call.len()..]
                .strip_prefix('(')
                .unwrap_or_else(|| {
                    panic!("{name}: {call} is passed on, and nobody sees what it calls")
                });
            let first = rest.split([',', ')']).next().unwrap_or_default();
            let words: Vec<_> = first
                .split('\'')
                .skip(1)
                .step_by(2)
                .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
                .map(str::to_owned)
                .collect();
            assert!(!words.is_empty(), "{name}: what does {call}({first} call?");
            commands.extend(words);
        }
    }
    commands
}

#[test]
fn every_command_of_every_script_is_in_the_table_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scripts");
    let text = |name: &str| {
        fs::read_to_string(root.join(name).with_extension("lua"))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    for &feature in Feature::ALL {
        let mut wanted: BTreeSet<String> = plain(feature)
            .iter()
            .map(|word| (*word).to_owned())
            .collect();
        for script in scripts(feature) {
            wanted.extend(called(script, &text(script)));
            wanted.extend(["evalsha", "script|load"].map(str::to_owned));
        }
        if wanted.contains("publish") {
            wanted.extend(["subscribe", "unsubscribe"].map(str::to_owned));
        }
        let table: BTreeSet<String> = table::needs(feature)
            .commands
            .iter()
            .flat_map(|set| set.iter().map(|word| (*word).to_owned()))
            .collect();
        assert_eq!(table, wanted, "{feature:?}");
    }

    // And every file belongs to a feature.
    let used: BTreeSet<_> = Feature::ALL
        .iter()
        .copied()
        .flat_map(scripts)
        .copied()
        .collect();
    for kind in fs::read_dir(&root).expect("the folder is there") {
        let kind = kind.expect("readable").path();
        for file in fs::read_dir(&kind).expect("a folder") {
            let file = file.expect("readable").path().with_extension("");
            let name = file.strip_prefix(&root).expect("below the root");
            let name = name.to_str().expect("text");
            assert!(
                used.contains(name) || FOR_ALL.contains(&name),
                "{name} is in no feature"
            );
        }
    }
}

#[test]
fn the_reader_of_scripts_sees_what_is_called() {
    let read = |text| called("example", text).into_iter().collect::<Vec<_>>();
    assert_eq!(
        read("redis.call('get', KEYS[1])\n-- redis.call('set')"),
        ["get"]
    );
    let either = "redis.call(ARGV[6] == '1' and 'lpush' or 'rpush', KEYS[2], ARGV[2])";
    assert_eq!(read(either), ["lpush", "rpush"]);
    assert_eq!(read("type(announce(ARGV[4], '0'))"), ["publish"]);
}

#[test]
fn every_command_can_be_tried() {
    let features: BTreeSet<_> = Feature::ALL.iter().copied().collect();
    for command in commands(&features) {
        let trial = trial(command).unwrap_or_else(|| panic!("{command} cannot be tried"));
        if let Trial::Outside(verb, _) = trial {
            let first = command.split('|').next().expect("a word");
            assert_eq!(first, verb.to_ascii_lowercase());
        }
    }
}

#[test]
fn patterns_stop_behind_the_prefix() {
    let of = |features: &[Feature], prefix| {
        let rules = rules(features.iter().copied(), prefix);
        rules.keys().chain(rules.channels()).collect::<Vec<_>>()
    };
    use Feature::{CountDownLatch, ReadWriteLock, ReentrantLock, SpinLock, TaggedNames};
    assert_eq!(of(&[SpinLock], "app:"), ["~app:*"]);
    assert_eq!(
        of(&[ReentrantLock], "app:"),
        ["~app:*", "&redisson_lock__channel:{app:*"]
    );
    assert_eq!(
        of(&[ReadWriteLock, TaggedNames], "app:"),
        [
            "~app:*",
            "~{app:*",
            "&redisson_rwlock:{app:*",
            "&redisson_rwlock:app:*"
        ]
    );
    // A tag in the prefix: no braces are added.
    assert_eq!(
        of(&[ReentrantLock], "{app}:"),
        ["~{app}:*", "&redisson_lock__channel:{app}:*"]
    );
    assert_eq!(
        of(&[CountDownLatch, TaggedNames], "app:"),
        [
            "~app:*",
            "~redlatch_once:{app:*",
            "~redlatch_once:app:*",
            "&redisson_countdownlatch__channel__{app:*"
        ]
    );
    assert_eq!(
        of(&[ReadWriteLock], ""),
        ["~*", "&redisson_rwlock:{*"],
        "the server takes no pattern beside ~*"
    );
    assert_eq!(of(&[SpinLock], "a*b [c]?\\"), ["~a\\*b?\\[c\\]\\?\\\\*"]);
    assert_eq!(of(&[SpinLock], "锁"), ["~锁*"]);
}

#[test]
fn rules_come_in_one_order_and_without_spaces() {
    let rules = rules([Feature::Semaphore, Feature::Database], "an app:");
    for word in rules.words() {
        assert!(!word.contains(' '), "{word}");
    }
    assert!(
        rules.to_string().starts_with("resetkeys ~an?app:* "),
        "{rules}"
    );
    assert!(
        rules
            .to_string()
            .contains(" resetchannels &redisson_sc:{an?app:* -@all ")
    );
    assert!(rules.to_string().contains(" +select "));
}

/// Everything there is on one server, but for some.
fn one_server(without: &[Feature]) -> Vec<Feature> {
    let all = Feature::ALL.iter().copied();
    // Others are for clusters, or for servers that are new enough.
    let special = [
        Feature::Cluster,
        Feature::ShardedMessages,
        Feature::ReplicasOnDisk,
    ];
    all.filter(|one| !without.contains(one) && !special.contains(one))
        .collect()
}

/// The part of the document that is made here.
fn document() -> String {
    let mut text = String::new();
    let mut row = |what: &str, features: &[Feature], prefix: &str| {
        let rules = rules(features.iter().copied(), prefix);
        text.push_str(&format!(
            "{what}\n\n```text\nACL SETUSER shop on >PASSWORD {rules}\n```\n\n"
        ));
    };
    row(
        "Everything, on a server of its own, all names and all databases:",
        &one_server(&[]),
        "",
    );
    row(
        "Everything, names that begin with `app:`, with or without a hash tag:",
        &one_server(&[Feature::Database]),
        "app:",
    );
    for (what, feature) in [
        (
            "`ReentrantLock`, `NonReentrantLock`",
            Feature::ReentrantLock,
        ),
        ("`FairLock`, `NonReentrantFairLock`", Feature::FairLock),
        ("`ReadWriteLock`", Feature::ReadWriteLock),
        ("`FencedLock`", Feature::FencedLock),
        ("`SpinLock`", Feature::SpinLock),
        ("`GroupLock`", Feature::GroupLock),
        ("`Semaphore`", Feature::Semaphore),
        ("`ExpirableSemaphore`", Feature::ExpirableSemaphore),
        ("`CountDownLatch`", Feature::CountDownLatch),
        ("`FencedCell`", Feature::FencedCell),
        ("`Election`", Feature::Election),
        ("`Schedule`", Feature::Schedule),
        ("`Inspect`", Feature::Inspect),
    ] {
        row(
            &format!("{what}, names that begin with `app:`:"),
            &[feature],
            "app:",
        );
    }
    row(
        "`ReentrantLock` on a cluster from 7.0 on (`Cluster`, `ShardedMessages`), on each of its nodes:",
        &[
            Feature::ReentrantLock,
            Feature::Cluster,
            Feature::ShardedMessages,
        ],
        "app:",
    );
    text.truncate(text.trim_end().len());
    text
}

/// Compares a text with what a file says, or writes it there when `REDLATCH_WRITE_RULES` is set.
pub(crate) fn same(file: &str, marks: Option<(&str, &str)>, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let whole = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (before, seen, after) = match marks {
        Some((begin, end)) => {
            let (before, rest) = whole.split_once(begin).expect("the first mark is there");
            let (seen, after) = rest.split_once(end).expect("the second mark is there");
            (
                format!("{before}{begin}\n"),
                seen,
                format!("\n{end}{after}"),
            )
        }
        None => (String::new(), whole.as_str(), "\n".to_owned()),
    };
    if std::env::var_os("REDLATCH_WRITE_RULES").is_some() {
        fs::write(&path, format!("{before}{wanted}{after}")).expect("writable");
    } else {
        assert_eq!(
            seen.trim(),
            wanted,
            "{file} is not what the code says; REDLATCH_WRITE_RULES=1 cargo test writes it"
        );
    }
}

#[test]
fn the_document_has_exactly_these_rules() {
    let marks = (
        "<!-- rules, made by the code -->",
        "<!-- end of the rules -->",
    );
    same("docs/operations.md", Some(marks), &document());
}

#[test]
fn the_test_servers_have_exactly_these_rules() {
    let rules = rules(one_server(&[]), "").to_string();
    same("tests/support/src/server/rules.txt", None, &rules);
}

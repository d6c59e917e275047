//! Which commands, keys and channels each feature takes. A test compares it with every script there is; the suites run
//! under users that have nothing else.

use super::Feature;
use crate::{
    coordination::{count_down_latch::latch_channel, semaphore_channel},
    naming,
};

/// How something is called that belongs to a name.
pub(super) type Naming = fn(&str) -> String;

/// What a feature takes, besides what every connection does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    /// Commands, with a bar before a subcommand.
    pub(super) commands: &'static [&'static [&'static str]],
    /// From a name on the server to the keys that belong to it.
    pub(super) keys: &'static [Naming],
    /// From a name on the server to its channel.
    pub(super) channels: &'static [Naming],
}

/// What every connection does: who am I, end my predecessor, are you there; `INFO` and `CLIENT ID` are fred's.
pub(super) const CONNECTION: &[&str] = &["client|id", "client|info", "client|kill", "info", "ping"];
/// What it takes to run any script.
const SCRIPTS: &[&str] = &["evalsha", "script|load"];
/// What it takes to wake and be woken.
const MESSAGES: &[&str] = &["publish", "subscribe", "unsubscribe"];
/// What every kind of lock but the group lock does to its hash.
const HASH: &[&str] = &[
    "del", "exists", "hexists", "hget", "hset", "pexpire", "pttl",
];
const FAIR: &[&str] = &[
    "lindex", "lpop", "lpos", "lpush", "lrange", "lrem", "rpush", "time", "zadd", "zrem", "zscore",
];

const PLAIN_LOCK: Needs = Needs {
    commands: &[SCRIPTS, MESSAGES, HASH],
    keys: &[name],
    channels: &[naming::lock_channel],
};
const FAIR_LOCK: Needs = Needs {
    commands: &[SCRIPTS, MESSAGES, HASH, FAIR],
    keys: &[name, naming::fair_queue, naming::fair_deadlines],
    channels: &[naming::lock_channel],
};

pub(super) fn needs(feature: Feature) -> Needs {
    match feature {
        Feature::ReentrantLock | Feature::NonReentrantLock => PLAIN_LOCK,
        Feature::FairLock | Feature::NonReentrantFairLock => FAIR_LOCK,
        Feature::ReadWriteLock => Needs {
            commands: &[SCRIPTS, MESSAGES, HASH, &["hdel", "hgetall", "hlen", "set"]],
            keys: &[name, naming::marker_stem],
            channels: &[naming::rw_channel],
        },
        Feature::FencedLock => Needs {
            commands: &[SCRIPTS, MESSAGES, HASH, &["get", "incr", "set"]],
            keys: &[name, naming::fencing_counter],
            channels: &[naming::lock_channel],
        },
        Feature::SpinLock => Needs {
            commands: &[SCRIPTS, HASH],
            keys: &[name],
            channels: &[],
        },
        Feature::GroupLock => Needs {
            commands: &[
                SCRIPTS,
                MESSAGES,
                &[
                    "hdel",
                    "hget",
                    "hrandfield",
                    "hset",
                    "pexpire",
                    "pttl",
                    "time",
                ],
            ],
            keys: &[name],
            channels: &[naming::lock_channel],
        },
        Feature::Semaphore => Needs {
            commands: &[
                SCRIPTS,
                MESSAGES,
                &[
                    "decrby", "del", "exists", "get", "incrby", "persist", "pexpire", "pttl", "set",
                ],
            ],
            keys: &[name, naming::mark_stem],
            channels: &[semaphore_channel],
        },
        Feature::ExpirableSemaphore => Needs {
            commands: &[
                SCRIPTS,
                MESSAGES,
                &[
                    "decrby",
                    "del",
                    "exists",
                    "get",
                    "incrby",
                    "persist",
                    "pexpire",
                    "pttl",
                    "set",
                    "time",
                    "zadd",
                    "zcard",
                    "zcount",
                    "zrange",
                    "zrangebyscore",
                    "zrem",
                    "zscore",
                ],
            ],
            keys: &[name, naming::marker_stem, naming::mark_stem],
            channels: &[semaphore_channel],
        },
        Feature::CountDownLatch => Needs {
            commands: &[
                SCRIPTS,
                MESSAGES,
                &["decrby", "del", "exists", "get", "set"],
            ],
            keys: &[name, naming::mark_stem],
            channels: &[latch_channel],
        },
        Feature::FencedCell => Needs {
            commands: &[SCRIPTS, &["hget", "hmget", "hset"]],
            keys: &[name],
            channels: &[],
        },
        Feature::Election => Needs {
            commands: &[SCRIPTS, MESSAGES, HASH, &["get", "hmget", "incr"]],
            keys: &[name, naming::fencing_counter, naming::election],
            channels: &[naming::lock_channel, naming::election],
        },
        Feature::Schedule => Needs {
            commands: &[SCRIPTS, MESSAGES, HASH, &["set", "time"]],
            keys: &[name, naming::schedule],
            channels: &[naming::lock_channel],
        },
        Feature::Inspect => Needs {
            commands: &[SCRIPTS, &["hgetall", "lrange", "pttl", "pubsub|numsub"]],
            keys: &[name, naming::fair_queue],
            channels: &[],
        },
        Feature::Database => Needs {
            commands: &[&["select"]],
            keys: &[],
            channels: &[],
        },
        Feature::Cluster => Needs {
            commands: &[&["asking", "cluster|nodes"]],
            keys: &[],
            channels: &[],
        },
        Feature::ShardedMessages => Needs {
            commands: &[&[
                "pubsub|shardnumsub",
                "spublish",
                "ssubscribe",
                "sunsubscribe",
            ]],
            keys: &[],
            channels: &[],
        },
        Feature::Replicas => Needs {
            commands: &[SCRIPTS, MESSAGES, &["wait"]],
            keys: &[name],
            channels: &[naming::replicas_channel],
        },
        Feature::ReplicasOnDisk => Needs {
            commands: &[SCRIPTS, MESSAGES, &["waitaof"]],
            keys: &[name],
            channels: &[naming::replicas_channel],
        },
        // More names, not more commands.
        Feature::TaggedNames => Needs {
            commands: &[],
            keys: &[],
            channels: &[],
        },
    }
}

fn name(name: &str) -> String {
    name.to_owned()
}

/// How a command is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// From a script, with these words after the command; `KEY` stands for a key nobody uses.
    Inside(&'static [&'static str]),
    /// From a script, and it makes the key.
    Makes(&'static [&'static str]),
    /// By itself.
    Outside(&'static str, &'static [&'static str]),
    /// By what the self-test does anyway, or did to get here, or not at all.
    Anyway,
}

pub(super) const KEY: &str = "KEY";

/// How to find out whether a command is allowed without changing anything: reads find nothing, writes that would make the
/// key come with an argument that is refused after the right to run them was checked.
pub(super) fn trial(command: &str) -> Option<Trial> {
    use Trial::{Anyway, Inside, Makes, Outside};
    Some(match command {
        "client|id" => Outside("CLIENT", &["ID"]),
        "client|info" => Outside("CLIENT", &["INFO"]),
        // The last id there is, at an address nobody has.
        "client|kill" => Outside(
            "CLIENT",
            &["KILL", "ID", "9223372036854775807", "ADDR", "0.0.0.0:0"],
        ),
        "info" => Outside("INFO", &["server"]),
        "ping" => Outside("PING", &[]),
        "pubsub|numsub" => Outside("PUBSUB", &["NUMSUB"]),
        "pubsub|shardnumsub" => Outside("PUBSUB", &["SHARDNUMSUB"]),
        // For nobody.
        "wait" => Outside("WAIT", &["0", "0"]),
        "waitaof" => Outside("WAITAOF", &["0", "0", "0"]),
        "cluster|nodes" => Outside("CLUSTER", &["NODES"]),
        "evalsha" | "script|load" | "publish" | "spublish" | "select" => Anyway,
        "subscribe" | "unsubscribe" | "ssubscribe" | "sunsubscribe" => Anyway,
        // It would change what the next command of somebody else means.
        "asking" => Anyway,
        "time" => Inside(&[]),
        "del" | "exists" | "get" | "hgetall" | "hlen" | "lpop" | "persist" | "pttl" | "zcard" => {
            Inside(&[KEY])
        }
        "hdel" | "hexists" | "hget" | "hmget" | "lpos" | "zrem" | "zscore" => Inside(&[KEY, "x"]),
        "hrandfield" | "pexpire" => Inside(&[KEY, "1"]),
        "lindex" => Inside(&[KEY, "0"]),
        "lrange" | "zcount" | "zrange" | "zrangebyscore" => Inside(&[KEY, "0", "0"]),
        "lrem" => Inside(&[KEY, "0", "x"]),
        // A field without a value, numbers that are none, a time that is none.
        "hset" => Inside(&[KEY, "x", "x", "x"]),
        "decrby" | "incrby" => Inside(&[KEY, "x"]),
        "zadd" => Inside(&[KEY, "x", "x"]),
        "set" => Inside(&[KEY, "x", "px", "0"]),
        "incr" => Makes(&[KEY]),
        "lpush" | "rpush" => Makes(&[KEY, "x"]),
        _ => return None,
    })
}

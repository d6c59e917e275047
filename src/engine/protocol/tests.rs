//! Each kind says on the wire what it should, and odd replies are refused.

use super::*;
use crate::lock::{Fair, Fenced, NonReentrant, Read, Reentrant, Spin, Write, kind::sealed::Sealed};

const ASK: Ask = Ask {
    holds: 2,
    ttl_ms: 30_000,
    stays: true,
    placed: false,
    token: 5,
    floor: 7,
    places: 0,
};

const REST: Rest = Rest {
    holds: 1,
    most: 2,
    ttl_ms: 20_000,
    lasts_ms: 20_000,
    longest_ms: 20_000,
};

/// A command as `script key key | argument argument`.
fn shown(command: &Command) -> String {
    let words = |words: &[Bytes]| {
        words
            .iter()
            .map(|word| format!(" {}", String::from_utf8_lossy(word)))
            .collect::<String>()
    };
    let (name, keys, args) = (command.script.name, &command.keys, &command.args);
    format!("{name}{} |{}", words(keys), words(args)).replace("4611686018427387905", "1")
}

#[test]
fn every_kind_says_what_it_should() {
    let cases: [(&'static dyn Protocol, [&str; 3]); 6] = [
        (
            Reentrant::protocol(),
            [
                "reentrant/acquire n | 30000 u:1 2",
                "reentrant/release n | u:1 1 20000 PUBLISH redisson_lock__channel:{n}",
                "reentrant/force_release n | PUBLISH redisson_lock__channel:{n}",
            ],
        ),
        (
            Spin::protocol(),
            [
                "reentrant/acquire n | 30000 u:1 2",
                "spin/release n | u:1 1 20000",
                "spin/force_release n |",
            ],
        ),
        (
            Fenced::protocol(),
            [
                "fenced/acquire n redisson_lock_token:{n} | 30000 u:1 2 7 5",
                "reentrant/release n | u:1 1 20000 PUBLISH redisson_lock__channel:{n}",
                "reentrant/force_release n | PUBLISH redisson_lock__channel:{n}",
            ],
        ),
        (
            Fair::protocol(),
            [
                "fair/acquire n redisson_lock_queue:{n} redisson_lock_timeout:{n} \
                 | 30000 u:1 2 PUBLISH redisson_lock__channel:{n} 1 0",
                "fair/release n redisson_lock_queue:{n} redisson_lock_timeout:{n} \
                 | u:1 1 20000 PUBLISH redisson_lock__channel:{n}",
                "fair/force_release n redisson_lock_queue:{n} redisson_lock_timeout:{n} \
                 | PUBLISH redisson_lock__channel:{n}",
            ],
        ),
        (
            Read::protocol(),
            [
                "read/acquire n {n}:u:1:rwlock_timeout:2 | 30000 u:1 2 u:1:write",
                "read/release n {n} {n}:u:1:rwlock_timeout:1 {n}:u:1:rwlock_timeout:2 \
                 | u:1 1 20000 PUBLISH redisson_rwlock:{n}",
                "read/force_release n | PUBLISH redisson_rwlock:{n}",
            ],
        ),
        (
            Write::protocol(),
            [
                "write/acquire n | 30000 u:1:write 2",
                "write/release n {n} | u:1:write 1 20000 PUBLISH redisson_rwlock:{n} u:1",
                "write/force_release n | PUBLISH redisson_rwlock:{n}",
            ],
        ),
    ];
    for (protocol, expected) in cases {
        let call = Call::example(protocol, 1);
        let commands = [
            protocol.acquire(&call, &ASK),
            protocol.release(&call, &REST),
            protocol.force_release(&call),
        ];
        assert_eq!(commands.each_ref().map(shown), expected, "{protocol:?}");
    }
}

#[test]
fn kinds_differ_where_they_should() {
    let [fair, other] = [1, 2].map(|number| Call::example(Fair::protocol(), number));
    assert_eq!(fair.protocol.admission(), Admission::Each);
    let channel = |call: &Call| match call.protocol.wake(call) {
        Wake::Channel(channel) => channel,
        Wake::Backoff(_) => panic!("woken by a message"),
    };
    assert_ne!(channel(&fair), channel(&other), "each has a channel");
    let abandon = fair.protocol.abandon(&fair).expect("it queues");
    assert_eq!(abandon.args[0], fair.field);
    let mut batch = Batch::default();
    fair.protocol.look(&fair, &mut batch);
    other.protocol.look(&other, &mut batch);
    assert_eq!((batch.keys.len(), batch.args.len()), (6, 4));

    let read = Call::example(Read::protocol(), 1);
    let write = Call::example(Write::protocol(), 1);
    assert_eq!(read.protocol.admission(), Admission::Shared);
    assert_eq!(channel(&read), channel(&write));
    assert_eq!(
        read.protocol.admitting_field(&read),
        Some(write.field.clone())
    );
    let mut batch = Batch::default();
    read.protocol.renew(&read, &REST, &mut batch);
    assert_eq!((batch.keys.len(), batch.args.len()), (2, 3));

    let mut batch = Batch::default();
    for longest_ms in [20_000, 20_000, 50_000, 20_000] {
        let rest = Rest { longest_ms, ..REST };
        write.protocol.renew(&write, &rest, &mut batch);
    }
    let command = Command {
        script: write.protocol.renewal(),
        keys: batch.keys,
        args: batch.args,
    };
    assert_eq!(
        shown(&command),
        "renew/hash n n n n | 20000 20000 2 u:1:write u:1:write 20000 50000 1 u:1:write 20000 20000 1 u:1:write"
    );

    assert!(!NonReentrant::protocol().reentrant());
    let spin = Call::example(Spin::protocol(), 1);
    assert!(matches!(spin.protocol.wake(&spin), Wake::Backoff(_)));
    let granted = Reply::Array(vec![Reply::Int(1), Reply::Int(1), Reply::Int(42)]);
    let token = Some(42);
    assert_eq!(
        Fenced::protocol().decode(&granted),
        Some(Attempt::Granted { holds: 1, token })
    );
    let without = Reply::Array(vec![Reply::Int(1), Reply::Int(1)]);
    assert_eq!(Fenced::protocol().decode(&without), None);
}

#[test]
fn replies_nobody_sends_are_refused_and_never_panic() {
    let int = Reply::Int;
    let odd = [
        Reply::Nil,
        int(7),
        Reply::Odd("map"),
        Reply::Text(Bytes::from_static(b"\xff")),
        Reply::Array(vec![]),
        Reply::Array(vec![int(1)]),
        Reply::Array(vec![int(2), int(1)]),
        Reply::Array(vec![int(1), int(-1)]),
        Reply::Array(vec![int(1), int(i64::MAX)]),
        Reply::Array(vec![int(0), Reply::Nil]),
        Reply::Array(vec![Reply::Array(vec![int(1), int(1)])]),
    ];
    for reply in &odd {
        assert_eq!(decode_attempt(reply), None, "{reply:?}");
    }
    for reply in [int(-1), Reply::Array(vec![]), Reply::Odd("double")] {
        assert_eq!(Released::decode(&reply), None, "{reply:?}");
    }
    for code in [2, -3, i64::MIN, i64::MAX] {
        assert_eq!(Renewed::decode(code), None, "{code}");
    }
    let endless = Reply::Array(vec![int(0), int(-1)]);
    assert_eq!(decode_attempt(&endless), Some(Attempt::Busy { left: None }));
}

#[test]
fn locks_of_one_name_meet_where_they_share_a_value_or_one_is_about_all() {
    let plain = Call::example(crate::lock::reentrant::Reentrant::protocol(), 1);
    let of = |fields: &[&'static str]| Call {
        values: Some(
            fields
                .iter()
                .map(|field| Value {
                    field: Bytes::from_static(field.as_bytes()),
                    beside: 0,
                })
                .collect(),
        ),
        ..plain.clone()
    };
    assert!(of(&["a", "b"]).meets(&of(&["c", "b"])));
    assert!(!of(&["a", "b"]).meets(&of(&["c", "d"])));
    assert!(of(&["a"]).meets(&plain) && plain.meets(&of(&["a"])) && plain.meets(&plain));
}

#[test]
fn a_release_says_who_may_have_heard_it_and_whose_turn_it_is() {
    let freed = |heard, others, turn: Option<&'static str>| {
        Some(Released::Freed {
            heard,
            others,
            turn: turn.map(|field| Bytes::from_static(field.as_bytes())),
        })
    };
    let head = || Reply::Text(Bytes::from_static(b"u:1"));
    let queue = |code, head| Reply::Array(vec![Reply::Int(code), head]);
    for (reply, due) in [
        (Reply::Int(0), Some(Released::Kept)),
        (Reply::Int(1), freed(true, 0, None)),
        (Reply::Int(2), freed(false, 0, None)),
        (Reply::Int(3), freed(true, 1, None)),
        (Reply::Int(9), freed(true, 7, None)),
        (Reply::Int(i64::MAX), freed(true, 0, None)),
        (Reply::Int(-1), None),
        (Reply::Nil, Some(Released::NotHeld)),
        (queue(1, Reply::Nil), freed(true, 0, None)),
        (queue(1, head()), freed(true, 0, Some("u:1"))),
        (queue(2, head()), freed(false, 0, Some("u:1"))),
        (queue(0, head()), None),
        // What says that a lock was passed on.
        (queue(1, Reply::Int(1)), None),
    ] {
        assert_eq!(Released::decode(&reply), due, "{reply:?}");
    }
}

/// What is looked at for all who wait for the same, and not once for all.
#[test]
fn waiters_for_different_locks_are_looked_after_one_by_one() {
    let call = |protocol, name: &'static str, number| Call {
        name: Bytes::from_static(name.as_bytes()),
        ..Call::example(protocol, number)
    };
    let kinds: [&'static dyn Protocol; 4] = [
        Reentrant::protocol(),
        Fair::protocol(),
        Read::protocol(),
        crate::lock::Group::protocol(),
    ];
    for protocol in kinds {
        let one = protocol.look_for(&call(protocol, "a", 1));
        let kind = protocol.kind();
        assert_ne!(one, protocol.look_for(&call(protocol, "b", 1)), "{kind}");
        assert_eq!(one, protocol.look_for(&call(protocol, "a", 1)), "{kind}");
    }
    let fair = |number| Fair::protocol().look_for(&call(Fair::protocol(), "a", number));
    assert_ne!(fair(1), fair(2), "each has a place of its own");
}

#[test]
fn an_owner_enters_again_where_the_kind_lets_it() {
    assert!(
        Call::example(Reentrant::protocol(), 1)
            .check_reentry()
            .is_ok()
    );
    let error = Call::example(NonReentrant::protocol(), 1).check_reentry();
    assert!(matches!(error, Err(Error::AlreadyHeld { .. })));
}

//! A sketch of every kind of the family, to know that the trait carries it, and the decoders.

use super::*;
use crate::{engine::script::script, naming};

/// Stands in for the scripts of kinds that are not built yet.
static SKETCH: Script = script!("reentrant/acquire");

fn command(keys: Vec<Bytes>, args: Vec<Bytes>) -> Command {
    Command {
        script: &SKETCH,
        keys,
        args,
    }
}

fn key(text: String) -> Bytes {
    text.into()
}

/// Declares a sketch: the five methods every kind has, as for the plain lock, and what it changes.
macro_rules! sketch {
    ($name:ident { $($item:tt)* }) => {
        #[derive(Debug)]
        struct $name;
        impl Protocol for $name {
            fn kind(&self) -> &'static str { stringify!($name) }
            fn decode(&self, reply: &Reply) -> Option<Attempt> { decode_attempt(reply) }
            fn release(&self, call: &Call, rest: &Rest) -> Command {
                command(vec![call.name.clone()], vec![call.field.clone(), decimal(rest.holds)])
            }
            fn force_release(&self, call: &Call) -> Command {
                command(vec![call.name.clone()], vec![])
            }
            $($item)*
        }
    };
}

sketch!(Fenced {
    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(key(naming::lock_channel(call.name_str())))
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        let counter = naming::prefixed("redisson_lock_token", call.name_str());
        command(vec![call.name.clone(), key(counter)], vec![decimal(ask.ttl_ms), call.field.clone()])
    }
});

sketch!(Spin {
    fn wake(&self, _: &Call) -> Wake {
        let ms = Duration::from_millis;
        Wake::Backoff { first: ms(1), longest: ms(128) }
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        command(vec![call.name.clone()], vec![decimal(ask.ttl_ms), call.field.clone()])
    }
});

sketch!(NonReentrant {
    fn reentrant(&self) -> bool { false }
    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(key(naming::lock_channel(call.name_str())))
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        command(vec![call.name.clone()], vec![decimal(ask.ttl_ms), call.field.clone()])
    }
});

fn queue_keys(call: &Call) -> [Bytes; 2] {
    ["redisson_lock_queue", "redisson_lock_timeout"]
        .map(|prefix| key(naming::prefixed(prefix, call.name_str())))
}

sketch!(Fair {
    fn admission(&self) -> Admission { Admission::Each }
    fn wake(&self, call: &Call) -> Wake {
        let base = naming::lock_channel(call.name_str());
        Wake::Channel(key(format!("{base}:{}", String::from_utf8_lossy(&call.field))))
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        let [queue, deadlines] = queue_keys(call);
        let wait = ask.wait_ms.unwrap_or(300_000);
        command(
            vec![call.name.clone(), queue, deadlines],
            vec![decimal(ask.ttl_ms), call.field.clone(), decimal(wait)],
        )
    }
    fn abandon(&self, call: &Call) -> Option<Command> {
        let [queue, deadlines] = queue_keys(call);
        Some(command(vec![queue, deadlines], vec![call.field.clone()]))
    }
});

sketch!(Read {
    fn admission(&self) -> Admission { Admission::Shared }
    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(key(naming::prefixed("redisson_rwlock", call.name_str())))
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        let owner = String::from_utf8_lossy(&call.field).into_owned();
        let marker = format!("{}:rwlock_timeout", naming::suffixed(call.name_str(), &owner));
        command(
            vec![call.name.clone(), key(marker)],
            vec![decimal(ask.ttl_ms), call.field.clone(), key(format!("{owner}:write"))],
        )
    }
    fn renewal(&self) -> &'static Script { &SKETCH }
    fn renew(&self, call: &Call, rest: &Rest, batch: &mut Batch) {
        let owner = String::from_utf8_lossy(&call.field).into_owned();
        batch.keys.push(call.name.clone());
        for hold in 1..=rest.holds {
            let marker = naming::suffixed(call.name_str(), &owner);
            batch.keys.push(key(format!("{marker}:rwlock_timeout:{hold}")));
        }
        batch.args.extend([call.field.clone(), decimal(rest.ttl_ms), decimal(rest.holds)]);
    }
    fn probe(&self) -> &'static Script { &SKETCH }
});

sketch!(Write {
    fn field(&self, client_id: &str, owner: Owner) -> String { format!("{client_id}:{owner}:write") }
    fn wake(&self, call: &Call) -> Wake {
        Wake::Channel(key(naming::prefixed("redisson_rwlock", call.name_str())))
    }
    fn acquire(&self, call: &Call, ask: &Ask) -> Command {
        command(vec![call.name.clone()], vec![decimal(ask.ttl_ms), call.field.clone()])
    }
});

#[test]
fn the_trait_carries_the_whole_family() {
    let ask = Ask {
        holds: 1,
        ttl_ms: 30_000,
        wait_ms: Some(10_000),
    };
    let rest = Rest {
        holds: 2,
        ttl_ms: 30_000,
    };

    let fenced = Call::example(&Fenced, 1);
    let keys = Fenced.acquire(&fenced, &ask).keys;
    assert_eq!(keys, [&b"n"[..], b"redisson_lock_token:{n}"]);
    let granted = Reply::Array(vec![Reply::Int(1), Reply::Int(1), Reply::Int(42)]);
    let token = Some(42);
    assert_eq!(
        Fenced.decode(&granted),
        Some(Attempt::Granted { holds: 1, token })
    );

    let spin = Call::example(&Spin, 1);
    assert!(matches!(Spin.wake(&spin), Wake::Backoff { .. }));
    assert_eq!(Spin.release(&spin, &rest).keys.len(), 1);

    assert!(!NonReentrant.reentrant());

    let (first, second) = (Call::example(&Fair, 1), Call::example(&Fair, 2));
    assert_eq!(Fair.admission(), Admission::Each);
    assert_ne!(
        Fair.wake(&first),
        Fair.wake(&second),
        "each waiter has a channel of its own"
    );
    assert_eq!(Fair.acquire(&first, &ask).args[2], "10000");
    assert!(Fair.abandon(&first).is_some());

    let read = Call::example(&Read, 1);
    let mut batch = Batch::default();
    Read.renew(&read, &rest, &mut batch);
    assert_eq!(batch.keys.len(), 3, "the name and a marker for each hold");
    assert_ne!(Read.renewal().name, Fenced.renewal().name);
    assert_eq!(Read.admission(), Admission::Shared);

    let write = Call::example(&Write, 1);
    assert!(write.field.ends_with(b":write"));
    assert_eq!(Write.wake(&write), Read.wake(&read));
    assert_eq!(Write.renewal().name, Fenced.renewal().name);
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
    for reply in [int(3), int(-1), Reply::Array(vec![]), Reply::Odd("double")] {
        assert_eq!(Released::decode(&reply), None, "{reply:?}");
    }
    for code in [2, -3, i64::MIN, i64::MAX] {
        assert_eq!(Renewed::decode(code), None, "{code}");
    }
    let endless = Reply::Array(vec![int(0), int(-1)]);
    assert_eq!(decode_attempt(&endless), Some(Attempt::Busy { left: None }));
}

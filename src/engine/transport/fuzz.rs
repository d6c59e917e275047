//! What servers and sentinels say of themselves may be anything: see `engine/fuzz`.

use fred::{
    prelude::{Error as FredError, ErrorKind},
    types::Value,
};
use redlatch_support::Dice;

use super::{
    Fault, Reply,
    chart::{Address, Layout, Redirect, SLOTS, claims},
    link::{Identity, convert, fault},
    sentinel::{fields, reached},
};
use crate::{
    coordination,
    engine::{
        fuzz::{Replies, fuzz},
        protocol::{Attempt, MOST_HOLDS, Protocol, Released, Renewed},
    },
    inspect::Inspection,
    lock::{Fair, Fenced, Group, NonReentrant, Read, Reentrant, Spin, Write, kind::sealed::Sealed},
};

const VIEW: &str = "\
aa 127.0.0.1:7000@17000,one.example myself,master - 0 1 1 connected 0-99 200 [100-<-bb]
bb 10.0.0.2:7001@17001 master - 0 1 3 connected 100-199 [7-migrating]
cc 10.0.0.3:7002@17002 slave bb 0 1 3 connected
ee 10.0.0.5:7004@17004 master,fail - 0 1 2 connected 201-300";
const WORDS: [&str; 24] = [
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "NOSCRIPT",
    "ERR",
    "OOM",
    "-1",
    "0",
    "16383",
    "16384",
    "99999999999999999999",
    "10.0.0.1:7001",
    ":0",
    "[::1]:7",
    "?:1",
    "@",
    "master",
    "-",
    "0-16383",
    "16383-0",
    "id=7",
    "addr=",
    "\u{1b}[31m",
];

/// A text of such words, or a view of a cluster that is spoilt.
fn text(dice: &mut Dice) -> String {
    if dice.below(3) > 0 {
        let words = (0..dice.below(10)).map(|_| *dice.one_of(&WORDS));
        return words.collect::<Vec<_>>().join(" ");
    }
    let mut words: Vec<&str> = VIEW.split_inclusive([' ', '\n', ',', ':', '-']).collect();
    for _ in 0..=dice.below(4) {
        let at = dice.below(words.len() as u64) as usize;
        words[at] = *dice.one_of(&WORDS);
    }
    words.concat()
}

/// Answers, and what is to be true of them.
fn read(reply: &Reply, protocols: &[&'static dyn Protocol], asks: usize) {
    for protocol in protocols {
        if let Some(Attempt::Granted { holds, token }) = protocol.decode(reply) {
            assert!((1..=MOST_HOLDS).contains(&holds), "{protocol:?}: {holds}");
            assert!(!protocol.fenced() || token.is_some());
        }
    }
    for trade in coordination::trades() {
        if let Some(answers) = trade.answers(reply, asks) {
            assert_eq!(answers.served.len(), asks, "{trade:?}");
        }
    }
    Released::decode(reply);
    if let Some(code) = reply.as_int() {
        Renewed::decode(code);
    }
    Inspection::decode(reply, reply, reply, 0);
    reached(&fields(reply), "me");
}

#[test]
fn whatever_is_said_is_read_or_refused() {
    let kept = Replies::kept();
    let protocols: [&'static dyn Protocol; 8] = [
        Reentrant::protocol(),
        Fair::protocol(),
        Fenced::protocol(),
        Spin::protocol(),
        NonReentrant::protocol(),
        Read::protocol(),
        Write::protocol(),
        Group::protocol(),
    ];
    for reply in kept.all() {
        read(reply, &protocols, 2);
    }
    fuzz("what servers say", 10_000, |dice, _| {
        let (reply, other) = (kept.roll(dice), kept.roll(dice));
        read(&reply, &protocols, dice.below(4) as usize);
        Inspection::decode(&reply, &other, &Reply::Array(Vec::new()), 0);
        let text = text(dice);
        match Redirect::parse(&text, "me") {
            Some(Redirect::Moved { slot, to }) => {
                assert!(usize::from(slot) < SLOTS && to.port > 0, "{text:?}");
            }
            Some(Redirect::Ask { to }) => assert!(to.port > 0, "{text:?}"),
            Some(Redirect::TryAgain) | None => {}
        }
        if let Some(address) = Address::parse(&text, "me") {
            assert!(address.port > 0, "{text:?}");
        }
        let views = [claims(&text, "me", true), claims(VIEW, "me", false)];
        let layout = Layout::merge(&views);
        assert_eq!(layout.owners.len(), SLOTS);
        for owner in layout.owners.iter().flatten() {
            assert!(usize::from(*owner) < layout.masters.len(), "{text:?}");
        }
        Identity::parse(text.as_bytes());
        match fault(&FredError::new(ErrorKind::Unknown, text.clone())) {
            Fault::Refused { text: said, .. } => assert!(said.len() <= text.len() + 3),
            Fault::Unknown { .. } | Fault::NotSent { .. } => {}
            Fault::Closed => panic!("an error reply closes nothing: {text:?}"),
        }
        convert(Value::Array(vec![
            Value::Double(f64::NAN),
            Value::Integer(dice.roll() as i64),
            Value::from(text),
            Value::Boolean(true),
            Value::Queued,
        ]));
    });
}

/// More masters than a cluster can have are not all connected to.
#[test]
fn a_view_without_end_is_cut() {
    let line = |n: u32| {
        format!(
            "{n:040} 10.{}.{}.1:7000@17000 master - 0 1 1 connected",
            n >> 8,
            n & 255
        )
    };
    let text: Vec<_> = (0..5_000).map(line).collect();
    let layout = Layout::merge(&[claims(&text.join("\n"), "me", false)]);
    assert_eq!(layout.masters.len(), 1_000);
}

//! The proxy between a subscriber and a real server.

mod common;

use std::time::{Duration, Instant};

use common::{SOON, bulk, setup, simple};
use redlatch_support::resp::Frame;
use redlatch_support::{Action, MessageAction, MessageRule, Rule, eventually, unique_name};

#[test]
fn resp2_subscribers_are_understood() {
    let (proxy, mut raw, direct) = setup();
    let (a, b) = (unique_name("a"), unique_name("b"));
    let confirmed = |kind: &str, channel: &str, left| {
        Frame::Array(vec![bulk(kind), bulk(channel), Frame::Int(left)])
    };
    raw.send(&["SUBSCRIBE", &a, &b]);
    assert_eq!(raw.next(), confirmed("subscribe", &a, 1));
    assert_eq!(raw.next(), confirmed("subscribe", &b, 2));
    assert_eq!(proxy.subscribers(), 1);
    assert_eq!(direct.numsub(&a), 1);
    let rule = proxy.drop_messages(Some(&b), 1);
    for (channel, text) in [(&a, "1"), (&b, "lost"), (&b, "2")] {
        direct.cmd(&["PUBLISH", channel, text]).accepted();
    }
    let message =
        |channel: &str, text| Frame::Array(vec![bulk("message"), bulk(channel), bulk(text)]);
    assert_eq!(raw.next(), message(&a, "1"));
    assert_eq!(raw.next(), message(&b, "2"));
    assert_eq!(rule.hits(), 1);
    assert_eq!(proxy.messages(), 2);
    // Rules on requests still meet their own replies in between.
    let marker = b"+mine\r\n".to_vec();
    proxy.rule(Rule::new("PING").action(Action::ReplaceReply(marker)));
    raw.send(&["UNSUBSCRIBE"]);
    raw.send(&["PING"]);
    let ends = [raw.next(), raw.next()];
    assert!(ends.contains(&confirmed("unsubscribe", ends_first(&ends), 1)));
    assert_eq!(raw.next(), simple("mine"));
    assert_eq!(proxy.subscribers(), 0);
    // With nothing subscribed there is one confirmation all the same.
    raw.send(&["UNSUBSCRIBE"]);
    raw.send(&["PING"]);
    assert!(matches!(raw.next(), Frame::Array(_)));
    assert_eq!(raw.next(), simple("PONG"));
}

/// The channel in the first of two confirmations.
fn ends_first(ends: &[Frame; 2]) -> &str {
    let channel = ends[0].items().and_then(|items| items[1].bytes());
    std::str::from_utf8(channel.expect("a confirmation names its channel")).expect("text")
}

#[test]
fn resp3_pushes_are_no_replies() {
    let (proxy, mut raw, direct) = setup();
    let (a, key) = (unique_name("a"), unique_name("k"));
    assert!(matches!(raw.ask(&["HELLO", "3"]), Frame::Map(_)));
    raw.send(&["SUBSCRIBE", &a]);
    assert!(matches!(raw.next(), Frame::Push(_)));
    raw.send(&["PSUBSCRIBE", &format!("{a}*")]);
    assert!(matches!(raw.next(), Frame::Push(_)));
    proxy.message_rule(
        MessageRule::new(MessageAction::Duplicate)
            .channel(&a)
            .payload("x")
            .times(1),
    );
    let held = proxy.rule(Rule::new("INCR").action(Action::DropReply));
    raw.send(&["INCR", &key]);
    eventually("the reply to be dropped", SOON, || held.hits() == 1);
    direct.cmd(&["PUBLISH", &a, "x"]).accepted();
    raw.send(&["INCR", &key]);
    let kinds: Vec<_> = (0..4)
        .map(|_| match raw.next() {
            Frame::Push(items) => {
                let kind = items[0].bytes().expect("a push has a kind");
                String::from_utf8_lossy(kind).into_owned()
            }
            other => format!("{other:?}"),
        })
        .collect();
    let count = |wanted: &str| kinds.iter().filter(|kind| *kind == wanted).count();
    assert_eq!(count("message"), 2, "{kinds:?}");
    assert_eq!(count("pmessage"), 1, "{kinds:?}");
    assert_eq!(count("Int(2)"), 1, "{kinds:?}");
    assert_eq!(raw.ask(&["RESET"]), simple("RESET"));
    eventually("the subscriptions to end", SOON, || {
        proxy.subscribers() == 0
    });
}

#[test]
fn dropped_confirmations_leave_the_subscription() {
    let (proxy, mut raw, direct) = setup();
    let (a, b) = (unique_name("a"), unique_name("b"));
    let rule = proxy.rule(Rule::new("SUBSCRIBE").action(Action::DropReply));
    raw.send(&["SUBSCRIBE", &a, &b]);
    eventually("the subscription", SOON, || direct.numsub(&b) == 1);
    raw.assert_silent();
    assert_eq!(rule.hits(), 1);
    proxy.cut_subscribers();
    raw.assert_closed();
    eventually("the server to notice", SOON, || direct.numsub(&b) == 0);
}

#[test]
fn messages_are_delayed() {
    let (proxy, mut raw, direct) = setup();
    let a = unique_name("a");
    raw.ask(&["SUBSCRIBE", &a]);
    let wait = Duration::from_millis(30);
    proxy.message_rule(MessageRule::new(MessageAction::Delay(wait)).nth(2));
    direct.cmd(&["PUBLISH", &a, "1"]).accepted();
    raw.next();
    let begun = Instant::now();
    direct.cmd(&["PUBLISH", &a, "2"]).accepted();
    raw.next();
    assert!(begun.elapsed() >= wait);
}
